//! `oxmq config`: what a configuration file and a single key do, without a server.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use oxmq_broker::{BrokerSettings, StoreConfig};
use oxmq_namesrv::NamesrvConfig;
use oxmq_protocol::config::{self, Checked, Config, ConfigError, Explanation, Notice, Standing};
use oxmq_remoting::{Tls, TlsMode, ip_of};

/// Check a configuration file or explain a key
#[derive(clap::Args)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Say what stops a server that starts with this file, and which keys in it have no effect
    Check {
        /// Property file with the settings of a broker
        file: PathBuf,
        /// The file is that of a name server
        #[arg(long)]
        namesrv: bool,
    },
    /// Say what a key is, what its default is and what it does here
    Explain {
        /// The key, as in the file
        key: String,
    },
}

pub(crate) fn run(args: ConfigArgs) -> ExitCode {
    let (text, is_good) = match args.command {
        ConfigCommand::Check { file, namesrv } => {
            let checked = if namesrv { check_namesrv(&file) } else { check_broker(&file) };
            let found = checked.unwrap_or_else(|error| Found {
                problems: vec![error.to_string()],
                notices: Vec::new(),
            });
            (found.print(&file), found.problems.is_empty())
        }
        ConfigCommand::Explain { key } => explain(&key),
    };
    print!("{text}");
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What there is to say about a file.
struct Found {
    /// Each of them stops the start.
    problems: Vec<String>,
    notices: Vec<Notice>,
}

impl Found {
    fn print(&self, file: &Path) -> String {
        let mut text = String::new();
        for problem in &self.problems {
            text.push_str(&format!("error: {problem}\n"));
        }
        for notice in &self.notices {
            text.push_str(&format!("warning: {notice}\n"));
        }
        let (problems, notices) = (self.problems.len(), self.notices.len());
        text.push_str(&format!("{}: errors {problems}, warnings {notices}\n", file.display()));
        text
    }

    /// What is in the file, and what a start looks at besides.
    fn new(checked: Checked, file: &Path, bind: &str, tls_mode: TlsMode, tls_file: &str) -> Self {
        let Checked { problems, notices } = checked;
        let mut problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
        if let Err(error) = ip_of(bind) {
            let file = file.display();
            problems.push(format!("{file}: bindAddress={bind}: {error}"));
        }
        if let Err(error) = Tls::load(tls_mode, tls_file) {
            problems.push(error.to_string());
        }
        Self { problems, notices }
    }
}

fn check_broker(file: &Path) -> Result<Found, ConfigError> {
    let (mut settings, mut store) = (BrokerSettings::default(), StoreConfig::default());
    let checked = settings.check(file, &mut [&mut store])?;
    let BrokerSettings { bind_address, tls_server_mode, tls_config_file, .. } = settings;
    Ok(Found::new(checked, file, &bind_address, tls_server_mode, &tls_config_file))
}

fn check_namesrv(file: &Path) -> Result<Found, ConfigError> {
    let (settings, checked) = NamesrvConfig::check(file)?;
    let NamesrvConfig { bind_address, tls_server_mode, tls_config_file, .. } = settings;
    Ok(Found::new(checked, file, &bind_address, tls_server_mode, &tls_config_file))
}

fn explain(key: &str) -> (String, bool) {
    let servers = [
        ("broker", BrokerSettings::explanations()),
        ("name server", NamesrvConfig::explanations()),
    ];
    let mut text = String::new();
    for (server, explanations) in &servers {
        for explanation in explanations.iter().filter(|explanation| explanation.key == key) {
            text.push_str(&sentence(server, explanation));
        }
    }
    if !text.is_empty() {
        return (text, true);
    }
    let keys = servers.iter().flat_map(|(_, explanations)| explanations.iter().map(|one| one.key));
    let meant = config::did_you_mean(config::nearest(key, keys));
    (format!("there is no key {key}{meant}\n"), false)
}

fn sentence(server: &str, explanation: &Explanation) -> String {
    let Explanation { key, class, type_name, default, standing } = explanation;
    let expected = match server {
        "broker" => {
            BrokerSettings::default().expected(key).or_else(|| StoreConfig::default().expected(key))
        }
        _ => NamesrvConfig::default().expected(key),
    };
    let what = match standing {
        Standing::Works => "works as in the reference".to_owned(),
        Standing::NoEffect(reason) => format!("no effect, because {reason}"),
        Standing::Refused { .. } => standing.cells().1,
    };
    let mut text = format!("{key} of the {server}\n  reference class  {class}\n");
    text.push_str(&format!("  type             {type_name}"));
    if let Some(expected) = expected.filter(|_| *standing == Standing::Works) {
        text.push_str(&format!(": {expected}"));
    }
    text.push_str(&format!("\n  default          {default}\n  here             {what}\n"));
    text
}
