//! `oxmq store dump`.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Subcommand;
use oxmq_store::offline::{Dump, IndexRow, QueueRow, RecordDump, Text};
use serde::Serializer as _;
use serde::ser::SerializeSeq as _;

use super::{Failure, Target};

/// Characters of a body that a table shows.
const SHOWN_CHARS: usize = 1_000;
/// Characters of a body that a line of a list shows.
const SHOWN_CHARS_IN_LIST: usize = 60;

#[derive(clap::Args)]
pub(super) struct DumpArgs {
    #[command(flatten)]
    target: Target,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// The record at a position of the log
    Record {
        /// Position in the log
        #[arg(value_name = "PHYOFFSET")]
        phy_offset: i64,
    },
    /// Units of a queue, and the records that they lead to
    Queue {
        /// Topic
        topic: String,
        /// Queue of the topic
        #[arg(value_name = "QUEUEID")]
        queue_id: i32,
        /// First offset; without it, the first one of a message
        #[arg(long, value_name = "OFFSET", allow_negative_numbers = true)]
        from: Option<i64>,
        /// How many
        #[arg(long, value_name = "N", default_value_t = 32)]
        count: usize,
    },
    /// Index entries of a key or unique key, newest first
    Index {
        /// Topic
        topic: String,
        /// Key
        key: String,
        /// How many
        #[arg(long, value_name = "N", default_value_t = 64)]
        count: usize,
    },
}

pub(super) fn run(args: &DumpArgs) -> Result<ExitCode, Failure> {
    let dir = args.target.open()?;
    let dump = Dump::open(&dir)?;
    let json = args.target.json;
    let mut out = io::stdout().lock();
    match &args.what {
        What::Record { phy_offset } => {
            let record = dump
                .record(*phy_offset)
                .map_err(|why| Failure::NoRecord { phy_offset: *phy_offset, why })?;
            if json {
                print_json(&record, &mut out)?;
            } else {
                print_record(&record, &mut out)?;
            }
        }
        What::Queue { topic, queue_id, from, count } if json => {
            let mut rows = serde_json::Serializer::pretty(&mut out);
            let mut rows = rows.serialize_seq(None)?;
            dump.queue(topic, *queue_id, *from, *count, |row| {
                Ok::<_, Failure>(rows.serialize_element(&row)?)
            })?;
            rows.end()?;
            writeln!(out)?;
        }
        What::Queue { topic, queue_id, from, count } => {
            print_queue_head(&mut out)?;
            dump.queue(topic, *queue_id, *from, *count, |row| {
                Ok::<_, Failure>(print_queue_row(&row, &mut out)?)
            })?;
        }
        What::Index { topic, key, count } => {
            let rows = dump.index(topic, key, *count)?;
            if json {
                print_json(&rows, &mut out)?;
            } else {
                print_index(&rows, &mut out)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print_json(value: &impl serde::Serialize, out: &mut impl Write) -> Result<(), Failure> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    Ok(writeln!(out)?)
}

fn print_record(record: &RecordDump, out: &mut impl Write) -> io::Result<()> {
    let fits = if record.body_crc_fits { "fits" } else { "does NOT fit" };
    let mut line = |name: &str, value: String| writeln!(out, "{name:<18} {value}");
    line("position", record.phy_offset.to_string())?;
    line("size", record.size.to_string())?;
    line("topic", record.topic.clone())?;
    line("queue", record.queue_id.to_string())?;
    line("queue offset", record.queue_offset.to_string())?;
    line("flag", record.flag.to_string())?;
    line("system flag", format!("{:#x}", record.sys_flag))?;
    line("born", format!("{} ms at {}", record.born_timestamp_ms, record.born_host))?;
    line("stored", format!("{} ms at {}", record.store_timestamp_ms, record.store_host))?;
    line("given back", format!("{} times", record.reconsume_times))?;
    line("half message at", record.prepared_transaction_offset.to_string())?;
    line("body CRC", format!("{:#010x}, {fits}", record.body_crc))?;
    for (name, value) in &record.properties {
        line("property", format!("{} = {}", name.escape_debug(), value.escape_debug()))?;
    }
    line("body", format!("{} bytes", record.body_bytes))?;
    writeln!(out, "{}", shown(&record.body, SHOWN_CHARS))
}

fn print_queue_head(out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "{:>12} {:>8} {:>16} {:>8} {:>20}  body",
        "offset", "messages", "position", "size", "tags code"
    )
}

fn print_queue_row(row: &QueueRow, out: &mut impl Write) -> io::Result<()> {
    let position = row.phy_offset.map_or_else(|| "lost".to_owned(), |at| at.to_string());
    let QueueRow { queue_offset, messages, size, tags_code, .. } = row;
    let body = brief(row.record.as_ref());
    writeln!(
        out,
        "{queue_offset:>12} {messages:>8} {position:>16} {size:>8} {tags_code:>20}  {body}"
    )
}

fn print_index(rows: &[IndexRow], out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{:>17} {:>10} {:>16} {:>14}  body", "file", "entry", "position", "stored (ms)")?;
    for row in rows {
        let IndexRow { file, entry, phy_offset, store_timestamp_ms, .. } = row;
        let note = if row.has_key { "" } else { "(another key of the same hash) " };
        let body = brief(row.record.as_ref());
        writeln!(
            out,
            "{file:>17} {entry:>10} {phy_offset:>16} {store_timestamp_ms:>14}  {note}{body}"
        )?;
    }
    Ok(())
}

fn brief(record: Option<&RecordDump>) -> String {
    match record {
        Some(record) => shown(&record.body, SHOWN_CHARS_IN_LIST),
        None => "no record is there".to_owned(),
    }
}

/// The body in one line, cut, and with nothing that a terminal would obey.
fn shown(body: &Text, chars: usize) -> String {
    let (prefix, text) = match body {
        Text::Text(text) => ("", text),
        Text::Base64(text) => ("base64:", text),
    };
    let cut: String = text.chars().take(chars).collect();
    let more = if cut.len() < text.len() { "..." } else { "" };
    format!("{prefix}{}{more}", cut.escape_debug())
}
