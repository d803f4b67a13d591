//! A server that stops while a connection is on its way to the thread that is to serve it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use oxmq_protocol::code::{RequestCode, ResponseCode};
use oxmq_protocol::command::{CommandView, RemotingCommand};
use oxmq_remoting::{Connection, RemotingClient, Reply, Server, ServerConfig, Service, WorkerId};

const DEADLINE: Duration = Duration::from_secs(10);

/// Answers everything, and notes which threads do.
#[derive(Default)]
struct Workers(Mutex<Vec<WorkerId>>);

impl Workers {
    fn all(&self) -> Vec<WorkerId> {
        self.0.lock().unwrap().clone()
    }
}

impl Service for Workers {
    fn request(&self, _: &Arc<Connection>, _: CommandView<'_>, reply: Reply) {
        let worker = WorkerId::current().unwrap();
        let mut workers = self.0.lock().unwrap();
        if !workers.contains(&worker) {
            workers.push(worker);
        }
        reply.fail(ResponseCode::SUCCESS, "");
    }
}

/// Lets everything else on this thread, which is all of the runtime, come as far as it can.
async fn let_others_run() {
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn connection_that_was_only_just_accepted_ends_with_the_others() {
    let service = Arc::new(Workers::default());
    let config = ServerConfig::new(SocketAddr::from(([127, 0, 0, 1], 0)));
    let server = Server::bind(&config, Arc::clone(&service) as Arc<dyn Service>).unwrap();
    let address = server.local_addr();
    let request = RemotingCommand::request(RequestCode(1));
    while service.all().len() < WorkerId::count() {
        let client = RemotingClient::default();
        client.invoke(&address.to_string(), request.clone(), DEADLINE).await.unwrap();
        client.close();
    }
    while server.connection_count() > 0 {
        tokio::task::yield_now().await;
    }

    // Every thread is busy with something else when the connection comes.
    let (entered, entering) = mpsc::channel();
    let busy: Vec<_> = service
        .all()
        .into_iter()
        .map(|worker| {
            let (busy, free) = mpsc::channel::<()>();
            let entered = entered.clone();
            worker.run(move || {
                entered.send(()).unwrap();
                assert!(free.recv().is_err());
            });
            busy
        })
        .collect();
    busy.iter().for_each(|_| entering.recv().unwrap());
    let mut peer = TcpStream::connect(address).unwrap();
    let mut bytes = Vec::new();
    request.encode(&mut bytes);
    peer.write_all(&bytes).unwrap();
    let_others_run().await;

    let stopping = tokio::spawn(server.shutdown());
    let_others_run().await;
    drop(busy);
    tokio::time::timeout(DEADLINE, stopping).await.unwrap().unwrap();
    peer.set_read_timeout(Some(DEADLINE)).unwrap();
    let read = peer.read(&mut [0; 64]).or_else(|error| match error.kind() {
        std::io::ErrorKind::ConnectionReset => Ok(0),
        _ => Err(error),
    });
    assert_eq!(read.unwrap(), 0, "a server that has stopped answers");
}
