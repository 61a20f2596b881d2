//! What of a request is signed.

use state_res::{
    canonical_json::{CanonicalError, Numbers, canonicalise_within, write_string},
    sign::{SigningKey, VerifyKey},
};

use super::XMatrix;
use crate::ApiError;

/// How many levels the body of a request may be nested. More than an event may: one event that is nested too deeply must not make
/// the transaction that carries it fail, again and again.
pub const MAX_NESTING: usize = 512;

/// A request, as it is signed.
#[derive(Clone, Copy, Debug)]
pub struct RequestToSign<'a> {
    /// The method, in upper case.
    pub method: &'a str,
    /// Path and query, as sent.
    pub uri: &'a str,
    /// The server that sends it.
    pub origin: &'a str,
    /// The server that it is for.
    pub destination: &'a str,
    /// The body, if there is one.
    pub content: Option<&'a [u8]>,
}

/// Why a request is not signed, or cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureProblem {
    /// The body has no canonical form.
    #[error("the body has no canonical form: {0}")]
    Body(#[from] CanonicalError),
    /// The signature is wrong.
    #[error("the signature by key {0} does not fit")]
    Wrong(String),
}

impl SignatureProblem {
    /// What the peer is told: 400 for a body that is not JSON, 401 for a wrong signature.
    pub fn to_api_error(&self) -> ApiError {
        match self {
            Self::Body(error) if error.is_syntax() => ApiError::not_json(format!("The body is not JSON: {error}.")),
            Self::Body(error) => ApiError::bad_json(format!("The body cannot be signed: {error}.")),
            Self::Wrong(_) => ApiError::unauthorized(format!("The request is not signed: {self}.")),
        }
    }
}

impl RequestToSign<'_> {
    /// The canonical JSON that is signed (server-server API, "Request Authentication", step 1, without `signatures`).
    ///
    /// # Errors
    ///
    /// The body is not JSON, or nested more deeply than [`MAX_NESTING`]. Numbers in it are taken as they are: it may carry events of
    /// room versions that allow any.
    pub fn to_bytes(&self) -> Result<Vec<u8>, CanonicalError> {
        let mut bytes = b"{".to_vec();
        if let Some(content) = self.content {
            bytes.extend_from_slice(b"\"content\":");
            bytes.extend_from_slice(&canonicalise_within(content, Numbers::Lenient, MAX_NESTING)?);
            bytes.push(b',');
        }
        let members =
            [("destination", self.destination), ("method", self.method), ("origin", self.origin), ("uri", self.uri)];
        for (index, (name, value)) in members.into_iter().enumerate() {
            if index > 0 {
                bytes.push(b',');
            }
            write_string(name, &mut bytes);
            bytes.push(b':');
            write_string(value, &mut bytes);
        }
        bytes.push(b'}');
        Ok(bytes)
    }

    /// Signs the request.
    ///
    /// # Errors
    ///
    /// The body has no canonical form.
    pub fn sign(&self, key: &SigningKey) -> Result<XMatrix, SignatureProblem> {
        Ok(XMatrix {
            origin: self.origin.to_owned(),
            destination: Some(self.destination.to_owned()),
            key: key.key_id().to_owned(),
            signature: key.sign(&self.to_bytes()?),
        })
    }
}

/// That a header's signature is one of these bytes, from [`RequestToSign::to_bytes`], by this key.
///
/// # Errors
///
/// [`SignatureProblem::Wrong`].
pub fn verify(bytes: &[u8], header: &XMatrix, key: &VerifyKey) -> Result<(), SignatureProblem> {
    if key.verifies(bytes, &header.signature) {
        Ok(())
    } else {
        Err(SignatureProblem::Wrong(header.key.chars().take(64).collect()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn request(content: Option<&[u8]>) -> RequestToSign<'_> {
        RequestToSign { method: "PUT", uri: "/_matrix/x?a=%20", origin: "a.example", destination: "b.example", content }
    }

    #[test]
    fn the_signed_form_is_canonical() {
        let bytes = request(Some(b"{\"b\": 1.0, \"a\":\"\\u00e9\\n\"}")).to_bytes().unwrap();
        assert_eq!(
            String::from_utf8(bytes).unwrap(),
            "{\"content\":{\"a\":\"é\\n\",\"b\":1.0},\"destination\":\"b.example\",\"method\":\"PUT\",\"origin\":\"a.example\",\
             \"uri\":\"/_matrix/x?a=%20\"}"
        );
        let bytes = request(None).to_bytes().unwrap();
        assert!(bytes.starts_with(b"{\"destination\""));
    }

    #[test]
    fn whatever_is_changed_breaks_the_signature() {
        let key = SigningKey::from_seed("1", [7; 32]).unwrap();
        let signed = request(Some(b"{\"a\":1}"));
        let header = signed.sign(&key).unwrap();
        let verified = |request: RequestToSign<'_>| verify(&request.to_bytes().unwrap(), &header, &key.verify_key());
        assert_eq!(verified(signed), Ok(()));
        // The same JSON otherwise written is the same.
        assert_eq!(verified(request(Some(b" { \"a\" : 1 } "))), Ok(()));
        for changed in [
            RequestToSign { method: "POST", ..signed },
            RequestToSign { uri: "/_matrix/x?a=+", ..signed },
            RequestToSign { origin: "c.example", ..signed },
            RequestToSign { destination: "c.example", ..signed },
            request(Some(b"{\"a\":2}")),
            request(None),
        ] {
            assert_eq!(verified(changed), Err(SignatureProblem::Wrong("ed25519:1".into())), "{changed:?}");
        }
    }

    #[test]
    fn bodies_without_canonical_form_have_the_right_codes() {
        let code = |body: &[u8]| {
            let error = SignatureProblem::from(request(Some(body)).to_bytes().unwrap_err()).to_api_error();
            (error.status, error.errcode.into_owned())
        };
        assert_eq!(code(b"{\"a\":"), (400, "M_NOT_JSON".into()));
        assert_eq!(code(b"{\"a\":\"\xff\"}"), (400, "M_NOT_JSON".into()));
        let deep = [vec![b'['; MAX_NESTING + 1], vec![b']'; MAX_NESTING + 1]].concat();
        assert_eq!(code(&deep), (400, "M_BAD_JSON".into()));
        assert!(request(Some(&deep[1..deep.len() - 1])).to_bytes().is_ok());
    }
}
