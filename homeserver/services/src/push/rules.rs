//! A user's push rules: the specification's defaults and what the user made of them, kept as their `m.push_rules` account data.

use super::Push;
use crate::accounts::account_data;
use crate::commit::commit;
use crate::error::{Error, Result};
use ruma_common::UserId;
use ruma_common::push::{
    Action, InsertPushRuleError, NewConditionalPushRule, NewPatternedPushRule, NewPushRule, NewSimplePushRule,
    PushCondition, RemovePushRuleError, RuleKind, Ruleset,
};
use serde::Deserialize;
use serde_json::{Value, json};
use state_res::ids::UserKey;
use std::sync::Arc;
use storage::{Batch, Snapshot, Version};

/// A user's rules.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    /// Parsed.
    pub(super) rules: Arc<Ruleset>,
    /// The version of the account data that say them; `None` for the defaults.
    version: Option<Version>,
}

impl Rules {
    /// Those of a user who never changed them.
    pub(super) fn defaults(user_id: &UserId) -> Self {
        Self { rules: Arc::new(Ruleset::server_default(user_id)), version: None }
    }

    /// Whether they are the specification's.
    pub(super) fn are_default(&self) -> bool {
        self.version.is_none()
    }
}

/// The type of account data in which rules are kept.
const KIND: &str = account_data::PUSH_RULES;
/// How often a change is tried again after another came first.
const MAX_TRIES: usize = 8;
/// Bytes of a pattern. What evaluates them makes each a program, which it refuses to do without bounds.
const MAX_PATTERN_BYTES: usize = 512;
/// Most rules of a user.
const MAX_RULES: usize = 1_000;

/// Body of `PUT /pushrules/global/{kind}/{ruleId}`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct RuleChange {
    /// What the rule does.
    pub actions: Vec<Value>,
    /// When it applies (`override`, `underride`).
    #[serde(default)]
    pub conditions: Vec<Value>,
    /// What it looks for (`content`).
    #[serde(default)]
    pub pattern: Option<String>,
}

/// The kinds of rules.
const KINDS: [&str; 5] = ["override", "content", "room", "sender", "underride"];

fn unknown_rule(kind: &str, rule_id: &str) -> Error {
    Error::not_found(format!("You have no push rule {rule_id:?} of kind {kind:?}."))
}

fn kind_of(kind: &str) -> Result<RuleKind> {
    match kind {
        _ if KINDS.contains(&kind) => Ok(RuleKind::from(kind)),
        _ => Err(Error::invalid_param(format!(
            "There is no kind of push rule {kind:?}; there are override, underride, sender, room and content."
        ))),
    }
}

/// Adds a rule, or replaces the one of its kind and name, which stays switched on or off as it was. With `before` it becomes the next-most
/// important to that rule, with `after` the next-less important; with neither a replaced rule stays where it is, and a new one comes first.
///
/// # Errors
/// 400 `M_INVALID_PARAM` or 404 `M_NOT_FOUND`; `rules` may have been changed then.
fn place(rules: &mut Ruleset, rule: NewPushRule, before: Option<&str>, after: Option<&str>) -> Result<()> {
    let (kind, id) = (rule.kind(), rule.rule_id().to_owned());
    if [before, after].contains(&Some(&id)) {
        return Err(Error::invalid_param(format!("The rule {id:?} cannot be placed before or after itself.")));
    }
    let enabled = rules.get(kind.clone(), &id).filter(|_| before.or(after).is_some()).map(|rule| rule.enabled());
    if enabled.is_some() {
        // The library reckons the place as if the rule were not there yet. Default rules it removes no more than it inserts them.
        let _ = rules.remove(kind.clone(), &id);
    }
    rules.insert(rule, after, before).map_err(|error| match error {
        InsertPushRuleError::UnknownRuleId => Error::not_found("There is no rule as `before` or `after` names it."),
        other => Error::invalid_param(format!("The rule cannot be added: {other}.")),
    })?;
    if let Some(enabled) = enabled {
        rules.set_enabled(kind, &id, enabled).map_err(Error::internal)?;
    }
    Ok(())
}

fn parse<T: serde::de::DeserializeOwned>(values: &[Value], what: &str) -> Result<Vec<T>> {
    values
        .iter()
        .map(|value| {
            serde_json::from_value(value.clone())
                .map_err(|error| Error::bad_json(format!("`{what}` contains {value}, which is none: {error}.")))
        })
        .collect()
}

/// The content of `m.push_rules`, with all kinds, also those of which there are no rules: clients may look for them.
fn content(rules: &Ruleset) -> Result<Value> {
    let mut rules = serde_json::to_value(rules).map_err(Error::internal)?;
    for kind in KINDS {
        if rules.get(kind).is_none() {
            rules[kind] = json!([]);
        }
    }
    Ok(json!({ "global": rules }))
}

impl Push {
    /// The content of a user's `m.push_rules`: JSON of `{"global": …}`.
    pub fn content(&self, snapshot: &Snapshot, user_id: &str) -> Result<Value> {
        content(&self.ruleset(snapshot, user_id)?.rules)
    }

    /// Whether a user's rules are the defaults, so that no account data says them.
    pub fn are_default(&self, snapshot: &Snapshot, user_id: &str) -> Result<bool> {
        Ok(account_data::get(snapshot, UserKey::of(user_id), None, KIND)?.is_none())
    }

    pub(super) fn ruleset(&self, snapshot: &Snapshot, user_id: &str) -> Result<Rules> {
        let user = UserKey::of(user_id);
        self.rulesets.get(snapshot, user, &user, |former| {
            let stored = account_data::get(snapshot, user, None, KIND)?;
            let version = stored.as_ref().map(|bytes| Version::of(bytes));
            if let Some(former) = former.filter(|known| known.version == version) {
                return Ok(former);
            }
            match stored {
                Some(bytes) => {
                    let mut content: Value = serde_json::from_slice(&bytes).map_err(Error::internal)?;
                    let rules = serde_json::from_value(content["global"].take()).map_err(Error::internal)?;
                    Ok(Rules { rules: Arc::new(rules), version })
                }
                None => <&UserId>::try_from(user_id)
                    .map(Rules::defaults)
                    .map_err(|error| Error::invalid_param(format!("{user_id:?} is no user id: {error}."))),
            }
        })
    }

    /// One rule, as the API shows it.
    ///
    /// # Errors
    /// 404 `M_NOT_FOUND`.
    pub fn rule(&self, user_id: &str, kind: &str, rule_id: &str) -> Result<Value> {
        let mut content = self.content(&self.store.snapshot(), user_id)?;
        kind_of(kind)?;
        content["global"][kind]
            .as_array_mut()
            .and_then(|rules| rules.iter_mut().find(|rule| rule["rule_id"] == rule_id))
            .map(Value::take)
            .ok_or_else(|| unknown_rule(kind, rule_id))
    }

    /// Adds or replaces a rule of the user's own.
    ///
    /// # Errors
    /// 400 `M_INVALID_PARAM` or `M_BAD_JSON`; 404 `M_NOT_FOUND` for an unknown `before` or `after`.
    pub async fn put_rule(
        &self,
        user_id: &str,
        kind: &str,
        rule_id: &str,
        change: RuleChange,
        before: Option<&str>,
        after: Option<&str>,
    ) -> Result<()> {
        let actions: Vec<Action> = parse(&change.actions, "actions")?;
        let patterns = change.conditions.iter().filter_map(|condition| condition.get("pattern")?.as_str());
        for pattern in patterns.chain(change.pattern.as_deref()) {
            if pattern.len() > MAX_PATTERN_BYTES {
                return Err(Error::invalid_param(format!(
                    "A pattern of {} bytes is too long; it may have {MAX_PATTERN_BYTES}.",
                    pattern.len()
                )));
            }
        }
        let id = rule_id.to_owned();
        let rule = match kind_of(kind)? {
            RuleKind::Override | RuleKind::Underride => {
                let conditions: Vec<PushCondition> = parse(&change.conditions, "conditions")?;
                let rule = NewConditionalPushRule::new(id, conditions, actions);
                if kind == "override" { NewPushRule::Override(rule) } else { NewPushRule::Underride(rule) }
            }
            RuleKind::Content => {
                let pattern = change
                    .pattern
                    .ok_or_else(|| Error::missing_param("`pattern` is missing; content rules need one."))?;
                NewPushRule::Content(NewPatternedPushRule::new(id, pattern, actions))
            }
            RuleKind::Room => {
                let room = id
                    .as_str()
                    .try_into()
                    .map_err(|error| Error::invalid_param(format!("{id:?} is no room id: {error}.")))?;
                NewPushRule::Room(NewSimplePushRule::new(room, actions))
            }
            RuleKind::Sender => {
                let user = id
                    .as_str()
                    .try_into()
                    .map_err(|error| Error::invalid_param(format!("{id:?} is no user id: {error}.")))?;
                NewPushRule::Sender(NewSimplePushRule::new(user, actions))
            }
            _ => return Err(unknown_rule(kind, rule_id)),
        };
        self.change(user_id, |rules| {
            let is_new = rules.get(rule.kind(), rule.rule_id()).is_none();
            if is_new && rules.iter().count() >= MAX_RULES {
                return Err(Error::forbidden(format!("You have {MAX_RULES} push rules, which is the most.")));
            }
            place(rules, rule.clone(), before, after)
        })
        .await
    }

    /// Removes a rule of the user's own.
    ///
    /// # Errors
    /// 404 `M_NOT_FOUND`; 400 `M_INVALID_PARAM` for a default rule.
    pub async fn remove_rule(&self, user_id: &str, kind: &str, rule_id: &str) -> Result<()> {
        let known = kind_of(kind)?;
        self.change(user_id, |rules| {
            rules.remove(known.clone(), rule_id).map_err(|error| match error {
                RemovePushRuleError::NotFound => unknown_rule(kind, rule_id),
                other => Error::invalid_param(format!("The rule cannot be removed: {other}.")),
            })
        })
        .await
    }

    /// Switches a rule on or off.
    ///
    /// # Errors
    /// 404 `M_NOT_FOUND`.
    pub async fn set_enabled(&self, user_id: &str, kind: &str, rule_id: &str, enabled: bool) -> Result<()> {
        let known = kind_of(kind)?;
        self.change(user_id, |rules| {
            rules.set_enabled(known.clone(), rule_id, enabled).map_err(|_| unknown_rule(kind, rule_id))
        })
        .await
    }

    /// Replaces what a rule does.
    ///
    /// # Errors
    /// 404 `M_NOT_FOUND`; 400 `M_BAD_JSON`.
    pub async fn set_actions(&self, user_id: &str, kind: &str, rule_id: &str, actions: &[Value]) -> Result<()> {
        let known = kind_of(kind)?;
        let actions: Vec<Action> = parse(actions, "actions")?;
        self.change(user_id, |rules| {
            rules.set_actions(known.clone(), rule_id, actions.clone()).map_err(|_| unknown_rule(kind, rule_id))
        })
        .await
    }

    async fn change(&self, user_id: &str, mut work: impl FnMut(&mut Ruleset) -> Result<()>) -> Result<()> {
        for _ in 0..MAX_TRIES {
            let snapshot = self.store.snapshot();
            let mut rules = (*self.ruleset(&snapshot, user_id)?.rules).clone();
            work(&mut rules)?;
            let content = content(&rules)?.to_string().into_bytes();
            let mut batch = Batch::with_random_id(self.store.world());
            account_data::put(&mut batch, &snapshot, UserKey::of(user_id), None, KIND, &content)?;
            if commit(&self.store, batch).await?.is_some() {
                return Ok(());
            }
        }
        Err(Error::new(503, "M_UNKNOWN", "Your push rules are being changed from too many places at once; try again."))
    }
}
