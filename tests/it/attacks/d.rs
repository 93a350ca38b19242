//! D: identity and credentials.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use crate::support::{Gate, Setup, Upstream, call, post, tool};

fn echo() -> (Upstream, String) {
    let upstream = Upstream::of_tools(&[tool("echo", "{}")]);
    (upstream, call(1, "echo", "{}"))
}

#[test]
fn d01_a_token_that_nobody_gave_is_nobodys() {
    let (upstream, body) = echo();
    let gate = Gate::start(&Setup::to(&upstream).agents(&["ada", "bob"]));
    let good = format!("Bearer {}", Setup::token("ada"));
    let mut refused = 0;
    for authorization in [
        vec![],
        vec!["Bearer"],
        vec!["Bearer "],
        vec!["Bearer x"],
        vec!["Bearer ada"],
        vec!["Basic YWRhOmFkYQ=="],
        vec!["Bearer undefined"],
        vec!["Bearer null"],
        vec![&good[..good.len() - 1]],
        vec![good.trim_start_matches("Bearer ")],
        vec![&good, &good],
        vec!["Bearer x", &good],
        vec![&good, "Basic x"],
    ] {
        let headers: Vec<_> = authorization.iter().map(|value| ("authorization", *value)).collect();
        let response = gate.post_with(&headers, &body);
        assert_eq!((response.status, &*response.code()), (401, "unauthenticated"));
        assert!(response.header("www-authenticate").is_some());
        refused += 1;
    }
    for (name, value) in [
        ("x-forwarded-user", "ada"),
        ("x-agent", "ada"),
        ("x-forwarded-client-cert", "URI=spiffe://example.org/ada"),
        ("x-real-ip", "127.0.0.1"),
        ("cookie", "session=ada"),
        ("proxy-authorization", &good),
        ("mcp-session-id", "ada"),
    ] {
        assert_eq!(gate.post_with(&[(name, value)], &body).status, 401, "{name}");
        refused += 1;
    }
    let path = format!("/mcp/crm?access_token={}", Setup::token("ada"));
    assert_eq!(gate.send(&post(&path, &[], &body)).status, 401);
    refused += 1;
    assert_eq!(upstream.calls().len(), 0);
    let decisions = gate.decisions(refused);
    assert!(decisions.iter().all(|decision| decision["code"] == "unauthenticated"));
    let allowed = gate.post_with(&[("authorization", &good)], &body);
    assert_eq!(allowed.status, 200);
    assert_eq!(gate.decisions(refused + 1)[refused]["agent"], "ada");
    assert!(!gate.log().contains(&Setup::token("ada")), "the log holds a token");
}

#[test]
fn d01_where_keys_cannot_be_read_nobody_becomes_anonymous() {
    let (upstream, body) = echo();
    // Nobody answers there, ever: bound, and never accepted.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = {
        let gone = TcpListener::bind("127.0.0.1:0").unwrap();
        gone.local_addr().unwrap()
    };
    for keys in [silent.local_addr().unwrap(), closed] {
        let issuer = format!(
            "jwt: [{{issuer: 'https://id.example', audience: gate, algorithms: [RS256], jwks: {{url: 'http://{keys}/keys'}}}}]"
        );
        let gate = Gate::start(&Setup::to(&upstream).config(&issuer));
        // {"alg":"RS256","kid":"k"}.{"iss":"https://id.example","aud":"gate","sub":"x","exp":99999999999}
        let token = "eyJhbGciOiJSUzI1NiIsImtpZCI6ImsifQ.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiLCJhdWQiOiJnYXRlIiwic3ViIjoieCIsImV4cCI6OTk5OTk5OTk5OTl9.AAAA";
        let response = gate.post_with(&[("authorization", &format!("Bearer {token}"))], &body);
        assert_eq!((response.status, &*response.code()), (503, "identity_unavailable"));
    }
    assert_eq!(upstream.calls().len(), 0);
}

#[test]
fn d02_a_token_signed_by_nobody_or_for_others_is_refused() {
    use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
    let (upstream, body) = echo();
    let pem = include_bytes!("../../../src/gate/identify/testdata/rsa.pem");
    let public = include_bytes!("../../../src/gate/identify/testdata/rsa.pub.pem");
    let key = EncodingKey::from_rsa_pem(pem).unwrap();
    let set = jwks();
    let issuer = "jwt: [{issuer: 'https://id.example', audience: gate, algorithms: [RS256], jwks: {file: ./keys.json}}]";
    let setup = Setup::to(&upstream).agents(&["ada"]).config(issuer).file("keys.json", &set);
    let gate = Gate::start(&setup);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let claims = serde_json::json!({
        "iss": "https://id.example", "aud": "gate", "sub": "robot", "exp": now + 600, "iat": now,
    });
    let mut header = Header::new(Algorithm::RS256);
    header.kid = Some("k".to_owned());
    let good = encode(&header, &claims, &key).unwrap();
    let ask = |token: &str| {
        gate.post_with(&[("authorization", &format!("Bearer {token}"))], &body).status
    };
    assert_eq!(ask(&good), 200, "{}", gate.log());
    assert_eq!(upstream.calls().len(), 1);
    let with = |name: &str, value: serde_json::Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        encode(&header, &claims, &key).unwrap()
    };
    let none = |alg: &str| {
        let head = base64(format!(r#"{{"alg":"{alg}","kid":"k"}}"#).as_bytes());
        format!("{head}.{}.", base64(claims.to_string().as_bytes()))
    };
    let confused = {
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some("k".to_owned());
        encode(&header, &claims, &EncodingKey::from_secret(public)).unwrap()
    };
    let cut = good.rsplit_once('.').unwrap().0;
    let other = {
        let mut header = Header::new(Algorithm::PS256);
        header.kid = Some("k".to_owned());
        encode(&header, &claims, &key).unwrap()
    };
    for (name, token) in [
        ("another issuer", with("iss", "https://evil.example".into())),
        ("another audience", with("aud", "other".into())),
        ("no audience", with("aud", serde_json::Value::Null)),
        ("expired", with("exp", (now - 600).into())),
        ("no expiry", with("exp", serde_json::Value::Null)),
        ("not yet", with("nbf", (now + 600).into())),
        ("another agent's name", with("sub", "ada".into())),
        ("none", none("none")),
        ("None", none("None")),
        ("nOnE", none("nOnE")),
        ("HMAC with the public key", confused),
        ("another algorithm", other),
        ("no signature", format!("{cut}.")),
        ("another signature", format!("{cut}.{}", base64(&[1; 256]))),
        ("two parts", cut.to_owned()),
    ] {
        assert_eq!(ask(&token), 401, "{name}");
    }
    assert_eq!(upstream.calls().len(), 1);
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

fn jwks() -> String {
    let modulus = include_str!("../../../src/gate/identify/testdata/rsa.modulus");
    serde_json::json!({"keys": [{
        "kty": "RSA", "kid": "k", "use": "sig", "alg": "RS256", "n": modulus, "e": "AQAB",
    }]})
    .to_string()
}

#[test]
fn d03_no_credential_of_a_client_goes_up_and_ours_does() {
    const CANARY: &str = "canary-5a2f0c";
    let (upstream, body) = echo();
    let credential = "credential: {header: Authorization, value: {file: ./upstream.secret}}";
    let setup = Setup::to(&upstream)
        .agents(&["ada"])
        .server(credential)
        .file("upstream.secret", "Bearer the-gates-own");
    let gate = Gate::start(&setup);
    let token = format!("Bearer {}", Setup::token("ada"));
    let headers: Vec<(&str, &str)> = [
        "cookie",
        "cookie2",
        "proxy-authorization",
        "proxy-authenticate",
        "x-api-key",
        "api-key",
        "x-auth-token",
        "x-access-token",
        "x-csrf-token",
        "x-amz-security-token",
        "x-goog-iap-jwt-assertion",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-forwarded-client-cert",
        "x-forwarded-access-token",
        "x-real-ip",
        "x-original-url",
        "x-http-method-override",
        "forwarded",
        "via",
        "from",
        "referer",
        "dpop",
        "signature",
        "ssl-client-cert",
        "x-whatever",
        "last-modified",
        "trailer",
        "te",
        "upgrade",
    ]
    .iter()
    .map(|name| (*name, CANARY))
    .chain([("authorization", &*token), ("connection", "x-api-key, authorization, keep-alive")])
    .collect();
    assert_eq!(gate.post_with(&headers, &body).status, 200);
    let get: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    for method in ["GET", "DELETE"] {
        let request = format!(
            "{method} /mcp/crm HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n{get}\r\n"
        );
        gate.send(request.as_bytes());
    }
    gate.post_with(&headers, r#"{"jsonrpc":"2.0","id":3,"method":"tools/list"}"#);
    let calls = upstream.calls();
    assert!(calls.len() >= 3, "{calls:#?}");
    for seen in upstream.all() {
        let all = format!("{:?} {:?}", seen.headers, String::from_utf8_lossy(&seen.body));
        assert!(!all.contains(CANARY), "{all}");
        assert!(!all.contains(&Setup::token("ada")), "{all}");
        let ours: Vec<_> = seen.headers.get_all("authorization").iter().collect();
        assert_eq!(ours, ["Bearer the-gates-own"]);
        assert_eq!(seen.header("host"), Some(&*upstream.address.to_string()));
    }
    for text in [gate.log(), gate.operator("/metrics").text(), format!("{:?}", gate.trail())] {
        assert!(!text.contains("the-gates-own") && !text.contains(&Setup::token("ada")));
    }
}

#[test]
fn d03_an_upstream_s_own_secrets_do_not_come_down() {
    let (upstream, body) = echo();
    upstream.script(|seen| {
        let asked = seen.method() == "tools/call";
        asked.then(|| {
            let message = r#"{"jsonrpc":"2.0","id":1,"result":{"content":[]}}"#;
            let headers = [
                ("content-type", "application/json"),
                ("set-cookie", "upstream=secret"),
                ("server", "secret/1.0"),
                ("x-internal", "secret"),
                ("access-control-allow-origin", "*"),
                ("location", "http://secret"),
            ];
            let headers = headers.map(|(name, value)| (name, value.to_owned())).into();
            crate::support::Reply::Raw(200, headers, message.into())
        })
    });
    let gate = Gate::start(&Setup::to(&upstream));
    let response = gate.post(&body);
    assert_eq!(response.status, 200);
    let kept: Vec<_> = response.headers.iter().map(|(name, _)| name.as_str()).collect();
    for name in ["set-cookie", "server", "x-internal", "access-control-allow-origin", "location"] {
        assert!(!kept.contains(&name), "{kept:?}");
    }
}

#[test]
fn d05_it_does_not_start_where_anybody_could_call() {
    for (agents, listen) in [
        ("[{id: dev, anonymous: true}]", "0.0.0.0:0"),
        ("[{id: dev, anonymous: true}]", "[::]:0"),
        ("[]", "127.0.0.1:0"),
        ("[{id: dev, token: {file: ./empty.token}}]", "127.0.0.1:0"),
        ("[{id: dev, token: {env: NOT_SET_ANYWHERE}}]", "127.0.0.1:0"),
        ("[{id: dev}]", "0.0.0.0:0"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        start(directory.path(), agents, listen, "127.0.0.1:9");
    }
}

#[test]
fn d07_metadata_services_are_never_connected_to() {
    let refused = [
        "169.254.169.254",
        "[::ffff:169.254.169.254]",
        "[fe80::1]",
        "[fd00:ec2::254]",
        "100.100.100.200",
        // As some resolvers write addresses.
        "0xa9fea9fe",
        "2852039166",
        "0251.0376.0251.0376",
    ];
    for host in refused {
        let directory = tempfile::tempdir().unwrap();
        let output = start(directory.path(), "[{id: dev, anonymous: true}]", "127.0.0.1:0", host);
        assert!(output.contains("countersign.yaml:5:22: "), "{host}: {output}");
    }
}

/// Starts a gate that has to refuse to; what it says.
fn start(directory: &Path, agents: &str, listen: &str, server: &str) -> String {
    fs::create_dir(directory.join("policies")).unwrap();
    let policy = "package countersign.permission\n\nallow := true\n";
    fs::write(directory.join("policies/p.rego"), policy).unwrap();
    fs::write(directory.join("empty.token"), "").unwrap();
    let config = format!(
        "listen: '{listen}'\noperator: {{listen: '127.0.0.1:0'}}\npolicies: [./policies]\n\
         agents: {agents}\nservers: {{crm: {{mcp: 'http://{server}/mcp'}}}}\n"
    );
    fs::write(directory.join("countersign.yaml"), config).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_countersign"))
        .args(["run", "--config", "countersign.yaml"])
        .current_dir(directory)
        .env_clear()
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{agents} {listen} {server}");
    String::from_utf8(output.stderr).unwrap()
}
