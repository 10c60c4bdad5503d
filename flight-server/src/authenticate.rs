//! Proves who a client is.
//!
//! Owns: reading the `authorization` header, checking a password against the project's users. Never: keeps a
//! session, decides what a principal may see.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use argon2::Argon2;
use argon2::password_hash::PasswordVerifier;
use argon2::password_hash::phc::PasswordHash;
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD};
use caliber_catalog::diagnostic::Code;
use caliber_catalog::principal::Principal;
use caliber_catalog::project::User;
use parking_lot::Mutex;
use ring::rand::{SecureRandom, SystemRandom};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;
use tonic::Status;
use tonic::metadata::MetadataMap;

use crate::backoff::{Attempt, Backoff};
use crate::status;

/// Each check takes a core and 19 MiB for some ten milliseconds.
const CHECKS_AT_ONCE: usize = 2;
/// Log-ins that may wait for a check; more are refused at once.
const CHECKS_WAITING: usize = 64;
/// No password anybody types is longer.
const PASSWORD_BYTES_MAX: usize = 1_024;

/// What an `authorization` header holds.
#[derive(Debug)]
pub enum Credentials {
    /// `Basic`: a name and a password.
    Password(String, SecretString),
    /// `Bearer`: a token of a session.
    Token(SecretString),
}

/// Reads the credentials of a call; `None` where it carries none.
pub fn credentials(metadata: &MetadataMap) -> Result<Option<Credentials>, Status> {
    let Some(header) = metadata.get("authorization") else {
        return Ok(None);
    };
    let (scheme, value) = header
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .ok_or_else(not_understood)?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Ok(Some(Credentials::Token(value.trim().into())));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(not_understood());
    }
    let decoded = BASE64_STANDARD
        .decode(value.trim())
        .or_else(|_| BASE64_STANDARD_NO_PAD.decode(value.trim()));
    let decoded = decoded
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(not_understood)?;
    let (user, password) = decoded.split_once(':').ok_or_else(not_understood)?;
    Ok(Some(Credentials::Password(user.to_owned(), password.into())))
}

fn not_understood() -> Status {
    status::of_code(
        Code::SRV001,
        "the authorization header is not understood",
        Some("log in with user and password"),
    )
}

/// What a call without a session gets.
pub fn not_logged_in() -> Status {
    status::of_code(
        Code::SRV001,
        "not logged in, or the session has ended",
        Some("log in with user and password"),
    )
}

/// Why a log-in fails.
#[derive(Debug)]
pub enum LogInRefused {
    /// The password was checked: it is wrong, or the name is.
    Wrong(Status),
    /// Turned away before that.
    Unchecked(Status),
}

impl LogInRefused {
    /// What the client reads.
    pub fn into_status(self) -> Status {
        match self {
            Self::Wrong(status) | Self::Unchecked(status) => status,
        }
    }
}

/// Checks passwords. One error for a wrong password and an unknown name, after the same work.
pub struct Authenticator {
    users: BTreeMap<String, User>,
    /// What is checked for a name that does not exist.
    decoy: SecretString,
    checks: Arc<Semaphore>,
    waiting: Semaphore,
    backoff: Mutex<Backoff>,
}

impl Authenticator {
    /// For these users.
    pub fn new(users: BTreeMap<String, User>) -> Result<Self, Status> {
        let decoy = decoy(users.values().next()).ok_or_else(status::internal)?;
        for user in users.values() {
            if PasswordHash::new(user.password.expose_secret()).is_err() {
                tracing::warn!(
                    user = user.name,
                    "the password hash of this user cannot be read; the user cannot log in"
                );
            }
        }
        Ok(Self {
            users,
            decoy,
            checks: Arc::new(Semaphore::new(CHECKS_AT_ONCE)),
            waiting: Semaphore::new(CHECKS_WAITING),
            backoff: Mutex::new(Backoff::default()),
        })
    }

    /// The principal of `attempt.user`, if `password` is right. `SRV001` if not, `LIM005` if too many log in at once.
    pub async fn check(&self, attempt: &Attempt, password: SecretString) -> Result<Principal, LogInRefused> {
        let too_many = || {
            let help = Some("try again in a moment");
            LogInRefused::Unchecked(status::of_code(Code::LIM005, "too many log-ins at once", help))
        };
        let broken = |_| LogInRefused::Unchecked(status::internal());
        let _waiting = self.waiting.try_acquire().map_err(|_| too_many())?;
        self.refuse_while_backing_off(attempt)?;
        let permit = Arc::clone(&self.checks)
            .acquire_owned()
            .await
            .map_err(|_| LogInRefused::Unchecked(status::internal()))?;
        // Others of the same name may have failed while this one waited.
        self.refuse_while_backing_off(attempt)?;
        let user = self.users.get(&attempt.user);
        let hash = user.map_or(&self.decoy, |user| &user.password).clone();
        // The permit goes along: a client that hangs up does not free its place before the work is done.
        let matches = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            matches(&hash, &password)
        });
        let matches = matches.await.map_err(broken)?;
        match user.filter(|_| matches) {
            Some(user) => {
                self.backoff.lock().succeeded(attempt);
                Ok(user.principal())
            }
            None => {
                self.backoff.lock().failed(attempt, Instant::now());
                let wrong = status::of_code(Code::SRV001, "user name or password is wrong", None);
                Err(LogInRefused::Wrong(wrong))
            }
        }
    }

    fn refuse_while_backing_off(&self, attempt: &Attempt) -> Result<(), LogInRefused> {
        let Some(wait) = self.backoff.lock().wait(attempt, Instant::now()) else {
            return Ok(());
        };
        let seconds = wait.as_secs() + 1;
        let message = format!("too many failed log-ins; wait {seconds} s before the next");
        Err(LogInRefused::Unchecked(status::of_code(Code::SRV001, &message, None)))
    }
}

/// Users do not print.
impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticator")
            .field("users", &self.users.len())
            .finish_non_exhaustive()
    }
}

fn matches(hash: &SecretString, password: &SecretString) -> bool {
    let Ok(hash) = PasswordHash::new(hash.expose_secret()) else {
        return false;
    };
    let password = password.expose_secret().as_bytes();
    password.len() <= PASSWORD_BYTES_MAX && Argon2::default().verify_password(password, &hash).is_ok()
}

/// A hash that no password has, as costly to check as `like`.
fn decoy(like: Option<&User>) -> Option<SecretString> {
    let mut random = [0; 48];
    SystemRandom::new().fill(&mut random).ok()?;
    let (salt, output) = random.split_at(16);
    let (salt, output) = (
        BASE64_STANDARD_NO_PAD.encode(salt),
        BASE64_STANDARD_NO_PAD.encode(output),
    );
    let like = like.and_then(|user| PasswordHash::new(user.password.expose_secret()).ok());
    let cost = like.map_or_else(|| "m=19456,t=2,p=1".to_owned(), |hash| hash.params.to_string());
    Some(format!("$argon2id$v=19${cost}${salt}${output}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of `petr`, at the smallest cost.
    fn users() -> BTreeMap<String, User> {
        use argon2::password_hash::PasswordHasher;
        let cheap = Argon2::new(
            Default::default(),
            Default::default(),
            argon2::Params::new(8, 1, 1, None).unwrap(),
        );
        let password = cheap
            .hash_password_with_salt(b"secret", b"0123456789abcdef")
            .unwrap()
            .to_string();
        let user = User {
            name: "petr".into(),
            password: password.into(),
            roles: vec!["r".into()],
            attributes: BTreeMap::new(),
        };
        BTreeMap::from([("petr".into(), user)])
    }

    fn attempt(user: &str) -> Attempt {
        Attempt {
            user: user.into(),
            peer: None,
        }
    }

    fn header(value: &str) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        metadata.insert("authorization", value.parse().unwrap());
        metadata
    }

    #[tokio::test]
    async fn only_the_right_password_of_a_known_name_logs_in() {
        let authenticator = Authenticator::new(users()).unwrap();
        let principal = authenticator.check(&attempt("petr"), "secret".into()).await.unwrap();
        assert_eq!(
            (principal.name.as_str(), principal.roles.as_slice()),
            ("petr", ["r".to_owned()].as_slice())
        );
        let wrong = authenticator
            .check(&attempt("petr"), "Secret".into())
            .await
            .unwrap_err();
        assert!(matches!(wrong, LogInRefused::Wrong(_)), "{wrong:?}");
        let wrong = wrong.into_status();
        let unknown = authenticator
            .check(&attempt("nobody"), "secret".into())
            .await
            .unwrap_err()
            .into_status();
        assert_eq!(wrong.code(), tonic::Code::Unauthenticated);
        assert_eq!((wrong.code(), wrong.message()), (unknown.code(), unknown.message()));
        let long = "x".repeat(PASSWORD_BYTES_MAX + 1);
        assert!(authenticator.check(&attempt("petr"), long.into()).await.is_err());
    }

    #[tokio::test]
    async fn after_repeated_failures_even_the_right_password_waits() {
        let authenticator = Authenticator::new(users()).unwrap();
        for _ in 0..5 {
            authenticator.check(&attempt("petr"), "wrong".into()).await.unwrap_err();
        }
        let refused = authenticator
            .check(&attempt("petr"), "secret".into())
            .await
            .unwrap_err();
        assert!(matches!(refused, LogInRefused::Unchecked(_)), "{refused:?}");
        let refused = refused.into_status();
        assert!(
            refused.message().contains("too many failed log-ins"),
            "{}",
            refused.message()
        );
    }

    #[test]
    fn the_decoy_costs_what_a_user_costs() {
        let users = users();
        let decoy = decoy(users.get("petr")).unwrap();
        let decoy = PasswordHash::new(decoy.expose_secret()).unwrap();
        let real = PasswordHash::new(users["petr"].password.expose_secret()).unwrap();
        assert_eq!(decoy.params, real.params);
        assert_eq!(decoy.hash.unwrap().len(), real.hash.unwrap().len());
    }

    #[test]
    fn headers_are_read_in_every_form_clients_send() {
        assert!(credentials(&MetadataMap::new()).unwrap().is_none());
        match credentials(&header("basic cGV0cjpzZWM6cmV0")).unwrap() {
            Some(Credentials::Password(user, password)) => {
                assert_eq!((user.as_str(), password.expose_secret()), ("petr", "sec:ret"));
            }
            other => panic!("{other:?}"),
        }
        match credentials(&header("Bearer None")).unwrap() {
            Some(Credentials::Token(token)) => assert_eq!(token.expose_secret(), "None"),
            other => panic!("{other:?}"),
        }
        for broken in ["Basic", "Basic !!", "Basic cGV0cg==", "Digest x=1", "Basic /w=="] {
            assert_eq!(
                credentials(&header(broken)).unwrap_err().code(),
                tonic::Code::Unauthenticated,
                "{broken}"
            );
        }
    }
}
