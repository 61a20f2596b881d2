//! Why a text is not an event.

use crate::canonical_json::CanonicalError;

/// Why a text is not an event of its room version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PduError {
    /// It has no canonical JSON form.
    #[error(transparent)]
    Json(#[from] CanonicalError),
    /// It is JSON, but no object.
    #[error("an event must be a JSON object")]
    NotAnObject,
    /// The event or its text is too large.
    #[error("the event has {bytes} bytes, more than the {max} allowed")]
    TooLarge {
        /// How many bytes it has.
        bytes: usize,
        /// How many it may have.
        max: usize,
    },
    /// A field is longer than allowed.
    #[error("`{field}` has {bytes} bytes, more than the {max} allowed")]
    FieldTooLong {
        /// The field.
        field: &'static str,
        /// How many bytes it has.
        bytes: usize,
        /// How many it may have.
        max: usize,
    },
    /// A field that the format asks for is not there.
    #[error("`{field}` is missing")]
    Missing {
        /// The field.
        field: &'static str,
    },
    /// A field is not of the type that the format asks for.
    #[error("`{field}` must be {expected}")]
    WrongType {
        /// The field.
        field: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// A list of events is too long.
    #[error("`{field}` lists more than the {max} events allowed")]
    TooManyReferences {
        /// The field.
        field: &'static str,
        /// How many it may list.
        max: usize,
    },
    /// An identifier does not follow its grammar.
    #[error("`{field}` is not {expected}")]
    NotAnId {
        /// The field.
        field: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// A room version 1 or 2 event was to be built without the hash of an event that it refers to.
    #[error("the reference hash of {event_id}, which this room version asks for, was not given")]
    NoReferenceHash {
        /// The event referred to.
        event_id: String,
    },
}

impl PduError {
    /// The specification's error code for a request that carried such an event.
    #[must_use]
    pub const fn errcode(&self) -> &'static str {
        match self {
            Self::Json(error) if error.is_syntax() => "M_NOT_JSON",
            Self::TooLarge { .. } | Self::FieldTooLong { .. } => "M_TOO_LARGE",
            _ => "M_BAD_JSON",
        }
    }

    /// Whether the event or a field of it is too large (HTTP status 413).
    #[must_use]
    pub const fn is_too_large(&self) -> bool {
        matches!(self, Self::TooLarge { .. } | Self::FieldTooLong { .. })
    }
}
