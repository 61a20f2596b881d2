//! Applying push rules to events.

use super::Push;
use super::rules::Rules;
use crate::error::{Error, Result};
use crate::rooms::record::{StoredEvent, read_object};
use futures::FutureExt;
use parking_lot::Mutex;
use ruma_common::push::{
    Action, AnyPushRuleRef, FlattenedJson, HighlightTweakValue, PushConditionRoomCtx, Ruleset, Tweak,
};
use ruma_common::serde::Raw;
use serde_json::Value;
use serde_json::value::RawValue;
use state_res::tree::Root;
use std::sync::Arc;

/// What a rule's actions come to; nothing where no rule applies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) notify: bool,
    pub(super) highlight: bool,
}

impl Verdict {
    /// What `actions` come to.
    pub(super) fn of(actions: &[Action]) -> Self {
        let highlights =
            |action: &Action| matches!(action, Action::SetTweak(Tweak::Highlight(HighlightTweakValue::Yes)));
        Self {
            notify: actions.iter().any(|action| matches!(action, Action::Notify)),
            highlight: actions.iter().any(highlights),
        }
    }
}

/// An event in the form that rules are applied to.
pub(super) struct Judged {
    flattened: FlattenedJson,
    /// What the default rules make of it, whoever's they are, in a state of the room.
    by_default: Mutex<Option<(Root, Verdict)>>,
}

impl Judged {
    fn of(event: &StoredEvent, room_id: &str) -> Result<Self> {
        let mut json = event.client_event(Some(room_id), None);
        if event.version().is_none_or(|version| !version.rules().strict_canonical_json) {
            // The library panics at numbers that no double can hold.
            json = Value::Object(read_object(&json)?).to_string();
        }
        let raw = RawValue::from_string(json).map_err(Error::internal)?;
        Ok(Self { flattened: FlattenedJson::from_raw(&Raw::<Value>::from_json(raw)), by_default: Mutex::default() })
    }

    /// Whether the default rules may make different things of it for different people. Two of them depend on whose they are
    /// ("Push notifications", "Predefined rules"): `.m.rule.invite_for_me` by the state key, and `.m.rule.is_user_mention`.
    fn is_personal(&self) -> bool {
        self.flattened.get_str("state_key").is_some() || self.flattened.get(r"content.m\.mentions.user_ids").is_some()
    }

    /// The first rule that applies.
    fn rule<'r>(&self, rules: &'r Ruleset, context: &PushConditionRoomCtx) -> Option<AnyPushRuleRef<'r>> {
        // Rules wait for nothing: none of the conditions we compile asks anyone.
        rules.into_iter().find(|rule| rule.applies(&self.flattened, context).now_or_never() == Some(true))
    }

    /// What the first rule that applies comes to. `context` is the room as the rules' owner sees it in the state `root`.
    fn verdict(&self, rules: &Rules, root: Root, context: &PushConditionRoomCtx) -> Verdict {
        let verdict = self.rule(&rules.rules, context).map(|rule| Verdict::of(rule.actions())).unwrap_or_default();
        // Of an event of one's own nobody is notified.
        let own = self.flattened.get_str("sender").is_some_and(|sender| sender == context.user_id.as_str());
        if rules.are_default() && !own && !self.is_personal() {
            *self.by_default.lock() = Some((root, verdict));
        }
        verdict
    }

    /// What the default rules are known to make of it in the state `root`, for everyone but its sender.
    fn by_default(&self, root: Root) -> Option<Verdict> {
        self.by_default.lock().filter(|(known, _)| *known == root).map(|(_, verdict)| verdict)
    }
}

impl Push {
    /// What an event comes to for a user who has these rules, and did not send it. `context` gives the room as they see it in the state `root`.
    /// `None` where that gives nothing.
    pub(super) fn verdict_for(
        &self,
        rules: &Rules,
        event: &StoredEvent,
        root: Root,
        context: impl FnOnce() -> Result<Option<Arc<PushConditionRoomCtx>>>,
    ) -> Result<Option<Verdict>> {
        let known = self.judged.lock().get(&event.key()).cloned();
        if rules.are_default()
            && let Some(verdict) = known.as_ref().and_then(|known| known.by_default(root))
        {
            return Ok(Some(verdict));
        }
        let Some(context) = context()? else { return Ok(None) };
        let judged = known.map_or_else(|| self.judged(event, context.room_id.as_str()), Ok)?;
        Ok(Some(judged.verdict(rules, root, &context)))
    }

    /// The first rule that applies to an event.
    pub(super) fn rule_for<'r>(
        &self,
        rules: &'r Ruleset,
        context: &PushConditionRoomCtx,
        event: &StoredEvent,
    ) -> Result<Option<AnyPushRuleRef<'r>>> {
        Ok(self.judged(event, context.room_id.as_str())?.rule(rules, context))
    }

    fn judged(&self, event: &StoredEvent, room_id: &str) -> Result<Arc<Judged>> {
        if let Some(known) = self.judged.lock().get(&event.key()) {
            return Ok(Arc::clone(known));
        }
        let judged = Arc::new(Judged::of(event, room_id)?);
        self.judged.lock().put(event.key(), Arc::clone(&judged));
        Ok(judged)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;
    use ruma_common::power_levels::NotificationPowerLevels;
    use ruma_common::push::PushConditionPowerLevelsCtx;
    use ruma_common::room_version_rules::{AuthorizationRules, RoomPowerLevelsRules};
    use ruma_common::{OwnedUserId, UserId};
    use serde_json::json;
    use std::collections::BTreeMap;

    const USERS: [&str; 4] = ["@alice:a.example", "@bob:a.example", "@carol:b.example", "@a*:a.example"];

    fn context(user: &str, members: u32, moderator: &str) -> PushConditionRoomCtx {
        let user: OwnedUserId = user.try_into().unwrap();
        let name = user.localpart().to_owned();
        let mut context = PushConditionRoomCtx::new("!r:a.example".try_into().unwrap(), members.into(), user, name);
        let levels = BTreeMap::from([(moderator.try_into().unwrap(), 50.into())]);
        let rules = RoomPowerLevelsRules::new(&AuthorizationRules::V6, None);
        context.power_levels =
            Some(PushConditionPowerLevelsCtx::new(levels, 0.into(), NotificationPowerLevels::new(), rules));
        context
    }

    fn judged(event: &Value) -> Judged {
        let raw = Raw::<Value>::from_json(RawValue::from_string(event.to_string()).unwrap());
        Judged { flattened: FlattenedJson::from_raw(&raw), by_default: Mutex::default() }
    }

    fn event() -> impl Strategy<Value = Value> {
        let user = || proptest::sample::select(USERS.to_vec());
        let kind = proptest::sample::select(vec![
            "m.room.message",
            "m.room.encrypted",
            "m.room.member",
            "m.reaction",
            "m.call.invite",
            "m.room.tombstone",
            "m.room.server_acl",
        ]);
        let mentions = proptest::option::of(prop_oneof![
            proptest::collection::vec(user(), 0..3).prop_map(|users| json!({ "user_ids": users })),
            any::<bool>().prop_map(|room| json!({ "room": room })),
            Just(json!({ "user_ids": "@alice:a.example" })),
            Just(json!(["@alice:a.example"])),
        ]);
        let state_key = proptest::option::of(prop_oneof![user().prop_map(str::to_owned), Just(String::new())]);
        let membership = proptest::sample::select(vec!["invite", "join"]);
        let body = proptest::sample::select(vec!["alice", "hello @bob:a.example", "m.notice", ""]);
        let msgtype = proptest::sample::select(vec!["m.text", "m.notice"]);
        (kind, user(), mentions, state_key, membership, body, msgtype, any::<bool>()).prop_map(
            |(kind, sender, mentions, state_key, membership, body, msgtype, edit)| {
                let mut event = json!({
                    "type": kind, "sender": sender, "event_id": "$e", "origin_server_ts": 1,
                    "content": { "body": body, "msgtype": msgtype, "membership": membership },
                });
                if let Some(mentions) = mentions {
                    event["content"]["m.mentions"] = mentions;
                }
                if let Some(state_key) = state_key {
                    event["state_key"] = json!(state_key);
                }
                if edit {
                    event["content"]["m.relates_to"] = json!({ "rel_type": "m.replace", "event_id": "$other" });
                }
                event
            },
        )
    }

    proptest! {
        /// Whoever judges an event first, everybody else gets what their own rules say.
        #[test]
        fn what_is_shared_is_what_everyones_own_rules_say(
            event in event(),
            first in 0..USERS.len(),
            members in 1..4_u32,
            moderator in proptest::sample::select(USERS.to_vec()),
        ) {
            let sender = event["sender"].as_str().unwrap();
            let judged = judged(&event);
            let root = Root::EMPTY;
            let own = |user: &str| Rules::defaults(<&UserId>::try_from(user).unwrap());
            let of = |user: &str| judged.verdict(&own(user), root, &context(user, members, moderator));
            of(USERS[first]);
            for user in USERS.iter().filter(|user| **user != sender) {
                if let Some(shared) = judged.by_default(root) {
                    let rules = own(user);
                    let alone = judged.rule(&rules.rules, &context(user, members, moderator));
                    prop_assert_eq!(shared, alone.map(|rule| Verdict::of(rule.actions())).unwrap_or_default());
                }
            }
        }
    }
}
