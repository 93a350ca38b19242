use http::{HeaderMap, HeaderValue};
use sha2::{Digest as _, Sha256};

use super::*;

fn ann() -> Reviewer {
    Reviewer { id: "ann".into(), groups: vec!["payments".into()], sole: false }
}

fn hour() -> At {
    At::now().plus(Duration::from_secs(3600))
}

fn access(secure: bool) -> Access {
    let digest = Sha256::digest(b"ann's token").into();
    let (link, _) = OneTimeLink::new("http://127.0.0.1:1").unwrap();
    Access::new(Reviewers::new(vec![(ann(), digest)]), Some(link), &[7; 64]).secure(secure)
}

/// The headers of a browser that got these cookies.
fn with_cookie(access: &Access, session: &Session) -> HeaderMap {
    use axum::response::IntoResponse;
    let response = access.remember(session).into_response();
    let set = response.headers()[http::header::SET_COOKIE].to_str().unwrap();
    let pair = set.split(';').next().unwrap();
    HeaderMap::from_iter([(http::header::COOKIE, HeaderValue::from_str(pair).unwrap())])
}

#[test]
fn a_session_stands_until_it_is_ended_or_its_reviewer_gone() {
    let access = access(false);
    let local = IpAddr::from([127, 0, 0, 1]);
    assert_eq!(access.by_token("another", local), Err(SignInFault::Wrong));
    let session = access.by_token("ann's token", local).unwrap();
    let headers = with_cookie(&access, &session);
    assert_eq!(access.session(&headers), Some(session.clone()));
    assert!(session.is_over(session.until));

    let without = Access::new(Reviewers::default(), None, &[7; 64]);
    assert_eq!(without.session(&headers), None, "taken out of the config");
    let link = Session::begin(ann(), How::Link, hour());
    assert_eq!(without.session(&with_cookie(&without, &link)), None, "no link, no such session");
    let other_key = Access::new(Reviewers::default(), None, &[8; 64]);
    assert_eq!(other_key.session(&headers), None, "signed by another key");

    access.end(&session);
    assert_eq!(access.session(&headers), None, "signed out");
}

#[test]
fn the_cookie_is_out_of_reach() {
    use axum::response::IntoResponse;
    for (secure, begins, more) in
        [(false, "countersign=", false), (true, "__Host-countersign=", true)]
    {
        let access = access(secure);
        let session = Session::begin(ann(), How::Token, hour());
        let response = access.remember(&session).into_response();
        let set = response.headers()[http::header::SET_COOKIE].to_str().unwrap();
        assert!(set.starts_with(begins), "{set}");
        for part in ["; HttpOnly", "; SameSite=Strict", "; Path=/"] {
            assert!(set.contains(part), "{set}");
        }
        assert_eq!(set.contains("; Secure"), more, "{set}");
        assert!(!set.contains("Domain"), "{set}");
    }
}

#[test]
fn e08_a_request_of_another_origin_is_foreign() {
    for (origin, site, foreign) in [
        (None, None, false),
        (Some("http://127.0.0.1:8701"), Some("same-origin"), false),
        (None, Some("none"), false),
        (Some("http://127.0.0.1:9999"), Some("same-site"), true),
        (Some("http://127.0.0.1:9999"), None, true),
        (Some("https://evil.example"), None, true),
        (Some("null"), None, true),
        (None, Some("cross-site"), true),
        (None, Some("same-site"), true),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static("127.0.0.1:8701"));
        if let Some(origin) = origin {
            headers.insert("origin", HeaderValue::from_static(origin));
        }
        if let Some(site) = site {
            headers.insert("sec-fetch-site", HeaderValue::from_static(site));
        }
        assert_eq!(is_foreign(&headers), foreign, "{origin:?} {site:?}");
    }
}
