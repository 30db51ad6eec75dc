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
    let file = match ca_file {
        Some(file) => file.to_owned(),
        None => system()
            .ok_or_else(|| SendError::Tls(format!("none of {} is there: name a `ca_file`", SYSTEM_CAS.join(", "))))?,
    };
    let fail = |what: String| SendError::File { file: file.clone(), what };
    let mut roots = RootCertStore::empty();
    let found = CertificateDer::pem_file_iter(&file).map_err(|e| fail(e.to_string()))?;
    roots.add_parsable_certificates(found.filter_map(Result::ok));
    if roots.is_empty() {
        return Err(fail("it holds no certificate of a CA".to_owned()));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|e| SendError::Tls(e.to_string()))?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

fn system() -> Option<PathBuf> {
    SYSTEM_CAS.iter().map(PathBuf::from).find(|path| path.exists())
}
