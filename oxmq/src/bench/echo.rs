//! A server that answers every request with success and stores nothing; pulls it answers with messages,
//! when it is told their size.
//!
//! What a load reaches against it is the ceiling of the generator and of the loopback.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use oxmq_protocol::code::ResponseCode;
use oxmq_protocol::command::{CommandWriter, ONEWAY_FLAG};
use oxmq_protocol::frame::{Frame, HeaderForm};
use oxmq_protocol::sync::lock;
use rustix::event::epoll;
use rustix::fd::OwnedFd;

use super::answer::{self, Answer};
use super::args::EchoArgs;
use super::endless::EndlessQueues;
use super::error::{BenchError, io};
use super::lane::take_frames;
use super::payload::FIRST_OPAQUE;

const READ_BYTES: usize = 512 * 1024;
const EVENTS: usize = 256;
/// Connections at a time of one thread.
const MAX_CONNECTIONS: usize = 65_536;

/// Runs `echo-server` until the process is ended.
pub(super) fn run(args: &EchoArgs) -> Result<(), BenchError> {
    let echo = Echo::bind(args.port, args.threads, args.size)?;
    println!("echo server on {}, process {}", echo.address, std::process::id());
    echo.serve()
}

/// A listening echo server.
pub(super) struct Echo {
    listener: TcpListener,
    pub(super) address: SocketAddr,
    workers: Vec<Worker>,
}

impl Echo {
    /// Listens on the loopback; port 0 picks one. Pulls get messages with bodies of `size` bytes.
    pub(super) fn bind(port: u16, threads: u32, size: Option<u64>) -> Result<Self, BenchError> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(io("listen on loopback"))?;
        let address = listener.local_addr().map_err(io("listen on loopback"))?;
        let workers = (0..threads).map(|_| Worker::new(size)).collect::<Result<_, _>>()?;
        Ok(Self { listener, address, workers })
    }

    /// Accepts connections, dealt to the threads in turn, until something fails.
    pub(super) fn serve(&self) -> Result<(), BenchError> {
        thread::scope(|scope| {
            for worker in &self.workers {
                scope.spawn(|| {
                    if let Err(error) = worker.run() {
                        eprintln!("oxmq bench: {error}");
                    }
                });
            }
            for (turn, stream) in self.listener.incoming().enumerate() {
                self.workers[turn % self.workers.len()].add(stream.map_err(io("accept"))?)?;
            }
            Ok(())
        })
    }
}

/// One thread and its connections.
struct Worker {
    poll: OwnedFd,
    /// By the number that `poll` knows them under.
    lines: Mutex<Vec<Option<Line>>>,
    canned: [Canned; 2],
    queues: Option<EndlessQueues>,
    /// Requests so far: what a queue's offset is asked for.
    requests: AtomicU64,
}

struct Line {
    stream: TcpStream,
    partial: Vec<u8>,
}

impl Worker {
    fn new(size: Option<u64>) -> Result<Self, BenchError> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|e| io("epoll")(e.into()))?;
        let canned = [Canned::new(HeaderForm::Json), Canned::new(HeaderForm::RocketMq)];
        let queues = size.map(|size| EndlessQueues::new(size as usize)).transpose()?;
        Ok(Self { poll, lines: Mutex::default(), canned, queues, requests: AtomicU64::new(0) })
    }

    fn add(&self, stream: TcpStream) -> Result<(), BenchError> {
        stream.set_nodelay(true).map_err(io("set TCP_NODELAY"))?;
        let mut lines = lock(&self.lines);
        let index = lines.iter().position(Option::is_none).unwrap_or(lines.len());
        if index >= MAX_CONNECTIONS {
            return Err(BenchError::Usage("too many connections".into()));
        }
        let data = epoll::EventData::new_u64(index as u64);
        epoll::add(&self.poll, &stream, data, epoll::EventFlags::IN)
            .map_err(|e| io("epoll")(e.into()))?;
        let line = Some(Line { stream, partial: Vec::new() });
        match lines.get_mut(index) {
            Some(slot) => *slot = line,
            None => lines.push(line),
        }
        Ok(())
    }

    fn run(&self) -> Result<(), BenchError> {
        let mut scratch = vec![0; READ_BYTES];
        let mut out = Vec::new();
        let mut events = Vec::with_capacity(EVENTS);
        loop {
            events.clear();
            match epoll::wait(&self.poll, rustix::buffer::spare_capacity(&mut events), None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(io("epoll")(error.into())),
            }
            let mut lines = lock(&self.lines);
            for event in &events {
                let Some(slot) = lines.get_mut(event.data.u64() as usize) else { continue };
                let Some(line) = slot else { continue };
                // A connection that fails costs only itself.
                if self.turn(line, &mut scratch, &mut out).is_none() {
                    *slot = None;
                }
            }
        }
    }

    /// Answers what is there; `None` ends the connection.
    fn turn(&self, line: &mut Line, scratch: &mut [u8], out: &mut Vec<u8>) -> Option<()> {
        let count = match line.stream.read(scratch) {
            Ok(0) => return None,
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => return Some(()),
            Err(_) => return None,
        };
        out.clear();
        let mut answer = |frame: Frame<'_>| self.answer(frame, out);
        if line.partial.is_empty() {
            let used = take_frames(&scratch[..count], &mut answer).ok()?;
            line.partial.extend_from_slice(&scratch[used..count]);
        } else {
            line.partial.extend_from_slice(&scratch[..count]);
            let used = take_frames(&line.partial, &mut answer).ok()?;
            line.partial.drain(..used);
        }
        if !out.is_empty() {
            line.stream.write_all(out).ok()?;
        }
        Some(())
    }

    fn answer(&self, frame: Frame<'_>, out: &mut Vec<u8>) -> Result<(), BenchError> {
        let requests = self.requests.fetch_add(1, Ordering::Relaxed);
        let Answer { opaque, .. } = Answer::read(frame)?;
        if answer::flag(frame).is_some_and(|flag| flag & ONEWAY_FLAG != 0) {
            return Ok(());
        }
        if let Some(queues) = &self.queues
            && queues.answer(frame, out)?
        {
            return Ok(());
        }
        let form = frame.form;
        match self.canned.iter().find(|canned| canned.form == form) {
            Some(canned) if opaque >= FIRST_OPAQUE => canned.append(out, opaque),
            _ => write_answer(out, form, opaque, requests as i64),
        }
        Ok(())
    }
}

/// An answer to any request: the fields of a send and of a query for an offset.
fn write_answer(out: &mut Vec<u8>, form: HeaderForm, opaque: i32, offset: i64) {
    let mut writer = CommandWriter::response(out, form, ResponseCode::SUCCESS, opaque, None);
    writer.text("msgId", "7F00000100002A9F0000000000000000");
    writer.number("offset", offset);
    writer.text("queueId", "0");
    writer.text("queueOffset", "0");
    writer.text("transactionId", "00000000000000000000000000000000");
    writer.finish(&[]);
}

/// An answer made once, to be copied and given its opaque.
struct Canned {
    form: HeaderForm,
    bytes: Vec<u8>,
    opaque_at: usize,
}

impl Canned {
    fn new(form: HeaderForm) -> Self {
        let mut bytes = Vec::new();
        write_answer(&mut bytes, form, FIRST_OPAQUE, 0);
        let opaque = match form {
            HeaderForm::Json => FIRST_OPAQUE.to_string().into_bytes(),
            HeaderForm::RocketMq => FIRST_OPAQUE.to_be_bytes().to_vec(),
        };
        let opaque_at =
            bytes.windows(opaque.len()).position(|part| part == opaque).unwrap_or_default();
        Self { form, bytes, opaque_at }
    }

    fn append(&self, out: &mut Vec<u8>, opaque: i32) {
        let at = out.len() + self.opaque_at;
        out.extend_from_slice(&self.bytes);
        match self.form {
            HeaderForm::Json => {
                let mut rest = opaque;
                for digit in out[at..at + 10].iter_mut().rev() {
                    *digit = b'0' + (rest % 10) as u8;
                    rest /= 10;
                }
            }
            HeaderForm::RocketMq => out[at..at + 4].copy_from_slice(&opaque.to_be_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oxmq_protocol::command::CommandView;
    use oxmq_protocol::frame;

    #[test]
    fn canned_answer_carries_the_opaque_of_its_request() {
        for form in [HeaderForm::Json, HeaderForm::RocketMq] {
            let mut out = b"before".to_vec();
            Canned::new(form).append(&mut out, 1_234_567_890);
            let (frame, used) = frame::split(&out[6..]).unwrap().unwrap();
            assert_eq!(used + 6, out.len());
            let view = CommandView::decode(frame).unwrap();
            assert_eq!((view.code, view.opaque, view.is_response()), (0, 1_234_567_890, true));
        }
    }
}
