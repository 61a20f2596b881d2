//! An event at each step of the way into a room, each a type of its own, so that no step can be left out.
//!
//! [`Received`] → [`Checked`] → [`Authorised`] (server-server API, "Checks performed on receipt of a PDU"). What takes a
//! `Checked` can rely on signatures and content hash, what takes an `Authorised` on the authorisation rules as well.

use crate::{
    auth::{self, Refusal, StateLookup},
    build::{EventFields, build},
    pdu::{Pdu, PduError},
    room_version::RoomVersion,
    sign::{ContentHash, SignatureError, SigningKey, VerifyKey, verify_event},
    switches::{Clause, on},
};

/// A check on receipt of a PDU that this crate makes itself (server-server API, "Checks performed on receipt of a PDU").
/// The others apply the authorisation rules in one state or another, and whoever has the states makes them.
#[cfg(feature = "rule-switches")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiptCheck {
    /// 1: it is a valid event. Off, limits and identifiers' grammar are not looked at; a field that is missing still is.
    Format,
    /// 2: it passes signature checks.
    Signatures,
    /// 3: it passes hash checks.
    ContentHash,
}

/// Runs `test` as if there were no such check. Only on the calling thread.
#[cfg(feature = "rule-switches")]
pub fn without_check<T>(check: ReceiptCheck, test: impl FnOnce() -> T) -> T {
    crate::switches::without_clause(
        match check {
            ReceiptCheck::Format => Clause::CheckFormat,
            ReceiptCheck::Signatures => Clause::CheckSignatures,
            ReceiptCheck::ContentHash => Clause::CheckContentHash,
        },
        test,
    )
}

/// An event as it came: well-formed (check 1), nothing more.
#[derive(Clone, Debug)]
pub struct Received(Pdu);

/// An event whose signatures hold (check 2), redacted if its content was not what its sender hashed (check 3).
#[derive(Clone, Debug)]
pub struct Checked {
    event: Pdu,
    content_hash: ContentHash,
}

/// An event that the authorisation rules allow in some state of its room (checks 4 to 6; which state, the caller knows).
#[derive(Clone, Debug)]
pub struct Authorised(Pdu);

impl Received {
    /// Reads an event.
    ///
    /// # Errors
    /// As [`Pdu::parse`]. Such an event is dropped.
    pub fn parse(version: RoomVersion, json: &[u8]) -> Result<Self, PduError> {
        Pdu::parse(version, json).map(Self)
    }

    /// An event that was read already.
    #[must_use]
    pub const fn new(event: Pdu) -> Self {
        Self(event)
    }

    /// The event.
    #[must_use]
    pub const fn event(&self) -> &Pdu {
        &self.0
    }

    /// Verifies the signatures and compares the content hash. If the hash differs the redacted copy goes on.
    ///
    /// `lookup` is as for [`verify_event`].
    ///
    /// # Errors
    /// A signature is missing or wrong. Such an event is dropped.
    pub fn check(self, lookup: impl Fn(&str, &str) -> Option<VerifyKey>) -> Result<Checked, SignatureError> {
        let content_hash = match verify_event(&self.0, lookup) {
            Ok(content_hash) => content_hash,
            Err(_) if !on(Clause::CheckSignatures) => ContentHash::Matches,
            Err(error) => return Err(error),
        };
        let event = match content_hash {
            ContentHash::Matches => self.0,
            ContentHash::Differs if on(Clause::CheckContentHash) => self.0.redacted(),
            ContentHash::Differs => self.0,
        };
        Ok(Checked { event, content_hash })
    }
}

impl Checked {
    /// Makes an event of our own; its hash and signature are right because we just made them.
    ///
    /// # Errors
    /// As [`build`].
    pub fn build(
        version: RoomVersion,
        fields: EventFields,
        server_name: &str,
        key: &SigningKey,
    ) -> Result<Self, PduError> {
        let event = build(version, fields, server_name, key)?;
        Ok(Self { event, content_hash: ContentHash::Matches })
    }

    /// An event that was checked before it was stored, and comes from there.
    #[must_use]
    pub const fn from_store(event: Pdu) -> Self {
        Self { event, content_hash: ContentHash::Matches }
    }

    /// The event.
    #[must_use]
    pub const fn event(&self) -> &Pdu {
        &self.event
    }

    /// Whether the content hash was right. If not, [`Self::event`] is the redacted copy.
    #[must_use]
    pub const fn content_hash(&self) -> ContentHash {
        self.content_hash
    }

    /// The event alone, which forgets that it was checked.
    #[must_use]
    pub fn into_event(self) -> Pdu {
        self.event
    }

    /// Applies the authorisation rules in this state.
    ///
    /// # Errors
    /// The rule that does not allow the event, and the event, which is kept as rejected or soft-failed.
    pub fn authorise(self, state: &(impl StateLookup + ?Sized)) -> Result<Authorised, (Self, Refusal)> {
        match auth::check(&self.event, state) {
            Ok(()) => Ok(Authorised(self.event)),
            Err(refusal) => Err((self, refusal)),
        }
    }
}

impl Authorised {
    /// The event.
    #[must_use]
    pub const fn event(&self) -> &Pdu {
        &self.0
    }

    /// The event alone, which forgets that it was authorised.
    #[must_use]
    pub fn into_event(self) -> Pdu {
        self.0
    }
}
