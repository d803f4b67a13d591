//! Measures route queries beside registrations of a large cluster.
//!
//! ```text
//! route_load serve PORT              a name server
//! route_load load HOST:PORT [PID]    20 brokers with 50 000 topics each, 2 000 clients for twice 30 s
//! ```
//!
//! The server may be the reference. Each client asks for one topic a second, 30 times as often as a Java client
//! does: for 30 s alone, and for 30 s while brokers register in turn, one every 1.5 s, with a changed data
//! version, so that every topic is applied again. Latency counts from the moment that a query was due. `PID`
//! is the server's process: its memory and CPU time are printed.
//! The brokers are a process of their own, so that the making of bodies does not hold up the clients.

use std::error::Error;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use oxmq_namesrv::{Namesrv, NamesrvConfig};
use oxmq_protocol::body::{RegisterBrokerBody, TopicConfig};
use oxmq_protocol::code::{RequestCode, ResponseCode};
use oxmq_protocol::command::RemotingCommand;
use oxmq_protocol::fastjson::{self, Dialect};
use oxmq_protocol::header::{GetRouteInfoRequestHeader, RegisterBrokerRequestHeader};
use oxmq_remoting::{RemotingClient, RemotingClientConfig};
use tokio::time::{Instant as TokioInstant, sleep_until};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const BROKERS: usize = 20;
const TOPICS: usize = 50_000;
const CLIENTS: usize = 2_000;
const LENGTH: Duration = Duration::from_secs(30);
const BETWEEN_REGISTRATIONS: Duration = Duration::from_millis(1_500);
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["serve", port] => serve(port.parse()?).await,
        ["brokers", address] => brokers(address).await,
        ["load", address] => load(address, None).await,
        ["load", address, pid] => load(address, Some(pid)).await,
        _ => Err("route_load serve PORT | route_load load HOST:PORT [PID]".into()),
    }
}

async fn serve(listen_port: u16) -> Result<()> {
    let handle = Namesrv::start(NamesrvConfig { listen_port, ..NamesrvConfig::default() }).await?;
    println!("{} pid {}", handle.local_addr(), std::process::id());
    tokio::signal::ctrl_c().await?;
    handle.shutdown().await;
    Ok(())
}

async fn load(address: &str, pid: Option<&str>) -> Result<()> {
    let mut brokers = Command::new(std::env::current_exe()?)
        .args(["brokers", address])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(brokers.stdout.take().ok_or("no output")?).lines();
    println!("{}", lines.next().ok_or("brokers ended")??);
    print_memory("registered", pid);
    query("alone", address, pid, || ()).await?;
    // The end of their input has the brokers register again.
    query("beside registrations", address, pid, || drop(brokers.stdin.take())).await?;
    for line in lines {
        println!("{}", line?);
    }
    brokers.wait()?;
    print_memory("loaded", pid);
    Ok(())
}

/// Has all clients ask for [`LENGTH`], from the moment that `begin` is called in.
async fn query(when: &str, address: &str, pid: Option<&str>, begin: impl FnOnce()) -> Result<()> {
    let address: Arc<str> = address.into();
    let start = TokioInstant::now() + Duration::from_secs(5);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| tokio::spawn(poll(Arc::clone(&address), number, start)))
        .collect();
    sleep_until(start).await;
    let cpu_before = pid.map(cpu_time).transpose()?;
    begin();
    let mut latencies = Vec::new();
    for client in clients {
        latencies.extend(client.await??);
    }
    let count = latencies.len();
    print(&format!("route query {when}"), latencies);
    if let (Some(pid), Some(before)) = (pid, cpu_before) {
        let cpu = cpu_time(pid)? - before;
        let each = cpu.as_secs_f64() * 1e6 / count as f64;
        println!("server, {when}: {cpu:?} of CPU, {each:.1} us for each query");
    }
    Ok(())
}

/// CPU time that a process has had, in steps of 10 ms.
fn cpu_time(pid: &str) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name of the process is in brackets and may hold anything; user and system time are behind it.
    let (_, behind) = stat.rsplit_once(')').ok_or("no process name")?;
    let fields: Vec<&str> = behind.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u32>().ok());
    let (user, system) = ticks(11).zip(ticks(12)).ok_or("no CPU time")?;
    Ok(Duration::from_millis(10) * (user + system))
}

/// Registers all brokers, waits for the end of the input, and registers them in turn.
async fn brokers(address: &str) -> Result<()> {
    let brokers: Vec<_> =
        (0..BROKERS).map(|_| RemotingClient::new(RemotingClientConfig::default())).collect();
    let body = Body::new()?;
    let start = Instant::now();
    for (number, broker) in brokers.iter().enumerate() {
        register(broker, address, number, body.with(0)).await?;
    }
    println!("{BROKERS} brokers with {TOPICS} topics registered in {:?}", start.elapsed());
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    let start = TokioInstant::now();
    let mut registering = Vec::new();
    for turn in 0.. {
        let due = start + BETWEEN_REGISTRATIONS * turn;
        if due > start + LENGTH {
            break;
        }
        sleep_until(due).await;
        let number = turn as usize % BROKERS;
        let begun = Instant::now();
        register(&brokers[number], address, number, body.with(1 + turn)).await?;
        registering.push(begun.elapsed());
    }
    print("registration", registering);
    Ok(())
}

async fn register(
    broker: &RemotingClient,
    address: &str,
    number: usize,
    body: Vec<u8>,
) -> Result<()> {
    let header = RegisterBrokerRequestHeader {
        broker_name: format!("broker-{number}"),
        broker_addr: format!("10.0.0.{number}:10911"),
        cluster_name: "DefaultCluster".to_owned(),
        ha_server_addr: format!("10.0.0.{number}:10912"),
        broker_id: 0,
        heartbeat_timeout_millis: None,
        enable_acting_master: Some(false),
        compressed: false,
        body_crc32: 0,
    };
    let request =
        RemotingCommand::request(RequestCode::REGISTER_BROKER).with_header(&header).with_body(body);
    let response = broker.invoke(address, request, ANSWER_LIMIT).await?;
    match response.response_code() {
        ResponseCode::SUCCESS => Ok(()),
        code => Err(format!("registration: {code} {:?}", response.remark).into()),
    }
}

/// The body of a registration before and behind the number that says whether it changed: making it
/// takes longer than sending it, and would take the time from the clients.
struct Body(String, String);

impl Body {
    fn new() -> Result<Self> {
        const COUNTER: &str = "\"dataVersion\":{\"counter\":";
        let mut body = RegisterBrokerBody::default();
        for topic in 0..TOPICS {
            let table = &mut body.topic_config_serialize_wrapper.topic_config_table;
            table.insert(topic_name(topic), TopicConfig::new(topic_name(topic)));
        }
        let text = String::from_utf8(fastjson::to_vec(&body, Dialect::Raw)?)?;
        let at = text.find(COUNTER).ok_or("no counter")? + COUNTER.len();
        Ok(Self(text[..at].to_owned(), text[at + 1..].to_owned()))
    }

    fn with(&self, counter: u32) -> Vec<u8> {
        let Self(before, behind) = self;
        format!("{before}{counter}{behind}").into_bytes()
    }
}

async fn poll(address: Arc<str>, number: usize, start: TokioInstant) -> Result<Vec<Duration>> {
    let client = RemotingClient::new(RemotingClientConfig {
        connect_timeout: Duration::from_secs(30),
        ..RemotingClientConfig::default()
    });
    // Opens the connection before anything is measured.
    ask(&client, &address, number).await?;
    let mut latencies = Vec::new();
    let offset = Duration::from_secs(1).mul_f64(number as f64 / CLIENTS as f64);
    let mut topic = number;
    for turn in 0.. {
        let due = start + offset + Duration::from_secs(turn);
        if due > start + LENGTH {
            return Ok(latencies);
        }
        sleep_until(due).await;
        topic = (topic * 7_919 + 13) % TOPICS;
        ask(&client, &address, topic).await?;
        latencies.push(TokioInstant::now() - due);
    }
    Ok(latencies)
}

async fn ask(client: &RemotingClient, address: &str, topic: usize) -> Result<()> {
    let header =
        GetRouteInfoRequestHeader { topic: topic_name(topic), accept_standard_json_only: None };
    let request =
        RemotingCommand::request(RequestCode::GET_ROUTEINFO_BY_TOPIC).with_header(&header);
    let response = client.invoke(address, request, ANSWER_LIMIT).await?;
    if response.response_code() != ResponseCode::SUCCESS || response.body.len() < 2_000 {
        return Err(format!("route: {} {:?}", response.code, response.remark).into());
    }
    Ok(())
}

fn topic_name(number: usize) -> String {
    format!("topic-of-some-length-{number}")
}

fn print(what: &str, mut latencies: Vec<Duration>) {
    latencies.sort_unstable();
    let at = |part: f64| {
        let index = (latencies.len() as f64 * part) as usize;
        latencies.get(index.min(latencies.len().saturating_sub(1))).copied().unwrap_or_default()
    };
    println!(
        "{what}: n {} p50 {:?} p90 {:?} p99 {:?} p99.9 {:?} max {:?}",
        latencies.len(),
        at(0.5),
        at(0.9),
        at(0.99),
        at(0.999),
        at(1.0)
    );
}

fn print_memory(when: &str, pid: Option<&str>) {
    let Some(pid) = pid else { return };
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let lines =
        status.lines().filter(|line| line.starts_with("VmRSS") || line.starts_with("VmHWM"));
    let memory: Vec<_> =
        lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    println!("{when}: {}", memory.join(", "));
}
