//! Free ports. A broker takes three: `listenPort - 2`, `listenPort` and `listenPort + 1`.

use std::collections::HashMap;
use std::fs::File;
use std::net::TcpListener;
use std::sync::{Mutex, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

/// Below the range from which the kernel takes the local ports of outgoing connections.
const FIRST: u16 = 20_000;
const LAST: u16 = 32_000;

/// Ports that this process handed out already, as a server that is restarting has none open. Each
/// has a locked file, which keeps it from the other test programs until this one ends.
fn taken() -> &'static Mutex<HashMap<u16, File>> {
    static TAKEN: OnceLock<Mutex<HashMap<u16, File>>> = OnceLock::new();
    TAKEN.get_or_init(|| Mutex::new(HashMap::new()))
}

/// Takes a port that no other test program has: the lock on it.
fn claim(port: u16) -> Option<File> {
    let folder = std::env::temp_dir().join("oxmq-compat-ports");
    std::fs::create_dir_all(&folder).unwrap();
    let file = File::create(folder.join(port.to_string())).unwrap();
    file.try_lock().is_ok().then_some(file)
}

/// A port for a name server.
#[must_use]
pub fn free_port() -> u16 {
    pick(&[0])
}

/// A `listenPort` for a broker: it and its two neighbours are free.
pub(crate) fn free_broker_port() -> u16 {
    pick(&[-2, 0, 1])
}

fn pick(around: &[i32]) -> u16 {
    let span = u32::from(LAST - FIRST);
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos();
    let start = (nanos / 1_000).wrapping_add(std::process::id().wrapping_mul(7_919));
    let mut taken = taken().lock().unwrap();
    for step in 0..span {
        let base = i32::from(FIRST) + ((start.wrapping_add(step * 5)) % span) as i32;
        let ports: Vec<u16> = around.iter().map(|delta| (base + delta) as u16).collect();
        if ports.iter().any(|port| taken.contains_key(port)) {
            continue;
        }
        let claims: Option<Vec<_>> =
            ports.iter().map(|port| Some((*port, claim(*port)?))).collect();
        let is_free = |port: &u16| TcpListener::bind(("0.0.0.0", *port)).is_ok();
        if let Some(claims) = claims
            && ports.iter().all(is_free)
        {
            taken.extend(claims);
            return base as u16;
        }
    }
    panic!("no free ports between {FIRST} and {LAST}");
}
