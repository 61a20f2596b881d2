//! The bounds on what a peer can make us hold, read or do.

use std::time::Duration;

/// The most PDUs in a transaction (server-server API, "Transactions").
pub const MAX_PDUS: usize = 50;

/// The most EDUs in a transaction (server-server API, "Transactions").
pub const MAX_EDUS: usize = 100;

/// The largest transaction body that we read: 50 PDUs of 64 KiB each leave 12 MiB for 100 EDUs.
pub const MAX_TRANSACTION_BODY: usize = 16 * 1024 * 1024;

/// The largest body of any other request that we read.
pub const MAX_REQUEST_BODY: usize = 2 * 1024 * 1024;

/// How long a peer has to send a request's body.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// The largest answer that we read, where no other bound is given.
pub const MAX_ANSWER: usize = 1024 * 1024;

/// The largest answer with some events (backfill, missing events), or the keys of many users.
pub const MAX_EVENTS_ANSWER: usize = 32 * 1024 * 1024;

/// The largest page of a room directory or of a space, and the largest list of a user's devices.
pub const MAX_LISTING_ANSWER: usize = 8 * 1024 * 1024;

/// The largest answer with the whole state of a room.
pub const MAX_STATE_ANSWER: usize = 256 * 1024 * 1024;

/// The largest answer to a question for server keys.
pub const MAX_KEYS_ANSWER: usize = 64 * 1024;

/// The largest part of an error answer that we read.
pub const MAX_ERROR_ANSWER: usize = 64 * 1024;

/// The most bytes of a peer's error sentence that we keep.
pub const MAX_ERROR_SENTENCE: usize = 512;

/// The most bytes of further members of a peer's error answer that are passed on.
pub const MAX_ERROR_MEMBERS: usize = 4 * 1024;

/// The least bytes of a PDU: its id's hash and one signature take more.
pub const MIN_PDU_BYTES: usize = 100;

/// The least bytes of an event id, but for those that old room versions let servers choose.
pub const MIN_ID_BYTES: usize = 16;

/// The most servers in a room of which we hear.
pub const MAX_SERVERS_IN_ROOM: usize = 100_000;

/// The most items of an answer's list that are too short to be what they should.
pub const MAX_SHORT_ITEMS: usize = 1_000;

/// The most values of an answer that holds values of any form, beside one for every [`BYTES_PER_VALUE`].
pub const MAX_CROWDED_VALUES: usize = 10_000;

/// The least bytes that such an answer has for each further value.
pub const BYTES_PER_VALUE: usize = 10;

/// The most events given to one `backfill`.
pub const MAX_BACKFILL: usize = 100;

/// The most events given to one `get_missing_events`.
pub const MAX_MISSING_EVENTS: u64 = 50;

/// The most event ids in one question.
pub const MAX_EVENT_IDS: usize = 1000;

/// The most parameters that we read of a query string.
pub const MAX_QUERY_PARAMETERS: usize = 1100;

/// The most `Authorization` headers that we look at in one request.
pub const MAX_AUTHORIZATION_HEADERS: usize = 4;

/// The longest transaction id that we take.
pub const MAX_TRANSACTION_ID_BYTES: usize = 255;

/// How many transactions of one origin may wait for the one being processed.
pub const MAX_WAITING_TRANSACTIONS: usize = 8;

/// How many origins' latest transactions are remembered, to answer a replay.
pub const MAX_REMEMBERED_ORIGINS: usize = 1024;

/// How many of an origin's latest transactions are remembered.
pub const MAX_REMEMBERED_TRANSACTIONS: usize = 4;

/// How many complaints about peers are remembered, so that each is logged once.
pub const MAX_COMPLAINTS: usize = 1024;
