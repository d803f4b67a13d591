//! Compares the runs of two servers: medians, spread and ratio of each row.
//!
//! Each line of the input is one run: row, figure, better (`more` or `less`), floor, server, and the run's
//! JSON report, separated by tabs. The figure is a path into the report, such as `latency_us.p50`. A floor
//! is a ratio (`3.5`), a bound of the figure itself (`<80` or `>1000`), or `-`. A row that a server was not
//! run with has `{"not_run": "why"}` for a report. Runs of one row and server may come in any order.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::args::TableArgs;
use super::error::{BenchError, io};

/// Larger than the results of any comparison.
const MAX_INPUT_BYTES: u64 = 64 * 1024 * 1024;

/// Runs `table`.
pub(super) fn run(args: &TableArgs) -> Result<(), BenchError> {
    print!("{}", render(&read(&args.results)?, &args.base, &args.subject));
    Ok(())
}

/// The runs that a file holds.
pub(super) fn read(results: &Path) -> Result<Vec<Row>, BenchError> {
    let size = fs::metadata(results).map_err(io("read results"))?.len();
    if size > MAX_INPUT_BYTES {
        return Err(BenchError::Usage(format!("results of {size} bytes are too large")));
    }
    parse(&fs::read_to_string(results).map_err(io("read results"))?)
}

/// One row of the table: what is compared, and the runs of each server.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) figure: String,
    more_is_better: bool,
    floor: Option<Floor>,
    pub(super) runs: BTreeMap<String, Vec<Value>>,
    /// Why a server was not run, by server.
    not_run: BTreeMap<String, String>,
}

/// What a row has to reach.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Floor {
    /// So many times as good as the base.
    Ratio(f64),
    /// The figure itself is below this.
    Below(f64),
    /// The figure itself is above this.
    Above(f64),
}

impl Floor {
    /// Reads a floor; `Some(None)` where there is none.
    fn parse(text: &str) -> Option<Option<Self>> {
        if text == "-" {
            return Some(None);
        }
        let (make, number): (fn(f64) -> Self, _) = match text.split_at_checked(1)? {
            ("<", number) => (Self::Below, number),
            (">", number) => (Self::Above, number),
            _ => (Self::Ratio, text),
        };
        Some(Some(make(number.parse().ok()?)))
    }

    /// Tells whether it is met; `None` while what it is about is not known.
    fn is_met(self, ratio: Option<f64>, figure: Option<f64>) -> Option<bool> {
        match self {
            Self::Ratio(floor) => ratio.map(|ratio| ratio >= floor),
            Self::Below(floor) => figure.map(|figure| figure < floor),
            Self::Above(floor) => figure.map(|figure| figure > floor),
        }
    }
}

impl fmt::Display for Floor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ratio(floor) => write!(f, "{floor}x"),
            Self::Below(floor) => write!(f, "< {floor}"),
            Self::Above(floor) => write!(f, "> {floor}"),
        }
    }
}

pub(super) fn parse(text: &str) -> Result<Vec<Row>, BenchError> {
    let mut rows: Vec<Row> = Vec::new();
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.is_empty()) {
        let wrong = |what: &str| BenchError::Usage(format!("line {number} of results: {what}"));
        let fields: Vec<&str> = line.splitn(6, '\t').collect();
        let [name, figure, better, floor, server, report] = fields[..] else {
            return Err(wrong("not six fields"));
        };
        let floor = Floor::parse(floor).ok_or_else(|| wrong("not a floor"))?;
        let report: Value = serde_json::from_str(report).map_err(|_| wrong("not a report"))?;
        let not_run = report.get("not_run").and_then(Value::as_str);
        if not_run.is_none() && number_at(&report, figure).is_none() {
            return Err(wrong("report without the figure"));
        }
        let index = rows.iter().position(|row| row.name == name).unwrap_or(rows.len());
        if index == rows.len() {
            rows.push(Row {
                name: name.into(),
                figure: figure.into(),
                more_is_better: better == "more",
                floor,
                runs: BTreeMap::new(),
                not_run: BTreeMap::new(),
            });
        }
        let row = &mut rows[index];
        match not_run {
            Some(why) => {
                row.not_run.insert(server.into(), why.into());
            }
            None => row.runs.entry(server.into()).or_default().push(report),
        }
    }
    Ok(rows)
}

fn number_at(report: &Value, path: &str) -> Option<f64> {
    path.split('.').try_fold(report, |value, key| value.get(key))?.as_f64()
}

/// Figures of the runs of one row and server.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Figures(Vec<f64>);

impl Figures {
    pub(super) fn of(runs: &[Value], path: &str) -> Self {
        let mut values: Vec<_> = runs.iter().filter_map(|run| number_at(run, path)).collect();
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    pub(super) fn median(&self) -> Option<f64> {
        let (values, middle) = (&self.0, self.0.len() / 2);
        match values.len() {
            0 => None,
            odd if odd % 2 == 1 => Some(values[middle]),
            _ => Some((values[middle - 1] + values[middle]) / 2.0),
        }
    }

    /// Difference of the extremes, percent of the median.
    fn spread_percent(&self) -> Option<f64> {
        Some((self.0.last()? - self.0.first()?) / self.median()? * 100.0)
    }

    fn max(&self) -> Option<f64> {
        self.0.last().copied()
    }
}

const COLUMNS: usize = 10;

/// A line of the table.
type Line = [String; COLUMNS];

fn render(rows: &[Row], base: &str, subject: &str) -> String {
    let headings: [&str; COLUMNS] = [
        "row",
        "figure",
        base,
        "spread",
        subject,
        "spread",
        "ratio",
        "floor",
        "CPU us/message",
        "RSS MiB",
    ];
    let mut lines: Vec<Line> = vec![headings.map(String::from)];
    let mut polluted = 0;
    let mut runs = 0;
    for row in rows {
        let of = |server: &str| row.runs.get(server).map_or(&[][..], Vec::as_slice);
        let (bases, subjects) = (of(base), of(subject));
        let all = || bases.iter().chain(subjects);
        let dirty = all().filter(|run| run.get("polluted") == Some(&Value::Bool(true))).count();
        polluted += dirty;
        runs += all().count();
        let base_figures = Figures::of(bases, &row.figure);
        let subject_figures = Figures::of(subjects, &row.figure);
        let ratio = base_figures.median().zip(subject_figures.median()).map(|(base, subject)| {
            if row.more_is_better { subject / base } else { base / subject }
        });
        let verdict = row.floor.map_or_else(String::new, |floor| {
            match floor.is_met(ratio, subject_figures.median()) {
                Some(true) => format!("{floor} met"),
                Some(false) => format!("{floor} MISSED"),
                None => format!("{floor} NOT RUN"),
            }
        });
        let unit = match row.figure.as_str() {
            "messages_per_second" => "messages/s",
            other => other,
        };
        lines.push([
            format!("{}{}", row.name, if dirty > 0 { " *" } else { "" }),
            unit.into(),
            number(base_figures.median()),
            percent(base_figures.spread_percent()),
            number(subject_figures.median()),
            percent(subject_figures.spread_percent()),
            ratio.map_or("-".into(), |ratio| format!("{ratio:.1}x")),
            verdict,
            pair(bases, subjects, "server.cpu_us_per_message"),
            pair(bases, subjects, "server.rss_anon_mib"),
        ]);
    }
    let mut out = align(&lines);
    // Writing to a string cannot fail.
    let _ = match polluted {
        0 => writeln!(out, "{runs} runs; the machine was quiet in all of them."),
        _ => writeln!(
            out,
            "* {polluted} of {runs} runs were polluted: others used the machine, at most {} % of it.",
            worst(rows)
        ),
    };
    for (server, code, count) in refusals(rows) {
        let _ = writeln!(out, "{server} refused {count} requests with code {code}.");
    }
    for row in rows {
        for (server, why) in &row.not_run {
            let _ = writeln!(out, "{server} was not run with {}: {why}.", row.name);
        }
    }
    out
}

fn number(value: Option<f64>) -> String {
    match value {
        None => "-".into(),
        Some(value) if value < 1_000.0 => format!("{value:.1}"),
        Some(value) => {
            let digits = format!("{value:.0}");
            let mut text = String::new();
            for (index, digit) in digits.chars().enumerate() {
                if index > 0 && (digits.len() - index).is_multiple_of(3) {
                    text.push(' ');
                }
                text.push(digit);
            }
            text
        }
    }
}

fn percent(value: Option<f64>) -> String {
    value.map_or("-".into(), |value| format!("{value:.0} %"))
}

/// Medians of both servers.
fn pair(bases: &[Value], subjects: &[Value], path: &str) -> String {
    let median = |runs| number(Figures::of(runs, path).median());
    format!("{} / {}", median(bases), median(subjects))
}

/// Most of the machine that others used in any run, percent.
fn worst(rows: &[Row]) -> String {
    let worst = rows
        .iter()
        .flat_map(|row| row.runs.values())
        .filter_map(|runs| Figures::of(runs, "other_cpu_percent").max())
        .fold(0.0, f64::max);
    format!("{worst:.0}")
}

/// Refusals by server and code, over all rows.
fn refusals(rows: &[Row]) -> Vec<(&str, &str, u64)> {
    let mut counts: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for (server, report) in rows
        .iter()
        .flat_map(|row| &row.runs)
        .flat_map(|(server, runs)| runs.iter().map(move |report| (server, report)))
    {
        for (code, count) in report.get("refused").and_then(Value::as_object).into_iter().flatten()
        {
            *counts.entry((server, code)).or_default() += count.as_u64().unwrap_or_default();
        }
    }
    counts.into_iter().map(|((server, code), count)| (server, code, count)).collect()
}

/// Pads the columns to one width each, as a Markdown table.
fn align(lines: &[Line]) -> String {
    let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or(0);
    let mut out = String::new();
    for (index, line) in lines.iter().enumerate() {
        for (column, cell) in line.iter().enumerate() {
            let width = width(column);
            // Writing to a string cannot fail.
            let _ = match column {
                0 | 1 | 7 => write!(out, "| {cell:<width$} "),
                _ => write!(out, "| {cell:>width$} "),
            };
        }
        out.push_str("|\n");
        if index == 0 {
            for column in 0..line.len() {
                let _ = write!(out, "| {:-<1$} ", "", width(column));
            }
            out.push_str("|\n");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(
        row: &str,
        figure: &str,
        better: &str,
        floor: &str,
        server: &str,
        rest: &str,
    ) -> String {
        format!("{row}\t{figure}\t{better}\t{floor}\t{server}\t{{{rest}}}\n")
    }

    #[test]
    fn table_holds_medians_spread_ratio_and_verdict() {
        let mut text = String::new();
        for (server, values) in [("reference", [90, 100, 110]), ("ours", [300, 200, 400])] {
            for value in values {
                let rest = format!(
                    r#""messages_per_second":{value},"polluted":false,"server":{{"cpu_us_per_message":2.5,"rss_anon_mib":30}},"refused":{{"2":1}}"#
                );
                text += &line("send", "messages_per_second", "more", "2", server, &rest);
            }
        }
        for (server, p50) in [("reference", 800.0), ("ours", 200.0)] {
            let rest =
                format!(r#""latency_us":{{"p50":{p50}}},"polluted":true,"other_cpu_percent":17.4"#);
            text += &line("e2e", "latency_us.p50", "less", "8", server, &rest);
        }
        insta::assert_snapshot!(render(&parse(&text).unwrap(), "reference", "ours"), @r"
        | row   | figure         | reference | spread |  ours | spread | ratio | floor     | CPU us/message |     RSS MiB |
        | ----- | -------------- | --------- | ------ | ----- | ------ | ----- | --------- | -------------- | ----------- |
        | send  | messages/s     |     100.0 |   20 % | 300.0 |   67 % |  3.0x | 2x met    |      2.5 / 2.5 | 30.0 / 30.0 |
        | e2e * | latency_us.p50 |     800.0 |    0 % | 200.0 |    0 % |  4.0x | 8x MISSED |          - / - |       - / - |
        * 2 of 8 runs were polluted: others used the machine, at most 17 % of it.
        ours refused 3 requests with code 2.
        reference refused 3 requests with code 2.
        ");
    }

    #[test]
    fn row_without_a_server_has_no_ratio() {
        let text = line(
            "send",
            "messages_per_second",
            "more",
            "2",
            "reference",
            r#""messages_per_second":7"#,
        );
        let table = render(&parse(&text).unwrap(), "reference", "ours");
        assert!(
            table.contains("|       7.0 |    0 % |    - |      - |     - | 2x NOT RUN |"),
            "{table}"
        );
    }

    #[test]
    fn floor_of_the_figure_itself_needs_no_other_server() {
        let rows = |floor, better, value| {
            let report = format!(r#""kib":{value}"#);
            line("idle", "kib", better, floor, "ours", &report)
                + &line("idle", "kib", better, floor, "reference", r#""not_run":"no time""#)
        };
        for (floor, better, value, verdict) in [
            ("<4", "less", "3.9", "< 4 met"),
            ("<4", "less", "4.0", "< 4 MISSED"),
            (">1000", "more", "1000.5", "> 1000 met"),
            (">1000", "more", "1000", "> 1000 MISSED"),
        ] {
            let table = render(&parse(&rows(floor, better, value)).unwrap(), "reference", "ours");
            assert!(table.contains(verdict), "{table}");
            assert!(table.ends_with("\nreference was not run with idle: no time.\n"), "{table}");
            assert!(table.contains("\n1 runs"), "{table}");
        }
    }

    #[test]
    fn lines_that_are_no_runs_are_named() {
        let no_floor = "r\tx\tmore\t<\ts\t{\"x\":1}\n";
        for text in ["a\tb\n", "r\tx\tmore\t-\ts\t{}\n", "r\tx\tmore\t-\ts\tx\n", no_floor] {
            assert!(parse(text).unwrap_err().to_string().starts_with("line 1 of results"));
        }
    }

    #[test]
    fn large_numbers_are_grouped() {
        let text = |value| number(Some(value));
        assert_eq!(
            (text(999.94), text(1_000.0), text(1_234_567.0)),
            ("999.9".into(), "1 000".into(), "1 234 567".into())
        );
    }
}
