//! The keyspace: every table of the server in one place. Ids are for ever; a table that goes leaves its id unused.
//!
//! Notation: `event`, `room`, `user`, `server` are 16-byte ids of `state_res::ids`; `pos` is a position filled in by the
//! store (8 bytes, big-endian), `ord` an ordinal within the batch (2 bytes); strings are in the tuple codec.

use storage::{Access, Schema, Table};

macro_rules! tables {
    ($( $(#[$doc:meta])* $name:ident = $id:literal, $access:ident, $key:literal => $value:literal; )*) => {
        $( $(#[$doc])* pub const $name: Table = Table {
            id: $id, name: stringify!($name), key: $key, value: $value, access: Access::$access,
        }; )*
        /// All tables.
        pub const ALL: &[Table] = &[$($name),*];
    };
}

tables! {
    // Accounts and devices: 1–29.
    /// Accounts of this server, deactivated ones too: a name is never given twice.
    ACCOUNTS = 1, Range, "user" => "user id, password hash, created, deactivated, administrator";
    /// Devices: what their owner sees of them, and which tokens are theirs.
    DEVICES = 2, Range, "user, device id" => "display name, created, token hashes, revision";
    /// Access tokens, as hashes only.
    ACCESS_TOKENS = 3, Point, "SHA-256 of the token" => "user id, device id, expiry, whether it has been used";
    /// Refresh tokens, as hashes only.
    REFRESH_TOKENS = 4, Point, "SHA-256 of the token" => "user id, device id, the tokens that it was changed for";
    /// When and from where a device was last used.
    LAST_SEEN = 5, Range, "user, device id" => "ts, address";
    /// Profiles of our users; the user directory reads them in order.
    PROFILES = 6, Range, "user" => "user id, profile";
    /// Account data, global (room: zeros) and per room.
    ACCOUNT_DATA = 7, Range, "user, room, type" => "revision, room id, content";
    /// Where in the log each piece of account data last changed.
    ACCOUNT_DATA_POSITIONS = 8, Point, "user, room, type" => "pos";
    /// The same by position, for sync.
    ACCOUNT_DATA_CHANGES = 9, Range, "user, pos, room, type" => "";
    /// Filters that clients have uploaded.
    FILTERS = 10, Point, "user, filter id" => "filter";
    /// What is left to do in rooms after a change of an account; start-up finishes it.
    ACCOUNT_WORK = 11, Range, "user, kind" => "user id, number";
    /// Users whose content is erased for whoever joins later.
    ERASED = 12, Range, "user" => "since when, in milliseconds";

    // Rooms: 40–69.
    /// Events as received, whole.
    PDUS = 40, Point, "event" => "room, version, event id, offsets, canonical PDU, unsigned";
    /// What we think of an event; changes when a resync teaches us more. By room, so that sweeping one need not read the others.
    STANDING = 41, Point, "room, event" => "flags, (pos, ord) or history key, depth, state root before, state root after if it differs";
    /// Order of announcement within a room.
    TIMELINE = 42, Append, "room, pos, ord" => "event, flags";
    /// Order of history within a room, for paging; backfilled events lie between live ones.
    HISTORY = 43, Range, "room, history key" => "event";
    /// Where writers of a room meet: extremities, current root, a version chosen by the writer.
    HEAD = 44, Point, "room" => "head";
    /// Nodes of the state trees.
    NODES = 45, Point, "room, hash" => "node";
    /// The current root after each position that changed it.
    ROOTS = 46, Append, "room, pos" => "root";
    /// Each member's membership in the current state.
    MEMBERS = 47, Range, "room, user" => "membership, event, user id";
    /// Rooms of each local user, with invites and knocks that live outside a room we are in.
    MEMBERSHIPS = 48, Range, "user, room" => "membership, pos, ord, event, room id, stripped state, room version, via";
    /// Transaction ids of clients' requests.
    TRANSACTIONS = 49, Point, "user, device, endpoint, transaction id" => "event id or answer";
    /// Transaction id under which a device sent an event.
    EVENT_TRANSACTIONS = 50, Point, "event" => "user, device, transaction id";
    /// Room aliases of this server.
    ALIASES = 51, Point, "alias" => "room id, creator";
    /// The same by room.
    ROOM_ALIASES = 52, Range, "room, alias" => "";
    /// Rooms in the public directory.
    DIRECTORY = 53, Range, "room" => "room id";
    /// Events that relate to another.
    RELATIONS = 54, Range, "parent event, pos, ord" => "child event, relation type, event type";
    /// Redactions by the event that they name, which may not be here yet, or any more.
    REDACTIONS = 55, Range, "room, redacted event, the only server whose events it may redact (or nothing), redaction event" => "history key of older history";
    /// Rooms that a user has forgotten.
    FORGOTTEN = 56, Point, "user, room" => "pos";
    /// Room ids by key, and whether the room is known.
    ROOM_IDS = 57, Range, "room" => "room id, version";
    /// Servers with joined members, counted.
    ROOM_SERVERS = 58, Range, "room, server name" => "";
    /// Events before which some are missing here.
    GAPS = 59, Point, "room, event" => "";
    /// The graph of auth events: what each state event cites, and after it which state events cite it.
    AUTH_GRAPH = 60, Range, "room, event [, citing event]" => "generation, place in the state, auth events [place of the citing event]";
    /// Where the sweep of a room's nodes stands; whatever refers to nodes of the room names this row.
    SWEEPS = 62, Range, "room" => "phase, epoch, where a purge cuts";
    /// Nodes that a sweep found unused and is about to delete.
    CONDEMNED = 63, Range, "room, hash" => "";
    /// Events that a purge is about to delete.
    CONDEMNED_EVENTS = 65, Range, "room, event" => "1 if its bytes are to stay";

    /// Users of this server who are joined to a room.
    LOCAL_MEMBERS = 66, Range, "room, user" => "user id";
    /// Events that are soft-failed because their room's policy server gave no answer, until it gives one.
    UNANSWERED = 67, Range, "room, event" => "since when, in milliseconds";

    /// How old what is in the log is, by our own clock.
    CLOCK = 68, Append, "pos" => "what the clock said when the log had come so far, in milliseconds";

    /// Events of threads, by their place in history.
    THREADS = 64, Range, "room, history key" => "root event, event";

    // Federation: 70–79.
    /// What waits for a destination.
    OUTBOX = 70, Append, "server name, pos, ord" => "kind, event or EDU";
    /// Signing keys of other servers.
    SERVER_KEYS = 72, Point, "server name, key id" => "key, validity";
    /// Joins through another server that are under way, or have broken off, to rooms that are not here.
    JOINS = 74, Range, "room" => "room id";
    /// Ended invites to, and knocks on, rooms that are not here, of which no server in the room has heard yet.
    UNTOLD = 75, Range, "user, room" => "whom to tell what, since when (JSON)";
    /// Our own signing keys.
    SIGNING_KEYS = 73, Point, "key id" => "seed, expired at";

    // Receipts and unread counts: 80–89.
    /// Latest receipt of each user, kind and thread.
    RECEIPTS = 80, Range, "room, user, kind, thread" => "event id, ts, pos";
    /// The same by position, for sync.
    RECEIPTS_BY_POSITION = 81, Append, "room, pos, ord" => "user id, kind, thread, event id, ts";

    // Keys, device lists and to-device messages: 100–119.
    /// Identity keys of our users' devices, with the signatures of their owner.
    DEVICE_KEYS = 100, Range, "user, device id" => "device keys";
    /// One-time keys in the order in which they were uploaded. A key that is handed out goes.
    ONE_TIME_KEYS = 101, Range, "user, device id, algorithm, number, key id" => "key";
    /// One-time keys that were handed out, so that a repeated upload does not bring them back.
    CLAIMED_KEYS = 102, Range, "user, device id, algorithm, number, key id" => "digest of the key";
    /// Fallback keys, one per algorithm.
    FALLBACK_KEYS = 103, Range, "user, device id, algorithm" => "key id, key";
    /// Where those who upload and claim a device's keys meet; sync reads the counts here.
    KEY_STATE = 104, Point, "user, device id" => "revision, next number, counts, used fallback keys";
    /// Cross-signing keys of our users and of those of other servers whose device lists are cached.
    CROSS_SIGNING_KEYS = 105, Range, "user, usage" => "key";
    /// Signatures of others' master keys, which only the signer sees.
    KEY_SIGNATURES = 106, Range, "signed user, key id, signer, signing key id" => "signature";
    /// How many updates of each of our users' device lists there were (`stream_id` of the last), and how often servers that are new to a user were told.
    DEVICE_LISTS = 107, Point, "user" => "number, introductions";
    /// Changes of device lists by position, for sync; one row per user.
    DEVICE_LIST_CHANGES = 108, Range, "pos, subject" => "user id, the only user who is told (or nothing), pos of the change before";
    /// Where in the log the row of each subject is.
    DEVICE_LIST_POSITIONS = 109, Point, "subject" => "pos";
    /// Cached device lists of users of other servers.
    REMOTE_DEVICE_LISTS = 110, Range, "user" => "user id, updates seen, whether it is stale, as of which position";
    /// Devices of those lists.
    REMOTE_DEVICES = 111, Range, "user, device id" => "device keys, display name";
    /// Messages that wait for a device of ours.
    TO_DEVICE = 112, Append, "user, device id, pos, ord" => "event";
    /// To-device EDUs received, by day, so that one that comes twice counts once.
    TO_DEVICE_RECEIVED = 113, Range, "day, server name, message id" => "progress";
    /// Room key backups, deleted ones too.
    BACKUP_VERSIONS = 114, Range, "user, version" => "algorithm, auth data, etag, count, deleted";
    /// Room keys of backups.
    BACKUP_KEYS = 115, Range, "user, version, room id, session id" => "key";
}

/// The schema of this version of the server. Those before were never released: their state trees, heads and redactions had other shapes.
pub const SCHEMA: Schema = Schema { version: 4, oldest: 4, tables: ALL };

#[cfg(test)]
mod tests {
    #[test]
    fn table_ids_and_names_are_unique() {
        let mut ids: Vec<_> = super::ALL.iter().map(|table| table.id).collect();
        let mut names: Vec<_> = super::ALL.iter().map(|table| table.name).collect();
        ids.sort_unstable();
        names.sort_unstable();
        assert!(ids.windows(2).all(|pair| pair[0] != pair[1]));
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
