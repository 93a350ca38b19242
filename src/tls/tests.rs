//! Real handshakes on loopback, with certificates made on the spot.

use std::net::SocketAddr;

use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    SanType,
};
use tokio::net::{TcpListener, TcpStream};
use tower_service::Service;

use super::*;

const BOT: &str = "spiffe://example.org/ns/agents/sa/bot";

/// An authority, and the files that it signed.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    files: tempfile::TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let files = tempfile::tempdir().unwrap();
        std::fs::write(files.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, files }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// Sign a certificate for these names and write it and its key to files of this name.
    fn sign(&self, name: &str, names: Vec<SanType>, usage: ExtendedKeyUsagePurpose) {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.subject_alt_names = names;
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.path(&format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    fn sign_server(&self) -> ServerFiles {
        let names = vec![SanType::DnsName("localhost".try_into().unwrap())];
        self.sign("server", names, ExtendedKeyUsagePurpose::ServerAuth);
        ServerFiles {
            certificate: self.path("server.pem"),
            key: self.path("server.key"),
            clients: None,
        }
    }

    fn sign_client(&self, name: &str, uris: &[&str]) -> ClientFiles {
        let names = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
        self.sign(name, names, ExtendedKeyUsagePurpose::ClientAuth);
        ClientFiles {
            roots: Some(self.path("ca.pem")),
            identity: Some((self.path(&format!("{name}.pem")), self.path(&format!("{name}.key")))),
        }
    }

    fn anonymous_client(&self) -> ClientFiles {
        ClientFiles { roots: Some(self.path("ca.pem")), identity: None }
    }
}

/// One handshake; what the server saw of the client, and the protocol they agreed on.
async fn handshake(
    server: Arc<ServerConfig>,
    mut client: ClientConfig,
    protocols: &[&str],
) -> Result<(Option<PeerCertificate>, Option<String>), String> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    client.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let connecting = tokio::spawn(async move {
        let socket = TcpStream::connect(address).await.unwrap();
        let name = "localhost".try_into().unwrap();
        tokio_rustls::TlsConnector::from(Arc::new(client)).connect(name, socket).await
    });
    let (socket, _) = listener.accept().await.unwrap();
    let accepted = tokio_rustls::TlsAcceptor::from(server).accept(socket).await;
    let connected = connecting.await.unwrap();
    let stream = accepted.map_err(|error| error.to_string())?;
    drop(connected.map_err(|error| error.to_string())?);
    let protocol = stream.get_ref().1.alpn_protocol();
    let protocol = protocol.map(|name| String::from_utf8(name.to_vec()).unwrap());
    Ok((PeerCertificate::of(stream.get_ref().1), protocol))
}

#[tokio::test]
async fn a_client_is_who_its_one_spiffe_uri_says() {
    let authority = Authority::new();
    let mut files = authority.sign_server();
    files.clients = Some(ClientRoots { roots: authority.path("ca.pem"), required: true });
    let server = server(&files).unwrap();
    for (name, uris, expected) in [
        ("one", vec![BOT], Some(BOT)),
        ("none", vec![], None),
        ("two", vec![BOT, "spiffe://example.org/other"], None),
        ("twice", vec![BOT, BOT], None),
        ("web", vec!["https://example.org/bot"], None),
        ("odd", vec!["spiffe://example.org/a/../b"], None),
    ] {
        let client = client(&authority.sign_client(name, &uris)).unwrap();
        let (peer, _) = handshake(server.clone(), client, &[]).await.unwrap();
        assert_eq!(peer.unwrap().spiffe().map(SpiffeId::as_str), expected, "{name}");
    }
}

#[tokio::test]
async fn a_client_without_a_certificate_is_let_in_only_where_none_is_required() {
    let authority = Authority::new();
    let mut files = authority.sign_server();
    for (clients, passes) in [(None, true), (Some(false), true), (Some(true), false)] {
        files.clients =
            clients.map(|required| ClientRoots { roots: authority.path("ca.pem"), required });
        let client = client(&authority.anonymous_client()).unwrap();
        match handshake(server(&files).unwrap(), client, &[]).await {
            Ok((peer, _)) => assert!(passes && peer.is_none(), "{clients:?}"),
            Err(error) => assert!(!passes, "{clients:?}: {error}"),
        }
    }
}

#[tokio::test]
async fn d01_a_strangers_certificate_ends_the_handshake() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let mut files = ours.sign_server();
    files.clients = Some(ClientRoots { roots: ours.path("ca.pem"), required: false });
    let stranger = ClientFiles {
        roots: Some(ours.path("ca.pem")),
        identity: theirs.sign_client("bot", &[BOT]).identity,
    };
    let server = server(&files).unwrap();
    assert!(handshake(server.clone(), client(&stranger).unwrap(), &[]).await.is_err());
    // And the other way round: a server that our roots do not cover.
    let distrusting = client(&theirs.anonymous_client()).unwrap();
    assert!(handshake(server, distrusting, &[]).await.is_err());
}

#[tokio::test]
async fn both_http_versions_are_offered() {
    let authority = Authority::new();
    let server = server(&authority.sign_server()).unwrap();
    for (offered, agreed) in
        [(&["h2", "http/1.1"][..], "h2"), (&["http/1.1", "h2"], "h2"), (&["http/1.1"], "http/1.1")]
    {
        let client = client(&authority.anonymous_client()).unwrap();
        let (_, protocol) = handshake(server.clone(), client, offered).await.unwrap();
        assert_eq!(protocol.as_deref(), Some(agreed));
    }
}

#[test]
fn what_is_wrong_with_the_files_is_said_with_their_path() {
    let authority = Authority::new();
    let good = authority.sign_server();
    authority.sign("other", vec![], ExtendedKeyUsagePurpose::ServerAuth);
    std::fs::write(authority.path("empty.pem"), "").unwrap();
    std::fs::write(authority.path("broken.pem"), "-----BEGIN CERTIFICATE-----\nAAA").unwrap();
    let not_der = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    std::fs::write(authority.path("not-der.pem"), not_der).unwrap();
    let clients = |name| Some(ClientRoots { roots: authority.path(name), required: true });
    for (certificate, key, clients, expected) in [
        ("missing.pem", "server.key", None, "missing.pem` cannot be read"),
        ("empty.pem", "server.key", None, "empty.pem` holds no certificate"),
        ("broken.pem", "server.key", None, "broken.pem` is not valid PEM"),
        ("server.pem", "server.pem", None, "server.pem` holds no private key"),
        ("server.pem", "other.key", None, "other.key` do not go together"),
        ("server.pem", "server.key", clients("missing.pem"), "missing.pem` cannot be read"),
        ("server.pem", "server.key", clients("empty.pem"), "empty.pem` holds no certificate"),
        ("server.pem", "server.key", clients("not-der.pem"), "certificate 1 in `"),
    ] {
        let files = ServerFiles {
            certificate: authority.path(certificate),
            key: authority.path(key),
            clients,
        };
        let error = server(&files).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(error.contains(&authority.files.path().display().to_string()), "{error}");
    }
    server(&good).unwrap();
}

#[tokio::test]
async fn the_connector_speaks_https_with_a_client_certificate() {
    let authority = Authority::new();
    let mut files = authority.sign_server();
    files.clients = Some(ClientRoots { roots: authority.path("ca.pem"), required: true });
    let acceptor = tokio_rustls::TlsAcceptor::from(server(&files).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let stream = acceptor.accept(socket).await.unwrap();
        let peer = PeerCertificate::of(stream.get_ref().1).unwrap();
        let service = hyper::service::service_fn(move |request: http::Request<_>| {
            let _: &hyper::body::Incoming = request.body();
            let seen = format!("{:?} {}", request.version(), peer.spiffe().unwrap().as_str());
            async move { Ok::<_, std::convert::Infallible>(http::Response::new(seen)) }
        });
        hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(stream), service)
            .await
    });
    let connector = connector(client(&authority.sign_client("bot", &[BOT])).unwrap());
    let client: Client<_, Empty<bytes::Bytes>> =
        Client::builder(TokioExecutor::new()).build(connector);
    let url = format!("https://localhost:{port}/").parse().unwrap();
    let answer = client.get(url).await.unwrap().into_body().collect().await.unwrap();
    assert_eq!(answer.to_bytes(), format!("HTTP/2.0 {BOT}"));
}

#[tokio::test]
async fn d07_the_connector_refuses_before_it_connects() {
    let mut connector = connector(client(&ClientFiles::default()).unwrap());
    for host in [
        "169.254.169.254",
        "[::ffff:169.254.169.254]",
        "[fe80::1]",
        "[fd00:ec2::254]",
        // Spellings that only the system's resolver understands.
        "0xa9fea9fe",
        "2852039166",
        "169.254.43518",
        "0251.0376.0251.0376",
    ] {
        // With https, a host that is neither a name nor an address gets no further either.
        let is_address = host.contains(':') || host == "169.254.169.254";
        for scheme in if is_address { &["http", "https"][..] } else { &["http"] } {
            let url = format!("{scheme}://{host}/latest/meta-data/").parse().unwrap();
            let Err(error) = connector.call(url).await else { panic!("{host} was connected to") };
            assert!(is_about_forbidden(&*error), "{host}: {error:?}");
        }
    }
}

fn is_about_forbidden(error: &(dyn std::error::Error + 'static)) -> bool {
    let inner = error.downcast_ref::<std::io::Error>().and_then(|error| error.get_ref());
    error.is::<Forbidden>()
        || inner.is_some_and(|inner| inner.is::<Forbidden>())
        || error.source().is_some_and(is_about_forbidden)
}

#[test]
fn d07_a_name_that_also_points_there_is_refused_whole() {
    let at = |address: &str| SocketAddr::new(address.parse().unwrap(), 80);
    let rebinding = vec![at("203.0.113.7"), at("169.254.169.254")];
    assert!(connector::allowed(rebinding).is_err());
    assert_eq!(connector::allowed(vec![at("127.0.0.1")]).unwrap().count(), 1);
}

#[tokio::test]
async fn d07_loopback_is_connected_to() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    let mut connector = connector(client(&ClientFiles::default()).unwrap());
    assert!(connector.call(url).await.is_ok());
}
