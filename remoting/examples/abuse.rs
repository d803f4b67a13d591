//! Whether bad connections cost the others: latency of one client, alone and beside bad peers.
//!
//! ```text
//! abuse 127.0.0.1:PORT [KIND [OTHER]]
//! ```
//!
//! With KIND only those peers whose description has it in it. With OTHER, the address of another broker, the
//! bad peers go there: what they cost by taking the machine. The broker may be the reference. Addresses are of
//! this machine only; it takes less than a minute and a half.

use std::error::Error;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use oxmq_protocol::code::{RequestCode, ResponseCode};
use oxmq_protocol::command::RemotingCommand;
use oxmq_protocol::frame;
use oxmq_protocol::header::{GetMinOffsetRequestHeader, Header as _};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// What bad peers do until they are told that it is over.
type Peers = fn(SocketAddr, &AtomicBool) -> Result<()>;

const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// How long the one client is watched, alone and beside each kind of bad peer.
const WATCHED: Duration = Duration::from_secs(10);
const BETWEEN_REQUESTS: Duration = Duration::from_millis(1);

/// Peers that send a byte now and then.
const LORISES: usize = 500;
const BETWEEN_BYTES: Duration = Duration::from_millis(50);
/// Peers that fall silent inside a frame.
const SILENT: usize = 1_000;
/// Connections that are opened and dropped at once.
const DROPPED: usize = 5_000;
/// Peers that announce a frame of 2 GiB and send what they can of it, at a time.
const BOASTERS: usize = 10;
const MANY_BOASTERS: usize = 100;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [address] => abuse(local(address)?, "", local(address)?),
        [address, kind] => abuse(local(address)?, kind, local(address)?),
        [address, kind, other] => abuse(local(address)?, kind, local(other)?),
        _ => Err("abuse HOST:PORT [KIND [OTHER]]".into()),
    }
}

fn local(address: &str) -> Result<SocketAddr> {
    let address: SocketAddr = address.parse()?;
    if address.ip().is_loopback() { Ok(address) } else { Err("loopback only".into()) }
}

fn abuse(address: SocketAddr, wanted: &str, abused: SocketAddr) -> Result<()> {
    let alone = watch(address, |_| Ok(()))?;
    println!("{:<44} {alone}", "alone");
    let kinds: [(String, Peers); 5] = [
        (format!("{LORISES} peers send a byte each {BETWEEN_BYTES:?}"), lorises),
        (format!("{SILENT} peers fall silent in a frame"), silent),
        (format!("{DROPPED} connections opened and dropped"), dropped),
        (format!("{BOASTERS} peers announce 2 GiB each {BETWEEN_BYTES:?}"), |address, is_over| {
            boasters(address, is_over, BOASTERS)
        }),
        (
            format!("{MANY_BOASTERS} peers announce 2 GiB each {BETWEEN_BYTES:?}"),
            |address, is_over| boasters(address, is_over, MANY_BOASTERS),
        ),
    ];
    for (what, kind) in kinds.into_iter().filter(|(what, _)| what.contains(wanted)) {
        let beside = watch(address, |is_over| kind(abused, is_over))?;
        let ratio = beside.median.as_secs_f64() / alone.median.as_secs_f64();
        let tail = beside.p99.as_secs_f64() / alone.p99.as_secs_f64();
        println!("{what:<44} {beside}: x {ratio:.2}, p99 x {tail:.2}");
    }
    Ok(())
}

/// Latencies of the one client while `peers` do their worst, which end when they are told.
fn watch(
    address: SocketAddr,
    peers: impl FnOnce(&AtomicBool) -> Result<()> + Send,
) -> Result<Latencies> {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let bad = scope.spawn(|| peers(&is_over));
        let watched = latencies(address);
        is_over.store(true, Ordering::Relaxed);
        bad.join().map_err(|_| "a peer panicked")??;
        watched
    })
}

fn latencies(address: SocketAddr) -> Result<Latencies> {
    let mut client = Client::connect(address)?;
    client.ask()?;
    let mut all = Vec::new();
    let start = Instant::now();
    while start.elapsed() < WATCHED {
        let asked = Instant::now();
        client.ask()?;
        all.push(asked.elapsed());
        thread::sleep(BETWEEN_REQUESTS);
    }
    all.sort_unstable();
    let at = |part: f64| all[((all.len() - 1) as f64 * part) as usize];
    Ok(Latencies { count: all.len(), median: at(0.5), p99: at(0.99), most: at(1.0) })
}

struct Latencies {
    count: usize,
    median: Duration,
    p99: Duration,
    most: Duration,
}

impl std::fmt::Display for Latencies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { count, median, p99, most } = self;
        write!(f, "n {count} p50 {median:?} p99 {p99:?} max {most:?}")
    }
}

fn lorises(address: SocketAddr, is_over: &AtomicBool) -> Result<()> {
    let frame = question(1);
    let mut peers = connect(address, LORISES)?;
    let mut at = 0;
    while !is_over.load(Ordering::Relaxed) {
        let byte = frame[at % frame.len()];
        for peer in &mut peers {
            peer.write_all(&[byte])?;
        }
        at += 1;
        thread::sleep(BETWEEN_BYTES);
    }
    Ok(())
}

fn silent(address: SocketAddr, is_over: &AtomicBool) -> Result<()> {
    let frame = question(1);
    let mut peers = connect(address, SILENT)?;
    for peer in &mut peers {
        peer.write_all(&frame[..frame.len() / 2])?;
    }
    while !is_over.load(Ordering::Relaxed) {
        thread::sleep(BETWEEN_BYTES);
    }
    Ok(())
}

/// Spread over most of the time that is watched.
fn dropped(address: SocketAddr, is_over: &AtomicBool) -> Result<()> {
    let start = Instant::now();
    let made = AtomicUsize::new(0);
    while made.fetch_add(1, Ordering::Relaxed) < DROPPED && !is_over.load(Ordering::Relaxed) {
        drop(TcpStream::connect(address)?);
        let due = WATCHED.mul_f64(0.9 * made.load(Ordering::Relaxed) as f64 / DROPPED as f64);
        thread::sleep(due.saturating_sub(start.elapsed()));
    }
    match made.load(Ordering::Relaxed) > DROPPED {
        true => Ok(()),
        false => Err(format!("only {made:?} connections made").into()),
    }
}

fn boasters(address: SocketAddr, is_over: &AtomicBool, count: usize) -> Result<()> {
    let mut boast = i32::MAX.to_be_bytes().to_vec();
    boast.resize(64 * 1024, 0);
    while !is_over.load(Ordering::Relaxed) {
        for mut peer in connect(address, count)? {
            // The other side closes as soon as it has read the length.
            let _ = peer.write_all(&boast);
        }
        thread::sleep(BETWEEN_BYTES);
    }
    Ok(())
}

fn connect(address: SocketAddr, count: usize) -> Result<Vec<TcpStream>> {
    (0..count)
        .map(|_| {
            let stream = TcpStream::connect(address)?;
            stream.set_write_timeout(Some(ANSWER_LIMIT))?;
            Ok(stream)
        })
        .collect()
}

/// One connection, on which the first offset of a queue is asked for.
struct Client {
    stream: TcpStream,
    next: i32,
    answer: Vec<u8>,
}

impl Client {
    fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        Ok(Self { stream, next: 0, answer: Vec::new() })
    }

    fn ask(&mut self) -> Result<()> {
        self.next += 1;
        self.stream.write_all(&question(self.next))?;
        self.answer.resize(frame::PREFIX_BYTES, 0);
        self.stream.read_exact(&mut self.answer)?;
        let total = frame::total_bytes(&self.answer)?.ok_or("no length")?;
        self.answer.resize(total, 0);
        self.stream.read_exact(&mut self.answer[frame::PREFIX_BYTES..])?;
        let (frame, _) = frame::split(&self.answer)?.ok_or("half a frame")?;
        let answer = RemotingCommand::decode(frame)?;
        match answer.response_code() {
            ResponseCode::SUCCESS if answer.opaque == self.next => Ok(()),
            code => Err(format!("{code} {:?}", answer.remark).into()),
        }
    }
}

fn question(opaque: i32) -> Vec<u8> {
    let mut request = RemotingCommand::request(RequestCode::GET_MIN_OFFSET);
    let header = GetMinOffsetRequestHeader { topic: "TBW102".to_owned(), queue_id: 0 };
    header.encode(&mut request.ext_fields);
    request.opaque = opaque;
    let mut bytes = Vec::new();
    request.encode(&mut bytes);
    bytes
}
