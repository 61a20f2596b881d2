//! Client-server API, "User Directory".

use super::{Accounts, profile};
use crate::{Result, limits, tables};
use serde::Serialize;
use storage::Snapshot;

/// Results where the client names no number.
const DEFAULT_RESULTS: usize = 10;
/// Results at most.
const MAX_RESULTS: usize = 100;
/// Profiles looked at by one search.
const MAX_SCANNED: usize = 200_000;
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

impl Accounts {
    /// Users of this server whose user id or display name has `term` in it, whatever the case; names that begin with it
    /// come first.
    ///
    /// # Errors
    ///
    /// 429; 500 if the store fails.
    pub async fn search_users(&self, searcher: &str, term: &str, limit: Option<u64>) -> Result<SearchResults> {
        self.limits.take(&limits::SEARCH_BY_USER, searcher)?;
        let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(DEFAULT_RESULTS).min(MAX_RESULTS);
        let term = term[..term.floor_char_boundary(MAX_TERM_BYTES)].trim().to_lowercase();
        self.store.read(move |snapshot| search(snapshot, &term, limit)).await
    }
}

fn search(snapshot: &Snapshot, term: &str, limit: usize) -> Result<SearchResults> {
    let mut found = Vec::new();
    for row in snapshot.scan_prefix(tables::PROFILES, &[]).take(MAX_SCANNED) {
        let record = profile::parse(&row?.1)?;
        let text = |field| record.profile.get(field).and_then(serde_json::Value::as_str).map(str::to_owned);
        let user =
            FoundUser { display_name: text("displayname"), avatar_url: text("avatar_url"), user_id: record.user_id };
        if let Some(rank) = rank(&user, term) {
            found.push((rank, user));
        }
    }
    found.sort_by(|(a, left), (b, right)| a.cmp(b).then_with(|| left.user_id.cmp(&right.user_id)));
    let limited = found.len() > limit;
    Ok(SearchResults { results: found.into_iter().take(limit).map(|(_, user)| user).collect(), limited })
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
