//! C, D: TLS toward agents, and who they are by it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::support::{Gate, Setup, Upstream, call, post, tool};

const BOT: &str = "spiffe://example.org/ns/agents/sa/bot";
const EVE: &str = "spiffe://example.org/ns/agents/sa/eve";

/// A certificate and its key, as PEM.
type Pair = (String, String);

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn sign(&self, name: SanType, usage: ExtendedKeyUsagePurpose) -> Pair {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.subject_alt_names = vec![name];
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }

    fn server(&self) -> Pair {
        let name = SanType::DnsName("localhost".try_into().unwrap());
        self.sign(name, ExtendedKeyUsagePurpose::ServerAuth)
    }

    fn client(&self, spiffe: &str) -> Pair {
        let name = SanType::URI(spiffe.try_into().unwrap());
        self.sign(name, ExtendedKeyUsagePurpose::ClientAuth)
    }
}

/// A certificate that nobody else signed, and its key.
pub(crate) fn self_signed() -> Pair {
    Authority::new().server()
}

/// Begins a handshake that fails at once.
pub(crate) fn greet(gate: &Gate) {
    let mut stream = TcpStream::connect(gate.agents).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let end = stream.read_to_end(&mut Vec::new()).map_err(|error| error.kind());
    assert!(!matches!(end, Err(std::io::ErrorKind::WouldBlock)), "not closed");
}

/// Asks over TLS; the whole answer as text, or why there is none.
fn ask(gate: &Gate, trust: &Authority, show: Option<&Pair>, body: &str) -> Result<String, String> {
    let mut roots = RootCertStore::empty();
    roots.add(trust.0.der().clone()).unwrap();
    let config = ClientConfig::builder().with_root_certificates(roots);
    let config = match show {
        None => config.with_no_client_auth(),
        Some((certificate, key)) => {
            let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            config.with_client_auth_cert(vec![certificate], key).unwrap()
        }
    };
    let connection = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap());
    let stream = TcpStream::connect(gate.agents).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    let mut stream = StreamOwned::new(connection.unwrap(), stream);
    let request = post("/mcp/crm", &[("connection", "close")], body);
    stream.write_all(&request).map_err(|error| error.to_string())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).map_err(|error| error.to_string())?;
    Ok(String::from_utf8(answer).unwrap())
}

#[test]
fn d01_an_agent_is_who_its_certificate_says_and_only_our_authority_is_asked() {
    let (ours, other) = (Authority::new(), Authority::new());
    let upstream = Upstream::of_tools(&[tool("echo", "{}")]);
    let body = call(1, "echo", "{}");
    let (certificate, key) = ours.server();
    let setup = Setup::to(&upstream)
        .agent_lines(&format!("  - {{id: bot, certificate: '{BOT}'}}\n"))
        .file("gate.pem", &certificate)
        .file("gate.key", &key)
        .file("agents-ca.pem", &ours.0.pem())
        .config("tls: {certificate: ./gate.pem, key: ./gate.key, client_ca: ./agents-ca.pem}");
    let gate = Gate::start(&setup);
    let answered = ask(&gate, &ours, Some(&ours.client(BOT)), &body).unwrap();
    assert!(answered.starts_with("HTTP/1.1 200"), "{answered}");
    assert_eq!(gate.only_decision()["agent"], "bot");
    for (name, show, expected) in [
        ("another's name, signed by ours", Some(ours.client(EVE)), "HTTP/1.1 401"),
        ("our name, signed by another", Some(other.client(BOT)), ""),
        ("a server's certificate", Some(ours.server()), ""),
        ("none", None, "HTTP/1.1 401"),
    ] {
        let answer = ask(&gate, &ours, show.as_ref(), &body);
        let fits = match &answer {
            Ok(text) => !expected.is_empty() && text.starts_with(expected),
            // The handshake failed, which is a refusal at any rate.
            Err(_) => true,
        };
        assert!(fits, "{name}: {answer:?}");
    }
    // Whoever does not trust our authority does not speak to us.
    assert!(ask(&gate, &other, None, &body).is_err());
    assert_eq!(upstream.calls().len(), 1);
}

#[test]
fn c_plain_text_to_a_tls_port_is_no_request() {
    let upstream = Upstream::of_tools(&[tool("echo", "{}")]);
    let (certificate, key) = self_signed();
    let setup = Setup::to(&upstream)
        .file("gate.pem", &certificate)
        .file("gate.key", &key)
        .config("tls: {certificate: ./gate.pem, key: ./gate.key}");
    let gate = Gate::start(&setup);
    for bytes in [
        post("/mcp/crm", &[], call(1, "echo", "{}")),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec(),
        vec![0; 4096],
        vec![22; 4096],
    ] {
        let mut stream = TcpStream::connect(gate.agents).unwrap();
        stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
        let _ = stream.write_all(&bytes);
        let mut answer = Vec::new();
        let end = stream.read_to_end(&mut answer).map_err(|error| error.kind());
        assert!(!matches!(end, Err(std::io::ErrorKind::WouldBlock)), "not closed");
        assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    }
    assert_eq!(upstream.calls().len(), 0);
}
