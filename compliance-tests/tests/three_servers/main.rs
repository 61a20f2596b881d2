//! One encrypted room, three servers, real clients, and nothing lost when a server goes away.
//!
//! Causeway A (matrix-js-sdk), Causeway B (matrix-nio) and a published Synapse S (matrix-js-sdk) are processes on loopback that
//! speak TLS with certificates of a test authority. `RIG_A`, `RIG_B` and `RIG_S` (`causeway` or `synapse`) put another program
//! in a place: with `synapse` in all three, the run checks the rig itself.

#![allow(clippy::disallowed_methods)]

mod compare;
mod federate;
mod outage;
mod talk;

use std::time::Instant;

use anyhow::{Context, Result};
use compliance_tests::rig::{Client, Kind, Library, Network, Server, ServerOptions};
use futures::future::try_join3;

/// The three servers and the person on each.
pub(crate) struct Cast {
    /// A, B and S.
    pub(crate) servers: Vec<Server>,
    /// Alice on A, Bob on B, Sam on S.
    pub(crate) people: Vec<Client>,
}

/// The places' numbers in the lists of [`Cast`].
pub(crate) const A: usize = 0;
pub(crate) const B: usize = 1;
pub(crate) const S: usize = 2;

#[test]
fn three_servers_share_rooms_and_lose_nothing_when_one_goes_away() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut network = Network::new().unwrap();
    let mut cast = None;
    let result = runtime.block_on(run(&network, &mut cast));
    if let Err(error) = result {
        if let Some(cast) = &cast {
            cast.servers.iter().for_each(|server| eprintln!("{}", server.tail()));
            cast.people.iter().for_each(|person| eprintln!("{}", person.tail()));
        }
        eprintln!("all logs are kept in {}", network.keep().display());
        panic!("{error:#}");
    }
}

async fn run(network: &Network, place: &mut Option<Cast>) -> Result<()> {
    let clock = Instant::now();
    let stage = |what: &str| eprintln!("[{:>5.1} s] {what}", clock.elapsed().as_secs_f64());

    stage("starting three servers");
    let cast = place.insert(Cast { servers: servers(network)?, people: Vec::new() });
    for server in &mut cast.servers {
        server.start().await?;
    }
    stage("signing in three clients");
    let [a, b, s] = &cast.servers[..] else { unreachable!("three servers") };
    let people = try_join3(
        Client::register(network, a, Library::JsSdk, "alice"),
        Client::register(network, b, Library::Nio, "bob"),
        Client::register(network, s, Library::JsSdk, "sam"),
    )
    .await?;
    cast.people = vec![people.0, people.1, people.2];

    for version in ["12", "10"] {
        stage(&format!("room version {version}: invites and alias joins in every direction"));
        federate::in_every_direction(cast, version).await?;
    }
    let mut rooms = Vec::new();
    for (version, owner) in [("12", A), ("10", B)] {
        stage(&format!("room version {version}: an encrypted room of three"));
        let room = talk::encrypted_room(cast, version, owner).await?;
        stage(&format!("room version {version}: messages each way"));
        let sent = talk::exchange(cast, &room.id, version).await?;
        stage(&format!("room version {version}: reactions, edits, redactions"));
        talk::annotate(cast, &room.id, version, &sent).await?;
        stage(&format!("room version {version}: paging back"));
        talk::page_back(cast, &room.id, version).await?;
        compare::wait_equal(cast, &room, talk::SETTLE).await.context("before any outage")?;
        rooms.push(room);
    }
    stage("B is killed in the middle of traffic");
    outage::away(cast, B, outage::How::Kill, &rooms, &stage).await.context("while B was away")?;
    stage("S is stopped in the middle of traffic");
    outage::away(cast, S, outage::How::Stop, &rooms, &stage).await.context("while S was away")?;
    stage("the end: every client's view of every room");
    for room in &rooms {
        outage::in_order(cast, room).await?;
    }
    stage("done");
    Ok(())
}

/// Two spellings of this machine, so that certificates for names and for addresses are both met.
fn servers(network: &Network) -> Result<Vec<Server>> {
    [
        ("a", "RIG_A", Kind::Causeway, "localhost"),
        ("b", "RIG_B", Kind::Causeway, "127.0.0.1"),
        ("s", "RIG_S", Kind::Synapse, "localhost"),
    ]
    .into_iter()
    .map(|(label, variable, kind, host)| {
        let kind = Kind::from_env(variable, kind)?;
        Server::new(network, label, kind, ServerOptions { host: host.to_owned(), ..ServerOptions::default() })
    })
    .collect()
}
