//! The task of a connection: one read, all whole frames in it, one write, or a few.

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use oxmq_protocol::code::ResponseCode;
use oxmq_protocol::command::{CommandError, CommandView};
use oxmq_protocol::frame::{self, Frame, FrameError};
use oxmq_protocol::version;
use tokio::io::Interest;
use tracing::warn;

use super::Connection;
use super::greeting::{self, Greeting};
use super::output::Fate;
use crate::limits::{ANSWER_EVERY, FIRST_READ_BYTES, TURN_BYTES};
use crate::tls::TlsMode;
use crate::{Reply, Service, spin, workers};

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; TURN_BYTES]);
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("the peer closed it")]
    Peer,
    #[error("the peer closed it in the middle of a frame")]
    PeerInFrame,
    #[error("closed here")]
    Here,
    #[error("{0}")]
    Foreign(&'static str),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("{0}")]
    Command(#[from] CommandError),
}

/// Serves `connection` until it ends.
pub(crate) async fn run(connection: Arc<Connection>, service: Arc<dyn Service>) {
    let guard = Closing { connection: &connection, service: service.as_ref() };
    service.opened(&connection);
    let end = serve(&connection, service.as_ref()).await;
    match &end {
        // A broken session is the only trouble that is not the system's own.
        End::Io(error) if error.kind() == ErrorKind::Other => {
            warn!(peer = %connection.peer(), reason = %end, "connection closed");
        }
        End::Peer | End::Here | End::Io(_) => {
            tracing::debug!(peer = %connection.peer(), reason = %end, "connection closed");
        }
        End::PeerInFrame | End::Foreign(_) | End::Frame(_) | End::Command(_) => {
            warn!(peer = %connection.peer(), reason = %end, "connection closed");
        }
    }
    drop(guard);
}

/// Tells the service that the connection ended, also when a request panicked.
struct Closing<'a> {
    connection: &'a Arc<Connection>,
    service: &'a dyn Service,
}

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        // What it is owed for requests before the one that ended it.
        self.connection.release();
        self.connection.close();
        self.connection.pending.close();
        self.service.closed(self.connection);
        // Kept replies still hold the connection; the peer must not wait for them to go. It learns
        // from the shutdown, the descriptor follows with the last reply.
        let _ = socket2::SockRef::from(&self.connection.socket.stream)
            .shutdown(std::net::Shutdown::Both);
    }
}

async fn serve(connection: &Arc<Connection>, service: &dyn Service) -> End {
    let mut partial = Vec::new();
    let mut left = false;
    loop {
        if left && !connection.output.over_high_water() {
            match resume(connection, service, &mut partial) {
                Ok(more) => left = more == More::Left,
                Err(end) => return end,
            }
            if connection.is_closed() {
                return End::Here;
            }
            tokio::task::yield_now().await;
            continue;
        }
        let blocked = connection.output.is_blocked();
        let interest = if connection.output.over_high_water() {
            Interest::WRITABLE
        } else if blocked {
            Interest::READABLE | Interest::WRITABLE
        } else {
            Interest::READABLE
        };
        let ready = tokio::select! {
            biased;
            () = connection.wake.notified() => {
                if connection.is_closed() {
                    return End::Here;
                }
                continue;
            }
            ready = connection.socket.stream.ready(interest) => match ready {
                Ok(ready) => ready,
                Err(error) => return error.into(),
            },
        };
        if blocked && ready.is_writable() {
            if connection.output.end_turn(&connection.socket) == Fate::Broken {
                return End::Here;
            }
            connection.touch();
        }
        if ready.is_readable() && !left && !connection.output.over_high_water() {
            match turn(connection, service, &mut partial) {
                // There is more than one turn may take: the other connections of this worker come
                // first, or they wait for as long as this peer keeps its socket full.
                Ok(More::Likely) => tokio::task::yield_now().await,
                // Nor is a peer that asks again while it is answered served out of turn: the socket has
                // to say so first.
                Ok(More::Unlikely) => {}
                Ok(More::Left) => left = true,
                Err(End::Io(error)) if error.kind() == ErrorKind::WouldBlock => {}
                Err(end) => return end,
            }
            if connection.is_closed() {
                return End::Here;
            }
        }
    }
}

/// What a turn left to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum More {
    /// Whole frames that have been read: so much is unsent that the peer has to take some of it first.
    Left,
    /// Bytes in the socket.
    Likely,
    /// The socket was empty a moment ago, and will say when it is not.
    Unlikely,
}

impl More {
    fn after(read: usize, room: usize) -> Self {
        if read == room { Self::Likely } else { Self::Unlikely }
    }
}

/// Reads once and handles every whole frame; what is left of the last one stays in `partial`.
fn turn(
    connection: &Arc<Connection>,
    service: &dyn Service,
    partial: &mut Vec<u8>,
) -> Result<More, End> {
    if partial.len() >= TURN_BYTES / 2 {
        return large_frame(connection, service, partial);
    }
    SCRATCH.with_borrow_mut(|scratch| {
        let kept = partial.len();
        let greeted = connection.greeted.load(Ordering::Relaxed);
        let room = if greeted { scratch.len() - kept } else { FIRST_READ_BYTES };
        let read = read(connection, &mut scratch[kept..kept + room], kept > 0)?;
        if greeted && lacks_more_than(partial, read)? {
            // A peer that sends a byte at a time would else have all that came before moved each time.
            partial.extend_from_slice(&scratch[kept..kept + read]);
            spin::note_turn();
            return Ok(More::after(read, room));
        }
        scratch[..kept].copy_from_slice(partial);
        *partial = Vec::new();
        let buffer = &scratch[..kept + read];
        let buffer = match greet(connection, buffer)? {
            Begin::Incomplete => {
                *partial = buffer.to_vec();
                return Ok(More::after(read, room));
            }
            Begin::Frames(at) => &buffer[at..],
            Begin::Handshake(at) => {
                handshake(connection, &buffer[at..])?;
                return Ok(More::after(read, room));
            }
        };
        let Handled { bytes, stopped } = frames(connection, service, buffer)?;
        if bytes < buffer.len() {
            *partial = buffer[bytes..].to_vec();
        }
        Ok(if stopped { More::Left } else { More::after(read, room) })
    })
}

/// Tells whether a frame, whose prefix has been looked at, is not whole after so many more bytes.
fn lacks_more_than(partial: &[u8], bytes: usize) -> Result<bool, FrameError> {
    let total = frame::total_bytes(partial)?.filter(|_| partial.len() >= frame::PREFIX_BYTES);
    Ok(total.is_some_and(|total| partial.len() + bytes < total))
}

/// Handles the whole frames in `partial`, in which the others stay.
fn resume(
    connection: &Arc<Connection>,
    service: &dyn Service,
    partial: &mut Vec<u8>,
) -> Result<More, End> {
    let Handled { bytes, stopped } = frames(connection, service, partial)?;
    *partial = partial.split_off(bytes);
    Ok(if stopped { More::Left } else { More::Likely })
}

/// How to go on with what has been read.
enum Begin {
    /// With frames, from this byte on.
    Frames(usize),
    /// With a TLS handshake, from this byte on.
    Handshake(usize),
    /// Not before there is more of it.
    Incomplete,
}

fn greet(connection: &Connection, buffer: &[u8]) -> Result<Begin, End> {
    if connection.greeted.load(Ordering::Relaxed) {
        return Ok(Begin::Frames(0));
    }
    // Behind the header of a proxy, which stands for one client, comes what that client says.
    let mut at = 0;
    let begin = loop {
        match greeting::read(&buffer[at..]) {
            Greeting::Frame if connection.rules.tls.mode == TlsMode::Enforcing => {
                return Err(End::Foreign("it does not speak TLS, which is enforced"));
            }
            Greeting::Frame => break Begin::Frames(at),
            Greeting::Tls => break Begin::Handshake(at),
            Greeting::Incomplete if at > 0 && at == buffer.len() => return Ok(Begin::Frames(at)),
            Greeting::Incomplete => return Ok(Begin::Incomplete),
            Greeting::Proxied { .. } if at > 0 => {
                return Err(End::Foreign("it begins with two PROXY headers"));
            }
            Greeting::Proxied { bytes, source } => {
                if let Some(source) = source {
                    let _ = connection.proxied_peer.set(source);
                }
                at += bytes;
            }
            Greeting::Foreign(what) => return Err(End::Foreign(what)),
        }
    };
    connection.greeted.store(true, Ordering::Relaxed);
    Ok(begin)
}

/// Begins a TLS session with the hello that has been read. What it brings beyond the handshake is
/// read like anything else.
fn handshake(connection: &Connection, hello: &[u8]) -> Result<(), End> {
    if connection.rules.tls.mode == TlsMode::Disabled {
        return Err(End::Foreign("it speaks TLS, which is disabled"));
    }
    let Some(context) = &connection.rules.tls.context else {
        return Err(End::Foreign("it speaks TLS, for which there is no certificate"));
    };
    connection.socket.start_tls(context.accept()?.into(), hello)?;
    connection.write(|_| ());
    Ok(())
}

/// Reads on with a frame that outgrew the scratch buffer. It grows with what arrives, not with what
/// its length promises.
fn large_frame(
    connection: &Arc<Connection>,
    service: &dyn Service,
    partial: &mut Vec<u8>,
) -> Result<More, End> {
    let total = frame::total_bytes(partial)?.unwrap_or(partial.len());
    let start = partial.len();
    let room = room_for(total - start);
    partial.resize(start + room, 0);
    let read = read(connection, &mut partial[start..], true);
    partial.truncate(start + *read.as_ref().unwrap_or(&0));
    let read = read?;
    if partial.len() == total {
        return resume(connection, service, partial);
    }
    Ok(More::after(read, room))
}

/// Room for the next bytes of a frame that lacks `missing`. It is zeroed for each read, also where the peer
/// sends a byte at a time: so it does not grow with what has come already.
fn room_for(missing: usize) -> usize {
    TURN_BYTES.min(missing)
}

fn read(connection: &Connection, room: &mut [u8], in_frame: bool) -> Result<usize, End> {
    let read = connection.socket.try_read(room);
    if connection.socket.wants_flush() {
        // The handshake goes on, or an alert says what is wrong with it.
        connection.write(|_| ());
    }
    match read? {
        0 if in_frame => Err(End::PeerInFrame),
        0 => Err(End::Peer),
        count => {
            connection.touch();
            Ok(count)
        }
    }
}

/// How far a turn came.
struct Handled {
    /// What the frames take that have been handled.
    bytes: usize,
    /// More frames may follow, but the peer has to read first.
    stopped: bool,
}

/// Handles the whole frames at the start of `buffer` as one turn.
fn frames(
    connection: &Arc<Connection>,
    service: &dyn Service,
    buffer: &[u8],
) -> Result<Handled, End> {
    connection.output.begin_turn();
    let handled = handle(connection, service, buffer);
    // Answers to the frames in front of a bad one are still sent.
    service.turn_ends();
    if workers::keeps_answers() && connection.output.keeps_little() {
        workers::release_after_round(connection);
    } else if connection.output.end_turn(&connection.socket) == Fate::Broken {
        return Err(End::Here);
    }
    spin::note_turn();
    handled
}

fn handle(
    connection: &Arc<Connection>,
    service: &dyn Service,
    buffer: &[u8],
) -> Result<Handled, End> {
    let mut handled = 0;
    let mut unanswered = 0;
    while let Some((frame, bytes)) = frame::split(&buffer[handled..])? {
        if connection.output.is_much() {
            // A turn's requests are few bytes, and their answers may be more than a connection can owe.
            connection.output.end_turn(&connection.socket);
            if connection.output.over_high_water() {
                return Ok(Handled { bytes: handled, stopped: true });
            }
            connection.output.begin_turn();
            unanswered = 0;
        }
        if unanswered == ANSWER_EVERY && !workers::is_busy() {
            // Nobody else waits for this thread: the peer goes on while the rest is handled.
            service.turn_ends();
            connection.output.end_turn(&connection.socket);
            connection.output.begin_turn();
            unanswered = 0;
        }
        handled += bytes;
        dispatch(connection, service, frame, handled < buffer.len())?;
        unanswered += 1;
    }
    Ok(Handled { bytes: handled, stopped: false })
}

fn dispatch(
    connection: &Arc<Connection>,
    service: &dyn Service,
    frame: Frame<'_>,
    more_follow: bool,
) -> Result<(), CommandError> {
    let frame_bytes = frame.header.len() + frame.body.len();
    let view = CommandView::decode(frame)?;
    if view.is_response() {
        connection.pending.answer(&view);
    } else {
        if let Some(counters) = connection.counters() {
            counters.request(view.request_code(), frame::PREFIX_BYTES + frame_bytes);
        }
        let reply = Reply::new(connection, &view, more_follow);
        if connection.rules.draining.load(Ordering::Relaxed) && view.version > version::V5_3_1 {
            reply.fail(ResponseCode::GO_AWAY, "please go away");
        } else {
            service.request(connection, view, reply);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::sync::atomic::AtomicUsize;

    use oxmq_protocol::code::RequestCode;
    use oxmq_protocol::command::RemotingCommand;
    use oxmq_protocol::limits::MAX_FRAME_BYTES;
    use tokio::net::TcpStream;

    use super::*;
    use crate::limits::HIGH_WATER_BYTES;

    /// Counts requests.
    #[derive(Default)]
    struct Requests(AtomicUsize);

    impl Service for Requests {
        fn request(&self, _: &Arc<Connection>, _: CommandView<'_>, reply: Reply) {
            self.0.fetch_add(1, Ordering::Relaxed);
            reply.abandon();
        }
    }

    #[tokio::test]
    async fn what_came_of_a_frame_stays_in_its_place_while_its_peer_sends_a_little() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        let connection = Connection::new(stream, Arc::default()).unwrap();
        let (requests, mut bytes, mut partial) = (Requests::default(), Vec::new(), Vec::new());
        RemotingCommand::request(RequestCode::SEND_MESSAGE)
            .with_body(vec![1; 10_000])
            .encode(&mut bytes);
        let cuts = [0, 4, 9, 5_000, 5_001, 9_000, bytes.len()];
        for (from, to) in cuts.into_iter().zip(cuts.into_iter().skip(1)) {
            peer.write_all(&bytes[from..to]).unwrap();
            SCRATCH.with_borrow_mut(|scratch| scratch[..from].fill(7));
            while partial.len() < to && requests.0.load(Ordering::Relaxed) == 0 {
                connection.socket.stream.ready(Interest::READABLE).await.unwrap();
                let _ = turn(&connection, &requests, &mut partial);
            }
            let moved = SCRATCH.with_borrow(|scratch| scratch[..from].iter().any(|it| *it != 7));
            let is_looked_at = from < frame::PREFIX_BYTES + 1 || to == bytes.len();
            assert_eq!(moved, is_looked_at && from > 0, "{from} to {to}");
        }
        assert_eq!((requests.0.load(Ordering::Relaxed), partial.capacity()), (1, 0));
    }

    #[tokio::test]
    async fn large_frame_is_kept_while_its_peer_has_to_read_first() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        let connection = Connection::new(stream, Arc::default()).unwrap();
        let mut partial = Vec::new();
        RemotingCommand::request(RequestCode::SEND_MESSAGE)
            .with_body(vec![0; TURN_BYTES])
            .encode(&mut partial);
        let total = partial.len();
        peer.write_all(&[partial.pop().unwrap()]).unwrap();
        connection.socket.stream.ready(Interest::READABLE).await.unwrap();
        connection.socket.stream.ready(Interest::WRITABLE).await.unwrap();
        // As when an answer that was kept is given between the look at what is owed and the read.
        connection.write(|out| out.resize(4 * HIGH_WATER_BYTES, 0));

        let requests = Requests::default();
        let more = large_frame(&connection, &requests, &mut partial).unwrap();
        assert_eq!((more, partial.len()), (More::Left, total));
        assert_eq!(requests.0.load(Ordering::Relaxed), 0);
        resume(&connection, &requests, &mut partial).unwrap();
        assert_eq!((requests.0.load(Ordering::Relaxed), partial.capacity()), (1, 0));
    }

    #[test]
    fn a_byte_of_a_frame_costs_no_more_however_much_has_come() {
        for missing in [1, TURN_BYTES, MAX_FRAME_BYTES / 2, MAX_FRAME_BYTES] {
            assert_eq!(room_for(missing), missing.min(TURN_BYTES));
        }
    }
}
