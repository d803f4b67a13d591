//! The HTTP server that brokers and clients ask where the name servers are.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Answers `GET /rocketmq/<sub-group>` with a list that the test sets, for as long as the test runs.
#[derive(Clone)]
pub struct AddressServer {
    address: String,
    list: Arc<Mutex<String>>,
    asked: Arc<AtomicUsize>,
}

impl AddressServer {
    /// What has to be asked for; everything else is not found.
    pub const SUB_GROUP: &'static str = "nsaddr-test";

    /// Listens on a free port.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = Self { address, list: Arc::default(), asked: Arc::default() };
        let (list, asked) = (Arc::clone(&server.list), Arc::clone(&server.asked));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let list = list.lock().unwrap().clone();
                // Whoever does not wait for the answer asks again.
                let _ = answer(&stream, &list);
                asked.fetch_add(1, Ordering::Relaxed);
            }
        });
        server
    }

    /// `host:port` of the server.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// How often it has answered.
    #[must_use]
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    /// Answers with `list` from now on.
    ///
    /// # Panics
    /// When the serving thread has.
    pub fn set(&self, list: &str) {
        list.clone_into(&mut self.list.lock().unwrap());
    }
}

fn answer(mut stream: &TcpStream, list: &str) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let path = format!("GET /rocketmq/{} HTTP/1.", AddressServer::SUB_GROUP);
    let (status, body) = match request.starts_with(&path) {
        true => ("200 OK", format!("{list}\r\n")),
        false => ("404 Not Found", String::new()),
    };
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}
