//! What a server makes of other servers, right and wrong ones: checks on receipt, what they are shown, invites and joins.
#![allow(clippy::unwrap_used, clippy::panic)]

mod bounds;
mod device_lists;
mod gaps;
mod invites;
mod join_lies;
mod joins;
mod knocks;
mod lies;
mod numbers;
mod outbox;
mod policy;
mod receipt;
mod redactions;
mod rejected;
mod removals;
mod scene;
mod secrets;
mod spoilt;
mod told;
mod visibility;
mod words;
