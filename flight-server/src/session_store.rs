//! The sessions of those who logged in, found by their bearer token.
//!
//! Owns: tokens, idle and absolute expiry, the number of sessions. Never: checks a password.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use caliber_catalog::principal::Principal;
use parking_lot::Mutex;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};

/// A session not used for this long is over.
const IDLE_MAX: Duration = Duration::from_secs(30 * 60);
/// Any session is over after this long, so a copied token does not live for ever.
const AGE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Clients often never close: at the limit, a session unused for this long makes room for a new one.
const IDLE_BEFORE_EVICTION: Duration = Duration::from_secs(60);
/// All users together.
const SESSIONS_MAX: usize = 10_000;

/// One logged-in client.
pub struct ClientSession {
    /// Who it is.
    pub principal: Principal,
    /// Where names without a schema are looked up, if the client chose so.
    pub default_schema: Mutex<Option<String>>,
}

/// Why no session could be opened.
#[derive(Debug, PartialEq, Eq)]
pub enum SessionRefused {
    /// This user, or the server, has as many as it may.
    TooMany,
    /// The system gave no randomness.
    NoRandomness,
}

struct Entry {
    session: Arc<ClientSession>,
    opened: Instant,
    used: Instant,
}

impl Entry {
    fn live(&self, now: Instant) -> bool {
        now.duration_since(self.used) < IDLE_MAX && now.duration_since(self.opened) < AGE_MAX
    }

    /// No call or stream holds it, and none did for a while.
    fn may_make_room(&self, now: Instant) -> bool {
        Arc::strong_count(&self.session) == 1 && now.duration_since(self.used) >= IDLE_BEFORE_EVICTION
    }
}

/// Keyed by a digest: the store itself holds no token.
type TokenDigest = [u8; 32];

/// Every open session of this server.
pub struct SessionStore {
    sessions: Mutex<HashMap<TokenDigest, Entry>>,
    per_user_max: usize,
}

impl SessionStore {
    /// An empty store; one user has at most `per_user_max` sessions.
    pub fn new(per_user_max: usize) -> Self {
        Self {
            sessions: Mutex::new(HashMap::new()),
            per_user_max,
        }
    }

    /// Opens a session and gives its token, 256 random bits in base64url.
    pub fn open(&self, principal: Principal, now: Instant) -> Result<String, SessionRefused> {
        let mut random = [0; 32];
        SystemRandom::new()
            .fill(&mut random)
            .map_err(|_| SessionRefused::NoRandomness)?;
        let token = BASE64_URL_SAFE_NO_PAD.encode(random);
        let mut sessions = self.sessions.lock();
        sessions.retain(|_, entry| entry.live(now));
        let of_user = |entry: &Entry| entry.session.principal.name == principal.name;
        if sessions.values().filter(|entry| of_user(entry)).count() >= self.per_user_max {
            let oldest = sessions
                .iter()
                .filter(|(_, entry)| of_user(entry) && entry.may_make_room(now));
            let oldest = oldest.min_by_key(|(_, entry)| entry.used).map(|(key, _)| *key);
            sessions.remove(&oldest.ok_or(SessionRefused::TooMany)?);
        }
        if sessions.len() >= SESSIONS_MAX {
            return Err(SessionRefused::TooMany);
        }
        let session = Arc::new(ClientSession {
            principal,
            default_schema: Mutex::new(None),
        });
        sessions.insert(
            digest_of(&token),
            Entry {
                session,
                opened: now,
                used: now,
            },
        );
        Ok(token)
    }

    /// The session of `token`, if it is open; finding it counts as use.
    pub fn find(&self, token: &str, now: Instant) -> Option<Arc<ClientSession>> {
        let mut sessions = self.sessions.lock();
        let key = digest_of(token);
        let entry = sessions.get_mut(&key)?;
        if !entry.live(now) {
            sessions.remove(&key);
            return None;
        }
        entry.used = now;
        Some(Arc::clone(&entry.session))
    }

    /// Ends a session. Streams that run under it go on.
    pub fn close(&self, token: &str) -> bool {
        self.sessions.lock().remove(&digest_of(token)).is_some()
    }
}

/// Tokens and who holds them do not print.
impl fmt::Debug for SessionStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionStore")
            .field("per_user_max", &self.per_user_max)
            .finish_non_exhaustive()
    }
}

fn digest_of(token: &str) -> TokenDigest {
    let mut key = [0; 32];
    key.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    key
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn user(name: &str) -> Principal {
        Principal {
            name: name.into(),
            roles: Vec::new(),
            attributes: BTreeMap::new(),
        }
    }

    #[test]
    fn a_token_finds_its_session_until_closed() {
        let (store, now) = (SessionStore::new(4), Instant::now());
        let token = store.open(user("anna"), now).unwrap();
        assert_eq!(token.len(), 43);
        assert_eq!(store.find(&token, now).unwrap().principal.name, "anna");
        assert!(store.find("None", now).is_none());
        assert!(store.close(&token));
        assert!(!store.close(&token));
        assert!(store.find(&token, now).is_none());
    }

    #[test]
    fn use_keeps_a_session_and_idleness_and_age_end_it() {
        let (store, start) = (SessionStore::new(4), Instant::now());
        let idle = store.open(user("anna"), start).unwrap();
        assert!(store.find(&idle, start + IDLE_MAX).is_none());
        let used = store.open(user("anna"), start).unwrap();
        let mut now = start;
        while now + IDLE_MAX / 2 < start + AGE_MAX {
            now += IDLE_MAX / 2;
            assert!(store.find(&used, now).is_some());
        }
        assert!(store.find(&used, start + AGE_MAX).is_none());
    }

    #[test]
    fn the_limit_is_each_users_own_and_idle_sessions_make_room() {
        let (store, now) = (SessionStore::new(2), Instant::now());
        let first = store.open(user("anna"), now).unwrap();
        let second = store.open(user("anna"), now).unwrap();
        assert_eq!(store.open(user("anna"), now), Err(SessionRefused::TooMany));
        assert!(store.open(user("petr"), now).is_ok());

        let later = now + IDLE_BEFORE_EVICTION;
        let running = store.find(&first, now).unwrap();
        assert!(store.open(user("anna"), later).is_ok());
        assert!(store.find(&first, later).is_some(), "a session in use is never evicted");
        assert!(store.find(&second, later).is_none());
        drop(running);
    }
}
