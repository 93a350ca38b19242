//! Real keys, real tokens, a real issuer on loopback.

use std::convert::Infallible;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::key_set::{KeySet, Pace};
use super::*;
use crate::tls;

const STATIC: &str = "static-token-of-support-bot";
const ISSUER: &str = "https://issuer.example";
const AUDIENCE: &str = "countersign";
const RSA_PRIVATE: &[u8] = include_bytes!("testdata/rsa.pem");
const RSA_PUBLIC: &[u8] = include_bytes!("testdata/rsa.pub.pem");
const RSA_MODULUS: &str = include_str!("testdata/rsa.modulus");

/// A private key, and its public half as an issuer publishes it.
struct Signer {
    private: EncodingKey,
    algorithm: Algorithm,
    published: Value,
}

impl Signer {
    fn rsa(id: &str) -> Self {
        Self {
            private: EncodingKey::from_rsa_pem(RSA_PRIVATE).unwrap(),
            algorithm: Algorithm::RS256,
            published: json!({"kty": "RSA", "kid": id, "use": "sig", "alg": "RS256",
                "n": RSA_MODULUS, "e": "AQAB"}),
        }
    }

    fn ec(id: &str) -> Self {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let (x, y) = pair.public_key_raw()[1..].split_at(32);
        Self {
            private: EncodingKey::from_ec_der(&pair.serialize_der()),
            algorithm: Algorithm::ES256,
            published: json!({"kty": "EC", "kid": id, "crv": "P-256",
                "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y)}),
        }
    }

    fn ed(id: &str) -> Self {
        let pair = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        Self {
            private: EncodingKey::from_ed_der(&pair.serialize_der()),
            algorithm: Algorithm::EdDSA,
            published: json!({"kty": "OKP", "kid": id, "crv": "Ed25519",
                "x": URL_SAFE_NO_PAD.encode(pair.public_key_raw())}),
        }
    }

    fn id(&self) -> &str {
        self.published["kid"].as_str().unwrap()
    }

    fn sign(&self, claims: &Value) -> String {
        let mut header = Header::new(self.algorithm);
        header.kid = Some(self.id().to_owned());
        self.sign_under(&header, claims)
    }

    fn sign_under(&self, header: &Header, claims: &Value) -> String {
        jsonwebtoken::encode(header, claims, &self.private).unwrap()
    }
}

fn set(signers: &[&Signer]) -> String {
    json!({"keys": signers.iter().map(|s| s.published.clone()).collect::<Vec<_>>()}).to_string()
}

/// The claims of a good token, with these put over them; `null` takes one away.
fn claims(changes: Value) -> Value {
    let mut claims = json!({"iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "exp": now_s() + 300,
        "nbf": now_s() - 5, "groups": ["support"], "org": "acme"});
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    claims
}

fn settings(keys: KeySource) -> IdentitySettings {
    let anyone = AgentSettings {
        id: "dev".into(),
        groups: vec![],
        credentials: vec![Credential::Anonymous],
    };
    let bot = AgentSettings {
        id: "support-bot".into(),
        groups: vec!["support".into()],
        credentials: vec![
            Credential::Token(Token::from_plain(STATIC).unwrap()),
            Credential::Spiffe("spiffe://example.org/bot".into()),
        ],
    };
    IdentitySettings {
        agents: vec![anyone, bot],
        workloads: vec![WorkloadSettings {
            within: "spiffe://example.org/ns/agents".into(),
            groups: vec!["workloads".into()],
        }],
        issuers: vec![IssuerSettings {
            issuer: ISSUER.into(),
            audiences: vec![AUDIENCE.into(), "other-gate".into()],
            algorithms: ["RS256", "ES256", "EdDSA"].map(Into::into).to_vec(),
            keys,
            id_claim: "sub".into(),
            groups_claim: Some("groups".into()),
            prefix: String::new(),
        }],
    }
}

fn file(text: &str) -> (tempfile::TempDir, KeySource) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jwks.json");
    std::fs::write(&path, text).unwrap();
    (directory, KeySource::file(path))
}

/// Identities whose only issuer publishes these keys in a file.
fn knowing(signers: &[&Signer]) -> (tempfile::TempDir, Identities) {
    let (directory, source) = file(&set(signers));
    (directory, Identities::new(settings(source), None).unwrap())
}

fn header(token: &str) -> Vec<HeaderValue> {
    vec![HeaderValue::from_str(&format!("Bearer {token}")).unwrap()]
}

/// From loopback, where anonymous is configured: so nothing bad may ever come out as `dev`.
async fn who(identities: &Identities, token: &str) -> Result<Arc<Agent>, Refusal> {
    identities.identify(&header(token), None, true).await
}

fn is_401(result: &Result<Arc<Agent>, Refusal>) -> bool {
    matches!(result, Err(refusal) if refusal.status() == http::StatusCode::UNAUTHORIZED)
}

#[tokio::test]
async fn a_good_token_of_each_kind_names_its_agent() {
    let signers = [Signer::rsa("r"), Signer::ec("e"), Signer::ed("d")];
    let (_directory, identities) = knowing(&signers.each_ref());
    for signer in &signers {
        let agent = who(&identities, &signer.sign(&claims(json!({})))).await.unwrap();
        assert_eq!(&*agent.id, "ada");
        assert_eq!(agent.groups, ["support"]);
        assert_eq!(agent.claims["org"], "acme");
        assert!(!agent.claims.contains_key("sub") && !agent.claims.contains_key("groups"));
    }
    let agent = who(&identities, STATIC).await.unwrap();
    assert_eq!((&*agent.id, agent.claims.len()), ("support-bot", 0));
}

#[tokio::test]
async fn d01_only_who_presents_nothing_on_loopback_is_anonymous() {
    let signer = Signer::ec("e");
    let (_directory, identities) = knowing(&[&signer]);
    let good = header(STATIC);
    let twice = [good.clone(), good.clone()].concat();
    let stranger = tls::PeerCertificate::from_der(b"not anybody's");
    for (name, headers, certificate, loopback, expected) in [
        ("nothing, loopback", &[][..], None, true, Some("dev")),
        ("nothing, elsewhere", &[], None, false, None),
        ("good token", &good, None, true, Some("support-bot")),
        ("good token, elsewhere", &good, None, false, Some("support-bot")),
        ("good token, other certificate", &good, Some(&stranger), true, Some("support-bot")),
        ("two tokens", &twice, None, true, None),
        ("fabricated", &header("fabricated-token-of-nobody"), None, true, None),
        ("nearly", &header(&STATIC[1..]), None, true, None),
        ("fabricated JWT", &header("eyJhbGciOiJFUzI1NiJ9.e30.AAAA"), None, true, None),
        ("empty", &[HeaderValue::from_static("")], None, true, None),
        ("another scheme", &[HeaderValue::from_static("Basic ZGV2OmRldg==")], None, true, None),
        ("unknown certificate", &[], Some(&stranger), true, None),
    ] {
        let found = identities.identify(headers, certificate, loopback).await;
        match expected {
            Some(id) => assert_eq!(&*found.unwrap().id, id, "{name}"),
            None => assert!(is_401(&found), "{name}: {found:?}"),
        }
    }
}

#[tokio::test]
async fn d01_nobody_is_anonymous_unless_configured() {
    let identities = Identities::new(IdentitySettings::default(), None).unwrap();
    assert!(!identities.allows_anonymous());
    assert!(is_401(&identities.identify(&[], None, true).await));
}

#[tokio::test]
async fn d02_claims_that_are_not_for_us_or_not_now() {
    let signer = Signer::rsa("r");
    let (_directory, identities) = knowing(&[&signer]);
    let now = now_s();
    for (changes, expected) in [
        (json!({}), Some("ada")),
        (json!({"aud": ["x", "other-gate"]}), Some("ada")),
        (json!({"exp": now - 20}), Some("ada")), // within the leeway
        (json!({"nbf": now + 20}), Some("ada")),
        (json!({"exp": (now + 60) as f64 + 0.5}), Some("ada")),
        (json!({"nbf": null}), Some("ada")),
        (json!({"exp": now - 40}), None),
        (json!({"exp": null}), None),
        (json!({"exp": "tomorrow"}), None),
        (json!({"exp": -1}), None),
        (json!({"nbf": now + 40}), None),
        (json!({"nbf": "yesterday"}), None),
        (json!({"aud": "somebody-else"}), None),
        (json!({"aud": ["somebody-else"]}), None),
        (json!({"aud": []}), None),
        (json!({"aud": null}), None),
        (json!({"aud": {"countersign": true}}), None),
        (json!({"aud": "countersign "}), None),
        (json!({"iss": "https://issuer.example/"}), None),
        (json!({"iss": "https://evil.example"}), None),
        (json!({"iss": [ISSUER]}), None),
        (json!({"iss": null}), None),
        (json!({"sub": null}), None),
        (json!({"sub": ""}), None),
        (json!({"sub": 7}), None),
        (json!({"sub": "a\nb"}), None),
        (json!({"sub": "a".repeat(257)}), None),
        (json!({"groups": null}), Some("ada")),
        (json!({"groups": "support"}), Some("ada")),
        (json!({"groups": [1]}), None),
        (json!({"groups": {"support": true}}), None),
        (json!({"groups": ["a\u{0}"]}), None),
        (json!({"groups": vec!["g"; 257]}), None),
    ] {
        let found = who(&identities, &signer.sign(&claims(changes.clone()))).await;
        match expected {
            Some(id) => assert_eq!(&*found.unwrap().id, id, "{changes}"),
            None => assert!(is_401(&found), "{changes}: {found:?}"),
        }
    }
}

#[tokio::test]
async fn d02_an_expired_token_is_told_so_only_if_its_signature_is_good() {
    let (signer, forger) = (Signer::ec("e"), Signer::ec("e"));
    let (_directory, identities) = knowing(&[&signer]);
    let expired = claims(json!({"exp": now_s() - 3600}));
    let said = |result: Result<_, Refusal>| result.unwrap_err().to_string();
    assert!(said(who(&identities, &signer.sign(&expired)).await).contains("expired"));
    assert!(!said(who(&identities, &forger.sign(&expired)).await).contains("expired"));
}

/// A token of this header and these claims, whose signature some function makes.
fn by_hand(header: &Value, claims: &Value, sign: impl Fn(&[u8]) -> String) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(header), part(claims));
    let signature = sign(signed.as_bytes());
    format!("{signed}.{signature}")
}

fn by_secret(secret: &[u8], message: &[u8]) -> String {
    let key = EncodingKey::from_secret(secret);
    jsonwebtoken::crypto::sign(message, &key, Algorithm::HS256).unwrap()
}

#[tokio::test]
async fn d02_signatures_that_are_none_or_made_with_what_everybody_knows() {
    let (rsa, ec, mut forger) = (Signer::rsa("r"), Signer::ec("e"), Signer::ec("e"));
    let (_directory, identities) = knowing(&[&rsa, &ec]);
    let good = claims(json!({}));
    let none = |_: &[u8]| String::new();
    let with_rsa = |message: &[u8]| {
        jsonwebtoken::crypto::sign(message, &rsa.private, Algorithm::RS256).unwrap()
    };
    let with_ec = |message: &[u8]| {
        jsonwebtoken::crypto::sign(message, &ec.private, Algorithm::ES256).unwrap()
    };
    let hmac = |secret: &'static [u8]| move |message: &[u8]| by_secret(secret, message);
    let modulus = URL_SAFE_NO_PAD.decode(RSA_MODULUS).unwrap();
    let zeros = |_: &[u8]| URL_SAFE_NO_PAD.encode([0; 64]);

    let control = by_hand(&json!({"alg": "RS256", "kid": "r"}), &good, with_rsa);
    assert_eq!(&*who(&identities, &control).await.unwrap().id, "ada");

    let mut tampered = ec.sign(&good);
    let payload = tampered.split('.').nth(1).unwrap().to_owned();
    let other = URL_SAFE_NO_PAD.encode(claims(json!({"sub": "eve"})).to_string());
    tampered = tampered.replace(&payload, &other);

    forger.published["kid"] = json!("e");
    let mut brought = Header::new(Algorithm::ES256);
    brought.kid = Some("e".into());
    brought.jwk = Some(serde_json::from_value(forger.published.clone()).unwrap());
    brought.jku = Some("https://evil.example/jwks".into());
    brought.x5u = Some("https://evil.example/cert".into());

    for (name, token) in [
        ("alg none", by_hand(&json!({"alg": "none", "kid": "r"}), &good, none)),
        ("alg None", by_hand(&json!({"alg": "None", "kid": "r"}), &good, zeros)),
        ("no alg", by_hand(&json!({"kid": "r"}), &good, with_rsa)),
        ("alg in small letters", by_hand(&json!({"alg": "rs256", "kid": "r"}), &good, with_rsa)),
        ("no signature", by_hand(&json!({"alg": "ES256", "kid": "e"}), &good, none)),
        ("zero signature", by_hand(&json!({"alg": "ES256", "kid": "e"}), &good, zeros)),
        (
            "HS256, public PEM",
            by_hand(&json!({"alg": "HS256", "kid": "r"}), &good, hmac(RSA_PUBLIC)),
        ),
        (
            "HS256, modulus",
            by_hand(&json!({"alg": "HS256", "kid": "r"}), &good, |message| {
                by_secret(&modulus, message)
            }),
        ),
        (
            "RS256 said, HMAC done",
            by_hand(&json!({"alg": "RS256", "kid": "r"}), &good, hmac(RSA_PUBLIC)),
        ),
        (
            "RS512, not configured",
            by_hand(&json!({"alg": "RS512", "kid": "r"}), &good, |message| {
                jsonwebtoken::crypto::sign(message, &rsa.private, Algorithm::RS512).unwrap()
            }),
        ),
        ("an EC key for an RSA id", by_hand(&json!({"alg": "ES256", "kid": "r"}), &good, with_ec)),
        ("an RSA key for an EC id", by_hand(&json!({"alg": "RS256", "kid": "e"}), &good, with_rsa)),
        ("ES256 said, RSA done", by_hand(&json!({"alg": "ES256", "kid": "r"}), &good, with_rsa)),
        ("crit", by_hand(&json!({"alg": "RS256", "kid": "r", "crit": ["exp"]}), &good, with_rsa)),
        ("crit null", by_hand(&json!({"alg": "RS256", "kid": "r", "crit": null}), &good, with_rsa)),
        (
            "crit, b64",
            by_hand(
                &json!({"alg": "RS256", "kid": "r", "crit": ["b64"], "b64": false}),
                &good,
                with_rsa,
            ),
        ),
        (
            "logout token",
            by_hand(&json!({"alg": "RS256", "kid": "r", "typ": "logout+jwt"}), &good, with_rsa),
        ),
        ("kid is a number", by_hand(&json!({"alg": "RS256", "kid": 1}), &good, with_rsa)),
        ("another's key", forger.sign(&good)),
        ("brings its own key", forger.sign_under(&brought, &good)),
        ("tampered claims", tampered),
        ("two parts", control.rsplit_once('.').unwrap().0.to_owned()),
        ("four parts", format!("{control}.AAAA")),
        ("five parts", format!("{control}.AAAA.AAAA")),
        ("padded", format!("{control}=")),
        ("cut", control[..control.len() - 2].to_owned()),
        ("huge", rsa.sign(&claims(json!({"fill": "x".repeat(9000)})))),
        (
            "deep",
            rsa.sign(&claims(json!({"deep": (0..40).fold(json!(1), |inner, _| json!([inner]))}))),
        ),
    ] {
        let found = who(&identities, &token).await;
        assert!(is_401(&found), "{name}: {found:?}");
    }
}

#[tokio::test]
async fn d02_the_key_id_chooses_and_must_where_there_is_a_choice() {
    let (one, two) = (Signer::ec("1"), Signer::ec("2"));
    let twin = Signer::ec("1");
    let rsa = Signer::rsa("r");
    let bare =
        |signer: &Signer| signer.sign_under(&Header::new(signer.algorithm), &claims(json!({})));
    let mut misnamed = Header::new(Algorithm::ES256);
    misnamed.kid = Some("2".into());
    for (name, published, token, passes) in [
        ("the only one of its kind", vec![&one, &rsa], bare(&one), true),
        ("two of a kind, not named", vec![&one, &two], bare(&one), false),
        ("two of a kind, named", vec![&one, &two], two.sign(&claims(json!({}))), true),
        ("named wrongly", vec![&one, &two], one.sign_under(&misnamed, &claims(json!({}))), false),
        ("two of one name", vec![&one, &twin], one.sign(&claims(json!({}))), false),
        ("not published", vec![&two], one.sign(&claims(json!({}))), false),
        ("none published", vec![], one.sign(&claims(json!({}))), false),
    ] {
        let (_directory, identities) = knowing(&published);
        let found = who(&identities, &token).await;
        assert_eq!(found.is_ok(), passes, "{name}: {found:?}");
        assert!(passes || is_401(&found), "{name}: {found:?}");
    }
}

#[tokio::test]
async fn d02_published_keys_that_must_not_be_used_are_not() {
    let (rsa, ec) = (Signer::rsa("k"), Signer::ec("k"));
    // Would reach the library, which panics on such a key, if it were not skipped.
    let ed_token = Signer::ed("k").sign(&claims(json!({})));
    let (rsa_token, ec_token) = (rsa.sign(&claims(json!({}))), ec.sign(&claims(json!({}))));
    let secret = json!({"kty": "oct", "kid": "k", "k": URL_SAFE_NO_PAD.encode("secret")});
    let hs = by_hand(&json!({"alg": "HS256", "kid": "k"}), &claims(json!({})), |message| {
        by_secret(b"secret", message)
    });
    let with = |base: &Signer, changes: Value| {
        let mut key = base.published.clone();
        key.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        key
    };
    for (name, keys, token, passes) in [
        ("as it is", json!([rsa.published]), &rsa_token, true),
        (
            "beside one of an unknown kind",
            json!([{"kty": "AKP", "pub": 1}, rsa.published]),
            &rsa_token,
            true,
        ),
        ("beside nonsense", json!([7, {}, "x", rsa.published]), &rsa_token, true),
        ("symmetric", json!([secret]), &hs, false),
        ("for encryption", json!([with(&rsa, json!({"use": "enc"}))]), &rsa_token, false),
        ("for signing only", json!([with(&rsa, json!({"key_ops": ["sign"]}))]), &rsa_token, false),
        ("of another algorithm", json!([with(&rsa, json!({"alg": "RS512"}))]), &rsa_token, false),
        ("a weak modulus", json!([with(&rsa, json!({"n": "AQAB"}))]), &rsa_token, false),
        ("an even exponent", json!([with(&rsa, json!({"e": "Ag"}))]), &rsa_token, false),
        (
            "a curve that is not its own",
            json!([with(&ec, json!({"crv": "P-384"}))]),
            &ec_token,
            false,
        ),
        ("a short point", json!([with(&ec, json!({"x": "AQAB"}))]), &ec_token, false),
        (
            "a short Ed25519 key",
            json!([{"kty": "OKP", "kid": "k", "crv": "Ed25519", "x": "AQAB"}]),
            &ed_token,
            false,
        ),
    ] {
        let (_directory, source) = file(&json!({"keys": keys}).to_string());
        let identities = Identities::new(settings(source), None).unwrap();
        let found = who(&identities, token).await;
        assert_eq!(found.is_ok(), passes, "{name}: {found:?}");
        assert!(passes || is_401(&found), "{name}: {found:?}");
    }
}

#[tokio::test]
async fn d02_a_token_cannot_name_an_agent_that_is_known_otherwise() {
    let signer = Signer::ed("d");
    let (_directory, identities) = knowing(&[&signer]);
    for (id, passes) in [
        ("ada", true),
        ("support-bot", false),
        ("dev", false),
        ("spiffe://example.org/ns/agents/sa/x", false),
        ("spiffe://example.org/elsewhere", true),
    ] {
        let found = who(&identities, &signer.sign(&claims(json!({"sub": id})))).await;
        assert_eq!(found.is_ok(), passes, "{id}: {found:?}");
    }
}

fn certificate(uri: &str) -> (tls::PeerCertificate, String) {
    let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
    params.subject_alt_names = vec![rcgen::SanType::URI(uri.try_into().unwrap())];
    let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    let peer = tls::PeerCertificate::from_der(certificate.der());
    let thumbprint = URL_SAFE_NO_PAD.encode(peer.digest());
    (peer, thumbprint)
}

#[tokio::test]
async fn certificates_name_agents_exactly_or_by_trust_domain() {
    let signer = Signer::ed("d");
    let (_directory, identities) = knowing(&[&signer]);
    for (uri, expected) in [
        ("spiffe://example.org/bot", Some(("support-bot", "support"))),
        (
            "spiffe://example.org/ns/agents/sa/x",
            Some(("spiffe://example.org/ns/agents/sa/x", "workloads")),
        ),
        ("spiffe://example.org/ns/agentsx", None),
        ("spiffe://example.org/bot/x", None),
        ("spiffe://example.org.evil/bot", None),
        ("https://example.org/bot", None),
    ] {
        let found = identities.identify(&[], Some(&certificate(uri).0), true).await;
        match expected {
            Some((id, group)) => {
                let agent = found.unwrap();
                assert_eq!((&*agent.id, &*agent.groups), (id, &[group.to_owned()][..]));
            }
            None => assert!(is_401(&found), "{uri}: {found:?}"),
        }
    }
}

#[tokio::test]
async fn token_and_certificate_must_agree() {
    let signer = Signer::ed("d");
    let (_directory, identities) = knowing(&[&signer]);
    let (bot, bots) = certificate("spiffe://example.org/bot");
    let (mesh, mesh_thumbprint) = certificate("https://mesh.example/node");
    let jwt = |changes: Value| signer.sign(&claims(changes));
    let bound = |thumbprint: &str| jwt(json!({"cnf": {"x5t#S256": thumbprint}}));
    for (name, token, certificate, passes) in [
        ("the same agent", STATIC.to_owned(), Some(&bot), true),
        ("another agent", jwt(json!({})), Some(&bot), false),
        ("a certificate of nobody's", jwt(json!({})), Some(&mesh), true),
        ("bound, and here it is", bound(&mesh_thumbprint), Some(&mesh), true),
        ("bound to another", bound(&bots), Some(&mesh), false),
        ("bound, and no certificate", bound(&mesh_thumbprint), None, false),
        ("bound to what we cannot check", jwt(json!({"cnf": {"jkt": "x"}})), Some(&mesh), false),
        ("bound oddly", jwt(json!({"cnf": 1})), Some(&mesh), false),
    ] {
        // Twice: the second time the token is remembered.
        for _ in 0..2 {
            let found = identities.identify(&header(&token), certificate, true).await;
            assert_eq!(found.is_ok(), passes, "{name}: {found:?}");
        }
    }
}

#[test]
fn a_remembered_token_is_forgotten_when_it_expires() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let signer = Signer::ed("d");
        let (_directory, identities) = knowing(&[&signer]);
        let expires = now_s() + 300;
        let token = signer.sign(&claims(json!({"exp": expires})));
        let verified = identities.check(&token).await.unwrap().unwrap();
        assert!(verified.still_holds(expires + 30));
        assert!(!verified.still_holds(expires + 31));
        assert!(!verified.still_holds(u64::MAX));
    });
}

/// An issuer on loopback: what it answers can be changed, and how often it was asked is counted.
struct Site {
    url: http::Uri,
    answer: Arc<Mutex<(u16, String)>>,
    asked: Arc<AtomicUsize>,
}

impl Site {
    async fn serving(text: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/jwks", listener.local_addr().unwrap()).parse().unwrap();
        let answer = Arc::new(Mutex::new((200, text)));
        let asked = Arc::new(AtomicUsize::new(0));
        let site = Self { url, answer: answer.clone(), asked: asked.clone() };
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (answer, asked) = (answer.clone(), asked.clone());
                let service = hyper::service::service_fn(move |_| {
                    asked.fetch_add(1, Ordering::SeqCst);
                    let (status, text) = answer.lock().unwrap().clone();
                    let response = http::Response::builder()
                        .status(status)
                        .header("location", "/elsewhere")
                        .body(Full::new(bytes::Bytes::from(text)));
                    async move { Ok::<_, Infallible>(response.unwrap()) }
                });
                let io = TokioIo::new(socket);
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(io, service),
                );
            }
        });
        site
    }

    fn answers(&self, status: u16, text: &str) {
        *self.answer.lock().unwrap() = (status, text.to_owned());
    }

    fn source(&self) -> KeySource {
        KeySource::url(self.url.clone(), connector()).unwrap()
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// Identities that ask this site at the given pace.
    fn identities(&self, pace: Pace) -> Identities {
        let mut identities = Identities::new(settings(self.source()), None).unwrap();
        identities.issuers[0].keys = Arc::new(KeySet::at_pace(self.source(), pace));
        identities
    }
}

fn connector() -> tls::Connector {
    let files = tls::ClientFiles::default();
    tls::connector(tls::client(&files).unwrap())
}

const AN_HOUR: Duration = Duration::from_secs(3600);
/// Reads once, and then not again by itself.
const ONCE: Pace = Pace { fresh: AN_HOUR, kept: AN_HOUR, again: AN_HOUR, first: AN_HOUR };
/// Reads whenever somebody asks for newer keys.
const EAGER: Pace =
    Pace { fresh: AN_HOUR, kept: AN_HOUR, again: Duration::ZERO, first: Duration::ZERO };

#[tokio::test]
async fn keys_are_fetched_once_for_many_tokens() {
    let signer = Signer::ec("e");
    let site = Site::serving(set(&[&signer])).await;
    let identities = Arc::new(site.identities(ONCE));
    let calls = (0..32).map(|n| {
        let token = signer.sign(&claims(json!({"sub": format!("agent-{n}")})));
        let identities = identities.clone();
        tokio::spawn(async move { who(&identities, &token).await.is_ok() })
    });
    for call in futures_util::future::join_all(calls).await {
        assert!(call.unwrap());
    }
    assert_eq!(site.asked(), 1);
}

#[tokio::test]
async fn a_new_key_is_found_and_a_withdrawn_one_forgotten() {
    let (old, new) = (Signer::ec("old"), Signer::ec("new"));
    let site = Site::serving(set(&[&old])).await;
    let identities = site.identities(EAGER);
    let (old_token, new_token) = (old.sign(&claims(json!({}))), new.sign(&claims(json!({}))));
    assert!(who(&identities, &old_token).await.is_ok());
    site.answers(200, &set(&[&new]));
    // Nothing has told the gate yet: the old token is remembered, without a question.
    assert!(who(&identities, &old_token).await.is_ok());
    assert_eq!(site.asked(), 1);
    assert!(who(&identities, &new_token).await.is_ok());
    assert_eq!(site.asked(), 2);
    assert!(is_401(&who(&identities, &old_token).await));
}

#[tokio::test]
async fn old_keys_are_read_again_behind_the_scenes() {
    let (old, new) = (Signer::ec("old"), Signer::ec("new"));
    let site = Site::serving(set(&[&old])).await;
    let identities = site.identities(Pace { fresh: Duration::ZERO, ..EAGER });
    let token = old.sign(&claims(json!({})));
    assert!(who(&identities, &token).await.is_ok());
    site.answers(200, &set(&[&new]));
    let withdrawn = async {
        while !is_401(&who(&identities, &token).await) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), withdrawn).await.unwrap();
}

#[tokio::test]
async fn a_caller_that_hangs_up_does_not_stop_the_read() {
    let signer = Signer::ec("e");
    let site = Site::serving(set(&[&signer])).await;
    let identities = site.identities(ONCE);
    let token = signer.sign(&claims(json!({})));
    let headers = header(&token);
    {
        let mut call = Box::pin(identities.identify(&headers, None, true));
        assert!(futures_util::poll!(&mut call).is_pending());
    }
    assert!(who(&identities, &token).await.is_ok());
    assert_eq!(site.asked(), 1);
}

#[tokio::test]
async fn d02_unknown_key_ids_do_not_make_us_hammer_the_issuer() {
    let (signer, stranger) = (Signer::ec("e"), Signer::ec("unknown"));
    let site = Site::serving(set(&[&signer])).await;
    let identities = site.identities(ONCE);
    for n in 0..50 {
        let token = stranger.sign(&claims(json!({"n": n})));
        assert!(is_401(&who(&identities, &token).await));
    }
    assert_eq!(site.asked(), 1);
}

#[tokio::test]
async fn d01_while_the_issuer_is_down_nobody_is_let_in_unchecked() {
    let signer = Signer::ec("e");
    let token = signer.sign(&claims(json!({})));
    let too_long = format!("{}{}", set(&[&signer]), " ".repeat(256 * 1024));
    for (name, status, text) in [
        ("error", 500, set(&[&signer])),
        ("redirect", 302, set(&[&signer])),
        ("nothing", 200, String::new()),
        ("not JSON", 200, "<html>".into()),
        ("no keys member", 200, "{}".into()),
        ("too long", 200, too_long),
        ("too many keys", 200, json!({"keys": vec![signer.published.clone(); 101]}).to_string()),
    ] {
        let site = Site::serving(String::new()).await;
        site.answers(status, &text);
        let identities = site.identities(ONCE);
        for _ in 0..3 {
            let found = who(&identities, &token).await;
            assert_eq!(found, Err(Refusal::IdentityUnavailable), "{name}");
        }
        assert_eq!(site.asked(), 1, "{name}");
        // Static tokens do not depend on any issuer.
        assert!(who(&identities, STATIC).await.is_ok());
        assert_eq!(identities.warm().await, [ISSUER]);
    }
    let identities = Identities::new(settings(KeySource::file("/nonexistent/jwks")), None).unwrap();
    assert_eq!(who(&identities, &token).await, Err(Refusal::IdentityUnavailable));
}

#[tokio::test]
async fn d01_the_last_good_keys_serve_but_not_for_ever() {
    let (signer, stranger) = (Signer::ec("e"), Signer::ec("unknown"));
    let site = Site::serving(set(&[&signer])).await;
    let identities = site.identities(EAGER);
    assert!(who(&identities, &signer.sign(&claims(json!({})))).await.is_ok());
    site.answers(503, "");
    assert!(who(&identities, &signer.sign(&claims(json!({"n": 1})))).await.is_ok());
    // Its key may be new, and nobody can say.
    let unknown = who(&identities, &stranger.sign(&claims(json!({})))).await;
    assert_eq!(unknown, Err(Refusal::IdentityUnavailable));

    let site = Site::serving(set(&[&signer])).await;
    let identities = site.identities(Pace { kept: Duration::ZERO, ..EAGER });
    let token = signer.sign(&claims(json!({})));
    assert_eq!(who(&identities, &token).await, Err(Refusal::IdentityUnavailable));
}

#[tokio::test]
async fn a_reload_keeps_the_keys_of_the_same_place() {
    let signer = Signer::ec("e");
    let site = Site::serving(set(&[&signer])).await;
    let first = Identities::new(settings(site.source()), None).unwrap();
    assert!(first.warm().await.is_empty());
    site.answers(500, "");
    let second = Identities::new(settings(site.source()), Some(&first)).unwrap();
    assert!(who(&second, &signer.sign(&claims(json!({})))).await.is_ok());
    let elsewhere = Identities::new(settings(KeySource::file("/nonexistent")), Some(&first));
    let found = who(&elsewhere.unwrap(), &signer.sign(&claims(json!({})))).await;
    assert_eq!(found, Err(Refusal::IdentityUnavailable));
}

#[tokio::test]
async fn a_changed_file_is_read_again() {
    let (old, new) = (Signer::ed("old"), Signer::ed("new"));
    let (directory, source) = file(&set(&[&old]));
    let mut identities = Identities::new(settings(source.clone()), None).unwrap();
    identities.issuers[0].keys = Arc::new(KeySet::at_pace(source, EAGER));
    assert!(who(&identities, &old.sign(&claims(json!({})))).await.is_ok());
    std::fs::write(directory.path().join("jwks.json"), set(&[&new])).unwrap();
    assert!(who(&identities, &new.sign(&claims(json!({})))).await.is_ok());
    assert!(is_401(&who(&identities, &old.sign(&claims(json!({})))).await));
}

#[test]
fn keys_come_only_from_where_nobody_can_swap_them() {
    for (url, passes) in [
        ("https://issuer.example/jwks", true),
        ("http://127.0.0.1:8080/jwks", true),
        ("http://localhost/jwks", true),
        ("http://[::1]/jwks", true),
        ("http://issuer.example/jwks", false),
        ("http://10.0.0.1/jwks", false),
        ("http://localhost.evil.example/jwks", false),
        ("ftp://issuer.example/jwks", false),
        ("/jwks", false),
    ] {
        assert_eq!(KeySource::url(url.parse().unwrap(), connector()).is_ok(), passes, "{url}");
    }
}

#[test]
fn d05_tokens_that_can_be_guessed_are_refused() {
    for (token, passes) in [
        (STATIC, true),
        ("0123456789abcdef", true),
        ("0123456789abcde", false),
        ("", false),
        ("aaaaaaaaaaaaaaaaaaaaaaaa", false),
        ("with a blank in between", false),
        ("with-a-line-end-behind\n", false),
        ("================", false),
    ] {
        assert_eq!(Token::from_plain(token).is_ok(), passes, "{token}");
    }
}

#[test]
fn settings_that_would_confuse_agents_are_refused() {
    let agent = |id: &str, credentials: &[Credential]| AgentSettings {
        id: id.into(),
        groups: vec![],
        credentials: credentials.to_vec(),
    };
    let token = |text: &str| Credential::Token(Token::from_plain(text).unwrap());
    let issuer = |issuer: &str, prefix: &str, algorithm: &str| IssuerSettings {
        issuer: issuer.into(),
        audiences: vec![AUDIENCE.into()],
        algorithms: vec![algorithm.into()],
        keys: KeySource::file("jwks.json"),
        id_claim: "sub".into(),
        groups_claim: None,
        prefix: prefix.into(),
    };
    let mut deaf = issuer("a", "", "RS256");
    deaf.audiences.clear();
    let within = |within: &str| WorkloadSettings { within: within.into(), groups: vec![] };
    let spiffe = [Credential::Spiffe("spiffe://example.org/a".into())];
    for (agents, workloads, issuers, expected) in [
        (vec![agent("a", &[token(STATIC)])], vec![], vec![], None),
        (vec![], vec![], vec![issuer("a", "a:", "RS256"), issuer("b", "b:", "ES384")], None),
        (vec![agent("", &[token(STATIC)])], vec![], vec![], Some("an agent's id")),
        (vec![agent("a\n", &[token(STATIC)])], vec![], vec![], Some("an agent's id")),
        (vec![agent("a", &[])], vec![], vec![], Some("no credential")),
        (
            vec![agent("a", &[token(STATIC)]), agent("a", &spiffe)],
            vec![],
            vec![],
            Some("stands there twice"),
        ),
        (
            vec![agent("a", &[token(STATIC)]), agent("b", &[token(STATIC)])],
            vec![],
            vec![],
            Some("agents `a` and `b` have the same credential"),
        ),
        (vec![agent("a", &spiffe), agent("b", &spiffe)], vec![], vec![], Some("same credential")),
        (
            vec![agent("a", &[Credential::Anonymous]), agent("b", &[Credential::Anonymous])],
            vec![],
            vec![],
            Some("same credential"),
        ),
        (
            vec![agent("spiffe://example.org/a", &[token(STATIC)])],
            vec![within("spiffe://example.org")],
            vec![],
            Some("named like a workload"),
        ),
        (vec![agent("a", &[Credential::Spiffe("x".into())])], vec![], vec![], Some("not a SPIFFE")),
        (vec![], vec![within("example.org")], vec![], Some("not a SPIFFE")),
        (vec![], vec![within("spiffe://a"), within("spiffe://a")], vec![], Some("twice")),
        (vec![], vec![], vec![issuer("a", "", "HS256")], Some("`HS256` is not an algorithm")),
        (vec![], vec![], vec![issuer("a", "", "none")], Some("`none` is not an algorithm")),
        (vec![], vec![], vec![issuer("", "", "RS256")], Some("`issuer` is empty")),
        (vec![], vec![], vec![deaf], Some("no audience")),
        (vec![], vec![], vec![issuer("a", "a\n", "RS256")], Some("control characters")),
        (vec![], vec![], vec![issuer("a", "1", "RS256"), issuer("a", "2", "RS256")], Some("twice")),
        (
            vec![],
            vec![],
            vec![issuer("a", "x", "RS256"), issuer("b", "xy", "RS256")],
            Some("could name the same agent"),
        ),
    ] {
        let built = Identities::new(IdentitySettings { agents, workloads, issuers }, None);
        match (built.err().map(|error| error.to_string()), expected) {
            (None, None) => {}
            (Some(said), Some(expected)) => assert!(said.contains(expected), "{said}"),
            (said, expected) => panic!("{said:?} instead of {expected:?}"),
        }
    }
}
