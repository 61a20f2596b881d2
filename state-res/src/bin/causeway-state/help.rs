//! What `--help` says.

pub(crate) const USAGE: &str = "\
usage: causeway-state resolve FILE [--keys FILE]
       causeway-state auth FILE EVENT_ID [--keys FILE]
       causeway-state event FILE --room-version VERSION
       causeway-state graph FILE [--format dot|svg | --out PREFIX] [--auth some|all|none] [--max-events N] [--keys FILE]
       causeway-state help [COMMAND]";

pub(crate) const OVERVIEW: &str = "\
Looks into Matrix rooms, of room versions 1 to 12: what state several states resolve to, whether an event is allowed and by
which rule, what an event's id and hashes are, what a room's graph looks like.

usage: causeway-state resolve FILE [--keys FILE]
       causeway-state auth FILE EVENT_ID [--keys FILE]
       causeway-state event FILE --room-version VERSION
       causeway-state graph FILE [--format dot|svg | --out PREFIX] [--auth some|all|none] [--max-events N] [--keys FILE]
       causeway-state help [COMMAND]

For resolve, auth and graph, FILE holds a room (- is standard input):

    {
      \"room_version\": \"12\",
      \"events\": [PDU, …],                    events as servers exchange them, in any order
      \"state_sets\": [[event_id, …], …]       states, each the ids of its events
    }

Other top-level members are ignored. Event ids are computed from room version 3 on, and read from the event before. Events
need not have `hashes` and `signatures`, nor the one of `depth` and `origin_server_ts` by which resolution in their room
version does not order; everything else that the format asks for must be there.

Without --keys no signature and no content hash is checked. With --keys FILE every event must bear the signatures that the
specification asks of it, by a key in FILE; an event whose content hash is wrong is taken redacted. (Who vouches for a restricted
join must have signed by an authorisation rule: the event is rejected where they have not.) FILE holds
{\"server.name\": {\"ed25519:1\": \"Base64\"}}, or what a server answers at /_matrix/key/v2/server or /_matrix/key/v2/query, or
an array of such answers. Where FILE has them, a key counts up to its `expired_ts`, and from room version 5 on up to its
`valid_until_ts`.

Standard output holds the answer and nothing else. The exit status is 0 when there is one (\"not allowed\" is an answer), 2
when the command line or the input is broken (then standard error says where and why), and 1 when standard output does not take
the answer.";

const RESOLVE: &str = "\
usage: causeway-state resolve FILE [--keys FILE]

Prints the resolution of FILE's `state_sets` by the algorithm of its room version, as a JSON array of
[type, state_key, event_id], sorted by type and then state key.

    $ causeway-state resolve room.json
    [
    [\"m.room.create\",\"\",\"$7uPZ…\"],
    [\"m.room.member\",\"@alice:example.org\",\"$x2Rk…\"]
    ]

Of no states the resolution is the empty one, of one state that state. A state may name an event twice.

It is refused when a state names an event that FILE does not have, an event that is no state event, or two events for one
type and state key; and, from room version 2 on, when states differ and an event in the auth chain of any of them is absent,
for it could be one that decides. (State resolution 1 looks at no auth chain.) What `prev_events` name need not be there.

Resolution falls back to an event's own auth events for what a state lacks, unless they were rejected. Here an event counts
as rejected if its own auth events do not allow it (`causeway-state auth` says why). Whether the state before it allowed it
FILE does not tell. Auth events of another room take no part; message
events in an auth chain are refused.

\"causeway-state help\" describes FILE and --keys.";

const AUTH: &str = "\
usage: causeway-state auth FILE EVENT_ID [--keys FILE]

Is this event authorised by its own auth events, and by the resolution of FILE's `state_sets`? Prints

    {\"by_auth_events\": R, \"by_state\": R}    where R is
    {\"allowed\": false, \"rule\": \"5.3.4\", \"because\": \"…\", \"deciding_events\": [event_id, …]}

rule             the number, in the specification of FILE's room version, of the rule that rejects or allows the event
because          what was wrong, or what the rule that allows it says
deciding_events  the events of the state that were looked at, in that order; for the rules on `auth_events` themselves (rule
                 2, and 3 in room version 12) what the event cites

`by_auth_events` applies all rules, those on the list of `auth_events` included: an auth event that its own auth events do
not allow counts as rejected. The event's whole auth chain must be in FILE. `by_state` applies the rules that need a state,
against the resolved state alone; that must be of the event's room, and in room version 12 the room's create event must not be
a rejected one.

The exit status is 0 also when the event is not allowed. \"causeway-state help\" describes FILE and --keys.";

const EVENT: &str = "\
usage: causeway-state event FILE --room-version VERSION

Reads one event (a PDU as servers exchange it) from FILE, or from standard input if FILE is -, and prints a JSON object:

canonical             the canonical JSON of all that FILE has, `unsigned` included, as a string
content_hash          the SHA-256 that belongs into `hashes`, in unpadded Base64
content_hash_matches  whether it is there; null if the event has no `hashes`
reference_hash        the SHA-256 of the redacted event without signatures, of which event ids are made
event_id              computed from room version 3 on, read from the event before
room_id               from the event; of a create event of room version 12, computed
redacted              the canonical JSON of its redacted form, as a string

`hashes` and `signatures` may be absent; the hashes are over what is there.";

const GRAPH: &str = "\
usage: causeway-state graph FILE [--format dot|svg | --out PREFIX] [--auth some|all|none] [--max-events N] [--keys FILE]

Draws the room's graph, oldest events on top, for people to look at: DOT on standard output, or SVG with --format svg. With
--out PREFIX both are written, to PREFIX.dot and PREFIX.svg, and their names printed as a JSON object. The SVG needs no other
program; a browser shows it, with an event's full ids where the pointer rests.

Marked are: extremities (accepted events that no accepted event follows), events that their own auth events do not allow
(with the rule), events in which the states of `state_sets` differ, and which of them the resolution has. `state_sets` may be
absent. Arrows go from an event to its `prev_events`. Dashed ones go to its `auth_events`: by default those of events in
conflict and of rejected ones, with --auth all of every event, with --auth none of none.

Events that others name and FILE lacks are drawn with dashed grey frames; where they keep the resolution from being known, the
picture says so. Of more than 50,000 events, or --max-events, those are drawn that say most: events in conflict, rejected ones,
extremities, those of states, then the deepest.

\"causeway-state help\" describes FILE and --keys.";

/// What is known of a command; `None` if there is no such command.
pub(crate) fn of(command: &str) -> Option<&'static str> {
    match command {
        "resolve" => Some(RESOLVE),
        "auth" => Some(AUTH),
        "event" => Some(EVENT),
        "graph" => Some(GRAPH),
        _ => None,
    }
}

/// The first line of that.
pub(crate) fn usage_of(command: &str) -> &'static str {
    of(command).and_then(|text| text.lines().next()).unwrap_or(USAGE)
}
