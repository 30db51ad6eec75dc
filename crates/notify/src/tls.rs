//! TLS towards places that notices are sent to: their certificates must be of a CA that the target names, or the system's.

use crate::error::SendError;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where systems keep the CAs that they trust, in one file.
const SYSTEM_CAS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// How a connection is made.
pub(crate) fn config(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, SendError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(trusted(ca_file)?);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|e| SendError::Tls(e.to_string()))?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

/// The CAs that are trusted: one at least, and each of them can be read.
pub(crate) fn trusted(ca_file: Option<&Path>) -> Result<Vec<CertificateDer<'static>>, SendError> {
    let file = match ca_file {
        Some(file) => file.to_owned(),
        None => system()
            .ok_or_else(|| SendError::Tls(format!("none of {} is there: name a `ca_file`", SYSTEM_CAS.join(", "))))?,
    };
    let fail = |what: String| SendError::File { file: file.clone(), what };
    let found = CertificateDer::pem_file_iter(&file).map_err(|e| fail(e.to_string()))?;
    // one that rustls cannot read vouches for nobody
    let readable = |der: &CertificateDer<'static>| RootCertStore::empty().add(der.clone()).is_ok();
    let trusted: Vec<_> = found.filter_map(Result::ok).filter(readable).collect();
    if trusted.is_empty() {
        return Err(fail("it holds no certificate of a CA".to_owned()));
    }
    Ok(trusted)
}

fn system() -> Option<PathBuf> {
    SYSTEM_CAS.iter().map(PathBuf::from).find(|path| path.exists())
}
