//! Rooms: the state tree, the authorisation rules, state resolution; through the crate's public surface.

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::panic)]

mod auth_oracle;
mod by_the_letter;
mod catalogue;
mod clauses;
#[path = "../common/clauses.rs"]
mod docs;
mod examples;
mod generated;
mod graph_index;
mod indexed;
#[path = "../common/letter.rs"]
mod letter;
mod levels;
mod mutants;
#[path = "../common/mutants.rs"]
mod mutants_of;
mod naive;
mod properties;
mod proposals;
mod resolve_edges;
mod resolve_oracle;
mod ruma;
mod ruma_event;
mod selection;
mod server;
mod support;
mod third_party;
mod tree;
