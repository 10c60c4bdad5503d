//! Sealed tickets and prepared-statement handles.
//!
//! Owns: the sealing key, what a ticket carries, when it is valid. Never: plans or runs what a ticket says.
//!
//! AES-256-GCM under a random key of this process: a ticket can neither be read nor made elsewhere, and means
//! nothing after a restart. Altered, expired, of the other kind or another principal's: one and the same error.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use caliber_catalog::diagnostic::Code;
use prost::Message;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use tonic::Status;

use crate::status;

/// The first byte of every sealed text; part of what is authenticated.
const FORMAT: u8 = 1;

/// What a sealed text is for. One kind never opens as the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Redeemed by DoGet.
    Ticket,
    /// A prepared statement, with the parameters bound so far.
    Prepared,
}

impl Kind {
    fn tag(self) -> u8 {
        match self {
            Self::Ticket => b't',
            Self::Prepared => b'p',
        }
    }

    /// How long a sealed text of this kind may be used.
    fn lifetime(self) -> Duration {
        match self {
            Self::Ticket => Duration::from_secs(60 * 60),
            // Pools keep prepared statements as long as their connections.
            Self::Prepared => Duration::from_secs(24 * 60 * 60),
        }
    }
}

/// What a ticket or handle carries.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct Claims {
    /// The statement.
    #[prost(string, tag = "1")]
    pub sql: String,
    /// The bound parameters, as an Arrow IPC stream.
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub parameters: Option<Bytes>,
    /// The only principal who may use it.
    #[prost(string, tag = "3")]
    pub principal: String,
    /// Where names without a schema are looked up, if the session chose so.
    #[prost(string, optional, tag = "4")]
    pub default_schema: Option<String>,
    /// The catalog snapshot it was planned on.
    #[prost(string, tag = "5")]
    pub snapshot: String,
    /// A digest of the schema that was promised.
    #[prost(bytes = "bytes", tag = "6")]
    pub schema_digest: Bytes,
    /// Names the statement for `CancelFlightInfo` and `CancelQuery`.
    #[prost(string, tag = "7")]
    pub statement_id: String,
    /// Milliseconds since 1970 after which it is void; set when sealing.
    #[prost(uint64, tag = "8")]
    pub expires: u64,
}

/// Statement and parameters may hold values of people, so neither prints.
impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claims")
            .field("principal", &self.principal)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// Seals and opens under one random key.
pub struct Sealer {
    key: LessSafeKey,
    random: SystemRandom,
}

impl Sealer {
    /// A sealer with a fresh key. Fails only where the system gives no randomness.
    pub fn new() -> Result<Self, Status> {
        let random = SystemRandom::new();
        let mut key = [0; 32];
        random.fill(&mut key).map_err(|_| status::internal())?;
        let key = UnboundKey::new(&AES_256_GCM, &key).map_err(|_| status::internal())?;
        Ok(Self {
            key: LessSafeKey::new(key),
            random,
        })
    }

    /// Seals `claims`, valid from `now` for the lifetime of its kind.
    pub fn seal(&self, kind: Kind, mut claims: Claims, now: SystemTime) -> Result<Bytes, Status> {
        claims.expires = milliseconds(now + kind.lifetime());
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).map_err(|_| status::internal())?;
        let mut body = claims.encode_to_vec();
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), associated(kind), &mut body)
            .map_err(|_| status::internal())?;
        let mut sealed = Vec::with_capacity(1 + NONCE_LEN + body.len());
        sealed.push(FORMAT);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&body);
        Ok(sealed.into())
    }

    /// Opens what `seal` made for `principal`. Anything else is `SRV002`, and does not say why.
    pub fn open(&self, kind: Kind, sealed: &[u8], principal: &str, now: SystemTime) -> Result<Claims, Status> {
        self.claims(kind, sealed)
            .filter(|claims| claims.principal == principal && milliseconds(now) < claims.expires)
            .ok_or_else(|| not_valid(kind))
    }

    fn claims(&self, kind: Kind, sealed: &[u8]) -> Option<Claims> {
        let (&format, rest) = sealed.split_first()?;
        if format != FORMAT {
            return None;
        }
        let (nonce, body) = rest.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut body = body.to_vec();
        let plain = self.key.open_in_place(nonce, associated(kind), &mut body).ok()?;
        Claims::decode(&*plain).ok()
    }
}

/// The key must not print.
impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer")
    }
}

fn associated(kind: Kind) -> Aad<[u8; 2]> {
    Aad::from([FORMAT, kind.tag()])
}

fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn not_valid(kind: Kind) -> Status {
    match kind {
        Kind::Ticket => status::of_code(
            Code::SRV002,
            "this ticket is not valid",
            Some("ask for a new one with GetFlightInfo"),
        ),
        Kind::Prepared => status::of_code(
            Code::SRV002,
            "this prepared statement is not valid",
            Some("prepare the statement again"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> Claims {
        Claims {
            sql: "SELECT 1".into(),
            parameters: Some(Bytes::from_static(b"parameters")),
            principal: "anna".into(),
            default_schema: None,
            snapshot: "s1".into(),
            schema_digest: Bytes::from_static(b"digest"),
            statement_id: "id".into(),
            expires: 0,
        }
    }

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    #[test]
    fn what_is_sealed_opens_for_its_principal() {
        let sealer = Sealer::new().unwrap();
        let sealed = sealer.seal(Kind::Ticket, claims(), now()).unwrap();
        let opened = sealer.open(Kind::Ticket, &sealed, "anna", now()).unwrap();
        assert_eq!(Claims { expires: 0, ..opened }, claims());
    }

    #[test]
    fn every_flipped_bit_and_every_shorter_text_is_refused() {
        let sealer = Sealer::new().unwrap();
        let sealed = sealer.seal(Kind::Ticket, claims(), now()).unwrap();
        for bit in 0..sealed.len() * 8 {
            let mut altered = sealed.to_vec();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(sealer.open(Kind::Ticket, &altered, "anna", now()).is_err(), "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert!(
                sealer.open(Kind::Ticket, &sealed[..length], "anna", now()).is_err(),
                "length {length}"
            );
        }
    }

    #[test]
    fn another_principal_expiry_kind_and_key_read_as_garbage() {
        let sealer = Sealer::new().unwrap();
        let sealed = sealer.seal(Kind::Ticket, claims(), now()).unwrap();
        let garbage = sealer.open(Kind::Ticket, b"garbage", "anna", now()).unwrap_err();
        let later = now() + Kind::Ticket.lifetime();
        let refusals = [
            sealer.open(Kind::Ticket, &sealed, "petr", now()),
            sealer.open(Kind::Ticket, &sealed, "anna", later),
            Sealer::new().unwrap().open(Kind::Ticket, &sealed, "anna", now()),
        ];
        for refusal in refusals {
            let refusal = refusal.unwrap_err();
            assert_eq!((refusal.code(), refusal.message()), (garbage.code(), garbage.message()));
            assert_eq!(refusal.details(), garbage.details());
        }
        assert_eq!(garbage.code(), tonic::Code::InvalidArgument);
        assert!(sealer.open(Kind::Prepared, &sealed, "anna", now()).is_err());
        let just_before = later - Duration::from_millis(1);
        assert!(sealer.open(Kind::Ticket, &sealed, "anna", just_before).is_ok());
    }

    #[test]
    fn debug_shows_neither_statement_nor_key() {
        let sealer = Sealer::new().unwrap();
        let shown = format!("{sealer:?} {:?}", claims());
        assert!(!shown.contains("SELECT") && !shown.contains("parameters"), "{shown}");
    }
}
