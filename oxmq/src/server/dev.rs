//! `oxmq dev`: a name server and a broker in one process, without settings.

use std::path::PathBuf;
use std::process::ExitCode;

use oxmq_broker::{Broker, BrokerSettings, StoreConfig};
use oxmq_namesrv::{Namesrv, NamesrvConfig};
use oxmq_protocol::address::{host_port, parse_ip};

use super::runtime::{self, Failure};
use super::{broker, namesrv};

/// Run a name server and a broker in one process, for development
#[derive(clap::Args)]
pub(crate) struct DevArgs {
    /// Folder that everything is kept in
    #[arg(long, value_name = "DIR", default_value = "oxmq-data")]
    data: PathBuf,
    /// Host name or address that other machines reach this one by; without it only this machine is served
    #[arg(long, value_name = "HOST")]
    advertise: Option<String>,
    /// Port of the name server
    #[arg(long, value_name = "PORT", default_value_t = 9876)]
    namesrv_port: u16,
    /// Port of an HTTP server that says where the name server is, at /rocketmq/nsaddr
    #[arg(long, value_name = "PORT")]
    http_endpoint_port: Option<u16>,
    /// Port of the broker; it also takes the one two below
    #[arg(long, value_name = "PORT", default_value_t = 10911)]
    broker_port: u16,
}

pub(crate) fn run(args: DevArgs) -> ExitCode {
    runtime::run(async {
        let bind_address = match args.advertise.as_deref() {
            None => "127.0.0.1",
            // Both families; where it is not asked for, a kernel may have none but IPv4.
            Some(host) if parse_ip(host).is_some_and(|ip| ip.is_ipv6()) => "::",
            Some(_) => "0.0.0.0",
        };
        let advertised = args.advertise.unwrap_or_else(|| "127.0.0.1".to_owned());

        let namesrv_config = NamesrvConfig {
            bind_address: bind_address.to_owned(),
            listen_port: args.namesrv_port,
            http_endpoint_port: args.http_endpoint_port,
            kv_config_path: args.data.join("namesrv").join("kvConfig.json").display().to_string(),
            ..NamesrvConfig::default()
        };
        let namesrv = Namesrv::start(namesrv_config).await.map_err(Failure::start)?;
        let stop = runtime::stop_requested()?;
        runtime::say(namesrv::boot_line(&namesrv));

        let namesrv_addr = format!("127.0.0.1:{}", namesrv.local_addr().port());
        let config = BrokerSettings {
            bind_address: bind_address.to_owned(),
            broker_name: "broker-dev".to_owned(),
            broker_ip1: advertised.clone(),
            broker_ip2: advertised.clone(),
            listen_port: args.broker_port,
            namesrv_addr: Some(namesrv_addr.clone()),
            ..BrokerSettings::default()
        };
        let store = StoreConfig {
            store_path_root_dir: args.data.join("store").display().to_string(),
            ..StoreConfig::default()
        };
        let broker = Broker::start(config, store).await.map_err(Failure::start)?;
        runtime::say(broker::boot_line(&broker, Some(&namesrv_addr)));
        let namesrv_addr = host_port(&advertised, namesrv.local_addr().port());
        runtime::say(format_args!("Point clients at the name server {namesrv_addr}"));

        stop.await;
        broker.shutdown().await;
        namesrv.shutdown().await;
        Ok(())
    })
}
