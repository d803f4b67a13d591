//! The official clients, each driven as a child process that takes one command a line.
//!
//! A command is `NAME key=value ...`; its result is one line, `@` and a JSON object. The programs
//! are in `compat-tests/java`, `go`, `python` and `node`; they know the same commands.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::{ServerUnderTest, artifacts, wait};

/// No command of a client takes longer, class loading on a busy machine included.
const COMMAND_LIMIT: Duration = Duration::from_secs(90);
/// How long messages may take from a broker to a consumer.
const DELIVERY_LIMIT: Duration = Duration::from_secs(90);

/// Which official client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientKind {
    /// `rocketmq-client` 5.5.0.
    Java550,
    /// The same, with the binary header form instead of JSON.
    Java550Binary,
    /// `rocketmq-client` 4.9.8.
    Java498,
    /// `rocketmq-client-go` v2.
    Go,
    /// The C++ client, inside the wheel `rocketmq` 0.4.4.
    Cpp,
    /// `ali-ons` 3.12 for Node.
    Node,
}

/// A message as a push consumer got it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names of the message's fields say it")]
pub struct Received {
    pub queue_id: i64,
    pub queue_offset: i64,
    pub msg_id: String,
    pub body: String,
    pub tags: String,
    pub keys: String,
    pub reconsume_times: i64,
    pub index_property: String,
}

impl Received {
    /// Reads a journal that [`Client::consume_with_journal`] asked for.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn read_journal(path: &Path) -> Vec<Self> {
        let text = std::fs::read_to_string(path).unwrap();
        // The last line may be cut off: that message was not accepted.
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .map(|value| Self::from_json(&value))
            .collect()
    }

    fn from_json(message: &Value) -> Self {
        Self {
            queue_id: int(message, "q"),
            queue_offset: int(message, "o"),
            msg_id: text(message, "id"),
            body: text(message, "b"),
            tags: text(message, "t"),
            keys: text(message, "k"),
            reconsume_times: int(message, "r"),
            index_property: message["x"].as_str().unwrap_or_default().to_owned(),
        }
    }
}

/// One acknowledged send.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names of the answer's fields say it")]
pub struct Sent {
    pub index: i64,
    pub queue_id: i64,
    pub queue_offset: i64,
    pub msg_id: String,
}

/// A running client program.
pub struct Client {
    kind: ClientKind,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    namesrv: String,
    _home: TempDir,
}

impl Client {
    /// Starts a client program that will talk to this server.
    #[must_use]
    pub fn start(kind: ClientKind, server: &ServerUnderTest) -> Self {
        Self::start_at(kind, &server.namesrv_addr())
    }

    /// Starts a client program that will ask this name server.
    #[must_use]
    pub fn start_at(kind: ClientKind, namesrv: &str) -> Self {
        Self::start_with(kind, namesrv, &[])
    }

    /// Starts a Java client program with more options for its JVM.
    #[must_use]
    pub fn start_with(kind: ClientKind, namesrv: &str, jvm_options: &[String]) -> Self {
        let home = tempfile::Builder::new().prefix("oxmq-compat-client-").tempdir().unwrap();
        let mut command = match kind {
            ClientKind::Java550 => {
                java_client(&home, artifacts::REFERENCE_JARS, "java-5.5.0", "JSON", jvm_options)
            }
            ClientKind::Java550Binary => {
                java_client(&home, artifacts::REFERENCE_JARS, "java-5.5.0", "ROCKETMQ", jvm_options)
            }
            ClientKind::Java498 => {
                java_client(&home, artifacts::OLD_CLIENT_JARS, "java-4.9.8", "JSON", jvm_options)
            }
            ClientKind::Go => Command::new(artifacts::go_client()),
            ClientKind::Cpp => artifacts::cpp_client(),
            ClientKind::Node => artifacts::node_client(),
        };
        let log = std::fs::File::create(home.path().join("stderr")).unwrap();
        let mut child = command
            .env("HOME", home.path())
            .current_dir(home.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {kind:?}: {error}"));
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                // Libraries print to standard output too.
                let Some(result) = line.strip_prefix('@') else { continue };
                if sender.send(result.to_owned()).is_err() {
                    break;
                }
            }
        });
        Self { kind, child, stdin, lines, namesrv: namesrv.to_owned(), _home: home }
    }

    /// Runs one command and answers its result.
    ///
    /// # Panics
    /// When the command fails or does not end.
    pub fn run(&mut self, name: &str, args: &[(&str, &str)]) -> Value {
        self.try_run(name, args).unwrap_or_else(|error| panic!("{:?} {name}: {error}", self.kind))
    }

    /// Runs one command.
    ///
    /// # Errors
    /// The client's own error, as text.
    pub fn try_run(&mut self, name: &str, args: &[(&str, &str)]) -> Result<Value, String> {
        let mut line = format!("{name} namesrv={}", self.namesrv);
        for (key, value) in args {
            line.push_str(&format!(" {key}={value}"));
        }
        line.push('\n');
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(line.as_bytes()).and_then(|()| stdin.flush()).map_err(|e| e.to_string())?;
        let result = match self.lines.recv_timeout(COMMAND_LIMIT) {
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout) => {
                return Err(format!("no result in {COMMAND_LIMIT:?}"));
            }
            Err(RecvTimeoutError::Disconnected) => {
                let log = std::fs::read_to_string(self._home.path().join("stderr"));
                return Err(format!("the client ended: {}", log.unwrap_or_default()));
            }
        };
        let result: Value =
            serde_json::from_str(&result).map_err(|error| format!("{error}: {result}"))?;
        match result["error"].as_str() {
            None => Ok(result),
            Some(error) => Err(error.to_owned()),
        }
    }

    /// Sends `count` messages with bodies from [`body`], `mode` being `sync`, `async`, `oneway` or
    /// `selector` (queue = index modulo 4), and answers the acknowledged ones.
    pub fn send(&mut self, mode: &str, topic: &str, prefix: &str, count: usize) -> Vec<Sent> {
        let count = count.to_string();
        let args =
            [("mode", mode), ("topic", topic), ("prefix", prefix), ("count", count.as_str())];
        let result = self.run("send", &args);
        assert_eq!(result["failed"].as_array().map(Vec::len), Some(0), "{:?}", result["failed"]);
        let sent = result["sent"].as_array().expect("a list of sends");
        sent.iter()
            .map(|sent| Sent {
                index: int(sent, "i"),
                queue_id: int(sent, "q"),
                queue_offset: int(sent, "o"),
                msg_id: text(sent, "id"),
            })
            .collect()
    }

    /// Starts a push consumer called `id` that reads its topic from the first message.
    pub fn consume(&mut self, id: &str, topic: &str, group: &str) {
        self.run("consume", &[("id", id), ("topic", topic), ("group", group)]);
    }

    /// What the consumer got since it started, in order.
    pub fn received(&mut self, id: &str) -> Vec<Received> {
        let result = self.run("received", &[("id", id)]);
        let received = result["received"].as_array().expect("a list of messages");
        received.iter().map(Received::from_json).collect()
    }

    /// Starts a push consumer that writes what it is given to a file before it accepts it, so that
    /// the test knows it after [`Client::kill9`] (Java only).
    pub fn consume_with_journal(&mut self, id: &str, topic: &str, group: &str, journal: &Path) {
        let journal = journal.to_str().unwrap();
        let args = [("id", id), ("topic", topic), ("group", group), ("journal", journal)];
        self.run("consume", &args);
    }

    /// How many messages the consumer got so far.
    pub fn count(&mut self, id: &str) -> i64 {
        int(&self.run("count", &[("id", id)]), "count")
    }

    /// Waits until the consumer got `count` messages; answers all it got.
    pub fn await_received(&mut self, id: &str, count: usize) -> Vec<Received> {
        let done =
            wait::try_until(DELIVERY_LIMIT, || (self.count(id) >= count as i64).then_some(()));
        let received = self.received(id);
        assert!(done.is_some(), "{:?} {id}: {} of {count} arrived", self.kind, received.len());
        received
    }

    /// The queues that the consumer owns now (Java only).
    pub fn assigned(&mut self, id: &str) -> Vec<i64> {
        let result = self.run("assigned", &[("id", id)]);
        let mut queues: Vec<i64> =
            result["queues"].as_array().unwrap().iter().map(|q| q.as_i64().unwrap()).collect();
        queues.sort_unstable();
        queues
    }

    /// Shuts a consumer down; what it got stays readable.
    pub fn stop_consumer(&mut self, id: &str) {
        self.run("stop", &[("id", id)]);
    }

    /// Kills the program: the broker sees a closed connection and no goodbye.
    pub fn kill9(mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // Standard input at its end tells the program to leave; nothing that it does then matters.
        self.stdin.take();
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The body of the message with this index; the clients make the same.
#[must_use]
pub fn body(prefix: &str, index: usize) -> String {
    let mut body = format!("{prefix}:{index}:");
    let filler = index % 200;
    body.extend((0..filler).map(|at| char::from(b'a' + (at % 26) as u8)));
    body
}

/// The index of a message, from its body.
///
/// # Panics
/// When the body is not one that [`body`] makes for this prefix.
#[must_use]
pub fn index_of(prefix: &str, text: &str) -> usize {
    let index = text
        .strip_prefix(prefix)
        .and_then(|rest| rest.strip_prefix(':'))
        .and_then(|rest| rest.split(':').next())
        .and_then(|index| index.parse().ok())
        .unwrap_or_else(|| panic!("not a body of {prefix}: {text:?}"));
    assert_eq!(text, body(prefix, index), "the body changed on its way");
    index
}

fn java_client(
    home: &TempDir,
    jars: &str,
    classes: &str,
    header: &str,
    jvm_options: &[String],
) -> Command {
    let mut command = artifacts::java(home.path(), "192m");
    command.args(jvm_options);
    command.arg(format!("-Drocketmq.serialize.type={header}"));
    // Three seconds are short for a busy machine, on which a connection may begin with TLS.
    command.arg("-Dcom.rocketmq.remoting.client.connect.timeout=20000");
    for key in ["NAMESRV_ADDR", "ROCKETMQ_SERIALIZE_TYPE", "JAVA_TOOL_OPTIONS"] {
        command.env_remove(key);
    }
    command.arg("-cp").arg(artifacts::class_path(jars, Some(classes))).arg("CompatClient");
    command
}

fn int(value: &Value, key: &str) -> i64 {
    value[key].as_i64().unwrap_or_else(|| panic!("no number {key} in {value}"))
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_else(|| panic!("no text {key} in {value}")).to_owned()
}
