//! Why a peer's answer could not be had.

use net::SendError;
use serde_json::{Map, Value};

use super::RouteError;
use crate::{
    ApiError,
    limits::{MAX_ERROR_MEMBERS, MAX_ERROR_SENTENCE},
};

/// Longest error code that is taken for one, in bytes.
const MAX_ERROR_CODE: usize = 64;

/// Why a request to a peer has no result.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RequestError {
    /// The request cannot be made: an argument does not fit the protocol.
    #[error("cannot ask {destination}: {because}")]
    Unfit {
        /// The peer.
        destination: String,
        /// What is wrong.
        because: String,
    },
    /// The server's name leads nowhere.
    #[error("cannot find {destination}: {cause}")]
    NoRoute {
        /// The peer.
        destination: String,
        /// What was found out.
        cause: RouteError,
    },
    /// There was no answer.
    #[error("no answer from {destination}: {cause}")]
    Send {
        /// The peer.
        destination: String,
        /// What happened.
        cause: SendError,
    },
    /// The peer answered with an error.
    #[error("{destination} answered {error}")]
    Peer {
        /// The peer.
        destination: String,
        /// What it said.
        error: PeerError,
    },
    /// The peer's answer is not what the protocol asks for.
    #[error("{destination} gave an answer that makes no sense: {because}")]
    Malformed {
        /// The peer.
        destination: String,
        /// What is wrong with it.
        because: String,
    },
}

impl RequestError {
    /// What the peer said, if it answered with an error.
    pub fn peer(&self) -> Option<&PeerError> {
        match self {
            Self::Peer { error, .. } => Some(error),
            _ => None,
        }
    }

    /// What happened, in words for whoever made us ask: without the addresses and ports that the error itself names, for the log.
    pub fn for_others(&self) -> String {
        match self {
            Self::NoRoute { destination, .. } => format!("{destination} cannot be found"),
            Self::Send { destination, cause } => format!("no answer from {destination}: {}", cause.in_short()),
            Self::Unfit { .. } | Self::Peer { .. } | Self::Malformed { .. } => self.to_string(),
        }
    }

    /// Whether the peer certainly did not get the request.
    pub fn is_unsent(&self) -> bool {
        match self {
            Self::Unfit { .. } | Self::NoRoute { .. } => true,
            Self::Send { cause, .. } => cause.is_unsent(),
            Self::Peer { .. } | Self::Malformed { .. } => false,
        }
    }

    /// Whether the peer is there and has too much to do: it took the request and did not answer in time, or says so.
    pub fn is_busy(&self) -> bool {
        match self {
            Self::Send { cause, .. } => matches!(cause, SendError::Timeout { unsent: false, .. }),
            Self::Peer { error, .. } => matches!(error.status, 429 | 503 | 504),
            Self::Unfit { .. } | Self::NoRoute { .. } | Self::Malformed { .. } => false,
        }
    }

    /// Whether the peer could not be reached, as opposed to answering something we do not like.
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::NoRoute { .. } | Self::Send { .. } => true,
            Self::Peer { error, .. } => matches!(error.status, 502..=504),
            Self::Unfit { .. } | Self::Malformed { .. } => false,
        }
    }
}

/// An error answer of a peer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{status} {errcode}: {message}")]
pub struct PeerError {
    /// HTTP status.
    pub status: u16,
    /// Its `errcode`; `M_UNKNOWN` if it gave none, or one that is no identifier.
    pub errcode: String,
    /// Its sentence on one line, without control characters, cut to [`MAX_ERROR_SENTENCE`].
    pub message: String,
    /// The whole body, if it is a JSON object.
    pub body: Map<String, Value>,
}

impl PeerError {
    /// Reads an error answer, whatever it looks like.
    pub fn read(status: u16, body: &[u8]) -> Self {
        let body: Map<String, Value> = serde_json::from_slice(body).unwrap_or_default();
        let text = |key: &str| body.get(key).and_then(Value::as_str);
        let errcode = text("errcode").filter(|code| is_code(code)).unwrap_or("M_UNKNOWN").to_owned();
        let message = one_line(text("error").unwrap_or_default());
        Self { status, errcode, message, body }
    }

    /// How long the peer wants us to wait, in milliseconds, if it says so.
    pub fn retry_after_ms(&self) -> Option<u64> {
        self.body.get("retry_after_ms").and_then(Value::as_u64)
    }

    /// Whether the peer says that it has no such endpoint.
    pub fn is_unrecognized(&self) -> bool {
        matches!(self.status, 404 | 405) && (self.errcode == "M_UNRECOGNIZED" || self.body.is_empty())
    }

    /// The same, to pass through to whoever asked us, further members included: all of them, unless they are longer than
    /// [`MAX_ERROR_MEMBERS`].
    pub fn to_api_error(&self) -> ApiError {
        let mut error = ApiError::new(self.status, self.errcode.clone(), self.message.clone());
        let mut others = self.body.clone();
        others.retain(|key, _| key != "errcode" && key != "error");
        if serde_json::to_vec(&others).is_ok_and(|text| text.len() <= MAX_ERROR_MEMBERS) {
            for (key, value) in others {
                error = error.with(&key, value);
            }
        }
        error
    }
}

/// Whether this has the form of an error code.
fn is_code(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    (1..=MAX_ERROR_CODE).contains(&text.len()) && text.bytes().all(is_part)
}

/// What a peer wrote, as one line that can stand among other words: runs of white space and control characters become a space, and what turns the
/// direction of writing goes. At most [`MAX_ERROR_SENTENCE`] bytes.
fn one_line(text: &str) -> String {
    let mut line = String::new();
    let mut is_apart = false;
    for char in text.chars() {
        if char.is_whitespace() || char.is_control() {
            is_apart = true;
            continue;
        }
        if matches!(char, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') {
            continue;
        }
        let space = if is_apart && !line.is_empty() { " " } else { "" };
        if line.len() + space.len() + char.len_utf8() > MAX_ERROR_SENTENCE {
            break;
        }
        line.push_str(space);
        line.push(char);
        is_apart = false;
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_of_peers_are_short_lines() {
        for (text, line) in [
            ("", ""),
            (" \n", ""),
            ("No.", "No."),
            ("\tNo \r\n\u{0}entry\u{85}\u{7f} ", "No entry"),
            ("\u{202e}oN\u{2066}", "oN"),
        ] {
            assert_eq!(one_line(text), line, "{text:?}");
        }
        let long = "ö".repeat(MAX_ERROR_SENTENCE);
        assert_eq!(one_line(&long).len(), MAX_ERROR_SENTENCE);
        assert_eq!(one_line(&format!("a{long}")).len(), MAX_ERROR_SENTENCE - 1);
        let words = "a ".repeat(MAX_ERROR_SENTENCE);
        assert_eq!(one_line(&words).len(), MAX_ERROR_SENTENCE - 1);
    }
}
