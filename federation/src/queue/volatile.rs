//! EDUs that are worth sending only while they are news: typing, receipts, presence. They wait in memory, newer ones in place of older
//! ones about the same thing.

use indexmap::IndexMap;

use crate::{
    Edu,
    edu::{Presence, PresenceUpdate, Receipt, Receipts, Typing},
};

/// The most that waits for one destination; beyond it the oldest goes.
pub const MAX_VOLATILE: usize = 200;

/// One piece of news.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Item {
    Typing(Typing),
    Receipt { room_id: String, kind: String, user_id: String, receipt: Receipt },
    Presence(PresenceUpdate),
}

/// What a piece of news is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Subject {
    kind: &'static str,
    room_id: String,
    user_id: String,
    /// Receipt type and thread.
    detail: (String, Option<String>),
}

/// News waiting for one destination.
#[derive(Debug, Default)]
pub(super) struct Volatile {
    items: IndexMap<Subject, Item>,
}

impl Item {
    /// The pieces of an EDU; none for the kinds that must not get lost, which belong in the store.
    pub(super) fn of(edu: Edu) -> Vec<Self> {
        match edu {
            Edu::Typing(typing) => vec![Self::Typing(typing)],
            Edu::Presence(presence) => presence.push.into_iter().map(Self::Presence).collect(),
            Edu::Receipt(receipts) => {
                let mut items = Vec::new();
                for (room_id, kinds) in receipts.0 {
                    for (kind, users) in kinds {
                        for (user_id, receipt) in users {
                            let (room_id, kind) = (room_id.clone(), kind.clone());
                            items.push(Self::Receipt { room_id, kind, user_id, receipt });
                        }
                    }
                }
                items
            }
            Edu::DeviceListUpdate(_) | Edu::SigningKeyUpdate(_) | Edu::DirectToDevice(_) => Vec::new(),
        }
    }

    /// Whether it is still worth sending when the destination was away for a while.
    pub(super) fn outlives_an_outage(&self) -> bool {
        matches!(self, Self::Receipt { .. })
    }

    fn subject(&self) -> Subject {
        let subject = |kind, room_id: &str, user_id: &str, detail| Subject {
            kind,
            room_id: room_id.to_owned(),
            user_id: user_id.to_owned(),
            detail,
        };
        match self {
            Self::Typing(typing) => subject("typing", &typing.room_id, &typing.user_id, Default::default()),
            Self::Presence(update) => subject("presence", "", &update.user_id, Default::default()),
            Self::Receipt { room_id, kind, user_id, receipt } => {
                subject("receipt", room_id, user_id, (kind.clone(), receipt.data.thread_id.clone()))
            }
        }
    }
}

impl Volatile {
    /// Adds news in place of older news about the same; gives how much was dropped for want of room.
    pub(super) fn push(&mut self, item: Item) -> usize {
        let subject = item.subject();
        self.items.shift_remove(&subject);
        self.items.insert(subject, item);
        let surplus = self.items.len().saturating_sub(MAX_VOLATILE);
        self.items.drain(..surplus);
        surplus
    }

    /// Puts back what was taken but not sent, unless there is newer news about the same.
    pub(super) fn put_back(&mut self, items: Vec<Item>) {
        for item in items {
            if item.outlives_an_outage() && self.items.len() < MAX_VOLATILE {
                self.items.entry(item.subject()).or_insert(item);
            }
        }
    }

    /// How much waits.
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Takes news that fits into this many EDUs: the news, and the EDUs.
    pub(super) fn take(&mut self, max_edus: usize) -> (Vec<Item>, Vec<Edu>) {
        let mut edus: Vec<Edu> = Vec::new();
        let mut taken = 0;
        for item in self.items.values() {
            if !merge(&mut edus, item) {
                if edus.len() >= max_edus {
                    break;
                }
                edus.push(alone(item));
            }
            taken += 1;
        }
        let items = self.items.drain(..taken).map(|(_, item)| item).collect();
        (items, edus)
    }
}

/// Adds news to one of the EDUs, if it has a place there.
fn merge(edus: &mut [Edu], item: &Item) -> bool {
    edus.iter_mut().any(|edu| match (edu, item) {
        (Edu::Receipt(receipts), Item::Receipt { room_id, kind, user_id, receipt }) => {
            let users = receipts.0.entry(room_id.clone()).or_default().entry(kind.clone()).or_default();
            // One user can have receipts in several threads of a room; an EDU has one place per user.
            let is_free = !users.contains_key(user_id);
            if is_free {
                users.insert(user_id.clone(), receipt.clone());
            }
            is_free
        }
        (Edu::Presence(presence), Item::Presence(update)) => {
            presence.push.push(update.clone());
            true
        }
        _ => false,
    })
}

fn alone(item: &Item) -> Edu {
    match item {
        Item::Typing(typing) => Edu::Typing(typing.clone()),
        Item::Presence(update) => Edu::Presence(Presence { push: vec![update.clone()] }),
        Item::Receipt { room_id, kind, user_id, receipt } => {
            let mut receipts = Receipts::default();
            let users = receipts.0.entry(room_id.clone()).or_default().entry(kind.clone()).or_default();
            users.insert(user_id.clone(), receipt.clone());
            Edu::Receipt(receipts)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edu::ReceiptData;

    fn typing(user: &str, typing: bool) -> Item {
        Item::Typing(Typing { room_id: "!r:x".into(), user_id: user.into(), typing })
    }

    fn receipt(user: &str, event: &str, thread: Option<&str>) -> Item {
        let data = ReceiptData { ts: 1, thread_id: thread.map(str::to_owned) };
        Item::Receipt {
            room_id: "!r:x".into(),
            kind: "m.read".into(),
            user_id: user.into(),
            receipt: Receipt { event_ids: vec![event.into()], data },
        }
    }

    #[test]
    fn newer_news_takes_the_place_of_older() {
        let mut volatile = Volatile::default();
        for item in [
            typing("@a:x", true),
            receipt("@a:x", "$1", None),
            receipt("@b:x", "$1", None),
            typing("@a:x", false),
            receipt("@a:x", "$2", None),
            receipt("@a:x", "$3", Some("main")),
        ] {
            assert_eq!(volatile.push(item), 0);
        }
        let (items, edus) = volatile.take(100);
        assert_eq!(
            items,
            [
                receipt("@b:x", "$1", None),
                typing("@a:x", false),
                receipt("@a:x", "$2", None),
                receipt("@a:x", "$3", Some("main"))
            ]
        );
        // The two threads of @a need an EDU each; @b shares one of them.
        assert_eq!(edus.iter().map(Edu::edu_type).collect::<Vec<_>>(), ["m.receipt", "m.typing", "m.receipt"]);
        assert!(volatile.is_empty());
    }

    #[test]
    fn what_does_not_fit_stays_and_what_is_put_back_is_never_newer() {
        let mut volatile = Volatile::default();
        for user in ["@a:x", "@b:x", "@c:x"] {
            volatile.push(typing(user, true));
        }
        volatile.push(receipt("@a:x", "$1", None));
        let (items, edus) = volatile.take(2);
        assert_eq!((items.len(), edus.len()), (2, 2));
        let (rest, _) = volatile.take(100);
        assert_eq!(rest, [typing("@c:x", true), receipt("@a:x", "$1", None)]);
        volatile.push(receipt("@a:x", "$2", None));
        volatile.put_back(rest);
        assert_eq!(volatile.take(100).0, [receipt("@a:x", "$2", None)]);
    }

    #[test]
    fn it_is_bounded() {
        let mut volatile = Volatile::default();
        let dropped: usize = (0..MAX_VOLATILE + 5).map(|n| volatile.push(typing(&format!("@{n}:x"), true))).sum();
        assert_eq!(dropped, 5);
        assert_eq!(volatile.take(1).0, [typing("@5:x", true)]);
    }
}
