//! Certificates of clients, and proofs that are bound to the TLS channel, with psql as it is installed.

mod common;

use common::{Lab, PASSWORD, Server, bin, name};
use dauphin_model::ClusterName;
use dauphin_net::Peer;
use dauphin_net::ca::{CA_FILE, CERT_FILE, Ca, KEY_FILE};
use dauphin_proxy::{Certificates, ClientTls, Config, Demand, ProxyError};
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use tokio::io::copy_bidirectional;

/// A CA for clients, and certificates of it: file and key by name.
struct Clients {
    folder: TempDir,
    key: KeyPair,
}

fn authority() -> CertificateParams {
    let mut params = CertificateParams::new([]).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

impl Clients {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let key = KeyPair::generate().expect("a key");
        let certificate = authority().self_signed(&key).expect("signed");
        fs::write(folder.path().join("ca.pem"), certificate.pem()).expect("writable");
        Self { folder, key }
    }

    fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// What psql needs to show a certificate with this common name.
    fn issue(&self, name: Option<&str>) -> String {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new([]).expect("parameters");
        params.distinguished_name = DistinguishedName::new();
        if let Some(name) = name {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        let certificate = params.signed_by(&key, &Issuer::new(authority(), &self.key)).expect("signed");
        let file = |end: &str| self.folder.path().join(format!("{}.{end}", name.unwrap_or("nobody")));
        fs::write(file("pem"), certificate.pem()).expect("writable");
        fs::write(file("key"), key.serialize_pem()).expect("writable");
        fs::set_permissions(file("key"), fs::Permissions::from_mode(0o600)).expect("ours");
        format!("sslcert={} sslkey={}", file("pem").display(), file("key").display())
    }
}

/// A proxy with a certificate of a cluster's CA, whose file is in the folder that is given back.
async fn lab(server: &Server, certificates: Option<Certificates>) -> (Lab, TempDir) {
    lab_reading(server, certificates, &File::default()).await
}

/// What stands in the file.
type File = Arc<Mutex<Option<Config>>>;

/// The same with a file, which says at first how the proxy was started.
async fn lab_reading(server: &Server, certificates: Option<Certificates>, file: &File) -> (Lab, TempDir) {
    let ca = Ca::create(&ClusterName::new("lab").expect("a name")).expect("a CA");
    let folder = tempfile::tempdir().expect("a folder");
    ca.issue_to(folder.path(), &Peer::member(&name("m1")), &["127.0.0.1".to_owned()]).expect("issued");
    let path = |file: &str| folder.path().join(file);
    let tls = ClientTls { certificate: path(CERT_FILE), key: path(KEY_FILE), required: false, certificates };
    let read = Arc::clone(file);
    let reader = Arc::new(move || read.lock().expect("no panic").clone().ok_or_else(|| "no file".to_owned()));
    let mut lab = Lab::start_reading(Some(reader), |config, _| {
        config.tls = Some(tls);
        *file.lock().expect("no panic") = Some(config.clone());
    });
    lab.lead("m1", server).await;
    (lab, folder)
}

fn psql(lab: &Lab, more: &str) -> (bool, String) {
    let target = format!("host=127.0.0.1 port={} user=app dbname=app {more}", lab.write_port());
    let mut psql = Command::new(bin().join("psql"));
    psql.args(["-X", "-A", "-t", "-d", &target, "-c", "select 'in'"]).env("PGPASSWORD", PASSWORD);
    // No certificate of whoever runs the tests.
    let output = psql.env("HOME", "/nonexistent").output().expect("psql runs");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).trim().to_owned())
}

#[track_caller]
fn enters(lab: &Lab, more: &str) {
    assert_eq!(psql(lab, more), (true, "in".to_owned()), "{more}");
}

#[track_caller]
fn refused(lab: &Lab, more: &str, why: &str) {
    let (entered, text) = psql(lab, more);
    assert!(!entered && text.contains(why), "{more}: {text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proofs_are_bound_to_the_channel_where_there_is_one() {
    let server = Server::start(&[]);
    let (lab, folder) = lab(&server, None).await;
    let verified = format!("sslmode=verify-ca sslrootcert={}", folder.path().join(CA_FILE).display());
    for binding in ["require", "prefer", "disable"] {
        enters(&lab, &format!("sslmode=require channel_binding={binding}"));
        enters(&lab, &format!("{verified} channel_binding={binding}"));
    }
    enters(&lab, "sslmode=disable channel_binding=prefer");
    refused(&lab, "sslmode=disable channel_binding=require", "channel binding required");
}

/// Whoever stands between has another certificate, and cannot make the proof fit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proof_that_was_made_for_another_channel_is_refused() {
    let server = Server::start(&[]);
    let (lab, _folder) = lab(&server, None).await;
    // It ends the client's TLS and begins its own: psql's certificate is that of another cluster's proxy.
    let ca = Ca::create(&ClusterName::new("other").expect("a name")).expect("a CA");
    let files = tempfile::tempdir().expect("a folder");
    ca.issue_to(files.path(), &Peer::member(&name("m1")), &["127.0.0.1".to_owned()]).expect("issued");
    let (mallory, port) = between::listen(files.path()).await;
    let to = lab.write_port();
    tokio::spawn(async move {
        while let Some(mut client) = mallory.accept().await {
            let mut proxy = between::connect(to).await;
            let _ = copy_bidirectional(&mut client, &mut proxy).await;
        }
    });
    let through = |binding: &str| {
        let target =
            format!("host=127.0.0.1 port={port} user=app dbname=app sslmode=require channel_binding={binding}");
        let mut psql = Command::new(bin().join("psql"));
        psql.args(["-X", "-A", "-t", "-d", &target, "-c", "select 'in'"]).env("PGPASSWORD", PASSWORD);
        let output = psql.output().expect("psql runs");
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).trim().to_owned()
    };
    for binding in ["require", "prefer"] {
        let told = through(binding);
        assert!(told.contains("bound to another TLS channel"), "{binding}: {told}");
    }
    assert_eq!(through("disable"), "in", "who does not bind it is not protected");
}

/// A man in the middle.
mod between {
    use super::{CERT_FILE, KEY_FILE, Path};
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
    use rustls::{ClientConfig, DigitallySignedStruct, Error, ServerConfig, SignatureScheme};
    use std::sync::Arc;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

    const TLS_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

    pub(super) struct Mallory(TcpListener, TlsAcceptor);

    pub(super) async fn listen(files: &Path) -> (Mallory, u16) {
        let chain = CertificateDer::pem_file_iter(files.join(CERT_FILE)).expect("a file").map(|it| it.expect("PEM"));
        let key = PrivateKeyDer::from_pem_file(files.join(KEY_FILE)).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("ours");
        let config = config.with_no_client_auth().with_single_cert(chain.collect(), key).expect("they fit");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        (Mallory(listener, TlsAcceptor::from(Arc::new(config))), port)
    }

    impl Mallory {
        pub(super) async fn accept(&self) -> Option<server::TlsStream<TcpStream>> {
            let (mut stream, _) = self.0.accept().await.ok()?;
            stream.read_exact(&mut [0; 8]).await.ok()?;
            stream.write_all(b"S").await.ok()?;
            self.1.accept(stream).await.ok()
        }
    }

    pub(super) async fn connect(port: u16) -> client::TlsStream<TcpStream> {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("the proxy listens");
        stream.write_all(&TLS_REQUEST).await.expect("written");
        assert_eq!(stream.read_u8().await.expect("an answer"), b'S');
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("ours");
        let config = config.dangerous().with_custom_certificate_verifier(Arc::new(Anybody)).with_no_client_auth();
        let name = ServerName::try_from("localhost").expect("a name");
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("a handshake")
    }

    /// Takes every certificate.
    #[derive(Debug)]
    struct Anybody;

    impl ServerCertVerifier for Anybody {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            vec![SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::ED25519]
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_show_certificates_where_they_must() {
    let server = Server::start(&[]);
    let (clients, strangers) = (Clients::new(), Clients::new());
    let (app, other, nobody) = (clients.issue(Some("app")), clients.issue(Some("other")), clients.issue(None));
    let strange = strangers.issue(Some("app"));
    let lab_with = |demand| lab(&server, Some(Certificates { ca: clients.ca(), demand }));
    for demand in [Demand::Allowed, Demand::Required, Demand::OfUser] {
        let (lab, _folder) = lab_with(demand).await;
        enters(&lab, &format!("sslmode=require {app}"));
        // of another CA: whoever shows one means it
        refused(&lab, &format!("sslmode=require {strange}"), "alert");
        let others = |certificate: &str, name: &str| match demand {
            Demand::OfUser => refused(
                &lab,
                &format!("sslmode=require {certificate}"),
                &format!("the certificate is not one of user \"app\": it names {name}"),
            ),
            _ => enters(&lab, &format!("sslmode=require {certificate}")),
        };
        others(&other, "other");
        others(&nobody, "nobody");
        if demand == Demand::Allowed {
            enters(&lab, "sslmode=require");
            enters(&lab, "sslmode=disable");
        } else {
            refused(&lab, "sslmode=require", "certificate required");
            refused(&lab, "sslmode=disable", "takes TLS connections only");
        }
        // The password counts all the same.
        let wrong = Command::new(bin().join("psql"))
            .args([
                "-X",
                "-d",
                &format!("host=127.0.0.1 port={} user=app dbname=app sslmode=require {app}", lab.write_port()),
            ])
            .args(["-c", "select 1"])
            .env("PGPASSWORD", "wrong")
            .output()
            .expect("psql runs");
        assert!(String::from_utf8_lossy(&wrong.stderr).contains("password authentication failed"), "{wrong:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_demanded_from_a_reload_on() {
    let server = Server::start(&[]);
    let (clients, file) = (Clients::new(), File::default());
    let (app, other) = (clients.issue(Some("app")), clients.issue(Some("other")));
    let (lab, _folder) = lab_reading(&server, None, &file).await;
    enters(&lab, "sslmode=disable");
    let stays = lab.connect().await;
    let demand = async |demand: Option<Demand>| {
        let certificates = demand.map(|demand| Certificates { ca: clients.ca(), demand });
        file.lock().expect("no panic").as_mut().expect("written").tls.as_mut().expect("given").certificates =
            certificates;
        lab.proxy().handle().reload().await.map(|reloaded| {
            let keys = reloaded.applied.iter().map(|change| change.key).collect::<Vec<_>>();
            (keys, reloaded.restart.len())
        })
    };
    assert_eq!(demand(Some(Demand::Required)).await, Ok((vec!["client_certificates", "client_ca"], 0)));
    for sslmode in ["sslmode=require", "sslmode=disable"] {
        let why = if sslmode == "sslmode=disable" { "takes TLS connections only" } else { "certificate required" };
        refused(&lab, sslmode, why);
    }
    enters(&lab, &format!("sslmode=require {other}"));
    assert_eq!(common::one(&stays, "select 'in'").await, "in", "who is there stays");
    assert_eq!(demand(Some(Demand::OfUser)).await, Ok((vec!["client_certificates"], 0)));
    refused(&lab, &format!("sslmode=require {other}"), "it names other");
    enters(&lab, &format!("sslmode=require {app}"));
    // A CA that is not there changes nothing, and none is asked for again once that is said.
    let ca = clients.ca();
    let kept = fs::read(&ca).expect("readable");
    fs::write(&ca, "no certificate").expect("writable");
    assert!(
        demand(Some(Demand::Allowed)).await.expect_err("no CA").contains("clients' certificates cannot be checked")
    );
    refused(&lab, "sslmode=disable", "takes TLS connections only");
    fs::write(&ca, kept).expect("writable");
    assert_eq!(demand(None).await, Ok((vec!["client_certificates", "client_ca"], 0)));
    enters(&lab, "sslmode=disable");
    enters(&lab, "sslmode=require");
}

#[test]
fn a_ca_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = common::config(folder.path());
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let (certificate, key, ca) =
        (folder.path().join("c.pem"), folder.path().join("k.pem"), folder.path().join("ca.pem"));
    fs::write(&certificate, made.cert.pem()).expect("writable");
    fs::write(&key, made.signing_key.serialize_pem()).expect("writable");
    fs::write(&ca, "no certificate").expect("writable");
    let certificates = Some(Certificates { ca, demand: Demand::Required });
    config.tls = Some(ClientTls { certificate, key, required: true, certificates });
    let (_heard, receiver) = tokio::sync::mpsc::channel(1);
    let refused = dauphin_proxy::Proxy::start(&config, receiver, None).err().expect("refused");
    assert!(matches!(refused, ProxyError::ClientTrust(_)) && refused.to_string().contains("ca.pem"), "{refused}");
}
