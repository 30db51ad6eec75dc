//! SCRAM-SHA-256 (RFC 5802, 7677), both sides; as a server also bound to the TLS channel (RFC 5929). As a server it recovers the client's key from
//! its proof, so that the proxy can log in as that user on any member: physical replication copies the verifier.
//! Nonces come from the caller. Keys never appear in Debug output.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use std::fmt;
use thiserror::Error;

/// Name of the mechanism.
pub const MECHANISM: &str = "SCRAM-SHA-256";

/// Name of the same with channel binding.
pub const BOUND_MECHANISM: &str = "SCRAM-SHA-256-PLUS";

/// The one kind of channel binding that PostgreSQL knows, as a client's first message begins with it.
const END_POINT: &str = "p=tls-server-end-point";

/// Longest SCRAM message taken from either side, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 4096;

/// Most iterations that a server may ask of us when we log in with a password. PostgreSQL's default is 4096.
pub const ITERATIONS_MAX: u32 = 200_000;

/// Length of a nonce's text from [`nonce_text`], and of a mock salt, in bytes before encoding.
const NONCE_BYTES: usize = 18;

type Key = [u8; 32];

/// Why an exchange ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ScramError {
    /// A message breaks the syntax or the order of the exchange.
    #[error("malformed SCRAM message")]
    Malformed,
    /// The client insists on channel binding, which was not offered.
    #[error("channel binding is not offered; connect with channel_binding=disable or prefer")]
    ChannelBinding,
    /// The client believes that channel binding was not offered, and it was: somebody between took it out.
    #[error("the client was not told that channel binding is offered: somebody stands between")]
    Downgraded,
    /// The client's end of the TLS channel is not ours.
    #[error("the proof is bound to another TLS channel than this one: somebody stands between")]
    OtherChannel,
    /// The proof is wrong.
    #[error("the password is wrong")]
    WrongProof,
    /// The server asks for more work than is reasonable.
    #[error("the server asks for {0} iterations, more than {ITERATIONS_MAX}; set scram_iterations lower")]
    Iterations(u32),
    /// The server cannot prove that it knows the verifier.
    #[error("the server's signature is wrong: it does not know this role's verifier")]
    WrongServer,
}

/// A role's SCRAM verifier as PostgreSQL stores it.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    iterations: u32,
    salt: Vec<u8>,
    stored_key: Key,
    server_key: Key,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier(…)")
    }
}

impl Verifier {
    /// Parses `SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>`.
    ///
    /// # Errors
    /// [`ScramError::Malformed`] for anything else, an MD5 hash included.
    pub fn parse(text: &str) -> Result<Self, ScramError> {
        let parts = || -> Option<Self> {
            let rest = text.strip_prefix(MECHANISM)?.strip_prefix('$')?;
            let (salted, keys) = rest.split_once('$')?;
            let (iterations, salt) = salted.split_once(':')?;
            let (stored_key, server_key) = keys.split_once(':')?;
            Some(Self {
                iterations: iterations.parse().ok().filter(|n| *n > 0)?,
                salt: STANDARD.decode(salt).ok().filter(|salt| !salt.is_empty())?,
                stored_key: key(stored_key)?,
                server_key: key(server_key)?,
            })
        };
        parts().ok_or(ScramError::Malformed)
    }

    /// A verifier that no password fits, for a user who does not exist: the same salt every time, so that nobody learns
    /// from the exchange whether the user exists. `secret` is the proxy's own.
    #[must_use]
    pub fn mock(user: &str, secret: &[u8]) -> Self {
        let derive = |what: &str| hmac(secret, format!("{what}:{user}").as_bytes());
        Self {
            iterations: 4096,
            salt: derive("salt")[..16].to_vec(),
            stored_key: derive("stored key"),
            server_key: derive("server key"),
        }
    }
}

/// What suffices to log in as a user on any member that has the same verifier.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    client_key: Key,
    server_key: Key,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(…)")
    }
}

/// Whether a client's proof is bound to the TLS channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding<'a> {
    /// It cannot be: there is no TLS, or no hash is defined for the certificate.
    NotOffered,
    /// It could be, and the client chose not to.
    Declined,
    /// It is: the hash of the server's certificate.
    EndPoint(&'a [u8]),
}

/// The server's side, after the client's first message.
pub struct ServerExchange {
    verifier: Verifier,
    /// What the client must say that its proof is bound to.
    bound_to: Vec<u8>,
    nonce: String,
    /// Both first messages, as the proof signs them.
    signed: String,
}

impl ServerExchange {
    /// Answers the client's first message with the server's.
    ///
    /// # Errors
    /// [`ScramError`] when the message is malformed, or asks for another channel binding than this.
    pub fn begin(
        verifier: Verifier,
        client_first: &[u8],
        nonce: &str,
        binding: Binding<'_>,
    ) -> Result<(Self, Vec<u8>), ScramError> {
        let text = message(client_first)?;
        let mut parts = text.splitn(3, ',');
        let (Some(flag), Some(authzid), Some(bare)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(ScramError::Malformed);
        };
        let bound: &[u8] = match (flag, binding) {
            (END_POINT, Binding::EndPoint(hash)) => hash,
            ("n", Binding::NotOffered | Binding::Declined) | ("y", Binding::NotOffered) => &[],
            ("y", Binding::Declined) => return Err(ScramError::Downgraded),
            (_, Binding::NotOffered | Binding::Declined) if flag.starts_with("p=") => {
                return Err(ScramError::ChannelBinding);
            }
            _ => return Err(ScramError::Malformed),
        };
        // PostgreSQL refuses an authorization identity, and takes the user's name from the startup packet only.
        if !authzid.is_empty() {
            return Err(ScramError::Malformed);
        }
        let mut attributes = bare.split(',');
        let named = attributes.next().is_some_and(|user| user.starts_with("n="));
        let client_nonce =
            attributes.next().and_then(|nonce| nonce.strip_prefix("r=")).filter(|nonce| printable(nonce));
        let (true, Some(client_nonce)) = (named, client_nonce) else { return Err(ScramError::Malformed) };
        let nonce = format!("{client_nonce}{nonce}");
        let server_first = format!("r={nonce},s={},i={}", STANDARD.encode(&verifier.salt), verifier.iterations);
        let signed = format!("{bare},{server_first}");
        let bound_to = [format!("{flag},{authzid},").as_bytes(), bound].concat();
        Ok((Self { verifier, bound_to, nonce, signed }, server_first.into_bytes()))
    }

    /// Checks the client's last message; gives the recovered keys and the server's last message.
    ///
    /// # Errors
    /// [`ScramError::WrongProof`] for a wrong password, [`ScramError::Malformed`] for a broken message.
    pub fn finish(self, client_final: &[u8]) -> Result<(Keys, Vec<u8>), ScramError> {
        let text = message(client_final)?;
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or(ScramError::Malformed)?;
        let mut attributes = without_proof.split(',');
        let binding = attributes.next().and_then(|c| c.strip_prefix("c=")).ok_or(ScramError::Malformed)?;
        let nonce = attributes.next().and_then(|r| r.strip_prefix("r=")).ok_or(ScramError::Malformed)?;
        if nonce != self.nonce {
            return Err(ScramError::Malformed);
        }
        if STANDARD.decode(binding).map_err(|_| ScramError::Malformed)? != self.bound_to {
            return Err(ScramError::OtherChannel);
        }
        let proof = key(proof).ok_or(ScramError::Malformed)?;
        let signed = format!("{},{without_proof}", self.signed);
        let client_key = xor(proof, hmac(&self.verifier.stored_key, signed.as_bytes()));
        if !equal(&hash(&client_key), &self.verifier.stored_key) {
            return Err(ScramError::WrongProof);
        }
        let signature = hmac(&self.verifier.server_key, signed.as_bytes());
        let server_final = format!("v={}", STANDARD.encode(signature));
        Ok((Keys { client_key, server_key: self.verifier.server_key }, server_final.into_bytes()))
    }
}

/// What the client's side logs in with.
pub enum Secret {
    /// A password. It must be plain ASCII: no string preparation is done.
    Password(String),
    /// Keys recovered from a proof.
    Keys(Keys),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The client's side.
pub struct ClientExchange {
    nonce: String,
    /// The signature that the server owes us, once we have sent our proof.
    expected: Option<Key>,
}

impl ClientExchange {
    /// Begins with a nonce from [`nonce_text`]; gives the first message.
    #[must_use]
    pub fn begin(nonce: String) -> (Self, Vec<u8>) {
        let first = format!("n,,n=,r={nonce}").into_bytes();
        (Self { nonce, expected: None }, first)
    }

    /// Answers the server's first message with the proof.
    ///
    /// # Errors
    /// [`ScramError`] when the message is malformed or asks for too much work.
    pub fn respond(&mut self, secret: &Secret, server_first: &[u8]) -> Result<Vec<u8>, ScramError> {
        let text = message(server_first)?;
        let mut attributes = text.split(',');
        let mut take = |prefix: &str| attributes.next().and_then(|part| part.strip_prefix(prefix).map(str::to_owned));
        let (Some(nonce), Some(salt), Some(iterations)) = (take("r="), take("s="), take("i=")) else {
            return Err(ScramError::Malformed);
        };
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() || !printable(&nonce) {
            return Err(ScramError::Malformed);
        }
        let keys = match secret {
            Secret::Keys(keys) => keys.clone(),
            Secret::Password(password) => {
                let iterations: u32 = iterations.parse().map_err(|_| ScramError::Malformed)?;
                if iterations == 0 || iterations > ITERATIONS_MAX {
                    return Err(ScramError::Iterations(iterations));
                }
                let salt = STANDARD.decode(salt).map_err(|_| ScramError::Malformed)?;
                derive(password, &salt, iterations)
            }
        };
        let without_proof = format!("c=biws,r={nonce}");
        let signed = format!("n=,r={},{text},{without_proof}", self.nonce);
        let signature = hmac(&hash(&keys.client_key), signed.as_bytes());
        self.expected = Some(hmac(&keys.server_key, signed.as_bytes()));
        let proof = xor(keys.client_key, signature);
        Ok(format!("{without_proof},p={}", STANDARD.encode(proof)).into_bytes())
    }

    /// Checks the server's last message: without it the server has proved nothing.
    ///
    /// # Errors
    /// [`ScramError::WrongServer`] when its signature is wrong or came too early.
    pub fn verify(&self, server_final: &[u8]) -> Result<(), ScramError> {
        let signature = message(server_final)?.strip_prefix("v=").and_then(key).ok_or(ScramError::Malformed)?;
        match self.expected {
            Some(expected) if equal(&expected, &signature) => Ok(()),
            _ => Err(ScramError::WrongServer),
        }
    }
}

/// The verifier of a password, as PostgreSQL would store it.
#[must_use]
pub fn verifier_of(password: &str, salt: &[u8], iterations: u32) -> String {
    let keys = derive(password, salt, iterations);
    format!(
        "{MECHANISM}${iterations}:{}${}:{}",
        STANDARD.encode(salt),
        STANDARD.encode(hash(&keys.client_key)),
        STANDARD.encode(keys.server_key)
    )
}

/// A nonce as text from random bytes.
#[must_use]
pub fn nonce_text(random: &[u8; NONCE_BYTES]) -> String {
    STANDARD.encode(random)
}

fn derive(password: &str, salt: &[u8], iterations: u32) -> Keys {
    let mut salted = hmac(password.as_bytes(), &[salt, &1_u32.to_be_bytes()].concat());
    let mut last = salted;
    for _ in 1..iterations {
        last = hmac(password.as_bytes(), &last);
        salted = xor(salted, last);
    }
    Keys { client_key: hmac(&salted, b"Client Key"), server_key: hmac(&salted, b"Server Key") }
}

fn message(bytes: &[u8]) -> Result<&str, ScramError> {
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(ScramError::Malformed);
    }
    std::str::from_utf8(bytes).map_err(|_| ScramError::Malformed)
}

fn printable(nonce: &str) -> bool {
    !nonce.is_empty() && nonce.bytes().all(|byte| (0x21..=0x7e).contains(&byte) && byte != b',')
}

fn key(text: &str) -> Option<Key> {
    STANDARD.decode(text).ok()?.try_into().ok()
}

fn hash(data: &[u8]) -> Key {
    Sha256::digest(data).into()
}

fn mac(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes a key of any length")
}

fn hmac(key: &[u8], data: &[u8]) -> Key {
    let mut mac = mac(key);
    mac.update(data);
    mac.finalize().into_bytes().into()
}

fn xor(mut left: Key, right: Key) -> Key {
    for (a, b) in left.iter_mut().zip(right) {
        *a ^= b;
    }
    left
}

/// Compares in constant time: every byte is looked at, whatever the first difference.
#[must_use]
pub fn equal(left: &[u8], right: &[u8]) -> bool {
    let difference = left.iter().zip(right).fold(0_u8, |sum, (a, b)| sum | (a ^ b));
    left.len() == right.len() && std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 7677, section 3.
    #[test]
    fn the_example_of_the_rfc() {
        let nonce = "rOprNGfwEbeRWgbNEkqO";
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").expect("base64");
        let verifier = Verifier::parse(&verifier_of("pencil", &salt, 4096)).expect("a verifier");
        let (exchange, first) = ServerExchange::begin(
            verifier,
            format!("n,,n=user,r={nonce}").as_bytes(),
            "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
            Binding::NotOffered,
        )
        .expect("a first message");
        assert_eq!(first, b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
        let (_, last) = exchange
            .finish(b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
            .expect("the right proof");
        assert_eq!(last, b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    fn login(verifier: Verifier, secret: &Secret) -> Result<Keys, ScramError> {
        let (mut client, client_first) = ClientExchange::begin(nonce_text(&[7; 18]));
        let (server, server_first) =
            ServerExchange::begin(verifier, &client_first, &nonce_text(&[9; 18]), Binding::Declined)?;
        let client_final = client.respond(secret, &server_first)?;
        let (keys, server_final) = server.finish(&client_final)?;
        client.verify(&server_final)?;
        Ok(keys)
    }

    #[test]
    fn keys_recovered_from_a_proof_log_in_again() {
        let verifier = Verifier::parse(&verifier_of("secret", b"0123456789abcdef", 4096)).expect("a verifier");
        let keys = login(verifier.clone(), &Secret::Password("secret".into())).expect("the right password");
        assert_eq!(login(verifier.clone(), &Secret::Keys(keys.clone())), Ok(keys.clone()));
        assert_eq!(login(verifier, &Secret::Password("wrong".into())), Err(ScramError::WrongProof));
        let other = Verifier::parse(&verifier_of("other", b"0123456789abcdef", 4096)).expect("a verifier");
        assert_eq!(login(other, &Secret::Keys(keys)), Err(ScramError::WrongProof));
    }

    #[test]
    fn a_proof_is_bound_to_this_channel_or_openly_to_none() {
        let verifier = Verifier::parse(&verifier_of("secret", b"salt", 1)).expect("a verifier");
        let begin = |first: &str, binding| {
            ServerExchange::begin(verifier.clone(), first.as_bytes(), "def", binding).map(|(exchange, _)| exchange)
        };
        let (bound, other) = (Binding::EndPoint(b"hash"), "p=tls-unique,,n=,r=abc");
        for (first, binding, refusal) in [
            ("n,,n=,r=abc", Binding::NotOffered, None),
            ("y,,n=,r=abc", Binding::NotOffered, None),
            ("n,,n=,r=abc", Binding::Declined, None),
            ("y,,n=,r=abc", Binding::Declined, Some(ScramError::Downgraded)),
            ("p=tls-server-end-point,,n=,r=abc", Binding::Declined, Some(ScramError::ChannelBinding)),
            ("p=tls-server-end-point,,n=,r=abc", Binding::NotOffered, Some(ScramError::ChannelBinding)),
            ("p=tls-server-end-point,,n=,r=abc", bound, None),
            ("n,,n=,r=abc", bound, Some(ScramError::Malformed)),
            ("y,,n=,r=abc", bound, Some(ScramError::Malformed)),
            (other, bound, Some(ScramError::Malformed)),
            (other, Binding::NotOffered, Some(ScramError::ChannelBinding)),
        ] {
            assert_eq!(begin(first, binding).err(), refusal, "{first} {binding:?}");
        }
        // The proof signs what it is bound to, and that has to be what we are.
        let finish = |bound_to: &[u8]| {
            let exchange = begin("p=tls-server-end-point,,n=,r=abc", bound).expect("a first message");
            let salt = STANDARD.encode(b"salt");
            let without_proof = format!("c={},r=abcdef", STANDARD.encode(bound_to));
            let signed = format!("n=,r=abc,r=abcdef,s={salt},i=1,{without_proof}");
            let keys = derive("secret", b"salt", 1);
            let proof = xor(keys.client_key, hmac(&hash(&keys.client_key), signed.as_bytes()));
            let last = format!("{without_proof},p={}", STANDARD.encode(proof));
            exchange.finish(last.as_bytes()).map(|(found, _)| found == keys)
        };
        assert_eq!(finish(b"p=tls-server-end-point,,hash"), Ok(true));
        assert_eq!(finish(b"p=tls-server-end-point,,hasx"), Err(ScramError::OtherChannel));
        assert_eq!(finish(b"p=tls-server-end-point,,"), Err(ScramError::OtherChannel));
        assert_eq!(finish(b"n,,"), Err(ScramError::OtherChannel));
    }

    #[test]
    fn an_unknown_user_gets_the_same_salt_every_time_and_never_in() {
        let (one, two) = (Verifier::mock("ghost", b"secret"), Verifier::mock("ghost", b"secret"));
        assert_eq!(one.salt, two.salt);
        assert_ne!(one.salt, Verifier::mock("other", b"secret").salt);
        assert_eq!(login(one, &Secret::Password(String::new())), Err(ScramError::WrongProof));
    }

    #[test]
    fn no_secret_is_shown() {
        let verifier = Verifier::parse(&verifier_of("secret", b"salt", 1)).expect("a verifier");
        let keys = login(verifier.clone(), &Secret::Password("secret".into())).expect("the right password");
        let shown = format!("{verifier:?} {keys:?} {:?}", Secret::Password("secret".into()));
        assert_eq!(shown, "Verifier(…) Keys(…) Secret(…)");
    }

    #[test]
    fn a_server_that_asks_too_much_or_proves_nothing_is_refused() {
        let (mut client, _) = ClientExchange::begin("abc".into());
        let secret = Secret::Password("secret".into());
        assert_eq!(client.respond(&secret, b"r=abcd,s=AAAA,i=2000000000"), Err(ScramError::Iterations(2_000_000_000)));
        assert_eq!(client.respond(&secret, b"r=abc,s=AAAA,i=1"), Err(ScramError::Malformed));
        assert_eq!(client.verify(b"v=AAAA"), Err(ScramError::Malformed));
        let (early, _) = ClientExchange::begin("abc".into());
        let zero = format!("v={}", STANDARD.encode([0; 32]));
        assert_eq!(early.verify(zero.as_bytes()), Err(ScramError::WrongServer));
    }

    #[test]
    fn what_is_not_a_verifier_is_refused() {
        for bad in ["", "md5abc", "SCRAM-SHA-256$0:AA==$AA==:AA==", "SCRAM-SHA-256$4096:AAAA$AAAA:AAAA"] {
            assert_eq!(Verifier::parse(bad), Err(ScramError::Malformed), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(first in prop::collection::vec(any::<u8>(), 0..80), last in prop::collection::vec(any::<u8>(), 0..80), text in ".{0,60}") {
            let verifier = Verifier::mock("ghost", b"secret");
            let _ = ServerExchange::begin(verifier.clone(), &first, "abc", Binding::NotOffered);
            if let Ok((exchange, _)) = ServerExchange::begin(verifier, b"n,,n=,r=abc", "def", Binding::Declined) {
                let _ = exchange.finish(&last);
            }
            let (mut client, _) = ClientExchange::begin("abc".into());
            let _ = client.respond(&Secret::Password("x".into()), format!("r=abc{text}").as_bytes());
            let _ = client.verify(&first);
            let _ = Verifier::parse(&text);
        }
    }
}
