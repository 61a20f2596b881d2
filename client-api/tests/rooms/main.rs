//! Rooms through HTTP requests to the router: making them, memberships, sending, state, history and who may see it,
//! aliases and the directory, receipts and typing.
#![allow(clippy::unwrap_used, clippy::panic)]

mod actions;
mod context;
mod damage;
mod directory;
mod filters;
mod following;
mod invite_permission;
mod leaving;
mod limits;
mod looking;
mod memberships;
mod nulls;
mod purged;
mod reading;
mod relations;
mod sending;
#[allow(dead_code)] // shared with the tests of accounts, which need the rest
#[path = "../accounts/server.rs"]
mod server;
mod spaces;
mod state;
mod threads;
mod typing;
mod upgrades;
mod visibility;
mod voip;
mod waiting;
