//! An issuer that says what a test wants it to, true or not.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// What the gate proves itself with.
pub(super) const SECRET: &str = "s3cret-of-the-gate-5e2b81";
const ACCESS: &str = "an-access-token";

/// In which way the token is not what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lie {
    None,
    /// Nobody answers as they should.
    Away,
    Nonce,
    Expired,
    Issuer,
    Audience,
    MoreAudiences,
    Unsigned,
    SignedWithSecret,
    SignedWithPublicKey,
    OtherKey,
    OtherAccessToken,
    NoToken,
    /// Userinfo is about somebody else.
    Userinfo,
}

struct Said {
    claims: Value,
    lie: Lie,
    asked: Vec<(String, String)>,
}

/// An issuer, until the test ends.
pub(super) struct Issuer {
    address: SocketAddr,
    said: Arc<Mutex<Said>>,
}

thread_local! {
    /// Of the issuer of this test.
    static SAID: RefCell<Option<Arc<Mutex<Said>>>> = RefCell::default();
}

impl Issuer {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let said = Said { claims: json!({}), lie: Lie::None, asked: Default::default() };
        let said = Arc::new(Mutex::new(said));
        let keys = Arc::new(Keys::new());
        SAID.set(Some(Arc::clone(&said)));
        let told = Arc::clone(&said);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (told, keys) = (Arc::clone(&told), Arc::clone(&keys));
                std::thread::spawn(move || serve(stream.unwrap(), address, &told, &keys));
            }
        });
        Self { address, said }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it says of whoever comes next.
    pub(super) fn says(&self, claims: Value, lie: Lie) {
        let mut said = self.said.lock().unwrap();
        said.claims = claims;
        said.lie = lie;
    }

    /// What the browser brought: the token is to repeat the nonce, the code goes with the challenge.
    pub(super) fn was_asked(nonce: &str, challenge: &str) {
        SAID.with_borrow(|said| {
            let asked = (nonce.to_owned(), challenge.to_owned());
            said.as_ref().unwrap().lock().unwrap().asked.push(asked);
        });
    }
}

struct Keys {
    real: rcgen::KeyPair,
    other: rcgen::KeyPair,
}

impl Keys {
    fn new() -> Self {
        let key = || rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        Self { real: key(), other: key() }
    }

    fn set(&self) -> Value {
        let point = self.real.public_key_raw();
        let part = |range| URL_SAFE_NO_PAD.encode(&point[range]);
        json!({"keys": [{"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "1",
            "x": part(1..33), "y": part(33..65)}]})
    }

    fn sign(&self, claims: &Value, lie: Lie) -> String {
        let header = |algorithm| Header { kid: Some("1".into()), ..Header::new(algorithm) };
        let with = |key: &rcgen::KeyPair| {
            let key = EncodingKey::from_ec_pem(key.serialize_pem().as_bytes()).unwrap();
            jsonwebtoken::encode(&header(Algorithm::ES256), claims, &key).unwrap()
        };
        let symmetric = |secret: &[u8]| {
            let key = EncodingKey::from_secret(secret);
            let header = Header::new(Algorithm::HS256);
            jsonwebtoken::encode(&header, claims, &key).unwrap()
        };
        match lie {
            Lie::Unsigned => {
                let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
                format!("{}.{}.", part(&json!({"alg": "none"})), part(claims))
            }
            Lie::SignedWithSecret => symmetric(SECRET.as_bytes()),
            Lie::SignedWithPublicKey => symmetric(self.real.public_key_pem().as_bytes()),
            Lie::OtherKey => with(&self.other),
            _ => with(&self.real),
        }
    }
}

fn token(said: &Said, nonce: &str, issuer: &str, keys: &Keys) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let lie = said.lie;
    let half = &Sha256::digest(ACCESS)[..16];
    let mut claims = json!({
        "iss": if lie == Lie::Issuer { "http://127.0.0.1:1" } else { issuer },
        "aud": match lie {
            Lie::Audience => json!("somebody-else"),
            Lie::MoreAudiences => json!(["gate", "somebody-else"]),
            _ => json!("gate"),
        },
        "sub": "1",
        "iat": now,
        "exp": if lie == Lie::Expired { now - 3600 } else { now + 300 },
        "nonce": if lie == Lie::Nonce { "another" } else { nonce },
        "at_hash": URL_SAFE_NO_PAD.encode(if lie == Lie::OtherAccessToken { &[0; 16] } else { half }),
    });
    // What the token leaves out is asked of userinfo.
    if lie != Lie::Userinfo {
        claims.as_object_mut().unwrap().extend(said.claims.as_object().unwrap().clone());
    }
    keys.sign(&claims, lie)
}

fn serve(stream: TcpStream, address: SocketAddr, said: &Mutex<Said>, keys: &Keys) {
    let mut reader = BufReader::new(stream);
    let (path, headers, body) = request(&mut reader);
    let said = said.lock().unwrap();
    let issuer = format!("http://{address}");
    let answer = match path.as_str() {
        _ if said.lie == Lie::Away => None,
        "/.well-known/openid-configuration" => Some(json!({
            "issuer": issuer,
            "authorization_endpoint": format!("{issuer}/authorize"),
            "token_endpoint": format!("{issuer}/token"),
            "userinfo_endpoint": format!("{issuer}/userinfo"),
            "jwks_uri": format!("{issuer}/keys"),
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256", "HS256", "none"],
        })),
        "/keys" => Some(keys.set()),
        "/token" => {
            let basic =
                format!("authorization: Basic {}", STANDARD.encode(format!("gate:{SECRET}")));
            assert!(headers.contains(&basic), "{headers:?}");
            let part = |wanted: &str| {
                let mut pairs = form_urlencoded::parse(&body);
                pairs.find(|(name, _)| name == wanted).unwrap().1.into_owned()
            };
            let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(part("code_verifier")));
            assert_eq!(part("code"), "c0de");
            let mut asked = said.asked.iter();
            let (nonce, _) = asked.find(|(_, known)| *known == challenge).expect("a challenge");
            let mut answer =
                json!({"access_token": ACCESS, "token_type": "Bearer", "expires_in": 60});
            if said.lie != Lie::NoToken {
                answer["id_token"] = token(&said, nonce, &issuer, keys).into();
            }
            Some(answer)
        }
        "/userinfo" => {
            assert!(headers.contains(&format!("authorization: Bearer {ACCESS}")), "{headers:?}");
            let mut claims = said.claims.clone();
            claims["sub"] = if said.lie == Lie::Userinfo { "2" } else { "1" }.into();
            Some(claims)
        }
        _ => None,
    };
    let (status, text) = match answer {
        Some(answer) => ("200 OK", answer.to_string()),
        None => ("404 Not Found", "{}".to_owned()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n",
        text.len()
    );
    reader.get_mut().write_all((head + &text).as_bytes()).unwrap();
}

fn request(reader: &mut BufReader<TcpStream>) -> (String, Vec<String>, Vec<u8>) {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if line.trim().is_empty() {
            break;
        }
        lines.push(line.trim().to_owned());
    }
    let path = lines[0].split(' ').nth(1).unwrap().to_owned();
    let length = lines.iter().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut body).unwrap();
    (path, lines, body)
}
