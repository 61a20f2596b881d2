//! Rooms: the state tree, the authorisation rules, state resolution; through the crate's public surface.

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::panic)]

mod auth_oracle;
mod clauses;
mod generated;
mod graph_index;
mod indexed;
mod resolve_edges;
mod resolve_oracle;
mod resolve_v1;
mod ruma;
mod support;
mod tree;
