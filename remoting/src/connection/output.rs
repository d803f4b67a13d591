//! What a connection has still to send, and who may send it.
//!
//! One thread writes to the socket at a time, and never with the lock held. Whoever appends while
//! another one writes, or while a turn is under way, leaves its bytes to that one.

use std::cell::RefCell;
use std::io::ErrorKind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::socket::Socket;
use crate::limits::{
    HIGH_WATER_BYTES, KEPT_FOR_ROUND_BYTES, LOW_WATER_BYTES, MAX_SPARE_BYTES, MAX_UNSENT_BYTES,
    TOTAL_HIGH_WATER_BYTES,
};
use crate::sync::lock;

/// What waits for full sockets, of all connections of the process.
static BLOCKED_BYTES: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Buffers of connections served before: idle ones have none.
    static SPARE: RefCell<Spare> = const { RefCell::new(Spare { buffers: Vec::new(), bytes: 0 }) };
}

/// Empty buffers.
struct Spare {
    buffers: Vec<Vec<u8>>,
    /// Of all of them.
    bytes: usize,
}

impl Spare {
    fn take(&mut self) -> Vec<u8> {
        let buffer = self.buffers.pop().unwrap_or_default();
        self.bytes -= buffer.capacity();
        buffer
    }

    fn keep(&mut self, buffer: Vec<u8>) {
        let bytes = self.bytes + buffer.capacity();
        if buffer.capacity() > 0 && bytes <= MAX_SPARE_BYTES {
            self.bytes = bytes;
            self.buffers.push(buffer);
        }
    }
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
    /// The part of this connection in [`BLOCKED_BYTES`].
    counted: usize,
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
            buffer = SPARE.with_borrow_mut(Spare::take);
        }
        let result = frame(&mut buffer);
        let mut state = lock(&self.state);
        if buffer.is_empty() {
            SPARE.with_borrow_mut(|spare| spare.keep(buffer));
        } else if state.unsent.is_empty() {
            std::mem::swap(&mut state.unsent, &mut buffer);
        } else {
            state.unsent.extend_from_slice(&buffer);
        }
        let owed_bytes = state.owed_bytes();
        if is_over_high_water(owed_bytes) {
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
            Writer::Task => {
                state.count_blocked();
                (result, Fate::Left)
            }
            Writer::None | Writer::Busy => (result, Fate::Left),
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
            Writer::None => state.writer = Writer::Busy,
            Writer::Task => state.pass_to(Writer::Busy),
            Writer::Busy => return Fate::Left,
            Writer::Gone => return Fate::Broken,
        }
        drop(state);
        self.drain(socket)
    }

    /// Tells whether there is something to send, and so little that it gains from leaving with what other connections
    /// are owed.
    pub(super) fn keeps_little(&self) -> bool {
        (1..=KEPT_FOR_ROUND_BYTES).contains(&lock(&self.state).owed_bytes())
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
        is_over_high_water(self.blocked_bytes())
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
                        state.pass_to(Writer::Task);
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
            SPARE.with_borrow_mut(|spare| spare.keep(bytes));
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
                self.pass_to(Writer::Task);
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
        self.rest = Rest::default();
        self.unsent = Vec::new();
        self.pass_to(Writer::Gone);
    }

    fn pass_to(&mut self, writer: Writer) {
        self.writer = writer;
        self.count_blocked();
    }

    /// Brings the part of this connection in [`BLOCKED_BYTES`] up to date.
    fn count_blocked(&mut self) {
        let blocked = if self.writer == Writer::Task { self.owed_bytes() } else { 0 };
        BLOCKED_BYTES.fetch_add(blocked, Ordering::Relaxed);
        BLOCKED_BYTES.fetch_sub(std::mem::replace(&mut self.counted, blocked), Ordering::Relaxed);
    }
}

impl Drop for State {
    fn drop(&mut self) {
        BLOCKED_BYTES.fetch_sub(self.counted, Ordering::Relaxed);
    }
}

/// Whether so many bytes are more than a connection may owe before it is no longer read.
fn is_over_high_water(bytes: usize) -> bool {
    let others_owe_much = || BLOCKED_BYTES.load(Ordering::Relaxed) > TOTAL_HIGH_WATER_BYTES;
    bytes > HIGH_WATER_BYTES || (bytes > LOW_WATER_BYTES && others_owe_much())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use tokio::net::TcpStream;

    use super::*;

    /// Both ends of a connection, and what is still to be sent on it.
    async fn connected() -> (std::net::TcpStream, Socket, Output) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (peer, _) = listener.accept().unwrap();
        stream.writable().await.unwrap();
        (peer, Socket::new(stream), Output::default())
    }

    #[tokio::test]
    async fn peer_that_does_not_read_may_owe_less_while_others_owe_much() {
        let (_peer, socket, output) = connected().await;
        let append = |bytes| output.append(&socket, |out| out.resize(out.len() + bytes, 7)).1;
        while append(LOW_WATER_BYTES) == Fate::Sent {}
        append(LOW_WATER_BYTES * 2);
        assert!(output.is_blocked() && !output.over_high_water());

        let mut others = Vec::new();
        for _ in 0..TOTAL_HIGH_WATER_BYTES / MAX_UNSENT_BYTES + 1 {
            let other = connected().await;
            let (_, fate) = other.2.append(&other.1, |out| out.resize(MAX_UNSENT_BYTES, 7));
            assert_eq!(fate, Fate::Blocked);
            others.push(other);
        }
        assert!(output.over_high_water() && !output.is_much());
        append(1);
        assert!(output.is_much());
        drop(others);
        assert!(!output.over_high_water());
    }

    #[tokio::test]
    async fn little_is_something_that_a_cache_holds() {
        let (_peer, socket, output) = connected().await;
        output.begin_turn();
        assert!(!output.keeps_little());
        for (bytes, is_little) in [(1, true), (KEPT_FOR_ROUND_BYTES - 1, true), (1, false)] {
            output.append(&socket, |out| out.resize(out.len() + bytes, 7));
            assert_eq!(output.keeps_little(), is_little);
        }
    }

    #[tokio::test]
    async fn spare_buffers_are_few_in_bytes_and_come_back_unused() {
        let (_peer, socket, output) = connected().await;
        for bytes in [MAX_SPARE_BYTES / 2, MAX_SPARE_BYTES / 2 + 1, 100] {
            SPARE.with_borrow_mut(|spare| spare.keep(Vec::with_capacity(bytes)));
        }
        let kept = || SPARE.with_borrow(|spare| (spare.buffers.len(), spare.bytes));
        assert_eq!(kept(), (2, MAX_SPARE_BYTES / 2 + 100));
        output.append(&socket, |_| ());
        assert_eq!(kept(), (2, MAX_SPARE_BYTES / 2 + 100));
        assert_eq!(SPARE.with_borrow_mut(Spare::take).capacity(), 100);
        assert_eq!(kept(), (1, MAX_SPARE_BYTES / 2));
    }

    #[tokio::test]
    async fn what_is_owed_stays_in_its_place_while_the_peer_takes_a_little() {
        let (mut peer, socket, output) = connected().await;
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
