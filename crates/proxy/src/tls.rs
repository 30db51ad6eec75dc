//! TLS for clients, from a certificate and a key in PEM files. Only the service's start calls it.

use crate::ProxyError;
use crate::config::ClientTls;
use crate::login::ALPN;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

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
