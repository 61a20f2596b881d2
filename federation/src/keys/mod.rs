//! Server keys: our own, published; others', fetched, remembered, and handed on as a notary (server-server API, "Retrieving server
//! keys").

mod document;
mod notary;
mod own;
mod record;
mod ring;
mod store;

pub use document::{DocumentError, KeyDocument};
pub use notary::MAX_NOTARY_SERVERS;
pub use own::{OldKey, OwnKeys, PUBLISHED_FOR};
pub use record::{EventTime, KnownKey, MAX_VALIDITY, ServerKeys};
pub use ring::{FoundKeys, KeyError, KeyRequest, KeyRing};
pub use store::{ForgetfulKeyStore, KeyStore, KeyStoreError};
