//! Several homeservers in one process, from one seed.
//!
//! A [`Network`] is a number of whole servers: the services on a disk in memory, the server-server routes on a simulated network with
//! DNS and TLS names of its own, and the client-server router, called in process. Time is virtual; the order of tasks, delays, keys
//! and ids are drawn from the seed. Links can be cut and healed, and a server can crash in the middle of whatever it is doing and be
//! started again on what its disk had synced.
//!
//! Beside them, a [`Peer`] is a homeserver worked by hand: it signs and answers whatever a test wants, right or wrong.
//!
//! Equal seeds give equal runs, which [`Network::digest`] shows: it covers each step of each task, each message between servers and
//! each fault, at its time.
//!
//! ```
//! use http::Method;
//! use serde_json::json;
//! let network = simulation::Network::new(7, 2);
//! let topic = network.run(async {
//!     network.start_all().await?;
//!     let (one, two) = (network.server(0), network.server(1));
//!     let (alice, bob) = (one.register("alice").await?, two.register("bob").await?);
//!     let body = json!({ "preset": "public_chat", "topic": "rabbits" });
//!     let room = one.call(Method::POST, "/createRoom", &alice.token, &body).await?;
//!     let room = room["room_id"].as_str().unwrap_or_default();
//!     two.call(Method::POST, &format!("/join/{room}?via={}", one.name()), &bob.token, &json!({})).await?;
//!     let path = format!("/rooms/{room}/state/m.room.topic");
//!     two.call(Method::GET, &path, &bob.token, &json!(null)).await
//! });
//! assert_eq!(topic.unwrap().unwrap()["topic"], "rabbits");
//! ```

mod network;
mod peer;
mod server;

pub use self::{
    network::Network,
    peer::{Asked, Peer, PeerEvent, PeerRoom, Scripted},
    server::{Failure, PASSWORD, Server, User},
};
