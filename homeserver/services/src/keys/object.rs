//! Key objects: JSON that is signed and compared without its signatures.

use crate::error::{Error, Result};
use serde_json::{Map, Value};
use state_res::canonical_json::{self, Numbers};

/// Bytes of the identity keys of a device or of a cross-signing key.
pub(super) const MAX_KEY_OBJECT_BYTES: usize = 16 * 1024;

/// The canonical form, which is what is stored.
///
/// # Errors
///
/// 400 `M_BAD_JSON` if there is none, 413 `M_TOO_LARGE`.
pub(super) fn canonical(what: &str, value: &Value, most: usize) -> Result<Vec<u8>> {
    let bytes = canonical_json::to_vec(value, Numbers::Whole)
        .map_err(|cause| Error::bad_json(format!("{what} has no canonical JSON form: {cause}.")))?;
    if bytes.len() > most {
        return Err(Error::too_large(format!("{what} has more than {most} bytes.")));
    }
    Ok(bytes)
}

/// Reads a stored object.
pub(super) fn stored(table: storage::Table, bytes: &[u8]) -> Result<Map<String, Value>> {
    crate::accounts::record::from_bytes(table, bytes)
}

/// Whether two key objects differ in nothing but signatures.
pub(super) fn is_same_key(a: &Map<String, Value>, b: &Map<String, Value>) -> bool {
    fn covered(object: &Map<String, Value>) -> impl Iterator<Item = (&String, &Value)> {
        object.iter().filter(|(name, _)| *name != "signatures" && *name != "unsigned")
    }
    covered(a).count() == covered(b).count() && covered(a).all(|(name, value)| b.get(name) == Some(value))
}

/// The signatures by one user: by key id.
pub(super) fn signatures_by<'a>(
    object: &'a Map<String, Value>,
    user_id: &str,
) -> impl Iterator<Item = (&'a str, &'a str)> {
    let signatures = object.get("signatures").and_then(|signatures| signatures.get(user_id)).and_then(Value::as_object);
    let signatures = signatures.into_iter().flatten();
    signatures.filter_map(|(key_id, signature)| Some((key_id.as_str(), signature.as_str()?)))
}

/// Adds a signature. Whether there was none like it.
pub(super) fn add_signature(object: &mut Map<String, Value>, user_id: &str, key_id: &str, signature: &str) -> bool {
    if signatures_by(object, user_id).any(|(id, value)| id == key_id && value == signature) {
        return false;
    }
    let by_user = member(member(object, "signatures"), user_id);
    by_user.insert(key_id.to_owned(), Value::String(signature.to_owned()));
    true
}

fn member<'a>(object: &'a mut Map<String, Value>, name: &str) -> &'a mut Map<String, Value> {
    let value = object.entry(name).or_insert_with(|| Value::Object(Map::new()));
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().expect("it was made an object in the lines above")
}

/// Whether a value has the form of `signatures`: by user, by key id.
pub(super) fn is_signatures(value: &Value) -> bool {
    value.as_object().is_some_and(|users| users.values().all(is_texts))
}

fn is_texts(value: &Value) -> bool {
    value.as_object().is_some_and(|texts| texts.values().all(Value::is_string))
}

/// Checks the members that every key object has, as far as they are there: `keys`, `signatures`, `algorithms`.
///
/// # Errors
///
/// 400 `M_BAD_JSON`.
pub(super) fn check_form(what: &str, object: &Map<String, Value>) -> Result<()> {
    let wrong = |member: &str, form: &str| Err(Error::bad_json(format!("`{member}` of {what} must be {form}.")));
    if !object.get("keys").is_none_or(is_texts) {
        return wrong("keys", "an object of strings");
    }
    if !object.get("signatures").is_none_or(is_signatures) {
        return wrong("signatures", "an object of objects of strings");
    }
    let is_list = |value: &Value| value.as_array().is_some_and(|names| names.iter().all(Value::is_string));
    if !object.get("algorithms").is_none_or(is_list) {
        return wrong("algorithms", "a list of strings");
    }
    Ok(())
}
