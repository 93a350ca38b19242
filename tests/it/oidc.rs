//! Does somebody sign in only by what the issuer truly said, to us, just now?
//!
//! The issuer here lies in ways that no real one does; `tests/clients/oidc.mjs` signs in with a
//! real one.

mod issuer;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::support::{Connection, Gate, Response, Setup, Upstream, call, tool};
use issuer::{Issuer, Lie};

fn setup(upstream: &Upstream, issuer: &Issuer) -> Setup {
    setup_with(upstream, issuer, "")
}

/// With more keys of `oidc`.
fn setup_with(upstream: &Upstream, issuer: &Issuer, more: &str) -> Setup {
    let oidc = format!(
        "oidc: {{issuer: \"{}\", client_id: gate, client_secret: {{file: ./oidc.secret}}{more}}}",
        issuer.url()
    );
    Setup::to(upstream)
        .holds(r#""reviewers": ["group:payments"]"#)
        .file("oidc.secret", issuer::SECRET)
        .operator(&oidc)
        .config("hold: {wait: 1s}")
}

fn upstream() -> Upstream {
    Upstream::of_tools(&[tool("refund", r#"{"order":{"type":"string"}}"#)])
}

fn ann() -> Value {
    json!({"email": "ann@example.com", "email_verified": true, "groups": ["payments"]})
}

#[test]
fn a_person_signs_in_and_signs() {
    let (upstream, issuer) = (upstream(), Issuer::start());
    let gate = Gate::start(&setup(&upstream, &issuer));
    gate.post(&call(1, "refund", r#"{"order":"7"}"#));
    let mut browser = Browser::of(&gate);
    issuer.says(ann(), Lie::None);
    let back = browser.signs_in();
    assert_eq!(back.status, 200, "{}", back.text());
    // A redirect would not bring the session's cookie along.
    assert!(back.text().contains(r#"http-equiv="refresh""#), "{}", back.text());

    let page = browser.request("GET", "/api/v1/holds?state=pending", &[], None);
    assert_eq!(page.status, 200, "{}", page.text());
    let hold = page.json()["holds"][0].clone();
    let path = format!("/api/v1/holds/{}/approve", hold["id"].as_str().unwrap());
    let body = json!({"hash": hold["hash"]});
    for forged in [&[][..], &["x-csrf-token: 1"]] {
        let answer = browser.request("POST", &path, forged, Some(&body));
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (403, &"forbidden".into()));
    }
    let token = format!("x-csrf-token: {}", browser.csrf());
    let foreign = [&token, "origin: https://evil.example"];
    assert_eq!(browser.request("POST", &path, &foreign, Some(&body)).status, 403);
    let signed = browser.request("POST", &path, &[&token], Some(&body));
    assert_eq!(signed.status, 200, "{}", signed.text());
    assert_eq!(signed.json()["signatures"][0]["reviewer"], "ann@example.com");
}

#[test]
fn whom_the_issuer_does_not_vouch_for_is_nobody() {
    let (upstream, issuer) = (upstream(), Issuer::start());
    let gate = Gate::start(&setup(&upstream, &issuer));
    let unverified = json!({"email": "ann@example.com", "email_verified": false});
    let silent = json!({"email": "ann@example.com"});
    let nameless = json!({"email_verified": true});
    for (claims, lie, status) in [
        (ann(), Lie::Nonce, 403),
        (ann(), Lie::Expired, 403),
        (ann(), Lie::Issuer, 403),
        (ann(), Lie::Audience, 403),
        (ann(), Lie::MoreAudiences, 403),
        (ann(), Lie::Unsigned, 403),
        (ann(), Lie::SignedWithSecret, 403),
        (ann(), Lie::SignedWithPublicKey, 403),
        (ann(), Lie::OtherKey, 403),
        (ann(), Lie::OtherAccessToken, 403),
        (ann(), Lie::NoToken, 403),
        (ann(), Lie::Userinfo, 403),
        (unverified, Lie::None, 403),
        (silent, Lie::None, 403),
        (nameless, Lie::None, 403),
        (ann(), Lie::None, 200),
    ] {
        let mut browser = Browser::of(&gate);
        issuer.says(claims, lie);
        let back = browser.signs_in();
        assert_eq!(back.status, status, "{lie:?}: {} {}", back.text(), gate.log());
        let list = browser.request("GET", "/api/v1/holds", &[], None);
        assert_eq!(list.status == 200, status == 200, "{lie:?}: {}", list.text());
    }
    assert!(!gate.log().contains(issuer::SECRET));
}

#[test]
fn only_the_browser_that_began_comes_back_and_once() {
    let (upstream, issuer) = (upstream(), Issuer::start());
    let gate = Gate::start(&setup(&upstream, &issuer));
    issuer.says(ann(), Lie::None);
    let mut began = Browser::of(&gate);
    let state = began.begins();
    // Another browser, and this one with another's state.
    let mut other = Browser::of(&gate);
    assert_eq!(other.comes_back(&state).status, 400);
    let mut mixed = Browser::of(&gate);
    mixed.begins();
    assert_eq!(mixed.comes_back(&state).status, 400);
    // Whoever changes the cookie has none.
    let mut forged = Browser::of(&gate);
    forged.begins();
    forged.cookies[0].push('x');
    assert_eq!(forged.comes_back(&state).status, 400);
    assert_eq!(began.comes_back(&state).status, 200);
    assert_eq!(began.comes_back(&state).status, 400, "its cookie is gone");
}

#[test]
fn an_issuer_that_is_away_is_asked_again() {
    let (upstream, issuer) = (upstream(), Issuer::start());
    let gate = Gate::start(&setup(&upstream, &issuer));
    issuer.says(ann(), Lie::Away);
    let mut browser = Browser::of(&gate);
    assert_eq!(browser.request("GET", "/sign-in/oidc", &[], None).status, 502);
    issuer.says(ann(), Lie::None);
    // It is left alone for a while.
    while browser.request("GET", "/sign-in/oidc", &[], None).status == 502 {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert_eq!(browser.signs_in().status, 200);
}

#[test]
fn only_those_who_are_allowed_come_in() {
    let (upstream, issuer) = (upstream(), Issuer::start());
    let allow = ", allow: [\"group:payments\", boss@example.com]";
    let gate = Gate::start(&setup_with(&upstream, &issuer, allow));
    let person = |email: &str, groups: &[&str]| json!({"email": email, "email_verified": true, "groups": groups});
    for (claims, status) in [
        (ann(), 200),
        (person("boss@example.com", &[]), 200),
        (person("bob@example.com", &["support"]), 403),
        (person("bob@example.com", &["group:payments"]), 403),
    ] {
        issuer.says(claims.clone(), Lie::None);
        let back = Browser::of(&gate).signs_in();
        assert_eq!(back.status, status, "{claims}: {}", back.text());
    }
}

/// Keeps cookies, and follows no redirects.
struct Browser<'a> {
    gate: &'a Gate,
    cookies: Vec<String>,
}

impl<'a> Browser<'a> {
    fn of(gate: &'a Gate) -> Self {
        Self { gate, cookies: Vec::new() }
    }

    fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[&str],
        body: Option<&Value>,
    ) -> Response {
        let body = body.map(Value::to_string).unwrap_or_default();
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n",
            body.len()
        );
        if !self.cookies.is_empty() {
            request.push_str(&format!("cookie: {}\r\n", self.cookies.join("; ")));
        }
        for header in headers {
            request.push_str(&format!("{header}\r\n"));
        }
        let mut connection = Connection::to(self.gate.operators);
        connection.send(format!("{request}\r\n{body}").as_bytes());
        let response = connection.response();
        for (_, set) in response.headers.iter().filter(|(name, _)| name == "set-cookie") {
            assert!(set.contains("HttpOnly"), "{set}");
            let pair = set.split(';').next().unwrap();
            let name = format!("{}=", pair.split('=').next().unwrap());
            self.cookies.retain(|known| !known.starts_with(&name));
            if !set.contains("Max-Age=0") {
                self.cookies.push(pair.to_owned());
            }
        }
        response
    }

    /// Goes to the issuer; the state that it is to bring back.
    fn begins(&mut self) -> String {
        let away = self.request("GET", "/sign-in/oidc", &[], None);
        assert_eq!(away.status, 303, "{}", away.text());
        let to = away.header("location").unwrap();
        let set = away.header("set-cookie").unwrap();
        assert!(set.contains("SameSite=Lax") && set.contains("Path=/sign-in/oidc"), "{set}");
        let query = to.split_once('?').unwrap().1;
        let part = |wanted: &str| {
            let mut pairs = form_urlencoded::parse(query.as_bytes());
            pairs.find(|(name, _)| name == wanted).unwrap().1.into_owned()
        };
        assert_eq!(part("code_challenge_method"), "S256");
        assert_eq!(part("response_type"), "code");
        assert!(part("redirect_uri").ends_with("/sign-in/oidc/callback"));
        assert!(part("scope").split(' ').any(|scope| scope == "openid"));
        Issuer::was_asked(&part("nonce"), &part("code_challenge"));
        part("state")
    }

    fn comes_back(&mut self, state: &str) -> Response {
        self.request("GET", &format!("/sign-in/oidc/callback?code=c0de&state={state}"), &[], None)
    }

    fn signs_in(&mut self) -> Response {
        let state = self.begins();
        self.comes_back(&state)
    }

    /// The token that the forms of its session carry.
    fn csrf(&self) -> String {
        let cookie = self.cookies.iter().find(|pair| pair.starts_with("countersign=")).unwrap();
        let value = cookie
            .split_once('=')
            .unwrap()
            .1
            .replace("%3D", "=")
            .replace("%2B", "+")
            .replace("%2F", "/");
        // 44 characters of signature go before it.
        let text = URL_SAFE_NO_PAD.decode(value[44..].trim_end_matches('=')).unwrap();
        let session: Value = serde_json::from_slice(&text).unwrap();
        session["csrf"].as_str().unwrap().to_owned()
    }
}
