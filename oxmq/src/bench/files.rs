//! How many connections may be open.

use std::fs;

use rustix::process::{Resource, getrlimit};

use super::error::{BenchError, io};

/// Files that this process has open besides connections.
const OTHER_FILES: u64 = 64;

/// Refuses so many connections where this process or the server may not have them open.
pub(super) fn demand_room(connections: u32, server: Option<u32>) -> Result<(), BenchError> {
    let connections = u64::from(connections);
    if let Some(limit) = getrlimit(Resource::Nofile).current {
        demand("this process", connections + OTHER_FILES, limit)?;
    }
    let Some(server) = server else { return Ok(()) };
    let open =
        fs::read_dir(format!("/proc/{server}/fd")).map_err(io("list files of the server"))?;
    let text = fs::read_to_string(format!("/proc/{server}/limits"))
        .map_err(io("read the limits of the server"))?;
    match soft_limit(&text) {
        Some(limit) => demand("the server", connections + open.count() as u64, limit),
        None => Ok(()),
    }
}

fn demand(who: &str, needed: u64, limit: u64) -> Result<(), BenchError> {
    if needed <= limit {
        return Ok(());
    }
    Err(BenchError::Usage(format!(
        "{who} needs {needed} open files and may have {limit}: raise the limit (`ulimit -n`) or use \
         fewer --connections"
    )))
}

/// Of open files, in the text of `/proc/PID/limits`; `None` where there is none.
fn soft_limit(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn soft_limit_is_the_first_number_of_its_line() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max processes             96388                96388                processes \n\
                      Max open files            20000                524288               files     \n";
        assert_eq!(soft_limit(limits), Some(20_000));
        assert_eq!(soft_limit(&limits.replace("20000 ", "unlimited ")), None);
    }

    #[test]
    fn more_connections_than_may_be_open_are_refused_by_name() {
        let own = std::process::id();
        demand_room(1, Some(own)).unwrap();
        let error = demand_room(u32::MAX, Some(own));
        // Nothing to say where there is no limit.
        if getrlimit(Resource::Nofile).current.is_some() {
            assert!(error.unwrap_err().to_string().starts_with("this process needs 429496"));
        }
        let message = demand("the server", 11, 10).unwrap_err().to_string();
        assert!(message.starts_with("the server needs 11 open files and may have 10"), "{message}");
    }
}
