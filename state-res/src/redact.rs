//! The redaction algorithm of every room version: what is left of an event when its dispensable parts are removed.
//!
//! Specification: "Redactions" of each room version. Hashes, signatures and event ids are over redacted events, so a
//! redacted copy verifies as the original does.

use serde_json::{Map, Value};

use crate::{
    canonical_json::{Members, is_object},
    room_version::{RedactionRules, RoomVersion},
    switches::{Clause, on},
};

/// Whether [`redact_canonical`] keeps `signatures`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signatures {
    /// The redaction algorithm itself.
    Keep,
    /// As hashing and signing need it.
    Drop,
}

/// The redacted form of an event, complete or not. Objects without a `type` lose all content.
#[must_use]
pub fn redact(version: RoomVersion, event: &Map<String, Value>) -> Map<String, Value> {
    let rules = &version.rules().redaction;
    let event_type = event.get("type").and_then(Value::as_str).unwrap_or_default();
    let mut redacted = Map::new();
    for (name, value) in event {
        if !keeps_top_level(rules, name.as_bytes()) {
            continue;
        }
        let value = match (name.as_str(), value) {
            ("content", Value::Object(content)) => Value::Object(redact_content(rules, event_type, content)),
            _ => value.clone(),
        };
        redacted.insert(name.clone(), value);
    }
    redacted
}

/// Appends the redacted form of an event, from its canonical JSON.
pub(crate) fn redact_canonical(
    rules: &RedactionRules,
    canonical: &[u8],
    event_type: &str,
    signatures: Signatures,
    out: &mut Vec<u8>,
) {
    write_kept(canonical, out, |member, out| {
        if !keeps_top_level(rules, member.name) || (member.name == b"signatures" && signatures == Signatures::Drop) {
            return false;
        }
        if member.name == b"content" && is_object(member.value) {
            out.extend_from_slice(b"\"content\":");
            redact_canonical_content(rules, member.value, event_type, out);
        } else {
            out.extend_from_slice(&canonical[member.start..member.end]);
        }
        true
    });
}

fn redact_canonical_content(rules: &RedactionRules, content: &[u8], event_type: &str, out: &mut Vec<u8>) {
    if keeps_all_content(rules, event_type) {
        out.extend_from_slice(content);
        return;
    }
    let kept = kept_content(rules, event_type);
    let keeps_invite = keeps_third_party_invite(rules, event_type);
    if kept.is_empty() && !keeps_invite {
        out.extend_from_slice(b"{}");
        return;
    }
    write_kept(content, out, |member, out| {
        if keeps_invite && member.name == b"third_party_invite" && is_object(member.value) {
            out.extend_from_slice(b"\"third_party_invite\":");
            write_kept(member.value, out, |inner, out| {
                let is_kept = inner.name == b"signed";
                if is_kept {
                    out.extend_from_slice(&member.value[inner.start..inner.end]);
                }
                is_kept
            });
            return true;
        }
        let is_kept = kept.iter().any(|(name, applies)| name.as_bytes() == member.name && applies(rules));
        if is_kept {
            out.extend_from_slice(&content[member.start..member.end]);
        }
        is_kept
    });
}

fn redact_content(rules: &RedactionRules, event_type: &str, content: &Map<String, Value>) -> Map<String, Value> {
    if keeps_all_content(rules, event_type) {
        return content.clone();
    }
    let mut redacted: Map<String, Value> = kept_content(rules, event_type)
        .iter()
        .filter(|(_, applies)| applies(rules))
        .filter_map(|(name, _)| Some(((*name).to_owned(), content.get(*name)?.clone())))
        .collect();
    if keeps_third_party_invite(rules, event_type)
        && let Some(Value::Object(invite)) = content.get("third_party_invite")
    {
        let signed = invite.get("signed").map(|signed| ("signed".to_owned(), signed.clone()));
        redacted.insert("third_party_invite".to_owned(), signed.into_iter().collect());
    }
    redacted
}

/// Writes an object with those members that `write` wrote.
fn write_kept(
    object: &[u8],
    out: &mut Vec<u8>,
    mut write: impl FnMut(&crate::canonical_json::Member<'_>, &mut Vec<u8>) -> bool,
) {
    out.push(b'{');
    let mut is_first = true;
    for member in Members::of(object) {
        let before = out.len();
        if !is_first {
            out.push(b',');
        }
        if write(&member, out) {
            is_first = false;
        } else {
            out.truncate(before);
        }
    }
    out.push(b'}');
}

fn keeps_top_level(rules: &RedactionRules, name: &[u8]) -> bool {
    match name {
        b"event_id" | b"type" | b"room_id" | b"sender" | b"state_key" | b"content" | b"hashes" | b"signatures"
        | b"depth" | b"prev_events" | b"auth_events" | b"origin_server_ts" => true,
        b"origin" | b"membership" | b"prev_state" => {
            rules.keeps_origin_membership_prev_state && on(Clause::KeptTopLevel)
        }
        _ => false,
    }
}

fn keeps_all_content(rules: &RedactionRules, event_type: &str) -> bool {
    event_type == "m.room.create" && rules.keeps_create_content && on(Clause::KeptCreate)
}

fn keeps_third_party_invite(rules: &RedactionRules, event_type: &str) -> bool {
    event_type == "m.room.member" && rules.keeps_third_party_invite_signed && on(Clause::KeptThirdPartyInvite)
}

/// A name in the content, and whether the rules keep it.
type Kept = (&'static str, fn(&RedactionRules) -> bool);

/// What is kept of the content of events of this type, except for third-party invites and whole create events.
fn kept_content(rules: &RedactionRules, event_type: &str) -> &'static [Kept] {
    const MEMBER: &[Kept] =
        &[("membership", |_| true), ("join_authorised_via_users_server", |rules| rules.keeps_join_authorised)];
    const CREATE: &[Kept] = &[("creator", |_| true)];
    const JOIN_RULES: &[Kept] = &[("join_rule", |_| true), ("allow", |rules| rules.keeps_join_rule_allow)];
    const POWER_LEVELS: &[Kept] = &[
        ("ban", |_| true),
        ("events", |_| true),
        ("events_default", |_| true),
        ("invite", |rules| rules.keeps_invite_level),
        ("kick", |_| true),
        ("redact", |_| true),
        ("state_default", |_| true),
        ("users", |_| true),
        ("users_default", |_| true),
    ];
    const HISTORY_VISIBILITY: &[Kept] = &[("history_visibility", |_| true)];
    const ALIASES: &[Kept] = &[("aliases", |_| true)];
    const REDACTION: &[Kept] = &[("redacts", |_| true)];
    const BODY: &[Kept] = &[("body", |_| true)];
    match event_type {
        "m.room.member" if on(Clause::KeptMember) => MEMBER,
        "m.room.create" => CREATE,
        "m.room.join_rules" if on(Clause::KeptJoinRules) => JOIN_RULES,
        "m.room.power_levels" if on(Clause::KeptPowerLevels) => POWER_LEVELS,
        "m.room.history_visibility" if on(Clause::KeptHistoryVisibility) => HISTORY_VISIBILITY,
        "m.room.aliases" if rules.keeps_aliases && on(Clause::KeptAliases) => ALIASES,
        "m.room.redaction" if rules.keeps_content_redacts && on(Clause::KeptRedaction) => REDACTION,
        _ if !on(Clause::KeptOther) => BODY,
        _ => &[],
    }
}
