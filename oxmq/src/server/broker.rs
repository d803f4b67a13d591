//! `oxmq broker`: the reference's `mqbroker`.

use std::path::PathBuf;
use std::process::ExitCode;

use oxmq_broker::{Broker, BrokerHandle, BrokerSettings, NAMESRV_ADDR_VARIABLE, StoreConfig};
use tracing::warn;

use super::runtime::{self, Failure};

/// Run a broker.
#[derive(clap::Args)]
pub(crate) struct BrokerArgs {
    /// Property file with the settings
    #[arg(short = 'c', long = "configFile", value_name = "FILE")]
    config_file: Option<PathBuf>,
    /// Name servers, as host:port;host:port
    #[arg(short = 'n', long = "namesrvAddr", value_name = "ADDRESSES")]
    namesrv_addr: Option<String>,
    /// Print every setting and leave
    #[arg(short = 'p', long = "printConfigItem")]
    print_config_item: bool,
    /// Print the important settings and leave
    #[arg(short = 'm', long = "printImportantConfig")]
    print_important_config: bool,
}

/// Settings that the reference marks as important.
const IMPORTANT: &[&str] = &[
    "namesrvAddr",
    "brokerIP1",
    "brokerIP2",
    "brokerName",
    "brokerClusterName",
    "brokerId",
    "autoCreateTopicEnable",
    "autoCreateSubscriptionGroup",
    "msgTraceTopicName",
    "traceTopicEnable",
    "rejectTransactionMessage",
    "fetchNamesrvAddrByAddressServer",
    "storePathRootDir",
    "storePathCommitLog",
    "flushIntervalCommitLog",
    "deleteWhen",
    "fileReservedTime",
    "brokerRole",
    "flushDiskType",
];

pub(crate) fn run(args: BrokerArgs) -> ExitCode {
    runtime::run(async {
        let (config, store) = settings(&args)?;
        if args.print_config_item {
            print!("{}", oxmq_protocol::config::print(&[&config, &store]));
            return Ok(());
        }
        if args.print_important_config {
            use oxmq_protocol::config::Config as _;
            for key in IMPORTANT {
                if let Some(value) = config.get(key).or_else(|| store.get(key)) {
                    println!("{key}={value}");
                }
            }
            return Ok(());
        }
        let namesrv_addr = config.namesrv_addr.clone();
        let broker = Broker::start(config, store).await.map_err(Failure::start)?;
        let stop = runtime::stop_requested()?;
        runtime::say(boot_line(&broker, namesrv_addr.as_deref()));
        stop.await;
        broker.shutdown().await;
        Ok(())
    })
}

/// The line that the reference's scripts look for.
pub(super) fn boot_line(broker: &BrokerHandle, namesrv_addr: Option<&str>) -> String {
    let mut line = format!(
        "The broker[{}, {}] boot success. serializeType=JSON",
        broker.name(),
        broker.address()
    );
    if let Some(namesrv_addr) = namesrv_addr {
        line.push_str(" and name server is ");
        line.push_str(namesrv_addr);
    }
    line
}

fn settings(args: &BrokerArgs) -> Result<(BrokerSettings, StoreConfig), Failure> {
    let mut config = BrokerSettings::default();
    let mut store = StoreConfig::default();
    if let Some(file) = &args.config_file {
        let notices = config.load(file, &mut [&mut store]).map_err(Failure::settings)?;
        for notice in notices {
            warn!("{notice}");
        }
    }
    let environment = std::env::var(NAMESRV_ADDR_VARIABLE).ok();
    config.settle_namesrv_addr(args.namesrv_addr.as_deref(), environment.as_deref());
    Ok((config, store))
}
