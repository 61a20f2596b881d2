//! What a message, a delivery and a sync cost a homeserver.
//!
//! The tool drives a server through the client-server API and reads from `/proc` what its processes use. It only talks to
//! servers on this machine, and every loop of it has a bound.

mod compare;
mod cost;
mod work;

use std::net::IpAddr;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::api::Api;

pub use compare::{CompareOptions, compare};
pub use cost::{Memory, cpu_ms, memory};

/// How much is done. The defaults are the ones that the published figures use: enough that the first moments after a rest, when nothing is in
/// the processor's caches, are a small part.
#[derive(Clone, Debug)]
pub struct Amounts {
    /// Messages sent, in all.
    pub messages: usize,
    /// How many accounts send them at the same time.
    pub senders: usize,
    /// Clients that long-poll in one room.
    pub watchers: usize,
    /// Messages that each of them gets, one after the other.
    pub deliveries: usize,
    /// Rooms of the account whose initial sync is measured.
    pub rooms: usize,
    /// Messages in each of those rooms.
    pub messages_per_room: usize,
    /// Initial syncs, each as a new device.
    pub syncs: usize,
}

impl Default for Amounts {
    fn default() -> Self {
        Self { messages: 2_000, senders: 4, watchers: 100, deliveries: 60, rooms: 60, messages_per_room: 20, syncs: 20 }
    }
}

/// No amount may exceed this: the tool is bounded.
const MOST: usize = 100_000;

impl Amounts {
    fn check(&self) -> Result<()> {
        for (name, value) in [
            ("messages", self.messages),
            ("senders", self.senders),
            ("watchers", self.watchers),
            ("deliveries", self.deliveries),
            ("rooms", self.rooms),
            ("syncs", self.syncs),
        ] {
            ensure!((1..=MOST).contains(&value), "{name} is {value}; it must be from 1 to {MOST}");
        }
        ensure!(self.messages_per_room <= MOST, "messages per room must be at most {MOST}");
        Ok(())
    }
}

/// Which server, and how accounts are made on it.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its client API, such as `http://127.0.0.1:8008`.
    pub url: String,
    /// Its processes; their descendants count as well. Empty: costs are not measured, only times.
    pub pids: Vec<u32>,
    /// The shared secret for making accounts, when registration is not open.
    pub registration_secret: Option<String>,
}

/// Does all the work on one server and answers the figures as JSON.
pub async fn measure(target: &Target, amounts: &Amounts) -> Result<Value> {
    amounts.check()?;
    refuse_other_machines(&target.url)?;
    for pid in &target.pids {
        ensure!(
            std::path::Path::new(&format!("/proc/{pid}")).is_dir(),
            "there is no process {pid}; --pid takes the ids of the server's processes"
        );
    }
    let api = Api::new(&target.url);
    api.get("/_matrix/client/versions")
        .await
        .with_context(|| format!("{} is not a homeserver's client API", api.base()))?;
    let mut figures = work::Work::new(api, target, amounts).run().await?;
    figures["amounts"] = json!({
        "messages": amounts.messages, "senders": amounts.senders, "watchers": amounts.watchers,
        "deliveries": amounts.deliveries, "rooms": amounts.rooms, "messages_per_room": amounts.messages_per_room,
        "syncs": amounts.syncs,
    });
    Ok(figures)
}

/// Load goes to this machine only.
fn refuse_other_machines(url: &str) -> Result<()> {
    let parsed = reqwest::Url::parse(url).with_context(|| format!("{url:?} is not a URL"))?;
    let host = parsed.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    if !here {
        bail!("{host:?} is not this machine; load is only sent to loopback addresses");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::refuse_other_machines;

    #[test]
    fn load_is_only_sent_to_this_machine() {
        for here in ["http://127.0.0.1:8008", "http://localhost:1", "http://[::1]:8008", "http://127.9.9.9"] {
            assert!(refuse_other_machines(here).is_ok(), "{here}");
        }
        for elsewhere in ["http://10.0.0.1", "http://localhost.example.org", "http://[fe80::1]", "nonsense"] {
            assert!(refuse_other_machines(elsewhere).is_err(), "{elsewhere}");
        }
    }
}
