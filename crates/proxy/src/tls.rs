//! TLS on both sides: our certificate for clients, their certificates, and the cluster's CA that servers are checked against.
//! The service's start reads the files; logins ask what a client has shown.

use crate::ProxyError;
use crate::config::{ClientTls, Demand, ServerTls};
use crate::login::ALPN;
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use sha2::{Digest, Sha256, Sha384, Sha512};
use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Signature algorithms by the hash that they sign. With another hash no channel binding is defined, or not by all.
const BY_SHA_256: [&str; 2] = ["1.2.840.113549.1.1.11", "1.2.840.10045.4.3.2"];
const BY_SHA_384: [&str; 2] = ["1.2.840.113549.1.1.12", "1.2.840.10045.4.3.3"];
const BY_SHA_512: [&str; 2] = ["1.2.840.113549.1.1.13", "1.2.840.10045.4.3.4"];

/// TLS towards clients.
pub(crate) struct Clients {
    pub(crate) acceptor: TlsAcceptor,
    /// Whether clients without TLS are refused, as they show no certificate.
    pub(crate) demanded: bool,
    /// What a client's proof may be bound to (`tls-server-end-point`); none where that is not defined.
    pub(crate) end_point: Option<Vec<u8>>,
    /// Whether a client's certificate must name its user.
    pub(crate) of_user: bool,
}

impl Clients {
    /// Reads the files.
    ///
    /// # Errors
    /// [`ProxyError`] when one of them cannot be used.
    pub(crate) fn new(tls: &ClientTls) -> Result<Self, ProxyError> {
        let bad = |what: &dyn Display| ProxyError::Tls(what.to_string());
        let chain = CertificateDer::pem_file_iter(&tls.certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| bad(&format!("{}: {error}", tls.certificate.display())))?;
        let key =
            PrivateKeyDer::from_pem_file(&tls.key).map_err(|error| bad(&format!("{}: {error}", tls.key.display())))?;
        let end_point = chain.first().and_then(end_point);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| bad(&error))?;
        let builder = match &tls.certificates {
            None => builder.with_no_client_auth(),
            Some(certificates) => {
                let bad =
                    |what: &dyn Display| ProxyError::ClientTrust(format!("{}: {what}", certificates.ca.display()));
                let roots = Arc::new(roots(&certificates.ca, &bad)?);
                let mut verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                if certificates.demand == Demand::Allowed {
                    verifier = verifier.allow_unauthenticated();
                }
                builder.with_client_cert_verifier(verifier.build().map_err(|error| bad(&error))?)
            }
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|error| bad(&error))?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        let demand = tls.certificates.as_ref().map(|certificates| certificates.demand);
        if demand.is_some() {
            // Every connection shows a certificate that is good today.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        let demanded = matches!(demand, Some(Demand::Required | Demand::OfUser));
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            demanded,
            end_point,
            of_user: demand == Some(Demand::OfUser),
        })
    }
}

/// The one common name of a certificate, as PostgreSQL compares it with a user's name.
pub(crate) fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let mut names = certificate.subject().iter_common_name();
    let name = names.next()?.as_str().ok()?;
    (names.next().is_none() && !name.contains('\0')).then(|| name.to_owned())
}

/// The hash of a certificate that channel binding goes by (RFC 5929).
fn end_point(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let algorithm = parsed.signature_algorithm.algorithm.to_id_string();
    let signs = |algorithms: [&str; 2]| algorithms.contains(&algorithm.as_str());
    match () {
        () if signs(BY_SHA_256) => Some(Sha256::digest(certificate).to_vec()),
        () if signs(BY_SHA_384) => Some(Sha384::digest(certificate).to_vec()),
        () if signs(BY_SHA_512) => Some(Sha512::digest(certificate).to_vec()),
        () => None,
    }
}

fn roots(ca: &Path, bad: &dyn Fn(&dyn Display) -> ProxyError) -> Result<RootCertStore, ProxyError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).map_err(|error| bad(&error))? {
        roots.add(certificate.map_err(|error| bad(&error))?).map_err(|error| bad(&error))?;
    }
    if roots.is_empty() { Err(bad(&"it holds no certificate")) } else { Ok(roots) }
}

/// Trusts the cluster's CAs and nobody else. Sessions are not resumed, so that every connection shows a certificate that
/// is good today.
pub(crate) fn connector(tls: &ServerTls) -> Result<TlsConnector, ProxyError> {
    let bad = |what: &dyn Display| ProxyError::Trust(format!("{}: {what}", tls.ca.display()));
    let roots = roots(&tls.ca, &bad)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| bad(&error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}
