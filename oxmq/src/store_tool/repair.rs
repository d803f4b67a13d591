//! `oxmq store repair`.

use std::io::{self, Write};
use std::process::ExitCode;

use oxmq_store::offline::{self, Action};

use super::check;
use super::progress::ProgressLine;
use super::{Failure, Target};

#[derive(clap::Args)]
pub(super) struct RepairArgs {
    #[command(flatten)]
    target: Target,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(args: &RepairArgs) -> Result<ExitCode, Failure> {
    let config = args.target.config()?;
    let mut line = ProgressLine::new("checking");
    let json = args.target.json;
    let mut tell = |action: &Action| {
        if !json {
            // A repair goes on when nobody reads any more what it does.
            drop(writeln!(io::stdout(), "{}\n    {}", action.path.display(), action.what));
        }
    };
    let repair =
        offline::repair(&args.target.dir, config, args.dry_run, &mut tell, &mut |done, total| {
            line.tell(done, total)
        })?;
    line.end();
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, &repair)?;
        writeln!(out)?;
        return Ok(ExitCode::from(check::exit_code(
            repair.after.as_ref().unwrap_or(&repair.before),
        )));
    }
    if let (Some(aside), false) = (&repair.aside, args.dry_run) {
        writeln!(out, "what was replaced is in {}", aside.display())?;
    }
    match &repair.after {
        Some(after) => {
            check::print(after, &mut out)?;
            Ok(ExitCode::from(check::exit_code(after)))
        }
        None if args.dry_run && !repair.actions.is_empty() => {
            writeln!(out, "nothing was done")?;
            Ok(ExitCode::from(check::exit_code(&repair.before)))
        }
        None => {
            check::print(&repair.before, &mut out)?;
            let why = match repair.before.is_readable() {
                true => "there is nothing to repair",
                false => "nothing was repaired: the disk does not give back all of the store",
            };
            writeln!(out, "{why}")?;
            Ok(ExitCode::from(check::exit_code(&repair.before)))
        }
    }
}
