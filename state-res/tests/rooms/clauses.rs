//! Every authorisation rule of every room version, by its number: what it says holds, and without it something fails.
//!
//! The numbers are written down here anew, from the specification's pages, so that they check the crate's table.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use state_res::{
    auth::{
        Cited, Refusal, check, check_auth_events, check_authoriser_signature, rule_clause, rule_numbers, without_rule,
    },
    room_version::RoomVersion,
    sign::{SigningKey, sign_json},
};

use crate::support::{Fixture, create, other_room};

/// Something that a rule demands.
struct Case {
    /// The rule it shows.
    cites: String,
    what: &'static str,
    run: Box<dyn Fn() -> Result<(), Refusal>>,
    /// Whether the event is allowed; if not, it is refused by the rule cited.
    allowed: bool,
}

/// Cases for one version.
struct Cases {
    version: RoomVersion,
    cases: Vec<Case>,
}

impl Cases {
    fn allowed(&mut self, cites: &str, what: &'static str, run: impl Fn() -> Result<(), Refusal> + 'static) {
        self.cases.push(Case { cites: cites.to_owned(), what, run: Box::new(run), allowed: true });
    }

    fn refused(&mut self, cites: &str, what: &'static str, run: impl Fn() -> Result<(), Refusal> + 'static) {
        self.cases.push(Case { cites: cites.to_owned(), what, run: Box::new(run), allowed: false });
    }

    fn at_least(&self, version: RoomVersion) -> bool {
        self.version >= version
    }

    /// The number of a rule that versions 1 to 5 and 12 give this number and versions 6 to 11, without the rule for
    /// aliases, the one before.
    fn after_aliases(&self, number: u32) -> u32 {
        if (RoomVersion::V6..=RoomVersion::V11).contains(&self.version) { number - 1 } else { number }
    }
}

impl Case {
    fn holds(&self) -> Result<(), String> {
        let outcome = (self.run)();
        match (&outcome, self.allowed) {
            (Ok(()), true) => Ok(()),
            (Err(refusal), false) if refusal.rule == self.cites => Ok(()),
            _ => Err(format!("{} ({}): {outcome:?}", self.what, self.cites)),
        }
    }
}

fn cases(version: RoomVersion) -> Vec<Case> {
    let mut cases = Cases { version, cases: Vec::new() };
    creation(&mut cases);
    auth_events(&mut cases);
    federation_and_aliases(&mut cases);
    joins(&mut cases);
    invites(&mut cases);
    third_party_invites(&mut cases);
    leaves_and_bans(&mut cases);
    knocks(&mut cases);
    others(&mut cases);
    power_levels(&mut cases);
    redactions(&mut cases);
    cases.cases
}

fn creation(c: &mut Cases) {
    let v = c.version;
    let make = move |content: Value, more: Value| move || check(&create(v, content.clone(), more.clone()), &vec![]);
    let last = if v == RoomVersion::V11 { "1.4" } else { "1.5" };
    c.allowed(last, "a proper create event", make(json!({}), json!({})));
    c.refused("1.1", "a create event after others", make(json!({}), json!({ "prev_events": ["$before:a"] })));
    if c.at_least(RoomVersion::V12) {
        c.refused("1.2", "a create event with a room id", make(json!({}), json!({ "room_id": other_room(v) })));
        for bad in [json!("@bob:b"), json!([1]), json!(["bob"]), json!(["@bob:b", "@:"]), json!({})] {
            let content = json!({ "additional_creators": bad });
            c.refused("1.4", "additional creators that are no user ids", make(content, json!({})));
        }
        c.allowed(last, "additional creators", make(json!({ "additional_creators": ["@bob:b"] }), json!({})));
    } else {
        c.refused(
            "1.2",
            "a create event in another server's room",
            make(json!({}), json!({ "room_id": other_room(v) })),
        );
    }
    c.refused("1.3", "an unknown room version", make(json!({ "room_version": "0" }), json!({})));
    c.refused("1.3", "a room version that is no string", make(json!({ "room_version": 1 }), json!({})));
    if !c.at_least(RoomVersion::V11) {
        c.refused("1.4", "a create event without creator", make(json!({ "creator": "absent" }), json!({})));
    } else {
        c.allowed(last, "a create event needs no creator", make(json!({ "creator": "absent" }), json!({})));
    }
}

fn auth_events(c: &mut Cases) {
    let v = c.version;
    let v12 = c.at_least(RoomVersion::V12);
    let list = if v12 { 3 } else { 2 };
    let run = move |cited: fn(&Fixture, &mut Vec<(state_res::pdu::Pdu, bool)>), create_rejected: bool| {
        move || {
            let f = Fixture::new(v);
            let mut events = vec![(f.member("@alice:a", "join"), false), (f.power("@alice:a", json!({})), false)];
            if !v12 {
                events.insert(0, (f.create.clone(), false));
            }
            cited(&f, &mut events);
            let cited: Vec<_> = events.iter().map(|(event, rejected)| Cited { event, rejected: *rejected }).collect();
            let create = Cited { event: &f.create, rejected: create_rejected };
            check_auth_events(&f.event(json!({})), &cited, Some(create))
        }
    };
    c.allowed("", "proper auth events", run(|_, _| {}, false));
    c.refused(
        &format!("{list}.1"),
        "two auth events for one place",
        run(|f, events| events.push((f.power("@alice:a", json!({ "ban": 1 })), false)), false),
    );
    c.refused(
        &format!("{list}.2"),
        "an auth event that is none",
        run(|f, events| events.push((f.join_rule("public"), false)), false),
    );
    c.refused(
        &format!("{list}.2"),
        "an auth event that is no state event",
        run(
            |f, events| events.push((f.event(json!({ "sender": "@alice:a", "type": "m.room.power_levels" })), false)),
            false,
        ),
    );
    c.refused(
        &format!("{list}.3"),
        "a rejected auth event",
        run(|_, events| events.last_mut().unwrap().1 = true, false),
    );
    c.refused(
        &format!("{list}.{}", if v12 { 4 } else { 5 }),
        "an auth event of another room",
        run(
            |f, events| {
                events.pop();
                let content =
                    json!({ "type": "m.room.power_levels", "state_key": "", "room_id": other_room(f.version) });
                events.push((f.event(content), false));
            },
            false,
        ),
    );
    if v12 {
        c.refused("2", "the room's create event was rejected", run(|_, _| {}, true));
        c.refused("2", "no such create event", move || check_auth_events(&Fixture::new(v).event(json!({})), &[], None));
        c.refused("2", "the room id is another create event's", move || {
            let (f, other) = (Fixture::new(v), Fixture::with_create(v, json!({ "other": 1 })));
            check(&other.event(json!({})), &f.room(vec![]))
        });
        c.refused(
            "3.2",
            "the create event among the auth events",
            run(|f, events| events.push((f.create.clone(), false)), false),
        );
    } else {
        c.refused(
            "2.4",
            "no create event among the auth events",
            run(
                |_, events| {
                    events.remove(0);
                },
                false,
            ),
        );
    }
}

/// The number of the rule "otherwise, allow" at the end.
fn last_rule(version: RoomVersion) -> &'static str {
    match version {
        RoomVersion::V1 | RoomVersion::V2 => "12",
        RoomVersion::V3 | RoomVersion::V4 | RoomVersion::V5 | RoomVersion::V12 => "11",
        _ => "10",
    }
}

fn federation_and_aliases(c: &mut Cases) {
    let v = c.version;
    let message = move |federate: Value, sender: &'static str| {
        move || {
            let f = Fixture::with_create(v, json!({ "m.federate": federate }));
            check(
                &f.event(json!({ "sender": sender })),
                &f.room(vec![f.member("@bob:b", "join"), f.member("@carol:a", "join")]),
            )
        }
    };
    let federate = if c.at_least(RoomVersion::V12) { "4" } else { "3" };
    c.refused(federate, "another server in a room that is not federated", message(json!(false), "@bob:b"));
    c.allowed("", "the creator's server in a room that is not federated", message(json!(false), "@carol:a"));
    c.allowed("", "another server in a federated room", message(json!(true), "@bob:b"));

    let aliases = move |fields: Value| {
        move || {
            let f = Fixture::new(v);
            let mut fields = fields.clone();
            fields.as_object_mut().unwrap().insert("type".to_owned(), json!("m.room.aliases"));
            check(&f.event(fields), &f.room(vec![]))
        }
    };
    if c.at_least(RoomVersion::V6) {
        let not_joined = c.after_aliases(6).to_string();
        c.refused(&not_joined, "aliases by whoever", aliases(json!({ "sender": "@bob:b", "state_key": "b" })));
    } else {
        c.refused("4.1", "aliases without state key", aliases(json!({ "sender": "@bob:b" })));
        c.refused("4.2", "another server's aliases", aliases(json!({ "sender": "@bob:b", "state_key": "a" })));
        c.allowed("4.3", "aliases by whoever", aliases(json!({ "sender": "@bob:b", "state_key": "b" })));
    }
}

/// Checks an event in a room of alice's with this much more state.
fn in_room(
    version: RoomVersion,
    state: impl Fn(&Fixture) -> Vec<state_res::pdu::Pdu> + 'static,
    event: impl Fn(&Fixture) -> state_res::pdu::Pdu + 'static,
) -> impl Fn() -> Result<(), Refusal> + 'static {
    move || {
        let f = Fixture::new(version);
        check(&event(&f), &f.room(state(&f)))
    }
}

fn member_rule(c: &Cases) -> u32 {
    c.after_aliases(5)
}

/// The number of the rule for a membership, which the rule on authorising servers moved on by one in version 8.
fn membership_rule(c: &Cases, number: u32) -> String {
    format!("{}.{}", member_rule(c), if c.at_least(RoomVersion::V8) { number + 1 } else { number })
}

fn joins(c: &mut Cases) {
    let v = c.version;
    let m = member_rule(c);
    c.refused(
        &format!("{m}.1"),
        "a member event without state key",
        in_room(v, |_| vec![], |f| f.event(json!({ "type": "m.room.member", "content": { "membership": "join" } }))),
    );
    c.refused(
        &format!("{m}.1"),
        "a member event without membership",
        in_room(v, |_| vec![], |f| f.state("m.room.member", "@alice:a", "@alice:a", json!({}))),
    );
    if c.at_least(RoomVersion::V8) {
        let join = move |f: &Fixture| {
            let content = json!({ "membership": "join", "join_authorised_via_users_server": "@carol:c" });
            f.state("m.room.member", "@bob:b", "@bob:b", content)
        };
        c.refused(&format!("{m}.2.1"), "a join not signed by whoever vouches for it", move || {
            check_authoriser_signature(&join(&Fixture::new(v)), |server| server == "b")
        });
        c.allowed("", "a join signed by whoever vouches for it", move || {
            check_authoriser_signature(&join(&Fixture::new(v)), |server| server == "c")
        });
        c.allowed("", "a join that nobody vouches for", move || {
            check_authoriser_signature(&Fixture::new(v).member("@bob:b", "join"), |_| false)
        });
    }
    let j = membership_rule(c, 2);

    let first = move |user: &'static str, prev: Value, more: Value| {
        move || {
            let f = Fixture::with_create(v, more.clone());
            let prev = if prev.is_null() { json!([f.create.event_id()]) } else { prev.clone() };
            let content = json!({ "membership": "join" });
            let event = json!({
                "type": "m.room.member", "state_key": user, "sender": user, "content": content, "prev_events": prev,
            });
            check(&f.event(event), &vec![f.create.clone()])
        }
    };
    let otherwise = if c.at_least(RoomVersion::V8) { format!("{j}.7") } else { format!("{j}.6") };
    c.allowed(
        &format!("{j}.1"),
        "the creator joins right after the create event",
        first("@alice:a", json!(null), json!({})),
    );
    c.refused(&otherwise, "another joins right after the create event", first("@bob:b", json!(null), json!({})));
    c.refused(&otherwise, "the creator joins later", first("@alice:a", json!(["$before:a"]), json!({})));
    if !c.at_least(RoomVersion::V11) {
        let other = json!({ "creator": "@bob:b" });
        c.allowed(&format!("{j}.1"), "the creator is who the content says", first("@bob:b", json!(null), other));
    } else if c.at_least(RoomVersion::V12) {
        let other = json!({ "additional_creators": ["@bob:b"] });
        c.refused(&otherwise, "an additional creator cannot join first", first("@bob:b", json!(null), other));
    }
    c.refused(
        &format!("{j}.2"),
        "a join for another",
        in_room(v, |f| vec![f.join_rule("public")], |f| f.change("@bob:b", "@carol:a", "join")),
    );
    let join = |f: &Fixture| f.member("@bob:b", "join");
    let with = move |rule: &'static str, membership: &'static str| {
        in_room(v, move |f| vec![f.join_rule(rule), f.member("@bob:b", membership)], join)
    };
    c.refused(&format!("{j}.3"), "a banned user joins", with("public", "ban"));
    for membership in ["invite", "join"] {
        c.allowed(&format!("{j}.4"), "an invited or joined user joins", with("invite", membership));
    }
    c.refused(&otherwise, "a user who is not invited joins", with("invite", "leave"));
    c.refused(&otherwise, "a user who knocks joins", with("invite", "knock"));
    if c.at_least(RoomVersion::V7) {
        c.allowed(&format!("{j}.4"), "an invited user joins by `knock`", with("knock", "invite"));
    } else {
        c.refused(&otherwise, "`knock` is no rule yet", with("knock", "invite"));
    }
    c.allowed(
        &format!("{j}.{}", if c.at_least(RoomVersion::V8) { 6 } else { 5 }),
        "anyone joins a public room",
        in_room(v, |f| vec![f.join_rule("public")], join),
    );
    c.refused(&otherwise, "nobody joins a private room", with("private", "invite"));
    c.refused(
        &otherwise,
        "nobody joins a room without join rules",
        in_room(v, |f| vec![f.member("@bob:b", "invite")], join),
    );
    restricted_joins(c, &j, &otherwise);
}

fn restricted_joins(c: &mut Cases, j: &str, otherwise: &str) {
    let v = c.version;
    let restricted =
        move |rule: &'static str, authoriser: &'static str, own: &'static str, authorisers: &'static str| {
            in_room(
                v,
                move |f| {
                    let power = json!({ "invite": 50, "users": { "@carol:a": 50, "@dora:a": 49 } });
                    vec![
                        f.join_rule(rule),
                        f.power("@alice:a", power),
                        f.member("@bob:b", own),
                        f.member("@carol:a", authorisers),
                        f.member("@dora:a", "join"),
                    ]
                },
                move |f| {
                    let mut content = json!({ "membership": "join" });
                    if !authoriser.is_empty() {
                        content["join_authorised_via_users_server"] = json!(authoriser);
                    }
                    f.state("m.room.member", "@bob:b", "@bob:b", content)
                },
            )
        };
    let mut rules = vec!["restricted"];
    if c.at_least(RoomVersion::V10) {
        rules.push("knock_restricted");
    }
    if !c.at_least(RoomVersion::V8) {
        c.refused(otherwise, "`restricted` is no rule yet", restricted("restricted", "@carol:a", "invite", "join"));
        return;
    }
    if !c.at_least(RoomVersion::V10) {
        let run = restricted("knock_restricted", "@carol:a", "invite", "join");
        c.refused(otherwise, "`knock_restricted` is no rule yet", run);
    }
    for rule in rules {
        c.allowed(&format!("{j}.5.1"), "invited to a restricted room", restricted(rule, "", "invite", "join"));
        let r = format!("{j}.5.2");
        c.refused(&r, "nobody vouches", restricted(rule, "", "leave", "join"));
        c.refused(&r, "someone who is not joined vouches", restricted(rule, "@carol:a", "leave", "leave"));
        c.refused(&r, "someone who may not invite vouches", restricted(rule, "@dora:a", "leave", "join"));
        c.allowed(&format!("{j}.5.3"), "someone who may invite vouches", restricted(rule, "@carol:a", "leave", "join"));
    }
}

fn invites(c: &mut Cases) {
    let v = c.version;
    let i = membership_rule(c, 3);
    let invite = move |own: &'static str, target: &'static str, level: i64| {
        in_room(
            v,
            move |f| {
                let power = json!({ "invite": level, "users": { "@bob:b": 50 } });
                vec![f.power("@alice:a", power), f.member("@bob:b", own), f.member("@carol:a", target)]
            },
            |f| f.change("@bob:b", "@carol:a", "invite"),
        )
    };
    c.refused(&format!("{i}.2"), "an invite by someone who is not joined", invite("leave", "leave", 0));
    c.refused(&format!("{i}.3"), "an invite of a joined user", invite("join", "join", 0));
    c.refused(&format!("{i}.3"), "an invite of a banned user", invite("join", "ban", 0));
    c.allowed(&format!("{i}.4"), "an invite with the level", invite("join", "leave", 50));
    c.refused(&format!("{i}.5"), "an invite without the level", invite("join", "leave", 51));
}

fn third_party_invites(c: &mut Cases) {
    let v = c.version;
    let t = format!("{}.1", membership_rule(c, 3));
    // What is changed about an invite that would be right.
    let third_party = move |change: fn(&mut Invite)| {
        move || {
            let f = Fixture::new(v);
            let key = SigningKey::from_seed("1", [7; 32]).unwrap();
            let mut invite = Invite {
                signed: json!({ "mxid": "@carol:a", "token": "t" }),
                target: "leave",
                key_property: json!({ "public_key": key.verify_key().to_base64() }),
                sender: "@bob:b",
                token: "t",
                without_signed: false,
                whole: None,
            };
            change(&mut invite);
            let mut signed = invite.signed.as_object().unwrap().clone();
            sign_json(&mut signed, "identity.example", &key).unwrap();
            let mut third_party = json!({ "display_name": "c" });
            if !invite.without_signed {
                third_party["signed"] = json!(signed);
            }
            let third_party = invite.whole.unwrap_or(third_party);
            let content = json!({ "membership": "invite", "third_party_invite": third_party });
            let state = f.room(vec![
                f.member("@carol:a", invite.target),
                f.state("m.room.third_party_invite", invite.token, invite.sender, invite.key_property),
            ]);
            check(&f.state("m.room.member", "@carol:a", "@bob:b", content), &state)
        }
    };
    c.refused(&format!("{t}.1"), "of a banned user", third_party(|i| i.target = "ban"));
    c.refused(&format!("{t}.2"), "without `signed`", third_party(|i| i.without_signed = true));
    c.refused(&format!("{t}.3"), "without `mxid`", third_party(|i| i.signed = json!({ "token": "t" })));
    c.refused(&format!("{t}.3"), "without `token`", third_party(|i| i.signed = json!({ "mxid": "@carol:a" })));
    c.refused(
        &format!("{t}.4"),
        "for another user",
        third_party(|i| i.signed = json!({ "mxid": "@dora:a", "token": "t" })),
    );
    // What is there and of another type is there: the rule that compares it decides.
    c.refused(&format!("{t}.2"), "without an object", third_party(|i| i.whole = Some(json!("x"))));
    c.refused(&format!("{t}.3"), "`signed` is no object", third_party(|i| i.whole = Some(json!({ "signed": 5 }))));
    c.refused(
        &format!("{t}.4"),
        "`mxid` is no string",
        third_party(|i| i.signed = json!({ "mxid": ["@carol:a"], "token": "t" })),
    );
    c.refused(
        &format!("{t}.5"),
        "`token` is no string",
        third_party(|i| i.signed = json!({ "mxid": "@carol:a", "token": ["t"] })),
    );
    c.refused(&format!("{t}.5"), "without invitation", third_party(|i| i.token = "other"));
    c.refused(&format!("{t}.6"), "of another's invitation", third_party(|i| i.sender = "@alice:a"));
    c.allowed(&format!("{t}.7"), "signed by `public_key`", third_party(|_| {}));
    c.allowed(
        &format!("{t}.7"),
        "signed by one of `public_keys`",
        third_party(|i| {
            let key = i.key_property["public_key"].clone();
            i.key_property = json!({ "public_key": "AAAA", "public_keys": [{ "public_key": key }] });
        }),
    );
    c.refused(
        &format!("{t}.8"),
        "signed by another key",
        third_party(|i| {
            let other = SigningKey::from_seed("1", [8; 32]).unwrap();
            i.key_property = json!({ "public_key": other.verify_key().to_base64() });
        }),
    );
}

struct Invite {
    signed: Value,
    target: &'static str,
    key_property: Value,
    sender: &'static str,
    token: &'static str,
    without_signed: bool,
    whole: Option<Value>,
}

fn leaves_and_bans(c: &mut Cases) {
    let v = c.version;
    let l = membership_rule(c, 4);
    let own = move |membership: &'static str| {
        in_room(v, move |f| vec![f.member("@bob:b", membership)], |f| f.member("@bob:b", "leave"))
    };
    for membership in ["invite", "join"] {
        c.allowed(&format!("{l}.1"), "leaving", own(membership));
    }
    for membership in ["leave", "ban"] {
        c.refused(&format!("{l}.1"), "leaving without being there", own(membership));
    }
    if c.at_least(RoomVersion::V7) {
        c.allowed(&format!("{l}.1"), "withdrawing a knock", own("knock"));
    } else {
        c.refused(&format!("{l}.1"), "`knock` is no membership yet", own("knock"));
    }

    // Bob, of level 50, acts on carol.
    let act = move |what: &'static str, own: &'static str, target: &'static str, levels: Value| {
        in_room(
            v,
            move |f| {
                let mut power = json!({ "users": { "@bob:b": 50 } });
                for (name, value) in levels.as_object().unwrap() {
                    power[name] = value.clone();
                }
                vec![f.power("@alice:a", power), f.member("@bob:b", own), f.member("@carol:a", target)]
            },
            move |f| f.change("@bob:b", "@carol:a", what),
        )
    };
    c.refused(&format!("{l}.2"), "a kick by someone who left", act("leave", "leave", "join", json!({})));
    c.refused(&format!("{l}.3"), "an unban without the level", act("leave", "join", "ban", json!({ "ban": 51 })));
    c.allowed(&format!("{l}.4"), "an unban", act("leave", "join", "ban", json!({ "kick": 50 })));
    c.allowed(&format!("{l}.4"), "a kick", act("leave", "join", "join", json!({})));
    c.refused(&format!("{l}.5"), "a kick without the level", act("leave", "join", "join", json!({ "kick": 51 })));
    let equal = json!({ "users": { "@bob:b": 50, "@carol:a": 50 } });
    c.refused(&format!("{l}.5"), "a kick of an equal", act("leave", "join", "join", equal.clone()));

    let b = membership_rule(c, 5);
    c.refused(&format!("{b}.1"), "a ban by someone who left", act("ban", "leave", "join", json!({})));
    c.allowed(&format!("{b}.2"), "a ban", act("ban", "join", "join", json!({})));
    c.allowed(&format!("{b}.2"), "a ban of someone who is not there", act("ban", "join", "leave", json!({})));
    c.refused(&format!("{b}.3"), "a ban without the level", act("ban", "join", "join", json!({ "ban": 51 })));
    c.refused(&format!("{b}.3"), "a ban of an equal", act("ban", "join", "join", equal));
    let creator = in_room(
        v,
        |f| vec![f.power("@alice:a", json!({ "users": { "@bob:b": 200 } })), f.member("@bob:b", "join")],
        |f| f.change("@bob:b", "@alice:a", "ban"),
    );
    if c.at_least(RoomVersion::V12) {
        c.refused(&format!("{b}.3"), "no level is above a creator's", creator);
    } else {
        c.allowed(&format!("{b}.2"), "a creator is as others", creator);
    }
    let additional = move || {
        let f = Fixture::with_create(v, json!({ "additional_creators": ["@carol:a"] }));
        let state =
            f.room(vec![f.power("@alice:a", json!({ "users": { "@bob:b": 200 } })), f.member("@bob:b", "join")]);
        check(&f.change("@bob:b", "@carol:a", "ban"), &state)
    };
    if c.at_least(RoomVersion::V12) {
        c.refused(&format!("{b}.3"), "no level is above an additional creator's", additional);
    } else {
        c.allowed(&format!("{b}.2"), "there are no additional creators yet", additional);
    }
}

fn knocks(c: &mut Cases) {
    let v = c.version;
    let m = member_rule(c);
    let knock = move |rule: &'static str, sender: &'static str, own: &'static str| {
        in_room(
            v,
            move |f| vec![f.join_rule(rule), f.member("@bob:b", own)],
            move |f| f.change(sender, "@bob:b", "knock"),
        )
    };
    let unknown = match v {
        RoomVersion::V7 => format!("{m}.7"),
        _ if c.at_least(RoomVersion::V8) => format!("{m}.8"),
        _ => format!("{m}.6"),
    };
    c.refused(&unknown, "an unknown membership", in_room(v, |_| vec![], |f| f.change("@alice:a", "@bob:b", "dance")));
    c.refused(
        &unknown,
        "a membership that is no string",
        in_room(v, |_| vec![], |f| f.state("m.room.member", "@alice:a", "@alice:a", json!({ "membership": ["join"] }))),
    );
    if !c.at_least(RoomVersion::V7) {
        c.refused(&unknown, "`knock` is no membership yet", knock("knock", "@bob:b", "leave"));
        return;
    }
    let k = membership_rule(c, 6);
    c.refused(&format!("{k}.1"), "a knock where none is wanted", knock("invite", "@bob:b", "leave"));
    c.refused(&format!("{k}.1"), "a knock at a public room", knock("public", "@bob:b", "leave"));
    c.refused(&format!("{k}.2"), "a knock for another", knock("knock", "@carol:a", "leave"));
    for own in ["leave", "knock"] {
        c.allowed(&format!("{k}.3"), "a knock", knock("knock", "@bob:b", own));
    }
    for own in ["ban", "invite", "join"] {
        c.refused(&format!("{k}.4"), "a knock by someone banned, invited or joined", knock("knock", "@bob:b", own));
    }
    if c.at_least(RoomVersion::V10) {
        c.allowed(&format!("{k}.3"), "a knock by `knock_restricted`", knock("knock_restricted", "@bob:b", "leave"));
    } else {
        c.refused(&format!("{k}.1"), "`knock_restricted` is no rule yet", knock("knock_restricted", "@bob:b", "leave"));
    }
}

fn others(c: &mut Cases) {
    let v = c.version;
    let [joined, invitation, level, state_key] = [6, 7, 8, 9].map(|number| c.after_aliases(number));
    c.allowed(last_rule(v), "a message", in_room(v, |_| vec![], |f| f.event(json!({}))));
    for membership in ["leave", "invite", "ban", "knock"] {
        c.refused(
            &joined.to_string(),
            "a message by someone who is not joined",
            in_room(v, move |f| vec![f.member("@bob:b", membership)], |f| f.event(json!({ "sender": "@bob:b" }))),
        );
    }
    let by_bob = move |power: Value, event: fn(&Fixture) -> state_res::pdu::Pdu| {
        in_room(v, move |f| vec![f.member("@bob:b", "join"), f.power("@alice:a", power.clone())], event)
    };
    let invite = |f: &Fixture| f.state("m.room.third_party_invite", "t", "@bob:b", json!({}));
    c.refused(&format!("{invitation}.1"), "an invitation without the level", by_bob(json!({ "invite": 1 }), invite));
    c.allowed(
        &format!("{invitation}.1"),
        "an invitation needs nothing but the invite level",
        by_bob(json!({ "invite": 0, "state_default": 50 }), invite),
    );
    let topic = |f: &Fixture| f.state("m.room.topic", "", "@bob:b", json!({}));
    let level = level.to_string();
    c.refused(&level, "state without the default level", by_bob(json!({}), topic));
    c.refused(
        &level,
        "state without its level",
        by_bob(json!({ "state_default": 0, "events": { "m.room.topic": 1 } }), topic),
    );
    c.allowed("", "state with its level", by_bob(json!({ "events": { "m.room.topic": 0 } }), topic));
    c.refused(
        &level,
        "a message without the level",
        by_bob(json!({ "events_default": 1 }), |f| f.event(json!({ "sender": "@bob:b" }))),
    );
    c.refused(&level, "state without power levels", in_room(v, |f| vec![f.member("@bob:b", "join")], topic));
    c.refused(
        &state_key.to_string(),
        "another user's state",
        by_bob(json!({ "state_default": 0 }), |f| f.state("x", "@carol:a", "@bob:b", json!({}))),
    );
    c.allowed(
        "",
        "one's own state",
        by_bob(json!({ "state_default": 0 }), |f| f.state("x", "@bob:b", "@bob:b", json!({}))),
    );
}

fn power_levels(c: &mut Cases) {
    let v = c.version;
    let p = c.after_aliases(10);
    // Version 10 put two rules before the others and version 12 one more.
    let shift = if v == RoomVersion::V12 {
        3
    } else if c.at_least(RoomVersion::V10) {
        2
    } else {
        0
    };
    let rule = move |number: u32, point: &str| format!("{p}.{}{point}", number + shift);
    // Where there are none yet. The event need not be a state event, so that anyone may send it.
    let first = move |content: Value| {
        in_room(
            v,
            |f| vec![f.member("@bob:b", "join")],
            move |f| f.event(json!({ "type": "m.room.power_levels", "sender": "@bob:b", "content": content })),
        )
    };
    // Bob, of level 50, changes them.
    let base = json!({
        "users": { "@bob:b": 50, "@carol:a": 50, "@dora:a": 49 }, "ban": 60, "kick": 40,
        "events": { "m.room.power_levels": 50, "high": 60, "low": 40 }, "notifications": { "high": 60, "low": 40 },
    });
    let change = move |change: fn(&mut Value)| {
        let before = base.clone();
        let mut after = base.clone();
        change(&mut after);
        in_room(
            v,
            move |f| vec![f.member("@bob:b", "join"), f.power("@alice:a", before.clone())],
            move |f| f.power("@bob:b", after.clone()),
        )
    };

    if c.at_least(RoomVersion::V10) {
        c.refused(&format!("{p}.1"), "a level that is a string", first(json!({ "ban": "50" })));
        c.refused(&format!("{p}.1"), "a level that is null", first(json!({ "users_default": null })));
        c.refused(&format!("{p}.2"), "an event's level that is a string", first(json!({ "events": { "x": "50" } })));
        c.refused(&format!("{p}.2"), "levels that are a list", first(json!({ "notifications": [] })));
        c.refused(&format!("{p}.3"), "a user's level that is a string", first(json!({ "users": { "@bob:b": "1" } })));
        c.refused(&format!("{p}.3"), "a key that is no user id", first(json!({ "users": { "bob": 1 } })));
    } else {
        c.refused(&rule(1, ""), "a user's level that is no integer", first(json!({ "users": { "@bob:b": "1.5" } })));
        c.refused(&rule(1, ""), "a user's level that is null", first(json!({ "users": { "@bob:b": null } })));
        c.refused(&rule(1, ""), "a key that is no user id", first(json!({ "users": { "bob": 1 } })));
        c.refused(&rule(1, ""), "users that are a list", first(json!({ "users": [] })));
        c.allowed(
            &rule(2, ""),
            "a first event is not looked at further",
            first(json!({ "ban": "high", "users": { "@bob:b": " +050 " } })),
        );
    }
    if v == RoomVersion::V12 {
        let named = |user: &str| json!({ "users": { user: 100 } });
        c.refused(&format!("{p}.4"), "a level for a creator", first(named("@alice:a")));
        c.refused(&format!("{p}.4"), "a level for an additional creator", move || {
            let f = Fixture::with_create(v, json!({ "additional_creators": ["@carol:a"] }));
            check(&f.power("@alice:a", json!({ "users": { "@carol:a": 1 } })), &f.room(vec![]))
        });
    }
    c.allowed(
        &rule(2, ""),
        "the first power levels may be what they like",
        first(json!({ "users": { "@bob:b": 100 } })),
    );

    c.refused(&rule(3, ".1"), "a level above one's own is lowered", change(|power| power["ban"] = json!(40)));
    c.refused(
        &rule(3, ".1"),
        "a level above one's own is removed",
        change(|power| {
            power.as_object_mut().unwrap().remove("ban");
        }),
    );
    c.refused(&rule(3, ".2"), "a level is raised above one's own", change(|power| power["kick"] = json!(51)));
    c.refused(&rule(3, ".2"), "a level is set above one's own", change(|power| power["invite"] = json!(51)));
    // What is absent is 50 or 0, and giving it as just that is a change all the same.
    let by_dora = |old: Value, new: Value| {
        move || {
            let f = Fixture::new(v);
            let state = f.room(vec![f.member("@dora:a", "join"), f.power("@alice:a", old.clone())]);
            check(&f.power("@dora:a", new.clone()), &state)
        }
    };
    let without = json!({ "users": { "@dora:a": 49 }, "state_default": 0 });
    let with = |name: &str, level: i64| {
        let mut with = without.clone();
        with[name] = json!(level);
        with
    };
    for name in ["kick", "ban", "redact"] {
        c.refused(&rule(3, ".1"), "a level is given as its default", by_dora(without.clone(), with(name, 50)));
        c.refused(&rule(3, ".1"), "a default level is removed", by_dora(with(name, 50), without.clone()));
    }
    c.allowed(&rule(8, ""), "a default level within one's own", by_dora(without.clone(), with("invite", 0)));
    c.refused(
        &rule(4, ".1"),
        "an event's level above one's own is lowered",
        change(|power| power["events"]["high"] = json!(1)),
    );
    c.refused(
        &rule(4, ".1"),
        "an event's level above one's own is removed",
        change(|power| {
            power["events"].as_object_mut().unwrap().remove("high");
        }),
    );
    c.refused(
        &rule(5, ".1"),
        "an event's level is raised above one's own",
        change(|power| power["events"]["low"] = json!(51)),
    );
    c.refused(
        &rule(5, ".1"),
        "an event's level is set above one's own",
        change(|power| power["events"]["new"] = json!(51)),
    );
    if c.at_least(RoomVersion::V6) {
        c.refused(
            &rule(4, ".1"),
            "a notification's level above one's own",
            change(|power| power["notifications"]["high"] = json!(1)),
        );
        c.refused(
            &rule(5, ".1"),
            "a notification's level is set above one's own",
            change(|power| power["notifications"]["new"] = json!(51)),
        );
    } else {
        c.allowed(
            &rule(8, ""),
            "notifications are not limited yet",
            change(|power| power["notifications"] = json!({ "new": 99 })),
        );
    }
    c.refused(&rule(6, ".1"), "an equal is demoted", change(|power| power["users"]["@carol:a"] = json!(0)));
    c.refused(
        &rule(6, ".1"),
        "an equal is removed",
        change(|power| {
            power["users"].as_object_mut().unwrap().remove("@carol:a");
        }),
    );
    c.refused(&rule(7, ".1"), "a user is raised above oneself", change(|power| power["users"]["@dora:a"] = json!(51)));
    c.refused(&rule(7, ".1"), "a user is set above oneself", change(|power| power["users"]["@emma:a"] = json!(51)));
    c.refused(&rule(7, ".1"), "one raises oneself", change(|power| power["users"]["@bob:b"] = json!(51)));
    c.allowed(
        &rule(8, ""),
        "what is within one's level",
        change(|power| {
            power["users"]["@dora:a"] = json!(50);
            power["users"]["@bob:b"] = json!(0);
            power["events"]["low"] = json!(50);
            power["kick"] = json!(50);
        }),
    );
    if !c.at_least(RoomVersion::V10) {
        c.allowed(
            &rule(8, ""),
            "the same level, written otherwise, is no change",
            change(|power| {
                power["users"]["@carol:a"] = json!("50");
                power["events"]["high"] = json!(" +060");
                power["ban"] = json!("60");
            }),
        );
        c.refused(&rule(3, ".2"), "a level that cannot be read", change(|power| power["kick"] = json!("x")));
        c.refused(
            &rule(5, ".1"),
            "an event's level that cannot be read",
            change(|power| power["events"]["low"] = json!({})),
        );
    }
    if !c.at_least(RoomVersion::V6) {
        c.allowed(
            &rule(8, ""),
            "a float is cut at the point",
            change(|power| {
                power["users"]["@carol:a"] = json!(50.57);
                power["kick"] = json!(50.9);
            }),
        );
    }
}

fn redactions(c: &mut Cases) {
    let v = c.version;
    let redact = move |level: i64, redacts: &'static str| {
        in_room(
            v,
            move |f| vec![f.member("@bob:b", "join"), f.power("@alice:a", json!({ "redact": level }))],
            move |f| {
                let mut event = json!({ "type": "m.room.redaction", "sender": "@bob:b", "redacts": redacts });
                if v < RoomVersion::V3 {
                    event["event_id"] = json!("$redaction:b");
                }
                if v >= RoomVersion::V11 {
                    event["content"] = json!({ "redacts": redacts });
                }
                f.event(event)
            },
        )
    };
    if c.at_least(RoomVersion::V3) {
        c.allowed(last_rule(v), "redactions are judged elsewhere", redact(50, "$event:a"));
        return;
    }
    c.allowed("11.1", "a redaction with the level", redact(0, "$event:a"));
    c.allowed("11.2", "a redaction of the own server's event", redact(50, "$event:b"));
    c.refused("11.3", "a redaction of another server's event", redact(50, "$event:a"));
}

/// The rules hold, each by the number that the specification gives it.
// clause: R2.1, D1.3, D2.*, A*, P8.1
#[test]
pub(crate) fn rules_hold() {
    let mut failures = Vec::new();
    for version in RoomVersion::ALL {
        for case in cases(version) {
            if let Err(failure) = case.holds() {
                failures.push(format!("version {version}: {failure}"));
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

/// With any one rule turned off, some case that cites it fails. Prints which.
// clause: A*
#[test]
pub(crate) fn no_rule_is_idle() {
    let mut idle = Vec::new();
    println!("{:<8} {:<10} {:<8} {:>6} {:>8}", "version", "rule", "clause", "cases", "failing");
    for version in RoomVersion::ALL {
        let cases = cases(version);
        for number in rule_numbers(version) {
            let citing: Vec<_> = cases.iter().filter(|case| case.cites == number).collect();
            let fails = |case: &&&Case| without_rule(version, number, || case.holds()).unwrap().is_err();
            let failing = citing.iter().filter(fails).count();
            let clause = rule_clause(version, number).unwrap();
            println!("{version:<8} {number:<10} {clause:<8} {:>6} {failing:>8}", citing.len());
            if failing == 0 {
                idle.push(format!("version {version}, rule {number}"));
            }
        }
        let known: Vec<_> = rule_numbers(version).collect();
        let cited = cases.iter().map(|case| case.cites.as_str()).filter(|cites| !cites.is_empty());
        assert!(cited.clone().all(|number| known.contains(&number)), "version {version} has no such rule");
    }
    assert!(idle.is_empty(), "nothing fails without these rules: {idle:#?}");
}

/// The table of numbers in docs/spec/4-authorisation.md is the one that the crate gives its refusals by, and every rule is a clause
/// there.
#[test]
fn numbers_are_those_of_the_table() {
    let page = std::fs::read_to_string(crate::docs::root().join("docs/spec/4-authorisation.md")).unwrap();
    let (_, table) = page.split_once("| clause | 1, 2 | 3–5 | 6 | 7 | 8, 9 | 10 | 11 | 12 |\n").unwrap();
    let last_versions = [2, 5, 6, 7, 9, 10, 11, 12];
    let mut rows: BTreeSet<(u8, &str, &str)> = BTreeSet::new();
    for row in table.lines().skip(1) {
        let cells: Vec<&str> = row.trim_matches(['|', ' ']).split(" | ").collect();
        for version in 1..=12 {
            let column = last_versions.iter().position(|last| version <= *last).unwrap();
            if cells[column + 1] != "–" {
                rows.insert((version, cells[0], cells[column + 1]));
            }
        }
    }
    let ours = RoomVersion::ALL.into_iter().flat_map(|version| {
        rule_numbers(version).map(move |number| (version.number(), rule_clause(version, number).unwrap(), number))
    });
    assert_eq!(rows, ours.collect());
    let clauses = crate::docs::Clauses::read();
    let in_text: BTreeSet<&str> = clauses.matching("A*").collect();
    assert_eq!(in_text, rows.iter().map(|(_, clause, _)| *clause).collect());
}
