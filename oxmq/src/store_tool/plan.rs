//! `oxmq store plan`.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use oxmq_broker::{BrokerSettings, StoreConfig};
use oxmq_store::offline::{self, Part, Verdict};

use super::{Failure, Target};

#[derive(clap::Args)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    target: Target,
}

pub(super) fn run(args: &PlanArgs) -> Result<ExitCode, Failure> {
    let mut settings = Vec::new();
    let mut store = None;
    if let Some(file) = &args.target.config_file {
        (store, settings) = judge_settings(file);
    }
    let dir = offline::StoreDir::open(&args.target.dir, store)?;
    let mut parts = offline::plan(&dir)?;
    parts.extend(settings);
    let worst = parts.iter().map(|part| part.verdict).max().unwrap_or(Verdict::Works);
    let mut out = io::stdout().lock();
    if args.target.json {
        serde_json::to_writer_pretty(&mut out, &parts)?;
        writeln!(out)?;
    } else {
        print(&parts, worst, &mut out)?;
    }
    Ok(ExitCode::from(match worst {
        Verdict::Works => 0,
        Verdict::Idle => 1,
        Verdict::Refused => 2,
    }))
}

/// What a start of the broker says about its settings.
fn judge_settings(file: &Path) -> (Option<StoreConfig>, Vec<Part>) {
    let mut store = StoreConfig::default();
    let part = |verdict, found: String, advice: &str| Part {
        name: "settings",
        verdict,
        path: file.to_owned(),
        found,
        advice: advice.to_owned(),
    };
    match BrokerSettings::default().load(file, &mut [&mut store]) {
        Ok(notices) => {
            let idle = |notice: &dyn ToString| {
                part(Verdict::Idle, notice.to_string(), "remove the key, or live without it")
            };
            (Some(store), notices.iter().map(|notice| idle(notice)).collect())
        }
        Err(error) => {
            let advice = "the broker does not start with it: change the setting";
            (None, vec![part(Verdict::Refused, error.to_string(), advice)])
        }
    }
}

fn print(parts: &[Part], worst: Verdict, out: &mut impl Write) -> io::Result<()> {
    for part in parts {
        let verdict = match part.verdict {
            Verdict::Works => "works",
            Verdict::Idle => "IDLE",
            Verdict::Refused => "REFUSED",
        };
        writeln!(out, "{verdict:<8} {:<20} {}", part.name, part.found)?;
        if part.verdict != Verdict::Works {
            writeln!(
                out,
                "         {:<20} {}\n         {:<20} -> {}",
                "",
                part.path.display(),
                "",
                part.advice
            )?;
        }
    }
    match worst {
        Verdict::Works => writeln!(out, "everything in the store works"),
        Verdict::Idle => writeln!(out, "the store can be served; the idle parts stay as they are"),
        Verdict::Refused => {
            writeln!(out, "do not serve the store before the refused parts are dealt with")
        }
    }
}
