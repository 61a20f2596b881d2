//! Cutting events down to the members that a client asks for (`event_fields` of a filter).

use serde_json::{Map, Value};

/// The members of `event` that `paths` name, each a dot-separated path (appendices, "Dot-separated property paths").
#[must_use]
pub fn project(event: &Value, paths: &[String]) -> Value {
    let mut out = Map::new();
    for path in paths {
        copy(event, &split(path), &mut out);
    }
    Value::Object(out)
}

fn copy(from: &Value, path: &[String], to: &mut Map<String, Value>) {
    let Some((name, rest)) = path.split_first() else { return };
    let Some(value) = from.get(name) else { return };
    if rest.is_empty() {
        to.insert(name.clone(), value.clone());
        return;
    }
    if !value.is_object() {
        return;
    }
    let member = to.entry(name.clone()).or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(member) = member {
        copy(value, rest, member);
    }
}

/// The names in a path; `\\.` and `\\\\` stand for a dot and a backslash in a name.
fn split(path: &str) -> Vec<String> {
    let mut names = vec![String::new()];
    let mut characters = path.chars().peekable();
    while let Some(character) = characters.next() {
        let escaped = match character {
            '.' => {
                names.push(String::new());
                continue;
            }
            '\\' => characters.next_if(|next| matches!(next, '.' | '\\')),
            _ => None,
        };
        if let Some(name) = names.last_mut() {
            name.push(escaped.unwrap_or(character));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_name_members_at_any_depth() {
        let event = json!({
            "type": "m.x",
            "content": { "body": "b", "m.relates_to": { "event_id": "$e", "key": 1 }, "a\\b": 2, "list": [{ "x": 1 }] },
        });
        for (paths, expected) in [
            (&["type"][..], json!({ "type": "m.x" })),
            (&["content.body", "absent", "type.x"], json!({ "content": { "body": "b" } })),
            (&["content.m\\.relates_to.key"], json!({ "content": { "m.relates_to": { "key": 1 } } })),
            (&["content.m.relates_to"], json!({ "content": {} })),
            (&["content.a\\\\b", "content.a\\b"], json!({ "content": { "a\\b": 2 } })),
            (&["content.list", "content.body"], json!({ "content": { "list": [{ "x": 1 }], "body": "b" } })),
        ] {
            let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
            assert_eq!(project(&event, &paths), expected, "{paths:?}");
        }
        let all = project(&event, &["content".to_owned(), "content.body".to_owned()]);
        assert_eq!(all["content"], event["content"]);
    }
}
