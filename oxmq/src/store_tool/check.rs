//! `oxmq store check`.

use std::io::{self, Write};
use std::process::ExitCode;

use oxmq_store::offline::{self, Counts, Finding, Report, Severity};

use super::progress::ProgressLine;
use super::{Failure, Target};

#[derive(clap::Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    target: Target,
}

pub(super) fn run(args: &CheckArgs) -> Result<ExitCode, Failure> {
    let dir = args.target.open()?;
    let mut line = ProgressLine::new("checking");
    let report = offline::check(&dir, &mut |done, total| line.tell(done, total))?;
    line.end();
    let mut out = io::stdout().lock();
    if args.target.json {
        serde_json::to_writer_pretty(&mut out, &report)?;
        writeln!(out)?;
    } else {
        print(&report, &mut out)?;
    }
    Ok(ExitCode::from(exit_code(&report)))
}

/// 0 sound, 1 warnings, 2 errors.
pub(super) fn exit_code(report: &Report) -> u8 {
    match report.worst() {
        None | Some(Severity::Info) => 0,
        Some(Severity::Warning) => 1,
        Some(Severity::Error) => 2,
    }
}

/// Prints a report for people, the worst first.
pub(super) fn print(report: &Report, out: &mut impl Write) -> io::Result<()> {
    for (severity, title) in
        [(Severity::Error, "ERROR"), (Severity::Warning, "WARNING"), (Severity::Info, "info")]
    {
        for finding in report.of(severity) {
            print_finding(title, finding, out)?;
        }
    }
    for (kind, more) in &report.more {
        writeln!(out, "... and {more} more of {}", kind.name())?;
    }
    let Counts {
        log_files,
        log_bytes,
        records,
        queues,
        units,
        index_files,
        index_entries,
        config_files,
    } = report.counts;
    let (min, max) = (report.min_phy_offset, report.max_phy_offset);
    writeln!(
        out,
        "log      {records} records, {log_bytes} bytes, {min} to {max}, {log_files} files"
    )?;
    writeln!(out, "queues   {queues}, {units} units agree or are named above")?;
    writeln!(out, "index    {index_files} files, {index_entries} entries agree")?;
    writeln!(out, "config   {config_files} files can be read")?;
    let [errors, warnings] =
        [Severity::Error, Severity::Warning].map(|severity| report.of(severity).count());
    let more = if report.more.is_empty() { "" } else { " and those not listed" };
    match report.worst() {
        None | Some(Severity::Info) => writeln!(out, "the store is sound"),
        _ => writeln!(out, "{errors} errors, {warnings} warnings{more}"),
    }
}

fn print_finding(title: &str, finding: &Finding, out: &mut impl Write) -> io::Result<()> {
    write!(out, "{title} {} {}", finding.kind.name(), finding.path.display())?;
    if let Some(position) = finding.position {
        write!(out, " at byte {position}")?;
    }
    writeln!(out, "\n    {}\n    -> {}", finding.what, finding.advice)
}
