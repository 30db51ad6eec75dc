//! The cluster's certificate authority: made once by `init`, it issues one certificate to every member, proxy and
//! operator. It reads and writes PEM files; it never talks to anybody.

use crate::peer::Peer;
use dauphin_model::ClusterName;
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Certificates that are trusted.
pub const CA_FILE: &str = "ca.pem";
/// The CA's key. Only where `init` ran.
pub const CA_KEY_FILE: &str = "ca.key";
/// This peer's certificate.
pub const CERT_FILE: &str = "cert.pem";
/// This peer's key.
pub const KEY_FILE: &str = "key.pem";

const DAY: Duration = Duration::from_secs(24 * 3600);
/// How long a CA is good for: ten years.
const CA_DAYS: u32 = 3_653;
/// How long a peer's certificate is good for: two years.
const LEAF_DAYS: u32 = 731;
/// Certificates begin this much in the past, for clocks that are behind.
const BACKDATE: Duration = DAY;

/// Why a certificate could not be made or kept.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// The certificate library refused.
    #[error("cannot make the certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// A file could not be read or written.
    #[error("{}: {source}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A host name that no certificate can carry.
    #[error("{0:?} is neither an address nor a host name")]
    Host(String),
}

/// A certificate authority with its key.
pub struct Ca {
    cluster: ClusterName,
    pem: String,
    key: KeyPair,
}

impl fmt::Debug for Ca {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ca({})", self.cluster)
    }
}

/// A certificate with its key, in PEM. The key never shows in logs.
#[derive(Clone)]
pub struct Leaf {
    /// The certificate.
    pub cert_pem: String,
    key_pem: String,
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Leaf(..)")
    }
}

impl Ca {
    /// Makes a new CA for a cluster.
    ///
    /// # Errors
    /// [`CaError::Make`] when the system gives no randomness.
    pub fn create(cluster: &ClusterName) -> Result<Self, CaError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = named(&format!("dauphin CA of {cluster}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        valid_for(&mut params, CA_DAYS);
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { cluster: cluster.clone(), pem, key })
    }

    /// Reads a CA back from `ca.pem` and `ca.key` in `dir`.
    ///
    /// # Errors
    /// [`CaError`] for files that are missing or no CA.
    pub fn load(dir: &Path, cluster: &ClusterName) -> Result<Self, CaError> {
        let pem = read(&dir.join(CA_FILE))?;
        let key = KeyPair::from_pem(&read(&dir.join(CA_KEY_FILE))?)?;
        let ca = Self { cluster: cluster.clone(), pem, key };
        ca.issuer()?;
        Ok(ca)
    }

    /// The CA's certificate, in PEM: what every peer trusts.
    #[must_use]
    pub fn cert_pem(&self) -> &str {
        &self.pem
    }

    /// Writes `ca.pem` and `ca.key` into `dir`.
    ///
    /// # Errors
    /// [`CaError::File`].
    pub fn save(&self, dir: &Path) -> Result<(), CaError> {
        write_private(&dir.join(CA_FILE), &self.pem)?;
        write_private(&dir.join(CA_KEY_FILE), &self.key.serialize_pem())
    }

    /// Issues a certificate with a new key. `hosts` are addresses and names that the peer is reached by.
    ///
    /// # Errors
    /// [`CaError::Host`] for a host that is neither; [`CaError::Make`].
    pub fn issue(&self, peer: &Peer, hosts: &[String]) -> Result<Leaf, CaError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = named(&peer.certificate_name(&self.cluster));
        let own = peer.certificate_name(&self.cluster);
        params.subject_alt_names = vec![SanType::DnsName(host_name(&own)?)];
        for host in hosts {
            params.subject_alt_names.push(match host.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(host_name(host)?),
            });
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        valid_for(&mut params, LEAF_DAYS);
        let cert_pem = params.signed_by(&key, &self.issuer()?)?.pem();
        Ok(Leaf { cert_pem, key_pem: key.serialize_pem() })
    }

    /// Issues a certificate and writes `ca.pem`, `cert.pem` and `key.pem` into `dir`: the first time, and to renew.
    /// An agent takes the new ones with [`crate::Identity::reload`].
    ///
    /// # Errors
    /// [`CaError`].
    pub fn issue_to(&self, dir: &Path, peer: &Peer, hosts: &[String]) -> Result<(), CaError> {
        self.issue(peer, hosts)?.save(dir, &self.pem)
    }

    fn issuer(&self) -> Result<Issuer<'_, &KeyPair>, CaError> {
        Ok(Issuer::from_ca_cert_pem(&self.pem, &self.key)?)
    }
}

impl Leaf {
    /// Writes the key, the certificate and what is trusted (one CA or several, PEM) into `dir`, each atomically. A
    /// reader between two of the writes finds a key that does not fit and keeps what it has.
    ///
    /// # Errors
    /// [`CaError::File`].
    pub fn save(&self, dir: &Path, trusted_pem: &str) -> Result<(), CaError> {
        write_private(&dir.join(CA_FILE), trusted_pem)?;
        write_private(&dir.join(KEY_FILE), &self.key_pem)?;
        write_private(&dir.join(CERT_FILE), &self.cert_pem)
    }
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

fn host_name(text: &str) -> Result<Ia5String, CaError> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if text.is_empty() || text.len() > 253 || !text.bytes().all(plain) {
        return Err(CaError::Host(text.chars().take(80).collect()));
    }
    Ok(Ia5String::try_from(text)?)
}

/// The one place where wall-clock time is used: certificates are dated.
fn valid_for(params: &mut CertificateParams, days: u32) {
    let now = SystemTime::now();
    params.not_before = (now - BACKDATE).into();
    params.not_after = (now + DAY * days).into();
}

fn read(file: &Path) -> Result<String, CaError> {
    fs::read_to_string(file).map_err(|source| CaError::File { file: file.to_owned(), source })
}

/// Writes a file that only its owner reads; a crash leaves the old one or the new one.
fn write_private(file: &Path, text: &str) -> Result<(), CaError> {
    let failed = |source| CaError::File { file: file.to_owned(), source };
    let dir = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(dir).map_err(failed)?;
    let new = file.with_extension("new");
    let _ = fs::remove_file(&new);
    let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new).map_err(failed)?;
    out.write_all(text.as_bytes()).and_then(|()| out.sync_all()).map_err(failed)?;
    fs::rename(&new, file).map_err(failed)?;
    File::open(dir).and_then(|d| d.sync_all()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dauphin_model::MemberName;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_ca_is_kept_private_and_read_back() {
        let dir = tempfile::tempdir().expect("a folder");
        let cluster = ClusterName::new("lab").expect("a name");
        let ca = Ca::create(&cluster).expect("a CA");
        ca.save(dir.path()).expect("saved");
        let again = Ca::load(dir.path(), &cluster).expect("read back");
        assert_eq!(again.cert_pem(), ca.cert_pem());
        let peer = Peer::member(&MemberName::new("m1").expect("a name"));
        again.issue_to(dir.path(), &peer, &["127.0.0.1".to_owned(), "db-1.example".to_owned()]).expect("issued");
        for file in [CA_FILE, CA_KEY_FILE, CERT_FILE, KEY_FILE] {
            let mode = fs::metadata(dir.path().join(file)).expect("a file").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
        assert!(!format!("{ca:?}{:?}", ca.issue(&peer, &[]).expect("issued")).contains("PRIVATE"));
        let refused = ca.issue(&peer, &["not a host".to_owned()]);
        assert!(matches!(refused, Err(CaError::Host(_))), "{refused:?}");
    }
}
