//! Rooms of example.org over a store, without the services around them. For tests and for examples that measure.

use net::World;
use serde_json::{Map, Value};
use services::config::Rates;
use services::ephemeral::Ephemeral;
use services::limits::Limits;
use services::rooms::{Profiles, Rooms};
use state_res::sign::SigningKey;
use std::sync::Arc;
use storage::Store;

/// The server that they are on.
#[allow(dead_code)] // not all of them need it
pub(crate) const SERVER: &str = "example.org";

struct NoProfiles;

impl Profiles for NoProfiles {
    fn member_fields(&self, _: &str) -> services::Result<Map<String, Value>> {
        Ok(Map::new())
    }

    fn exists(&self, _: &str) -> services::Result<bool> {
        Ok(true)
    }
}

/// The key that signs for every server.
pub(crate) fn key() -> SigningKey {
    SigningKey::from_seed("1", [7; 32]).unwrap()
}

/// The rooms in a store, with nothing in memory yet.
pub(crate) fn rooms(store: Store, world: World) -> Rooms {
    let ephemeral = Ephemeral::new(store.clone(), world.clone());
    let limits = Arc::new(Limits::new(world.clone(), false, &Rates::default()));
    Rooms::new(store, world, SERVER, key(), Arc::new(NoProfiles), ephemeral, limits)
}
