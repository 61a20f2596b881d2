//! Which events of a room a user may see (client-server API, "Room History Visibility").
//!
//! Every path on which an event could leave the server towards a client asks a [`Viewer`]; towards a server, a
//! [`super::server_view::ServerView`].

use super::caches::Perspective;
use super::head::Head;
use super::history::HistoryKey;
use super::memberships::{is_forgotten, of_user_in};
use super::reader::{Membership, RoomReader};
use super::record::StoredEvent;
use super::redaction;
use super::standing::Standing;
use crate::error::Result;
use parking_lot::Mutex;
use state_res::ids::{EventKey, UserKey};
use state_res::tree::Root;
use std::collections::HashMap;
use storage::Position;

/// Longest chain of a user's own member events, or of changes of the visibility, that is followed back: to find when they were joined, and
/// whether they could ever see something.
const MAX_CHANGES: usize = 200;

/// The type of the event that sets the visibility.
const VISIBILITY: &str = "m.room.history_visibility";

/// Values of `history_visibility`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HistoryVisibility {
    /// Anyone.
    WorldReadable,
    /// Members, whenever they joined.
    Shared,
    /// Members, from their invite on.
    Invited,
    /// Members, from their join on.
    Joined,
}

impl HistoryVisibility {
    fn parse(text: Option<&str>) -> Self {
        match text {
            Some("world_readable") => Self::WorldReadable,
            Some("invited") => Self::Invited,
            Some("joined") => Self::Joined,
            // "if the value is not understood, the visibility is assumed to be `shared`".
            _ => Self::Shared,
        }
    }

    /// The visibility in the state `root`.
    pub fn at(reader: &RoomReader, root: Root) -> Result<Self> {
        let event = reader.state_event(root, VISIBILITY, "")?;
        Ok(Self::parse(event.as_ref().and_then(|pdu| pdu.content().get("history_visibility")?.as_str())))
    }
}

/// Where a user stopped being joined to a room.
#[derive(Debug, Clone)]
pub struct End {
    /// The place of the event that did it.
    pub at: HistoryKey,
    /// The state after that event: the last that the user may see.
    pub root: Root,
}

impl End {
    /// The position at which it was announced.
    #[must_use]
    pub fn position(&self) -> Position {
        self.at.as_bytes().get(..8).and_then(|bytes| bytes.try_into().ok()).map_or(0, Position::from_be_bytes)
    }
}

/// One user looking at one room.
pub struct Viewer<'a> {
    reader: &'a RoomReader,
    user_id: String,
    /// Whether they are joined now.
    joined: bool,
    /// Where they last stopped being joined: what came before it, they may see under `shared`.
    ended: Option<End>,
    /// Whether they have forgotten the room since: "a user will no longer be able to retrieve history for this room".
    forgotten: bool,
    user: UserKey,
    known: Mutex<Known>,
}

/// What the states that were asked for say; the last one apart, because the next question most often is about it again.
#[derive(Default)]
struct Known {
    last: Option<(Root, Perspective)>,
    others: HashMap<Root, Perspective>,
}

impl<'a> Viewer<'a> {
    /// `user_id` looking at the room of `reader`.
    pub fn new(reader: &'a RoomReader, user_id: &str) -> Result<Self> {
        let user = UserKey::of(user_id);
        let member = reader.member(user)?;
        let joined = member.as_ref().is_some_and(|member| member.membership == Membership::Join);
        let away = member.filter(|_| !joined);
        let forgotten = away.is_some() && is_forgotten(reader.snapshot(), user, reader.room())?;
        let ended = match away {
            Some(member) if !forgotten => last_joined(reader, member.event)?,
            _ => None,
        };
        Ok(Self { reader, user_id: user_id.to_owned(), user, joined, ended, forgotten, known: Mutex::default() })
    }

    /// A user of whom it is known that they are joined now.
    #[must_use]
    pub fn joined(reader: &'a RoomReader, user_id: &str, user: UserKey) -> Self {
        let (user_id, known) = (user_id.to_owned(), Mutex::default());
        Self { reader, user_id, user, joined: true, ended: None, forgotten: false, known }
    }

    /// The room.
    #[must_use]
    pub fn reader(&self) -> &'a RoomReader {
        self.reader
    }

    /// The user.
    #[must_use]
    pub fn user_id(&self) -> &str {
        &self.user_id
    }

    /// The user's key.
    #[must_use]
    pub fn user(&self) -> UserKey {
        self.user
    }

    /// Whether the user is joined now.
    #[must_use]
    pub fn is_joined(&self) -> bool {
        self.joined
    }

    /// Whether the user was joined at some time, now included.
    #[must_use]
    pub fn was_joined(&self) -> bool {
        self.joined || self.ended.is_some()
    }

    /// Whether there was a time, now included, of which the user may see what was said: they were joined, or invited where invited users see
    /// it, or the room was open to everyone. That time may have been purged since.
    pub fn sees_some_time(&self, head: &Head) -> Result<bool> {
        if self.was_joined() || self.left_before_a_purge()? {
            return Ok(true);
        }
        if self.is_open(head.root)? {
            return Ok(true);
        }
        // What decides changes with events of these two kinds only, so that it is enough to look at their sides.
        let mut changes = Vec::new();
        if let Some(change) = self.reader.state_event_key(head.root, VISIBILITY, "")? {
            changes.push((change, VISIBILITY, ""));
        }
        if let Some(member) = self.reader.member(self.user)? {
            changes.push((member.event, "m.room.member", self.user_id.as_str()));
        }
        for (mut change, kind, state_key) in changes {
            for _ in 0..MAX_CHANGES {
                let Some(standing) = self.reader.standing(change)?.filter(|standing| !standing.is_outlier()) else {
                    break;
                };
                if self.is_open(standing.after)? || self.is_open(standing.before)? {
                    return Ok(true);
                }
                match self.reader.state_event_key(standing.before, kind, state_key)? {
                    Some(earlier) if earlier != change => change = earlier,
                    _ => break,
                }
            }
        }
        Ok(false)
    }

    /// Whether the user, who was never joined, may see what was said in the state `root`.
    fn is_open(&self, root: Root) -> Result<bool> {
        let (visibility, membership) = self.at(root)?;
        Ok(match visibility {
            HistoryVisibility::WorldReadable => true,
            HistoryVisibility::Invited => !self.forgotten && membership == Some(Membership::Invite),
            HistoryVisibility::Shared | HistoryVisibility::Joined => false,
        })
    }

    /// Whether the user was joined before they left, of which the room's history says nothing any more.
    fn left_before_a_purge(&self) -> Result<bool> {
        if self.forgotten {
            return Ok(false);
        }
        let row = of_user_in(self.reader.snapshot(), self.user, self.reader.room())?;
        Ok(row.is_some_and(|row| {
            matches!(row.membership, Membership::Leave | Membership::Ban) && row.previous == Some(Membership::Join)
        }))
    }

    /// Where the user last stopped being joined; `None` for who is joined, or never was.
    #[must_use]
    pub fn ended(&self) -> Option<&End> {
        self.ended.as_ref()
    }

    /// Whether the user may see `event`. Outliers, rejected and soft-failed events and redactions without effect are seen by nobody.
    pub fn may_see(&self, event: &StoredEvent) -> Result<bool> {
        match self.reader.facts(event.key())? {
            Some(facts) => self.may_see_at(event, &facts.standing),
            None => Ok(false),
        }
    }

    /// [`Self::may_see`] with the event's standing at hand.
    pub fn may_see_at(&self, event: &StoredEvent, standing: &Standing) -> Result<bool> {
        if !standing.is_accepted() {
            return Ok(false);
        }
        if event.is_type("m.room.redaction") && !redaction::is_shown(self.reader, event.key())? {
            return Ok(false);
        }
        let (visibility, membership) = self.at(standing.before)?;
        if self.allows(visibility, membership, standing) {
            return Ok(true);
        }
        if event.is_state() {
            let visibility_changes = event.is_type(VISIBILITY);
            let own_membership =
                event.is_type("m.room.member") && event.state_key().as_deref() == Some(self.user_id.as_str());
            if visibility_changes || own_membership {
                let (visibility, membership) = self.at(standing.after)?;
                return Ok(self.allows(visibility, membership, standing));
            }
        }
        Ok(false)
    }

    /// The membership of the user in the state `root` (client-server API, `unsigned.membership`).
    pub fn membership_at(&self, root: Root) -> Result<Membership> {
        Ok(self.at(root)?.1.unwrap_or(Membership::Leave))
    }

    /// Whether the content of an event that the user may see is erased for them: its sender asked for that, and the user was not in the
    /// room then.
    pub fn is_erased(&self, event: &StoredEvent, standing: &Standing) -> Result<bool> {
        let Some(since) = self.reader.erased_since(|| event.sender()) else { return Ok(false) };
        if self.membership_at(standing.before)? == Membership::Join {
            return Ok(false);
        }
        let joined = match self.reader.member(self.user)? {
            Some(member) => super::memberships::last_join(self.reader, member.event)?,
            None => None,
        };
        Ok(joined.is_none_or(|joined| joined.ts >= since))
    }

    fn allows(&self, visibility: HistoryVisibility, membership: Option<Membership>, standing: &Standing) -> bool {
        if visibility == HistoryVisibility::WorldReadable {
            return true;
        }
        if self.forgotten {
            return false;
        }
        if membership == Some(Membership::Join) {
            return true;
        }
        match visibility {
            HistoryVisibility::Shared => {
                self.joined || self.ended.as_ref().zip(standing.history.as_ref()).is_some_and(|(end, at)| *at <= end.at)
            }
            HistoryVisibility::Invited => membership == Some(Membership::Invite),
            HistoryVisibility::WorldReadable | HistoryVisibility::Joined => false,
        }
    }

    fn at(&self, root: Root) -> Result<Perspective> {
        let mut known = self.known.lock();
        let Known { last, others } = &mut *known;
        if let Some((_, known)) = last.filter(|(known, _)| *known == root) {
            return Ok(known);
        }
        let found = match others.get(&root) {
            Some(known) => *known,
            None => self.reader.perspective(root, &self.user_id, self.user)?,
        };
        if let Some((former, known)) = last.replace((root, found)) {
            others.insert(former, known);
        }
        Ok(found)
    }
}

impl RoomReader {
    fn perspective(&self, root: Root, user_id: &str, user: UserKey) -> Result<Perspective> {
        if let Some(known) = self.caches.perspective(self.room(), root, user) {
            return Ok(known);
        }
        let found = (HistoryVisibility::at(self, root)?, self.membership_in(root, user_id)?);
        self.caches.put_perspective(self.room(), root, user, found);
        Ok(found)
    }
}

/// Whether the user with the member event `event`, which is no join, was joined at some time before it.
///
/// # Errors
/// A failing store, or damage.
pub fn was_joined_before(reader: &RoomReader, event: EventKey) -> Result<bool> {
    Ok(last_joined(reader, event)?.is_some())
}

/// Where the user whose latest member event is `event` last stopped being joined.
fn last_joined(reader: &RoomReader, mut event: EventKey) -> Result<Option<End>> {
    for _ in 0..MAX_CHANGES {
        let Some(standing) = reader.standing(event)? else { return Ok(None) };
        let Some(pdu) = reader.pdu(event)? else { return Ok(None) };
        let Some(user_id) = pdu.state_key() else { return Ok(None) };
        let Some(previous) = reader.state_event_key(standing.before, "m.room.member", user_id)? else {
            return Ok(None);
        };
        if previous == event {
            return Ok(None);
        }
        if reader.pdu(previous)?.is_some_and(|pdu| Membership::of(&pdu) == Membership::Join) {
            return Ok(standing.history.map(|at| End { at, root: standing.after }));
        }
        event = previous;
    }
    Ok(None)
}
