//! Who we are and whom we trust, from `ca.pem`, `cert.pem` and `key.pem` in a folder. Both sides of every link show a
//! certificate; it is swapped while links stay up.

use crate::ca::{CA_FILE, CERT_FILE, KEY_FILE};
use crate::peer::Peer;
use arc_swap::ArcSwap;
use dauphin_model::ClusterName;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};
use webpki::EndEntityCert;

/// Why a folder gives no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file is missing or is no PEM.
    #[error("{}: {what}; `dauphin init` makes the certificates", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The files do not fit together.
    #[error("the certificates in {} do not fit together: {source}", dir.display())]
    Unfit {
        /// The folder.
        dir: PathBuf,
        /// What the TLS library said.
        #[source]
        source: rustls::Error,
    },
    /// The certificate names no peer of a Dauphin cluster.
    #[error("the certificate in {} names no member, proxy or operator of a cluster", dir.display())]
    Nameless {
        /// The folder.
        dir: PathBuf,
    },
    /// The folder now holds the identity of somebody else.
    #[error("the certificate in {} is now {found}'s, and this is {wanted}", dir.display())]
    Other {
        /// The folder.
        dir: PathBuf,
        /// Whose it is now.
        found: String,
        /// Whose it was.
        wanted: String,
    },
}

/// A peer of our own cluster was not proven.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SameCluster(pub(crate) String);

struct Configs {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

/// Our certificate, our key, and the CAs that we trust.
pub struct Identity {
    dir: PathBuf,
    me: Peer,
    cluster: ClusterName,
    configs: ArcSwap<Configs>,
    /// End of our certificate, in seconds since 1970.
    ends: AtomicI64,
    /// The same of the first CA to end.
    authority_ends: AtomicI64,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({} of {})", self.me, self.cluster)
    }
}

impl Identity {
    /// Reads the three files in `dir`.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn load(dir: &Path) -> Result<Self, IdentityError> {
        let Read { configs, me, cluster, ends, authority_ends } = read(dir)?;
        let (configs, ends) = (ArcSwap::from_pointee(configs), AtomicI64::new(ends));
        let authority_ends = AtomicI64::new(authority_ends);
        Ok(Self { dir: dir.to_owned(), me, cluster, configs, ends, authority_ends })
    }

    /// Reads the files again: new connections use the new certificate and trust the new CAs; those that are up stay up.
    /// To change the CA, first trust both (both in `ca.pem`) everywhere, then renew every certificate, then trust one.
    ///
    /// # Errors
    /// [`IdentityError`]; then everything stays as it was.
    pub fn reload(&self) -> Result<(), IdentityError> {
        let Read { configs, me, cluster, ends, authority_ends } = read(&self.dir)?;
        if (&me, &cluster) != (&self.me, &self.cluster) {
            let (found, wanted) = (format!("{me} of {cluster}"), format!("{} of {}", self.me, self.cluster));
            return Err(IdentityError::Other { dir: self.dir.clone(), found, wanted });
        }
        self.configs.store(Arc::new(configs));
        self.ends.store(ends, Ordering::Relaxed);
        self.authority_ends.store(authority_ends, Ordering::Relaxed);
        Ok(())
    }

    /// Days until our certificate ends, by the wall clock; negative once it has.
    #[must_use]
    pub fn days_left(&self) -> i64 {
        days_to(&self.ends)
    }

    /// The same for the CA that we trust; of several, for the first to end.
    #[must_use]
    pub fn authority_days_left(&self) -> i64 {
        days_to(&self.authority_ends)
    }

    /// Who we are.
    #[must_use]
    pub fn me(&self) -> &Peer {
        &self.me
    }

    /// Our cluster.
    #[must_use]
    pub fn cluster(&self) -> &ClusterName {
        &self.cluster
    }

    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        self.configs.load().client.clone()
    }

    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        self.configs.load().server.clone()
    }

    /// The name that a peer's certificate must carry.
    pub(crate) fn expect(&self, peer: &Peer) -> Result<ServerName<'static>, SameCluster> {
        let name = peer.certificate_name(&self.cluster);
        ServerName::try_from(name).map_err(|e| SameCluster(format!("{peer} cannot be named in a certificate: {e}")))
    }

    /// The peer that a verified chain proves, if it is of our cluster.
    pub(crate) fn proven(&self, chain: Option<&[CertificateDer<'_>]>) -> Result<Peer, SameCluster> {
        let leaf = chain.and_then(|c| c.first()).ok_or_else(|| SameCluster("no certificate was shown".to_owned()))?;
        match named(leaf) {
            Some((peer, cluster)) if cluster == self.cluster => Ok(peer),
            Some((peer, cluster)) => {
                Err(SameCluster(format!("{peer} belongs to cluster {cluster}, not to {}", self.cluster)))
            }
            None => Err(SameCluster("the certificate names no peer of a cluster".to_owned())),
        }
    }
}

/// Whole days from now until then.
fn days_to(end: &AtomicI64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX));
    end.load(Ordering::Relaxed).saturating_sub(now) / 86_400
}

/// The peer and cluster that a certificate names.
fn named(cert: &CertificateDer<'_>) -> Option<(Peer, ClusterName)> {
    let cert = EndEntityCert::try_from(cert).ok()?;
    cert.valid_dns_names().find_map(Peer::from_certificate_name)
}

/// What a folder holds.
struct Read {
    configs: Configs,
    me: Peer,
    cluster: ClusterName,
    ends: i64,
    authority_ends: i64,
}

/// When a certificate ends, in seconds since 1970.
fn end_of(cert: &CertificateDer<'_>) -> Option<i64> {
    let (_, cert) = x509_parser::parse_x509_certificate(cert).ok()?;
    Some(cert.validity().not_after.timestamp())
}

fn read(dir: &Path) -> Result<Read, IdentityError> {
    let trusted = certs(&dir.join(CA_FILE))?;
    let chain = certs(&dir.join(CERT_FILE))?;
    let key_file = dir.join(KEY_FILE);
    let key = PrivateKeyDer::from_pem_file(&key_file).map_err(|e| bad(&key_file, e))?;
    let (me, cluster) = chain.first().and_then(named).ok_or_else(|| IdentityError::Nameless { dir: dir.to_owned() })?;
    let ends = chain.first().and_then(end_of).ok_or_else(|| bad(&dir.join(CERT_FILE), "it says no end"))?;
    // of one that says no end, rustls says below what it thinks
    let authority_ends = trusted.iter().filter_map(end_of).min().unwrap_or(i64::MAX);
    let configs = configs(trusted, chain, key);
    let configs = configs.map_err(|source| IdentityError::Unfit { dir: dir.to_owned(), source })?;
    Ok(Read { configs, me, cluster, ends, authority_ends })
}

fn certs(file: &Path) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let found = CertificateDer::pem_file_iter(file).map_err(|e| bad(file, e))?;
    let found: Result<Vec<_>, _> = found.collect();
    let found = found.map_err(|e| bad(file, e))?;
    if found.is_empty() { Err(bad(file, "it holds no certificate")) } else { Ok(found) }
}

fn bad(file: &Path, what: impl ToString) -> IdentityError {
    IdentityError::File { file: file.to_owned(), what: what.to_string() }
}

/// The one place where the TLS provider is chosen. TLS 1.3 only: both ends are ours. Sessions are not resumed, so that
/// every connection shows a certificate that is good today.
fn configs(
    trusted: Vec<CertificateDer<'static>>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Configs, rustls::Error> {
    let provider: Arc<CryptoProvider> = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    for ca in trusted {
        roots.add(ca)?;
    }
    let roots = Arc::new(roots);
    let mut client = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots.clone())
        .with_client_auth_cert(chain.clone(), key.clone_key())?;
    client.resumption = Resumption::disabled();
    let clients = WebPkiClientVerifier::builder_with_provider(roots, provider.clone())
        .build()
        .map_err(|e| rustls::Error::General(e.to_string()))?;
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, key)?;
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;
    Ok(Configs { client: Arc::new(client), server: Arc::new(server) })
}
