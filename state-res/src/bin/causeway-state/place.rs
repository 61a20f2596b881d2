//! Where in the text of an event the thing is that a complaint is about.

use serde_json::value::RawValue;
use state_res::{
    canonical_json::{CanonicalError, MAX_INTEGER, MAX_NESTING},
    ids::MAX_ID_BYTES,
    pdu::{MAX_AUTH_EVENTS, MAX_PREV_EVENTS, PduError},
    room_version::RoomVersion,
};

use crate::{
    failure::Failure,
    input::{Source, joined, shown},
};

/// A value in a text, and its path.
#[derive(Clone)]
pub(crate) struct Place<'a> {
    pub(crate) value: &'a RawValue,
    pub(crate) path: String,
}

impl<'a> Place<'a> {
    pub(crate) fn new(value: &'a RawValue, path: impl Into<String>) -> Self {
        Place { value, path: path.into() }
    }

    /// The members of an object with their names, of several with one name the last; none if this is no object.
    fn members(&self, source: &Source<'a>) -> Vec<(String, Place<'a>)> {
        let members = source.object(self.value, "").unwrap_or_default();
        let place = |name: &str, value| Place::new(value, joined(&self.path, &shown(name)));
        members.into_iter().map(|(name, value)| (name.clone(), place(&name, value))).collect()
    }

    /// The elements of an array; none if this is no array.
    fn elements(&self, source: &Source<'a>) -> Vec<Place<'a>> {
        let elements = source.array(self.value, "").unwrap_or_default();
        let place = |(at, value)| Place::new(value, format!("{}[{at}]", self.path));
        elements.into_iter().enumerate().map(place).collect()
    }

    /// A member of an object.
    pub(crate) fn member(&self, source: &Source<'a>, name: &str) -> Option<Place<'a>> {
        self.members(source).into_iter().find(|(member, _)| member == name).map(|(_, place)| place)
    }

    /// An element of an array.
    pub(crate) fn element(&self, source: &Source<'a>, at: usize) -> Option<Place<'a>> {
        self.elements(source).into_iter().nth(at)
    }

    /// A complaint about this.
    pub(crate) fn complain(&self, source: &Source<'_>, reason: impl std::fmt::Display) -> Failure {
        source.complain(self.value, self.path.as_str(), reason)
    }
}

/// What is wrong with a text that should be an event, at the member, the element or the character that is wrong.
pub(crate) fn not_an_event(source: &Source<'_>, version: RoomVersion, event: &Place<'_>, error: &PduError) -> Failure {
    match error {
        PduError::Json(CanonicalError::NotUtf8 { at }) => {
            source.complain_within(event.value, *at, event.path.as_str(), error)
        }
        PduError::Json(CanonicalError::Syntax { at, expected }) => {
            let reason = format!("is not JSON: {expected} is missing");
            source.complain_within(event.value, *at, event.path.as_str(), reason)
        }
        PduError::Json(CanonicalError::TooDeep) => {
            source.complain_within(event.value, too_deep(event.value.get()), event.path.as_str(), error)
        }
        PduError::Json(CanonicalError::NotAnInteger { .. } | CanonicalError::OutOfRange { .. }) => {
            let members = event.members(source).into_iter().filter(|(name, _)| name != "unsigned");
            let number = members.into_iter().find_map(|(_, member)| odd_number(source, &member));
            number.unwrap_or_else(|| event.clone()).complain(source, error)
        }
        PduError::FieldTooLong { field, .. }
        | PduError::WrongType { field, .. }
        | PduError::TooManyReferences { field, .. }
        | PduError::NotAnId { field, .. } => {
            let reason = error.to_string().replacen(&format!("`{field}` "), "", 1);
            let member = nearest(source, event, field);
            let within = match (*field, error) {
                ("prev_events", PduError::TooManyReferences { .. }) => member.element(source, MAX_PREV_EVENTS),
                ("auth_events", PduError::TooManyReferences { .. }) => member.element(source, MAX_AUTH_EVENTS),
                ("prev_events" | "auth_events", PduError::WrongType { .. }) => {
                    if let Some(element) =
                        member.elements(source).into_iter().find(|element| !is_reference(source, version, element))
                    {
                        return element.complain(source, format!("must be {}", reference(version)));
                    }
                    None
                }
                ("prev_events" | "auth_events", PduError::FieldTooLong { .. }) => {
                    let is_long =
                        |element: &Place<'_>| id_of(source, element).is_some_and(|id| id.len() > MAX_ID_BYTES);
                    member.elements(source).into_iter().find(is_long)
                }
                ("prev_events" | "auth_events", PduError::NotAnId { .. }) => {
                    let is_none = |element: &Place<'_>| id_of(source, element).is_some_and(|id| !id.starts_with('$'));
                    if let Some(element) = member.elements(source).into_iter().find(is_none) {
                        return element.complain(source, "must be an event id, which begins with `$`");
                    }
                    None
                }
                ("signatures", PduError::WrongType { .. }) => {
                    if let Some((place, expected)) = odd_signature(source, &member) {
                        return place.complain(source, format!("must be {expected}"));
                    }
                    None
                }
                _ => None,
            };
            within.unwrap_or(member).complain(source, reason)
        }
        // Of what is missing the object that lacks it: the event, but for `hashes.sha256`.
        PduError::Missing { field } => match field.rsplit_once('.') {
            Some((outer, member)) => nearest(source, event, outer).complain(source, format!("`{member}` is missing")),
            None => event.complain(source, error),
        },
        PduError::NotAnObject | PduError::TooLarge { .. } | PduError::NoReferenceHash { .. } | PduError::Json(_) => {
            event.complain(source, error)
        }
    }
}

/// The member of a member that a path of names leads to, or as near to it as there is something.
fn nearest<'a>(source: &Source<'a>, event: &Place<'a>, field: &str) -> Place<'a> {
    let mut place = event.clone();
    for name in field.split('.') {
        match place.member(source, name) {
            Some(member) => place = member,
            None => break,
        }
    }
    place
}

/// Whether this can be an element of `prev_events` or `auth_events`.
fn is_reference(source: &Source<'_>, version: RoomVersion, element: &Place<'_>) -> bool {
    if !version.rules().references_carry_hashes() {
        return element.value.get().starts_with('"');
    }
    match element.elements(source).as_slice() {
        [id, hashes] => id.value.get().starts_with('"') && hashes.value.get().starts_with('{'),
        _ => false,
    }
}

fn reference(version: RoomVersion) -> &'static str {
    if version.rules().references_carry_hashes() {
        "a pair of an event id and an object of hashes"
    } else {
        "an event id"
    }
}

/// The event id in an element of `prev_events` or `auth_events`.
fn id_of(source: &Source<'_>, element: &Place<'_>) -> Option<String> {
    let id = element.element(source, 0).unwrap_or_else(|| element.clone());
    source.string(id.value, String::new).ok()
}

/// What in `signatures` is not as it must be, and what it must be.
fn odd_signature<'a>(source: &Source<'a>, signatures: &Place<'a>) -> Option<(Place<'a>, &'static str)> {
    signatures.members(source).into_iter().find_map(|(_, server)| {
        if !server.value.get().starts_with('{') {
            return Some((server, "an object of signatures by key id"));
        }
        let odd = server.members(source).into_iter().find(|(_, signature)| !signature.value.get().starts_with('"'));
        odd.map(|(_, signature)| (signature, "a string"))
    })
}

/// The first number in a value, in canonical order, that canonical JSON does not have. The value is known to be nested no
/// deeper than an event may be.
fn odd_number<'a>(source: &Source<'a>, place: &Place<'a>) -> Option<Place<'a>> {
    let text = place.value.get();
    match text.as_bytes().first() {
        Some(b'{') => place.members(source).into_iter().find_map(|(_, member)| odd_number(source, &member)),
        Some(b'[') => place.elements(source).into_iter().find_map(|element| odd_number(source, &element)),
        Some(b'-' | b'0'..=b'9') => {
            let is_canonical = text.parse::<i64>().is_ok_and(|number| (-MAX_INTEGER..=MAX_INTEGER).contains(&number));
            (!is_canonical).then(|| place.clone())
        }
        _ => None,
    }
}

/// The offset of the bracket that opens one level too many.
fn too_deep(text: &str) -> usize {
    let (mut depth, mut in_string, mut is_escaped) = (0, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_string => is_escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                if depth > MAX_NESTING {
                    return at;
                }
            }
            b'}' | b']' if !in_string => depth -= 1,
            _ => {}
        }
    }
    0
}
