//! Client-server API, "User Directory".

use super::{names::beginning, profile};
use crate::{
    Result, Services, limits,
    names::server_of,
    rooms::{Membership, Rooms, memberships},
    tables,
};
use serde::Serialize;
use serde_json::{Map, Value};
use state_res::ids::{RoomKey, UserKey};
use std::collections::BTreeSet;
use storage::{Snapshot, key};

/// Results where the client names no number.
const DEFAULT_RESULTS: usize = 10;
/// Results at most.
const MAX_RESULTS: usize = 100;
/// Profiles of our users looked at by one search.
const MAX_SCANNED_PROFILES: usize = 200_000;
/// Rooms of each kind (joined, published) whose members are looked at.
const MAX_SCANNED_ROOMS: usize = 500;
/// Members of rooms looked at by one search.
const MAX_SCANNED_MEMBERS: usize = 20_000;
/// Bytes of a search term that count.
const MAX_TERM_BYTES: usize = 256;

/// A user whom a search found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FoundUser {
    /// Their user id.
    pub user_id: String,
    /// Their display name, if they have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// Their avatar, if they have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub avatar_url: Option<String>,
}

/// What a search found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SearchResults {
    /// The best ones first.
    pub results: Vec<FoundUser>,
    /// Whether there were more.
    pub limited: bool,
}

impl Services {
    /// Users whose user id or display name has `term` in it, whatever the case; names that begin with it come first. All
    /// users of this server are looked at, and those of other servers who share a room with the searcher or are in a
    /// published room.
    ///
    /// # Errors
    ///
    /// 429; 500 if the store fails.
    pub async fn search_users(&self, searcher: &str, term: &str, limit: Option<u64>) -> Result<SearchResults> {
        self.accounts.limits.take(&limits::SEARCH_BY_USER, searcher)?;
        let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(DEFAULT_RESULTS).min(MAX_RESULTS);
        let term = beginning(term, MAX_TERM_BYTES).trim().to_lowercase();
        let (rooms, searcher) = (self.rooms.clone(), UserKey::of(searcher));
        let epoch = rooms.deps().caches.changes();
        let search = move |snapshot: &Snapshot| {
            let mut found = Found { term, users: Vec::new() };
            add_local_users(&mut found, snapshot)?;
            add_remote_users(&mut found, snapshot, &rooms, epoch, searcher)?;
            Ok(found.results(limit))
        };
        self.store.read(search).await
    }
}

/// Users who fit, with how well they do.
struct Found {
    term: String,
    users: Vec<(u8, FoundUser)>,
}

impl Found {
    fn add(&mut self, user: FoundUser) {
        if let Some(rank) = rank(&user, &self.term) {
            self.users.push((rank, user));
        }
    }

    fn results(mut self, limit: usize) -> SearchResults {
        self.users.sort_by(|(a, left), (b, right)| a.cmp(b).then_with(|| left.user_id.cmp(&right.user_id)));
        let limited = self.users.len() > limit;
        SearchResults { results: self.users.into_iter().take(limit).map(|(_, user)| user).collect(), limited }
    }
}

fn add_local_users(found: &mut Found, snapshot: &Snapshot) -> Result<()> {
    for row in snapshot.scan_prefix(tables::PROFILES, &[]).take(MAX_SCANNED_PROFILES) {
        let record = profile::parse(&row?.1)?;
        found.add(user(record.user_id, &record.profile));
    }
    Ok(())
}

/// Members of rooms that the searcher has joined, or that are published.
fn add_remote_users(
    found: &mut Found,
    snapshot: &Snapshot,
    rooms: &Rooms,
    epoch: u64,
    searcher: UserKey,
) -> Result<()> {
    let joined = memberships::of_user(snapshot, searcher)?;
    let joined = joined.into_iter().filter(|row| row.membership == Membership::Join).map(|row| row.room);
    let mut visible: BTreeSet<RoomKey> = joined.take(MAX_SCANNED_ROOMS).collect();
    for row in snapshot.scan_prefix(tables::DIRECTORY, &[]).take(MAX_SCANNED_ROOMS) {
        visible.insert(RoomKey::from_bytes(key::Reader::new(&row?.0).id16()?));
    }
    let (mut seen, mut scanned) = (BTreeSet::new(), 0);
    for room in visible {
        let reader = rooms.reader_at(snapshot.clone(), epoch, room);
        for member in reader.members()? {
            scanned += 1;
            if scanned > MAX_SCANNED_MEMBERS {
                return Ok(());
            }
            let local = server_of(&member.user_id).is_none_or(|server| server == rooms.deps().server_name);
            if local || member.membership != Membership::Join || !seen.insert(member.user_id.clone()) {
                continue;
            }
            if let Some(event) = reader.pdu(member.event)? {
                found.add(user(member.user_id, event.content()));
            }
        }
    }
    Ok(())
}

fn user(user_id: String, fields: &Map<String, Value>) -> FoundUser {
    let text = |field| fields.get(field).and_then(Value::as_str).map(str::to_owned);
    FoundUser { display_name: text("displayname"), avatar_url: text("avatar_url"), user_id }
}

/// How well a user fits, the smaller the better: the name itself, its beginning, the beginning of a word in it,
/// anywhere in it. `None` if not at all.
fn rank(user: &FoundUser, term: &str) -> Option<u8> {
    let user_id = user.user_id.to_lowercase();
    let term = term.strip_prefix('@').unwrap_or(term);
    let of = |name: &str| {
        if name == term {
            Some(0)
        } else if name.starts_with(term) {
            Some(1)
        } else if name.split(|c: char| !c.is_alphanumeric()).any(|word| word.starts_with(term)) {
            Some(2)
        } else {
            name.contains(term).then_some(3)
        }
    };
    let localpart = user_id[1..].split(':').next().unwrap_or_default();
    let by_name = user.display_name.as_deref().and_then(|name| of(&name.to_lowercase()));
    [of(localpart), of(&user_id[1..]), by_name].into_iter().flatten().min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closer_match_ranks_first() {
        let user = |id: &str, name: &str| FoundUser {
            user_id: id.to_owned(),
            display_name: Some(name.to_owned()),
            avatar_url: None,
        };
        assert_eq!(rank(&user("@bob:x", "Alice"), "alice"), Some(0));
        assert_eq!(rank(&user("@alice2:x", "B"), "alice"), Some(1));
        assert_eq!(rank(&user("@bob:x", "Dear Alice"), "alice"), Some(2));
        assert_eq!(rank(&user("@malice:x", "M"), "alice"), Some(3));
        assert_eq!(rank(&user("@bob:x", "Bob"), "alice"), None);
        assert_eq!(rank(&user("@bob:x", "B"), "@bob:x"), Some(0));
    }
}
