//! Passwords: Argon2id, off the async threads, a few at a time.

use crate::{Error, Result};
use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use net::World;
use std::sync::{Arc, OnceLock};
use tokio::sync::Semaphore;

/// Bytes of a password; more would only be work for Argon2.
pub const MAX_PASSWORD_BYTES: usize = 1024;

/// OWASP's recommendation for Argon2id where memory is shared with other work: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const SALT_BYTES: usize = 16;

/// How many hashes are computed at once: each takes 19 MiB and a core for tens of milliseconds.
const MAX_AT_ONCE: usize = 2;
/// How many may wait for their turn before others are sent away.
const MAX_WAITING: usize = 64;
/// What those who are sent away are told, in milliseconds.
const RETRY_AFTER_MS: u64 = 2_000;

/// Hashes and checks passwords.
pub(super) struct Passwords {
    world: World,
    running: Arc<Semaphore>,
    queue: Arc<Semaphore>,
    /// A hash to check against where there is no account, so that an answer's delay does not tell which names exist.
    decoy: Arc<OnceLock<String>>,
}

impl Passwords {
    pub(super) fn new(world: World) -> Self {
        Self {
            world,
            running: Arc::new(Semaphore::new(MAX_AT_ONCE)),
            queue: Arc::new(Semaphore::new(MAX_AT_ONCE + MAX_WAITING)),
            decoy: Arc::default(),
        }
    }

    /// The hash of a new password, in PHC form.
    pub(super) async fn hash(&self, password: &str) -> Result<String> {
        check_new(password)?;
        let salt = self.world.random_bytes::<SALT_BYTES>();
        let password = password.to_owned();
        self.run(move || hash(&password, &salt)).await?
    }

    /// Whether `password` is the one that `hash` was made from. `None` takes as long and is never right.
    pub(super) async fn check(&self, password: &str, hash_of_account: Option<String>) -> Result<bool> {
        if password.len() > MAX_PASSWORD_BYTES {
            return Ok(false);
        }
        let (password, decoy) = (password.to_owned(), self.decoy.clone());
        self.run(move || match hash_of_account {
            Some(stored) => verify(&password, &stored),
            None => {
                if decoy.get().is_none() {
                    let _ = decoy.set(hash("", &[0; SALT_BYTES])?);
                }
                verify(&password, decoy.get().map_or("", String::as_str)).map(|_| false)
            }
        })
        .await?
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let Ok(_place) = self.queue.clone().try_acquire_owned() else {
            return Err(Error::limit_exceeded("Too many passwords are being checked at this moment.", RETRY_AFTER_MS));
        };
        let permit = self.running.clone().acquire_owned().await.map_err(Error::internal)?;
        // The permit goes with the work: a client that hangs up does not make room while its hash is still computed.
        Ok(self
            .world
            .blocking(move || {
                let result = work();
                drop(permit);
                result
            })
            .await)
    }
}

/// Checks a password that somebody chooses.
///
/// # Errors
///
/// 400 `M_WEAK_PASSWORD` or `M_INVALID_PARAM`.
pub(super) fn check_new(password: &str) -> Result<()> {
    if password.is_empty() {
        return Err(Error::new(400, "M_WEAK_PASSWORD", "The password must not be empty."));
    }
    if password.len() > MAX_PASSWORD_BYTES {
        return Err(Error::invalid_param(format!("The password must not be longer than {MAX_PASSWORD_BYTES} bytes.")));
    }
    Ok(())
}

fn argon2() -> Result<Argon2<'static>> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(Error::internal)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hash(password: &str, salt: &[u8]) -> Result<String> {
    let hash: PasswordHash = argon2()?.hash_password_with_salt(password.as_bytes(), salt).map_err(Error::internal)?;
    Ok(hash.to_string())
}

/// Uses the parameters in the hash, so that they can be raised later. The comparison is constant-time.
fn verify(password: &str, stored: &str) -> Result<bool> {
    let hash =
        PasswordHash::new(stored).map_err(|cause| Error::internal(format!("a stored password hash: {cause}")))?;
    Ok(argon2()?.verify_password(password.as_bytes(), &hash).is_ok())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_hash_is_argon2id_and_opens_to_its_password_alone() {
        let hash = hash("correct horse", &[7; SALT_BYTES]).unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(verify("correct horse", &hash).unwrap());
        assert!(!verify("correct hors", &hash).unwrap());
        assert!(!verify("", &hash).unwrap());
    }
}
