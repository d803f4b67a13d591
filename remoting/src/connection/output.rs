//! What a connection has still to send, and who may send it.
//!
//! One thread writes to the socket at a time, and never with the lock held. Whoever appends while
//! another one writes, or while a turn is under way, leaves its bytes to that one.

use std::cell::Cell;
use std::io::ErrorKind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::socket::Socket;
use crate::limits::{HIGH_WATER_BYTES, MAX_SPARE_BYTES, MAX_UNSENT_BYTES};
use crate::sync::lock;

thread_local! {
    /// The buffer of the connection served last: idle connections have none.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Writer {
    /// Nobody: whoever appends also writes.
    #[default]
    None,
    /// A thread, which will look again before it leaves.
    Busy,
    /// The connection's task, once the socket takes bytes again.
    Task,
    /// Nobody any more: the socket is broken.
    Gone,
}

#[derive(Debug, Default)]
struct State {
    /// The rest of what the socket did not take: it comes before everything else, as it may begin
    /// in the middle of a frame.
    rest: Rest,
    /// Whole frames.
    unsent: Vec<u8>,
    writer: Writer,
    /// Answers are kept back until the turn ends.
    in_turn: bool,
}

/// Bytes of which the first ones are sent. They stay where they are: a peer that takes little at a time would
/// else have all that it is owed moved each time.
#[derive(Debug, Default)]
struct Rest {
    bytes: Vec<u8>,
    sent: usize,
}

impl Rest {
    fn unsent(&self) -> &[u8] {
        self.bytes.get(self.sent..).unwrap_or_default()
    }
}

/// Unsent bytes of one connection.
#[derive(Debug, Default)]
pub(super) struct Output {
    state: Mutex<State>,
    /// Much has been appended since sending was last tried.
    is_much: AtomicBool,
}

/// What became of appended bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// The socket has them all.
    Sent,
    /// Another one will send them.
    Left,
    /// The socket is full: the task has to wait for it.
    Blocked,
    /// The socket is broken, or the peer does not read and owes too much.
    Broken,
}

impl Output {
    /// Lets `frame` append, then sends unless another one does.
    pub(super) fn append<R>(
        &self,
        socket: &Socket,
        frame: impl FnOnce(&mut Vec<u8>) -> R,
    ) -> (R, Fate) {
        // The buffer is taken out while `frame` runs, which may read the store: frames of others
        // land in a new one meanwhile, and their order does not matter.
        let mut buffer = std::mem::take(&mut lock(&self.state).unsent);
        if buffer.capacity() == 0 {
            buffer = SPARE.take();
        }
        let result = frame(&mut buffer);
        let mut state = lock(&self.state);
        if state.unsent.is_empty() {
            std::mem::swap(&mut state.unsent, &mut buffer);
        } else {
            state.unsent.extend_from_slice(&buffer);
        }
        let owed_bytes = state.owed_bytes();
        if owed_bytes > HIGH_WATER_BYTES {
            self.is_much.store(true, Ordering::Relaxed);
        }
        if owed_bytes > MAX_UNSENT_BYTES {
            state.give_up();
            return (result, Fate::Broken);
        }
        match state.writer {
            Writer::None if !state.in_turn => {
                state.writer = Writer::Busy;
                drop(state);
                (result, self.drain(socket))
            }
            Writer::None | Writer::Busy | Writer::Task => (result, Fate::Left),
            Writer::Gone => {
                state.give_up();
                (result, Fate::Broken)
            }
        }
    }

    /// Keeps answers back until [`Output::end_turn`], so that they leave together. False when they
    /// are kept back already.
    pub(super) fn begin_turn(&self) -> bool {
        !std::mem::replace(&mut lock(&self.state).in_turn, true)
    }

    /// Sends what the turn's requests, and others meanwhile, appended. Also called by the task when
    /// the socket takes bytes again.
    pub(super) fn end_turn(&self, socket: &Socket) -> Fate {
        self.is_much.store(false, Ordering::Relaxed);
        let mut state = lock(&self.state);
        state.in_turn = false;
        match state.writer {
            Writer::None | Writer::Task => state.writer = Writer::Busy,
            Writer::Busy => return Fate::Left,
            Writer::Gone => return Fate::Broken,
        }
        drop(state);
        self.drain(socket)
    }

    /// Tells whether so much is kept back that the rest of the turn should wait until it is sent.
    pub(super) fn is_much(&self) -> bool {
        self.is_much.load(Ordering::Relaxed)
    }

    /// Tells whether only the task may send, once the socket takes bytes again.
    pub(super) fn is_blocked(&self) -> bool {
        lock(&self.state).writer == Writer::Task
    }

    /// Bytes that wait for the socket, when only the task may send them.
    fn blocked_bytes(&self) -> usize {
        let state = lock(&self.state);
        if state.writer == Writer::Task { state.owed_bytes() } else { 0 }
    }

    /// Tells whether so much is unsent that the peer should not be read.
    pub(super) fn over_high_water(&self) -> bool {
        self.blocked_bytes() > HIGH_WATER_BYTES
    }

    /// Sends until nothing is left; only the one that made itself the writer may call this.
    fn drain(&self, socket: &Socket) -> Fate {
        loop {
            let mut taken = {
                let mut state = lock(&self.state);
                if state.writer == Writer::Gone {
                    return Fate::Broken;
                }
                if state.owed_bytes() == 0 {
                    return state.finish(socket);
                }
                let State { rest, unsent, .. } = &mut *state;
                match rest.unsent() {
                    [] => Rest { bytes: std::mem::take(unsent), sent: 0 },
                    _ => std::mem::take(rest),
                }
            };
            while !taken.unsent().is_empty() {
                match socket.try_write(taken.unsent()) {
                    Ok(0) => {
                        lock(&self.state).give_up();
                        return Fate::Broken;
                    }
                    Ok(count) => taken.sent += count,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        let mut state = lock(&self.state);
                        state.rest = taken;
                        state.writer = Writer::Task;
                        return Fate::Blocked;
                    }
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(_) => {
                        lock(&self.state).give_up();
                        return Fate::Broken;
                    }
                }
            }
            let Rest { mut bytes, .. } = taken;
            bytes.clear();
            if bytes.capacity() <= MAX_SPARE_BYTES {
                SPARE.set(bytes);
            }
        }
    }
}

impl State {
    /// Ends the writing once the session has sent what it held back. The lock is held meanwhile, as an
    /// answer appended now has to find either a writer or nobody; a plain socket holds nothing back.
    fn finish(&mut self, socket: &Socket) -> Fate {
        match socket.try_flush() {
            Ok(()) => {
                self.writer = Writer::None;
                Fate::Sent
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.writer = Writer::Task;
                Fate::Blocked
            }
            Err(_) => {
                self.give_up();
                Fate::Broken
            }
        }
    }

    fn owed_bytes(&self) -> usize {
        self.rest.unsent().len() + self.unsent.len()
    }

    /// Drops what the socket will not take any more.
    fn give_up(&mut self) {
        self.writer = Writer::Gone;
        self.rest = Rest::default();
        self.unsent = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn what_is_owed_stays_in_its_place_while_the_peer_takes_a_little() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        stream.writable().await.unwrap();
        let (socket, output) = (Socket::new(stream), Output::default());
        let (_, fate) = output.append(&socket, |out| out.resize(HIGH_WATER_BYTES * 4, 7));
        assert_eq!(fate, Fate::Blocked);
        let place = |output: &Output| {
            let state = lock(&output.state);
            (state.rest.bytes.as_ptr() as usize, state.rest.unsent().as_ptr() as usize)
        };
        let (start, before) = place(&output);
        peer.set_nonblocking(true).unwrap();
        let mut taken = vec![0; 64 * 1024];
        while place(&output).1 == before {
            while peer.read(&mut taken).is_ok() {}
            tokio::task::yield_now().await;
            assert_eq!(output.end_turn(&socket), Fate::Blocked);
        }
        let (still, after) = place(&output);
        assert!(start == still && after > before, "{start} {before} {still} {after}");
    }
}
