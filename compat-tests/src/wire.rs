//! A remoting client of a few lines: JSON frames over a blocking socket, and answers in either form.
//!
//! ```text
//! | length: 4 | form: 1 (0 = JSON, 1 = binary) | header length: 3 | header | body |
//! ```

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use serde_json::{Map, Value, json};

/// No answer in this time is a failure. Held pulls end well before.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// What this client says it is: 5.5.0.
const VERSION: i32 = 513;
/// The largest frame that is read.
pub(crate) const FRAME_LIMIT: usize = 16 << 20;

/// The form byte of a header that is not JSON.
const BINARY_FORM: u32 = 1;

/// A request or an answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Command {
    /// The request code, or the response code.
    pub code: i32,
    /// Pairs a request with its answer.
    pub opaque: i32,
    /// Bit 0: an answer; bit 1: oneway.
    pub flag: i32,
    /// A sentence for people.
    pub remark: Option<String>,
    /// The typed header, as text.
    pub ext: BTreeMap<String, String>,
    /// The bytes after the header.
    pub body: Vec<u8>,
}

impl Command {
    /// A request with these header fields.
    #[must_use]
    pub fn request(code: i32, ext: &[(&str, &str)]) -> Self {
        let ext = ext.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Self { code, ext, ..Self::default() }
    }

    /// The same request with a body.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// A number in the answer's header.
    ///
    /// # Panics
    /// When the field is absent or not a number.
    #[must_use]
    pub fn number(&self, field: &str) -> i64 {
        let text = self.ext.get(field).unwrap_or_else(|| panic!("no {field} in {self:?}"));
        text.parse().unwrap_or_else(|_| panic!("{field}={text:?} is not a number"))
    }

    /// The whole frame, its length included.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let ext: Map<String, Value> =
            self.ext.iter().map(|(k, v)| (k.clone(), Value::from(v.clone()))).collect();
        let header = json!({
            "code": self.code, "language": "JAVA", "version": VERSION, "opaque": self.opaque,
            "flag": self.flag, "extFields": ext,
        });
        frame(header.to_string().as_bytes(), &self.body)
    }

    /// ```text
    /// | code: 2 | language: 1 | version: 2 | opaque: 4 | flag: 4 | remark | length: 4 | fields |
    /// ```
    ///
    /// Texts have their length before them, the names of fields in two bytes and all others in four.
    fn binary(mut header: &[u8]) -> Option<Self> {
        let rest = &mut header;
        let (code, _language, _version) = (take(rest, 2)? as i16, take(rest, 1)?, take(rest, 2)?);
        let (opaque, flag) = (take(rest, 4)? as i32, take(rest, 4)? as i32);
        let remark = Some(take_text(rest, 4)?).filter(|text| !text.is_empty());
        let length = take(rest, 4)? as usize;
        let mut ext = BTreeMap::new();
        let mut fields = take_bytes(rest, length)?;
        while !fields.is_empty() {
            ext.insert(take_text(&mut fields, 2)?, take_text(&mut fields, 4)?);
        }
        Some(Self { code: code.into(), opaque, flag, remark, ext, body: Vec::new() })
    }

    fn decode(frame: &[u8]) -> io::Result<Self> {
        let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        let word = frame.get(..4).ok_or_else(|| bad("frame without a header length"))?;
        let word = u32::from_be_bytes(word.try_into().unwrap());
        let header_end = 4 + (word & 0x00ff_ffff) as usize;
        let header = frame.get(4..header_end).ok_or_else(|| bad("header beyond the frame"))?;
        if word >> 24 == BINARY_FORM {
            let command = Self::binary(header).ok_or_else(|| bad("binary header"))?;
            return Ok(command.with_body(&frame[header_end..]));
        }
        let header: Value = serde_json::from_slice(header)?;
        let int = |key: &str| header[key].as_i64().unwrap_or(0) as i32;
        let mut ext = BTreeMap::new();
        for (key, value) in header["extFields"].as_object().into_iter().flatten() {
            // Go refuses anything but strings, so a number here is an error of the server.
            let value = value.as_str().ok_or_else(|| bad("ext field that is not a string"))?;
            ext.insert(key.clone(), value.to_owned());
        }
        Ok(Self {
            code: int("code"),
            opaque: int("opaque"),
            flag: int("flag"),
            remark: header["remark"].as_str().map(str::to_owned),
            ext,
            body: frame[header_end..].to_vec(),
        })
    }
}

/// Takes a big-endian number of `width` bytes off the front.
fn take(rest: &mut &[u8], width: usize) -> Option<u64> {
    let bytes = take_bytes(rest, width)?;
    Some(bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
}

fn take_bytes<'a>(rest: &mut &'a [u8], width: usize) -> Option<&'a [u8]> {
    let (taken, behind) = rest.split_at_checked(width)?;
    *rest = behind;
    Some(taken)
}

/// A text with its length, of `width` bytes, before it.
fn take_text(rest: &mut &[u8], width: usize) -> Option<String> {
    let length = take(rest, width)? as usize;
    String::from_utf8(take_bytes(rest, length)?.to_vec()).ok()
}

/// What both header forms say, as far as it tells frames apart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Head {
    /// The request code, or the response code.
    pub code: i32,
    /// Pairs a request with its answer.
    pub opaque: i32,
    /// Bit 0: an answer; bit 1: oneway.
    pub flag: i32,
    /// The names of the header's fields, sorted.
    pub fields: Vec<String>,
}

impl Head {
    /// Reads the head of a frame in either form.
    #[must_use]
    pub fn of(frame: &[u8]) -> Option<Self> {
        let [form, length @ ..] = frame.get(4..8)? else { return None };
        let length = length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        let header = frame.get(8..8 + length)?;
        if u32::from(*form) != BINARY_FORM {
            return Self::json(header);
        }
        let Command { code, opaque, flag, ext, .. } = Command::binary(header)?;
        Some(Self { code, opaque, flag, fields: ext.into_keys().collect() })
    }

    /// Tells whether this is an answer.
    #[must_use]
    pub fn is_response(&self) -> bool {
        self.flag & 1 == 1
    }

    fn json(header: &[u8]) -> Option<Self> {
        let header: Value = serde_json::from_slice(header).ok()?;
        let int = |key: &str| header[key].as_i64().unwrap_or(0) as i32;
        let fields = header["extFields"].as_object().into_iter().flatten();
        let mut fields: Vec<_> = fields.map(|(name, _)| name.clone()).collect();
        fields.sort_unstable();
        Some(Self { code: int("code"), opaque: int("opaque"), flag: int("flag"), fields })
    }
}

/// Puts a header and a body into a frame.
#[must_use]
pub fn frame(header: &[u8], body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(8 + header.len() + body.len());
    out.extend_from_slice(&(4 + header.len() as u32 + body.len() as u32).to_be_bytes());
    out.extend_from_slice(&(header.len() as u32).to_be_bytes());
    out.extend_from_slice(header);
    out.extend_from_slice(body);
    out
}

/// One connection to a server.
pub struct Conn {
    stream: TcpStream,
    next_opaque: i32,
}

impl Conn {
    /// Takes the next connection that a server opens to us.
    ///
    /// # Panics
    /// When the socket fails.
    #[must_use]
    pub fn accept(listener: &TcpListener) -> Self {
        Self::over(listener.accept().unwrap().0).unwrap()
    }

    fn over(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        stream.set_write_timeout(Some(ANSWER_LIMIT))?;
        Ok(Self { stream, next_opaque: 1 })
    }

    /// Connects to `host:port`.
    ///
    /// # Errors
    /// When nobody listens there.
    pub fn try_connect(addr: &str) -> io::Result<Self> {
        Self::over(TcpStream::connect(addr)?)
    }

    /// Connects to `host:port`.
    ///
    /// # Panics
    /// When nobody listens there.
    #[must_use]
    pub fn connect(addr: &str) -> Self {
        Self::try_connect(addr).unwrap_or_else(|error| panic!("cannot connect to {addr}: {error}"))
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Panics
    /// When the connection is closed or no answer comes.
    pub fn call(&mut self, request: Command) -> Command {
        let code = request.code;
        self.try_call(request).unwrap_or_else(|error| panic!("no answer to {code}: {error}"))
    }

    /// Sends a request and waits for its answer, passing over what the server sends by itself.
    ///
    /// # Errors
    /// When the connection is closed, or no answer comes in time.
    pub fn try_call(&mut self, request: Command) -> io::Result<Command> {
        self.call_minding(request, |_, _| Ok(()))
    }

    /// The same, where `mind` is shown what the server asks by itself.
    ///
    /// # Errors
    /// As [`Conn::try_call`], and when `mind` fails.
    pub fn call_minding(
        &mut self,
        request: Command,
        mut mind: impl FnMut(&mut Self, &Command) -> io::Result<()>,
    ) -> io::Result<Command> {
        let opaque = self.send(request)?;
        loop {
            let command = self.receive()?;
            if command.flag & 1 == 0 {
                mind(self, &command)?;
            } else if command.opaque == opaque {
                return Ok(command);
            }
        }
    }

    /// Writes a request with a fresh `opaque`, which it answers.
    ///
    /// # Errors
    /// When the connection is closed.
    pub fn send(&mut self, mut request: Command) -> io::Result<i32> {
        request.opaque = self.next_opaque;
        self.next_opaque += 1;
        self.stream.write_all(&request.encode())?;
        Ok(request.opaque)
    }

    /// Reads the next frame.
    ///
    /// # Errors
    /// `UnexpectedEof` when the server closed the connection, `InvalidData` on a bad frame,
    /// `WouldBlock` after the time limit.
    pub fn receive(&mut self) -> io::Result<Command> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        if length > FRAME_LIMIT {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "frame too long"));
        }
        let mut frame = vec![0; length];
        self.stream.read_exact(&mut frame)?;
        Command::decode(&frame)
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    /// When the connection is closed.
    pub fn write_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Limits how long [`Conn::receive`] waits.
    pub fn set_answer_limit(&mut self, limit: Duration) {
        self.stream.set_read_timeout(Some(limit)).unwrap();
    }

    /// A second handle, so that one thread writes while another reads.
    #[must_use]
    pub fn split(&self) -> Self {
        Self { stream: self.stream.try_clone().unwrap(), next_opaque: self.next_opaque }
    }
}
