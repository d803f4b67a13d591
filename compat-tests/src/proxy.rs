//! A proxy between a client and a server that keeps every frame of both directions.
//!
//! It forwards bytes as they come and looks for the frames in them on the side, so that neither end
//! can tell that it is there.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::wire::{FRAME_LIMIT, Head};

/// One frame as it went by.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// What the client was asked to do at that time.
    pub call: String,
    /// Who sent it.
    pub from: String,
    /// Who it was sent to.
    pub to: String,
    /// The code of the request that this answers; `None` for a request.
    pub answers: Option<i32>,
    /// The request or response code.
    pub code: i32,
    /// The frame, its length included.
    pub frame: Vec<u8>,
}

/// What all proxies of one recording have seen, in order.
#[derive(Clone, Default)]
pub struct Recording(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    call: String,
    frames: Vec<Recorded>,
    /// Codes of requests under way, by connection, sender and opaque.
    asked: HashMap<(u64, String, i32), i32>,
}

impl Recording {
    /// Names what the client is asked to do from now on.
    pub fn call(&self, name: &str) {
        name.clone_into(&mut self.0.lock().unwrap().call);
    }

    /// Takes what was recorded since the last time.
    #[must_use]
    pub fn take(&self) -> Vec<Recorded> {
        std::mem::take(&mut self.0.lock().unwrap().frames)
    }

    /// Forwards connections of `client` made to `listen` to `server` at `target`.
    ///
    /// # Errors
    /// When nobody can listen there.
    pub fn proxy(
        &self,
        listen: &str,
        client: &str,
        server: &str,
        target: &str,
    ) -> io::Result<Proxy> {
        let listener = TcpListener::bind(listen)?;
        let addr = listener.local_addr()?;
        let closed = Arc::new(AtomicBool::new(false));
        let route = Route {
            recording: self.clone(),
            client: client.to_owned(),
            server: server.to_owned(),
            target: target.to_owned(),
        };
        let stop = Arc::clone(&closed);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                route.forward(stream);
            }
        });
        Ok(Proxy { addr, closed })
    }

    fn record(&self, connection: u64, from: &str, to: &str, frame: Vec<u8>) {
        let Some(head) = Head::of(&frame) else { return };
        let mut state = self.0.lock().unwrap();
        let answers = if head.is_response() {
            state.asked.remove(&(connection, to.to_owned(), head.opaque))
        } else {
            state.asked.insert((connection, from.to_owned(), head.opaque), head.code);
            None
        };
        let (call, from, to) = (state.call.clone(), from.to_owned(), to.to_owned());
        state.frames.push(Recorded { call, from, to, answers, code: head.code, frame });
    }
}

/// A listening proxy; connections that are open when it is dropped go on.
pub struct Proxy {
    addr: SocketAddr,
    closed: Arc<AtomicBool>,
}

impl Proxy {
    /// Where clients connect to.
    #[must_use]
    pub fn addr(&self) -> String {
        self.addr.to_string()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts.
        TcpStream::connect(self.addr).ok();
    }
}

struct Route {
    recording: Recording,
    client: String,
    server: String,
    target: String,
}

impl Route {
    fn forward(&self, near: TcpStream) {
        static CONNECTIONS: AtomicU64 = AtomicU64::new(0);
        let connection = CONNECTIONS.fetch_add(1, Ordering::Relaxed);
        // A server that is gone looks to the client as it would without the proxy: closed.
        let Ok(far) = TcpStream::connect(&self.target) else { return };
        let ways =
            [(&near, &far, &self.client, &self.server), (&far, &near, &self.server, &self.client)];
        for (source, sink, from, to) in ways {
            let (Ok(source), Ok(sink)) = (source.try_clone(), sink.try_clone()) else { return };
            sink.set_nodelay(true).ok();
            let (recording, from, to) = (self.recording.clone(), from.clone(), to.clone());
            thread::spawn(move || {
                copy(&source, &sink, |frame| recording.record(connection, &from, &to, frame));
            });
        }
    }
}

/// Copies until the source ends, and hands out each frame before its last byte goes on: what is
/// recorded is in the order of cause and effect.
fn copy(mut source: &TcpStream, mut sink: &TcpStream, mut record: impl FnMut(Vec<u8>)) {
    let mut pending = Vec::new();
    let mut is_remoting = true;
    let mut chunk = vec![0; 64 << 10];
    while let Ok(count @ 1..) = source.read(&mut chunk) {
        if is_remoting {
            pending.extend_from_slice(&chunk[..count]);
            is_remoting = take_frames(&mut pending, &mut record);
        }
        if sink.write_all(&chunk[..count]).is_err() {
            break;
        }
    }
    sink.shutdown(Shutdown::Write).ok();
    source.shutdown(Shutdown::Read).ok();
}

/// Takes the whole frames off the front; answers whether these can be frames at all.
fn take_frames(pending: &mut Vec<u8>, record: &mut impl FnMut(Vec<u8>)) -> bool {
    while let Some(length) = pending.first_chunk::<4>() {
        let total = 4 + u32::from_be_bytes(*length) as usize;
        if total > FRAME_LIMIT {
            return false;
        }
        if pending.len() < total {
            break;
        }
        record(pending.drain(..total).collect());
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Command, Conn};

    #[test]
    fn both_directions_are_kept_as_they_went_by() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = server.local_addr().unwrap().to_string();
        thread::spawn(move || {
            let mut conn = Conn::accept(&server);
            let request = conn.receive().unwrap();
            let answer = Command { code: 7, opaque: request.opaque, flag: 1, ..Command::default() };
            conn.write_raw(&answer.with_body("answer").encode()).unwrap();
        });
        let recording = Recording::default();
        let proxy = recording.proxy("127.0.0.1:0", "client", "server", &target).unwrap();
        recording.call("ask");
        let request = Command::request(105, &[("topic", "T")]);
        let answer = Conn::connect(&proxy.addr()).call(request.clone());
        assert_eq!((answer.code, &answer.body[..]), (7, &b"answer"[..]));

        let [asked, answered] = <[Recorded; 2]>::try_from(recording.take()).unwrap();
        assert_eq!(asked.frame, Command { opaque: answer.opaque, ..request }.encode());
        assert_eq!((asked.code, asked.answers, &asked.call[..]), (105, None, "ask"));
        assert_eq!((&asked.from[..], &asked.to[..]), ("client", "server"));
        assert_eq!((answered.code, answered.answers), (7, Some(105)));
        assert_eq!((&answered.from[..], &answered.to[..]), ("server", "client"));
    }

    #[test]
    fn bytes_that_are_no_frames_go_by_unrecorded() {
        let mut pending = b"GET / HTTP/1.1\r\n".to_vec();
        assert!(!take_frames(&mut pending, &mut |frame| panic!("{frame:?}")));
    }
}
