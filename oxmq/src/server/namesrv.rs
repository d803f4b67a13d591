//! `oxmq namesrv`: the reference's `mqnamesrv`.

use std::path::PathBuf;
use std::process::ExitCode;

use oxmq_namesrv::{Namesrv, NamesrvConfig, NamesrvHandle};
use tracing::warn;

use super::runtime::{self, Failure};

/// Run a name server.
#[derive(clap::Args)]
pub(crate) struct NamesrvArgs {
    /// Property file with the settings
    #[arg(short = 'c', long = "configFile", value_name = "FILE")]
    config_file: Option<PathBuf>,
    /// All name servers, for those who ask at the HTTP endpoint (httpEndpointPort)
    #[arg(short = 'n', long = "namesrvAddr", value_name = "ADDRESSES")]
    namesrv_addr: Option<String>,
    /// Print every setting and leave
    #[arg(short = 'p', long = "printConfigItem")]
    print_config_item: bool,
}

pub(crate) fn run(args: NamesrvArgs) -> ExitCode {
    runtime::run(async {
        let mut config = NamesrvConfig::default();
        if let Some(file) = &args.config_file {
            let (loaded, notices) = NamesrvConfig::load(file).map_err(Failure::settings)?;
            for notice in notices {
                warn!("{notice}");
            }
            config = loaded;
            runtime::say(format_args!("load config properties file OK, {}", file.display()));
        }
        if args.namesrv_addr.is_some() {
            config.namesrv_addr = args.namesrv_addr;
        }
        if args.print_config_item {
            print!("{}", config.print());
            return Ok(());
        }
        let namesrv = Namesrv::start(config).await.map_err(Failure::start)?;
        let stop = runtime::stop_requested()?;
        runtime::say(boot_line(&namesrv));
        stop.await;
        namesrv.shutdown().await;
        Ok(())
    })
}

/// The line that the reference's scripts look for.
pub(super) fn boot_line(namesrv: &NamesrvHandle) -> String {
    format!("The Name Server boot success. serializeType=JSON, address {}", namesrv.local_addr())
}
