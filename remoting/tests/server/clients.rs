//! The client of this crate, and requests of the server to its clients.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use oxmq_protocol::code::ResponseCode;
use oxmq_protocol::command::RemotingCommand;
use oxmq_remoting::{InvokeError, RemotingClient, RemotingClientConfig, TlsClient, TlsClientFiles};

use super::{ASK_BACK, DEADLINE, ECHO, KEEP, Raw, SENT_AWAY, client, request, start, wait_for};

#[tokio::test(flavor = "multi_thread")]
async fn server_asks_the_client_on_the_same_connection() {
    let (server, probe) = start(|_| ());
    let mut client = Raw::connect(&server);
    client.0.write_all(&request(ASK_BACK, 1, b"")).unwrap();
    let (first, second) = (client.response(), client.response());
    let asked = if first.is_response() { second } else { first };
    assert_eq!(asked.code, ECHO.0);
    let mut answer = RemotingCommand::response(ResponseCode::SUCCESS).with_remark("here");
    answer.opaque = asked.opaque;
    let mut bytes = Vec::new();
    answer.encode(&mut bytes);
    client.0.write_all(&bytes).unwrap();
    wait_for("the answer", || *probe.asked.lock().unwrap() == ["here"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn client_reconnects_after_the_server_went_away() {
    let client = RemotingClient::new(RemotingClientConfig::default());
    let (server, _) = start(|_| ());
    let address = server.local_addr();
    let ask = async || {
        client.invoke(&address.to_string(), RemotingCommand::request(ECHO), DEADLINE).await
    };
    assert_eq!(ask().await.unwrap().code, 0);
    server.shutdown().await;
    assert!(ask().await.is_err());
    let (_server, _) = start(|config| config.listen = address);
    // It lets the address alone for a moment.
    let until = Instant::now() + DEADLINE;
    while ask().await.is_err() {
        assert!(Instant::now() < until, "not connected again");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn address_that_cannot_be_reached_is_left_alone_for_longer_each_time() {
    // Nobody there speaks TLS, so that no connection comes about.
    let tls = TlsClient::load(&TlsClientFiles::default()).unwrap();
    let tls = Some(Arc::new(tls));
    let client = RemotingClient::new(RemotingClientConfig { tls, ..Default::default() });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let attempts = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&attempts);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(stream);
            seen.fetch_add(1, Ordering::Relaxed);
        }
    });
    let began = Instant::now();
    while attempts.load(Ordering::Relaxed) < 4 {
        let error = client.invoke(&address, RemotingCommand::request(ECHO), DEADLINE).await;
        assert!(error.unwrap_err().to_string().starts_with("connect to <127.0.0.1:"));
        assert!(began.elapsed() < DEADLINE);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // 100 ms after the first one, 200 ms after the second, 400 ms after the third.
    assert!(began.elapsed() >= Duration::from_millis(700));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_at_the_same_time_share_one_connection() {
    let (server, _) = start(|_| ());
    let client = Arc::new(RemotingClient::new(RemotingClientConfig::default()));
    let address = server.local_addr().to_string();
    // Often: an answer may come while another thread reads the last one.
    for _ in 0..300 {
        let mut requests = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let (client, address) = (Arc::clone(&client), address.clone());
            requests.spawn(async move {
                client.invoke(&address, RemotingCommand::request(ECHO), DEADLINE).await.unwrap()
            });
        }
        assert_eq!(requests.join_all().await.len(), 20);
    }
    assert_eq!(server.connection_count(), 1);
    client.retain(&[]);
    wait_for("the connection's end", || server.connection_count() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn request_fails_when_its_connection_ends_or_its_time_is_up() {
    let (server, probe) = start(|_| ());
    let client = RemotingClient::new(RemotingClientConfig::default());
    let address = server.local_addr().to_string();
    client.invoke(&address, RemotingCommand::request(ECHO), DEADLINE).await.unwrap();
    let timeout = Duration::from_millis(30);
    let error = client.invoke(&address, RemotingCommand::request(KEEP), timeout).await;
    assert!(error.unwrap_err().to_string().contains("timeout, "));
    let waiting = client.invoke(&address, RemotingCommand::request(KEEP), DEADLINE);
    let closing = async {
        wait_for("the second request", || probe.kept.lock().unwrap().len() == 2).await;
        server.shutdown().await;
    };
    let (error, ()) = tokio::join!(waiting, closing);
    assert!(error.unwrap_err().to_string().contains("was closed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn connection_whose_answer_does_not_come_in_time_is_closed_unless_it_is_to_stay() {
    for close_on_timeout in [true, false] {
        let (server, probe) = start(|_| ());
        let address = server.local_addr().to_string();
        let client = client(|config| config.close_on_timeout = close_on_timeout);
        client.invoke(&address, RemotingCommand::request(ECHO), DEADLINE).await.unwrap();
        let timeout = Duration::from_millis(30);
        let error = client.invoke(&address, RemotingCommand::request(KEEP), timeout).await;
        assert!(matches!(error, Err(InvokeError::Timeout { .. })), "{error:?}");
        client.invoke(&address, RemotingCommand::request(ECHO), DEADLINE).await.unwrap();
        let closed = usize::from(close_on_timeout);
        wait_for("the end of the first", || {
            probe.closed.load(Ordering::SeqCst) == closed && server.connection_count() == 1
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn request_that_is_sent_away_is_put_again_on_a_new_connection() {
    let (server, probe) = start(|_| ());
    let address = server.local_addr().to_string();
    let ask = async |reconnect_for_go_away| {
        let client = client(|config| config.reconnect_for_go_away = reconnect_for_go_away);
        let answer = client.invoke(&address, RemotingCommand::request(SENT_AWAY), DEADLINE).await;
        answer.unwrap().response_code()
    };
    assert_eq!(ask(false).await, ResponseCode::GO_AWAY);
    assert_eq!(probe.sent_away.swap(0, Ordering::SeqCst), 1);
    assert_eq!(ask(true).await, ResponseCode::SUCCESS);
    wait_for("the end of the first", || probe.closed.load(Ordering::SeqCst) >= 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connection_is_closed_by_the_client_too() {
    let (server, probe) = start(|_| ());
    let client = client(|config| config.max_idle = Duration::from_millis(20));
    let address = server.local_addr().to_string();
    client.invoke_oneway(&address, RemotingCommand::request(ECHO)).await.unwrap();
    wait_for("the connection's end", || probe.closed.load(Ordering::SeqCst) == 1).await;
}
