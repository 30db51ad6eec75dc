//! TLS on both sides: our certificate for clients, and the cluster's CA that servers are checked against. Only the
//! service's start calls it.

use crate::ProxyError;
use crate::config::{ClientTls, ServerTls};
use crate::login::ALPN;
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::sync::Arc;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Reads the files.
pub(crate) fn acceptor(tls: &ClientTls) -> Result<TlsAcceptor, ProxyError> {
    let bad = |what: &dyn std::fmt::Display| ProxyError::Tls(what.to_string());
    let chain = CertificateDer::pem_file_iter(&tls.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| bad(&format!("{}: {error}", tls.certificate.display())))?;
    let key =
        PrivateKeyDer::from_pem_file(&tls.key).map_err(|error| bad(&format!("{}: {error}", tls.key.display())))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| bad(&error))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| bad(&error))?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Trusts the cluster's CAs and nobody else. Sessions are not resumed, so that every connection shows a certificate that
/// is good today.
pub(crate) fn connector(tls: &ServerTls) -> Result<TlsConnector, ProxyError> {
    let bad = |what: &dyn std::fmt::Display| ProxyError::Trust(format!("{}: {what}", tls.ca.display()));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(&tls.ca).map_err(|error| bad(&error))? {
        roots.add(certificate.map_err(|error| bad(&error))?).map_err(|error| bad(&error))?;
    }
    if roots.is_empty() {
        return Err(bad(&"it holds no certificate"));
    }
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
