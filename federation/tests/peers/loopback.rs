//! The same routes over real HTTP on loopback.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use async_trait::async_trait;
use federation::{
    client::{Route, RouteError, Routes, Scheme},
    queue::Queued,
};
use net::{RealOptions, World};
use parking_lot::Mutex;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::rig::*;

#[derive(Clone, Default)]
struct Known(Arc<Mutex<BTreeMap<String, SocketAddr>>>);

#[async_trait]
impl Routes for Known {
    async fn routes(&self, server_name: &str) -> Result<Vec<Route>, RouteError> {
        let address = self.0.lock().get(server_name).copied().ok_or_else(|| RouteError("unknown".into()))?;
        let (tls_name, host) = (server_name.to_owned(), server_name.to_owned());
        Ok(vec![Route { scheme: Scheme::Http, addresses: vec![address], tls_name, host }])
    }
}

async fn start(known: &Known, name: &str, key: u8) -> Server {
    let options = RealOptions { allow_private_addresses: true, ..RealOptions::default() };
    let server =
        Server::new(World::real(options).unwrap(), name, Setup { key, ..Setup::default() }, Arc::new(known.clone()));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    known.0.lock().insert(name.to_owned(), listener.local_addr().unwrap());
    let router = server.router.clone();
    tokio::spawn(async move { axum::serve(listener, router).await });
    server.queues.start();
    server
}

#[tokio::test]
async fn two_servers_ask_each_other_and_send_transactions() {
    let known = Known::default();
    let a = start(&known, "a.example", 1).await;
    let b = start(&known, "b.example", 2).await;
    let event = a.client.event("b.example", "$e/+").await.unwrap();
    assert_eq!(event, raw(&json!({ "event": "$e/+" })));
    assert_eq!(b.client.alias("a.example", "#ü x:a.example").await.unwrap().servers, ["b.example"]);
    for n in 0..120 {
        a.setup.disk.queue.push("b.example", Queued::Pdu(raw(&json!({ "n": n }))));
    }
    a.queues.wake("b.example");
    until(&a.world, "the queue is empty", || a.setup.disk.queue.count("b.example") == 0).await;
    assert_eq!(b.answers.pdus(), (0..120).map(|n| json!({ "n": n }).to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_body_that_breaks_off_is_refused() {
    let known = Known::default();
    let a = start(&known, "a.example", 1).await;
    let b = start(&known, "b.example", 2).await;
    let address = known.0.lock()["b.example"];
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = "PUT /_matrix/federation/v1/send/1 HTTP/1.1\r\nHost: b.example\r\nContent-Length: 1000\r\nAuthorization: \
                X-Matrix origin=a.example,destination=b.example,key=ed25519:k1,sig=AAAA\r\n\r\n{\"pdus\":[";
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    // Whatever is said on the broken connection; the server lives on.
    let _ = stream.read_to_string(&mut answer).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    assert!(a.client.event("b.example", "$e").await.is_ok());
    assert!(b.answers.transactions.lock().is_empty());
}
