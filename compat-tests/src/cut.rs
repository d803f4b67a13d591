//! A proxy that can end the connections through it, as a network would.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// Forwards connections until they are cut.
pub struct CutProxy {
    addr: SocketAddr,
    closed: Arc<AtomicBool>,
    live: Arc<Mutex<Vec<TcpStream>>>,
}

impl CutProxy {
    /// Forwards what connects to `listen` to `target`.
    ///
    /// # Panics
    /// When nobody can listen there.
    #[must_use]
    pub fn start(listen: &str, target: &str) -> Self {
        let listener = TcpListener::bind(listen)
            .unwrap_or_else(|error| panic!("cannot listen on {listen}: {error}"));
        let addr = listener.local_addr().unwrap();
        let closed = Arc::new(AtomicBool::new(false));
        let live = Arc::<Mutex<Vec<TcpStream>>>::default();
        let (stop, streams, target) = (Arc::clone(&closed), Arc::clone(&live), target.to_owned());
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                forward(near, &target, &streams);
            }
        });
        Self { addr, closed, live }
    }

    /// Where clients connect to.
    #[must_use]
    pub fn addr(&self) -> String {
        self.addr.to_string()
    }

    /// Ends every connection, in both directions, with whatever is under way.
    pub fn cut(&self) {
        for stream in self.live.lock().unwrap().drain(..) {
            stream.shutdown(Shutdown::Both).ok();
        }
    }
}

impl Drop for CutProxy {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Relaxed);
        self.cut();
        // Wakes the thread that accepts.
        TcpStream::connect(self.addr).ok();
    }
}

fn forward(near: TcpStream, target: &str, live: &Mutex<Vec<TcpStream>>) {
    // A server that is gone looks to the client as it would without the proxy: closed.
    let Ok(far) = TcpStream::connect(target) else { return };
    let mut live = live.lock().unwrap();
    // Those that ended by themselves are not kept.
    live.retain(|stream| stream.peer_addr().is_ok());
    for (source, sink) in [(&near, &far), (&far, &near)] {
        let (Ok(source), Ok(sink)) = (source.try_clone(), sink.try_clone()) else { return };
        sink.set_nodelay(true).ok();
        thread::spawn(move || copy(&source, &sink));
    }
    live.extend([near, far]);
}

fn copy(mut source: &TcpStream, mut sink: &TcpStream) {
    let mut chunk = vec![0; 64 << 10];
    while let Ok(count @ 1..) = source.read(&mut chunk) {
        if sink.write_all(&chunk[..count]).is_err() {
            break;
        }
    }
    // One side that is gone ends the other: a client that crashed is noticed.
    sink.shutdown(Shutdown::Both).ok();
    source.shutdown(Shutdown::Both).ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_ends_both_sides_and_the_next_connection_works() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = CutProxy::start("127.0.0.1:0", &server.local_addr().unwrap().to_string());
        let open = || {
            let near = TcpStream::connect(proxy.addr()).unwrap();
            (near, server.accept().unwrap().0)
        };
        let (mut near, mut far) = open();
        near.write_all(b"a").unwrap();
        let mut byte = [0];
        far.read_exact(&mut byte).unwrap();
        proxy.cut();
        assert_eq!(near.read(&mut byte).unwrap_or(0), 0);
        assert_eq!(far.read(&mut byte).unwrap_or(0), 0);
        let (mut near, mut far) = open();
        far.write_all(b"b").unwrap();
        near.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"b");
    }
}
