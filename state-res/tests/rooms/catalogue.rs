//! Attacks and wounds by name: each a small graph, with the outcome that the specification demands, derived by hand, in every
//! room version to which it applies. `docs/attacks.md` lists them.
//!
//! A room is told line by line ([`room::Room`]): who does what, after what. Whatever is resolved is resolved by this crate, by the
//! naive implementation, and in versions 2 to 12 by `ruma-state-res`, in either order of the states; all must agree with the
//! outcome written down.

mod backdating;
mod creators;
mod duels;
mod late_bans;
mod page;
mod partition;
mod power_races;
mod resets;
mod restricted_joins;
mod room;
mod third_party_invites;
