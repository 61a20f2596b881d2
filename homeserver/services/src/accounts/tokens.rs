//! Access and refresh tokens: random strings, of which the store only ever sees hashes.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use net::World;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use sha2::{Digest, Sha256};

/// Random bytes in a token.
const TOKEN_BYTES: usize = 32;

/// SHA-256 of a token. Tokens are random and long, so that a plain hash is as good as a slow one; and because lookups
/// are by hash, the time they take says nothing about a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash(pub [u8; 32]);

impl TokenHash {
    /// The hash of a token as the client sent it.
    #[must_use]
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }
}

impl Serialize for TokenHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl<'de> Deserialize<'de> for TokenHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        let bytes = URL_SAFE_NO_PAD.decode(text.as_bytes()).map_err(D::Error::custom)?;
        bytes.try_into().map(Self).map_err(|_| D::Error::custom("a token hash has 32 bytes"))
    }
}

/// A new access token. The prefix lets secret scanners recognise it.
pub(super) fn new_access_token(world: &World) -> String {
    format!("cwa_{}", URL_SAFE_NO_PAD.encode(world.random_bytes::<TOKEN_BYTES>()))
}

/// A new refresh token.
pub(super) fn new_refresh_token(world: &World) -> String {
    format!("cwr_{}", URL_SAFE_NO_PAD.encode(world.random_bytes::<TOKEN_BYTES>()))
}

/// A new device id: ten capital letters, short enough to read out.
pub(super) fn new_device_id(world: &World) -> String {
    letters(&world.random_bytes::<10>(), b'A')
}

/// A new localpart, for those who register without a name.
pub(super) fn new_localpart(world: &World) -> String {
    letters(&world.random_bytes::<12>(), b'a')
}

fn letters(random: &[u8], first: u8) -> String {
    // 256 is no multiple of 26; the slight bias is harmless in a name.
    random.iter().map(|byte| char::from(first + byte % 26)).collect()
}

/// A new id of a session of user-interactive auth.
pub(super) fn new_session_id(world: &World) -> String {
    URL_SAFE_NO_PAD.encode(world.random_bytes::<18>())
}
