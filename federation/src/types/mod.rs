//! Questions and answers of the protocol, as plain data: the client gives them, and [`crate::Answers`] gives them back.

mod directory;
mod events;
mod joining;
mod transactions;
mod users;

pub use directory::{AliasAnswer, Hierarchy, PublicRoomsRequest};
pub use events::{Direction, EventAtTime, MissingEventsRequest, StateAnswer, StateIds};
pub use joining::{InviteRequest, JoinAnswer, Template};
pub use transactions::{PduResult, ServerVersion, TransactionAnswer};
pub use users::{ClaimedKeys, DeviceKeyRequest, KeyClaimRequest, UserDevice, UserDevices, UserKeys};
