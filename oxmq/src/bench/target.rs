//! Which broker to load.

use std::net::{SocketAddr, ToSocketAddrs};

use oxmq_protocol::code::RequestCode;
use oxmq_protocol::command::RemotingCommand;

use super::args::Common;
use super::control::Control;
use super::error::{BenchError, io};

/// Finds the broker and refuses one on another machine unless that is allowed.
pub(super) fn broker(common: &Common) -> Result<SocketAddr, BenchError> {
    let broker = match (&common.broker, &common.namesrv) {
        (Some(broker), _) => resolve(broker)?,
        (None, Some(namesrv)) => {
            let namesrv = allowed(resolve(namesrv)?, common.allow_remote)?;
            ask(namesrv, common)?
        }
        (None, None) => return Err(BenchError::Usage("name --broker or --namesrv".into())),
    };
    allowed(broker, common.allow_remote)
}

fn resolve(address: &str) -> Result<SocketAddr, BenchError> {
    address
        .to_socket_addrs()
        .map_err(io("resolve the server's address"))?
        .next()
        .ok_or_else(|| BenchError::Usage(format!("{address} has no address")))
}

fn allowed(address: SocketAddr, remote: bool) -> Result<SocketAddr, BenchError> {
    if remote || address.ip().is_loopback() {
        return Ok(address);
    }
    Err(BenchError::Usage(format!("{address} is not this machine: add --allow-remote to load it")))
}

fn ask(namesrv: SocketAddr, common: &Common) -> Result<SocketAddr, BenchError> {
    let mut control = Control::connect(namesrv, common.form())?;
    let request = RemotingCommand::request(RequestCode::GET_BROKER_CLUSTER_INFO);
    let answer = control.demand("cluster info", request)?;
    let text = String::from_utf8_lossy(&answer.body);
    let address = first_master(&text)
        .ok_or_else(|| BenchError::Unexpected(format!("no master in {text}")))?;
    resolve(address)
}

/// The first address of a broker with id 0. The id is a bare number in the reference's answer,
/// which is therefore not JSON.
fn first_master(cluster_info: &str) -> Option<&str> {
    const ADDRESSES: &str = "\"brokerAddrs\":{";
    cluster_info.match_indices(ADDRESSES).find_map(|(at, _)| {
        let table = cluster_info.get(at + ADDRESSES.len()..)?.split('}').next()?;
        table.split(',').find_map(|entry| {
            let (id, address) = entry.split_once(':')?;
            (id.trim().trim_matches('"') == "0").then(|| address.trim().trim_matches('"'))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_machines_are_refused_unless_allowed() {
        let here = resolve("127.0.0.1:10911").unwrap();
        let there = resolve("192.0.2.1:10911").unwrap();
        assert!(allowed(here, false).is_ok());
        assert!(allowed(there, false).is_err());
        assert!(allowed(there, true).is_ok());
    }

    #[test]
    fn master_is_found_in_both_dialects() {
        for id in ["0", "\"0\""] {
            let text = format!(
                r#"{{"brokerAddrTable":{{"b":{{"brokerAddrs":{{1:"127.0.0.1:1",{id}:"127.0.0.1:2"}},"brokerName":"b"}}}}}}"#
            );
            assert_eq!(first_master(&text), Some("127.0.0.1:2"));
        }
        assert_eq!(first_master(r#"{"brokerAddrTable":{}}"#), None);
    }
}
