//! The bytes of a connection, plain or inside TLS.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::sync::{Mutex, OnceLock};

use rustls::Connection as Session;
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::sync::lock;

/// Ciphertext read at a time: one TLS record and its overhead.
const CIPHERTEXT_BYTES: usize = 17 * 1024;

/// A socket, whose bytes are ciphertext once the peer has begun a TLS handshake.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) stream: TcpStream,
    tls: OnceLock<Box<Mutex<Tls>>>,
}

/// A session, and the ciphertext that it has not taken in yet.
#[derive(Debug)]
struct Tls {
    session: Session,
    left: Vec<u8>,
}

impl Socket {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, tls: OnceLock::new() }
    }

    /// A socket with a session whose handshake is over.
    pub(super) fn secured(stream: TcpStream, mut tls: Session) -> Self {
        tls.set_buffer_limit(Some(CIPHERTEXT_BYTES));
        Self {
            stream,
            tls: OnceLock::from(Box::new(Mutex::new(Tls { session: tls, left: Vec::new() }))),
        }
    }

    /// Speaks TLS from now on; `received` is the ciphertext that has been read already.
    pub(super) fn start_tls(&self, mut tls: Session, received: &[u8]) -> io::Result<()> {
        // The rest of the session is between the two ends only.
        tls.set_buffer_limit(Some(CIPHERTEXT_BYTES));
        take_in(&mut tls, received)?;
        let _ = self.tls.set(Box::new(Mutex::new(Tls { session: tls, left: Vec::new() })));
        Ok(())
    }

    /// Reads what is there into `room`; `WouldBlock` when that is nothing yet.
    ///
    /// After less than `room` the socket is ready again when more comes. That is told to the runtime by the
    /// readiness from before the read: what comes after it, perhaps seen by another thread already, counts.
    pub(super) fn try_read(&self, room: &mut [u8]) -> io::Result<usize> {
        let mut read = Err(ErrorKind::WouldBlock.into());
        let _ = self.stream.try_io(Interest::READABLE, || {
            read = self.read_some(room);
            match read {
                Ok(count) if count < room.len() => Err(ErrorKind::WouldBlock.into()),
                _ => Ok(()),
            }
        });
        read
    }

    fn read_some(&self, room: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = self.tls.get() else { return self.stream.try_read(room) };
        let Tls { session, left } = &mut *lock(tls);
        let mut read = 0;
        let end = loop {
            // A session takes no ciphertext in before its plaintext is fetched.
            match session.reader().read(&mut room[read..]) {
                Ok(0) => break Ok(()),
                Ok(count) => {
                    read += count;
                    // As much as fits: the socket says only once that it has something.
                    if read == room.len() {
                        break Ok(());
                    }
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            if left.is_empty() {
                let mut ciphertext = [0; CIPHERTEXT_BYTES];
                match self.stream.try_read(&mut ciphertext) {
                    Ok(0) => break Ok(()),
                    Ok(count) => left.extend_from_slice(&ciphertext[..count]),
                    Err(error) if error.kind() == ErrorKind::WouldBlock && read > 0 => break Ok(()),
                    Err(error) => break Err(error),
                }
            }
            let mut rest = left.as_slice();
            session.read_tls(&mut rest)?;
            session.process_new_packets().map_err(io::Error::other)?;
            let taken = left.len() - rest.len();
            left.drain(..taken);
        };
        if left.is_empty() {
            // Most connections are silent most of the time.
            *left = Vec::new();
        }
        end.map(|()| read)
    }

    /// Writes some of `bytes`; `WouldBlock` when the socket takes none.
    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let Some(tls) = self.tls.get() else { return self.stream.try_write(bytes) };
        let mut tls = lock(tls);
        self.send_ciphertext(&mut tls.session)?;
        tls.session.writer().write(bytes)
    }

    /// Sends what [`Socket::try_write`] and the handshake left inside the session.
    pub(super) fn try_flush(&self) -> io::Result<()> {
        match self.tls.get() {
            Some(tls) => self.send_ciphertext(&mut lock(tls).session),
            None => Ok(()),
        }
    }

    /// Tells whether the session has something to send.
    pub(super) fn wants_flush(&self) -> bool {
        self.tls.get().is_some_and(|tls| lock(tls).session.wants_write())
    }

    fn send_ciphertext(&self, tls: &mut Session) -> io::Result<()> {
        while tls.wants_write() {
            tls.write_tls(&mut Plain(&self.stream))?;
        }
        Ok(())
    }
}

/// Decrypts `ciphertext`, all of it.
fn take_in(tls: &mut Session, mut ciphertext: &[u8]) -> io::Result<()> {
    while !ciphertext.is_empty() {
        tls.read_tls(&mut ciphertext)?;
        tls.process_new_packets().map_err(io::Error::other)?;
    }
    Ok(())
}

/// The socket as a writer that does not wait.
struct Plain<'a>(&'a TcpStream);

impl io::Write for Plain<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
