//! Invites and alias joins in every direction.

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::compare::Room;
use crate::{Cast, compare, talk};

/// For every pair of servers (host, guest): the host's person makes a public room with an alias, invites the guest's person,
/// who joins by invite, while the third joins by alias; then the same with the two guests swapped. Everybody speaks, and
/// everybody hears it.
pub(crate) async fn in_every_direction(cast: &Cast, version: &str) -> Result<()> {
    for host in 0..cast.people.len() {
        for turn in 1..=2 {
            let (invited, joining) = ((host + turn) % 3, (host + 3 - turn) % 3);
            one_room(cast, version, host, invited, joining).await.with_context(|| {
                let label = |place: usize| cast.servers[place].label();
                format!(
                    "version {version}, room on {}, {} invited, {} by alias",
                    label(host),
                    label(invited),
                    label(joining)
                )
            })?;
        }
    }
    Ok(())
}

async fn one_room(cast: &Cast, version: &str, host: usize, invited: usize, joining: usize) -> Result<()> {
    let people = &cast.people;
    let local = format!("way-{host}{invited}{joining}-v{version}");
    let alias = format!("#{local}:{}", cast.servers[host].name());
    let made = people[host]
        .call("create_room", json!({"version": version, "name": local, "alias": local, "preset": "public_chat"}))
        .await?;
    let room = made["room_id"].as_str().context("no room id")?.to_owned();

    people[host].call("invite", json!({"room": room, "user": people[invited].user_id()})).await?;
    people[invited].call("wait_invite", json!({"room": room})).await?;
    // No server is named: the inviter's is the one to join through.
    people[invited].call("join", json!({"target": room})).await.context("joining by invite")?;
    let joined = people[joining].call("join", json!({"target": alias})).await.context("joining by alias")?;
    ensure!(joined["room_id"] == room.as_str(), "{alias} led to {joined}, not to {room}");

    let together_since = compare::now();
    for speaker in [joining, invited, host] {
        let prefix = format!("hello from {speaker} in {local}");
        people[speaker].call("send", json!({"room": room, "prefix": prefix, "count": 1})).await?;
        for listener in people {
            listener
                .call(
                    "wait_messages",
                    json!({"room": room, "prefix": prefix, "count": 1, "timeout": talk::ARRIVAL_SECONDS}),
                )
                .await?;
        }
    }
    let views = compare::wait_equal(cast, &Room { id: room.clone(), together_since }, talk::SETTLE).await?;
    let members = views.state.keys().filter(|(kind, _)| kind == "m.room.member").count();
    ensure!(members == 3, "{room} has {members} members on each server");
    Ok(())
}
