//! Whom does the issuer mean?

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openidconnect::core::CoreIdToken;

use super::{Fault, not_accepted};
use crate::hold::Reviewer;
use crate::json::{self, Map, Value};

pub(super) const EMAIL: &str = "email";
pub(super) const EMAIL_VERIFIED: &str = "email_verified";

/// More groups than this, or longer names, are a mistake.
const GROUPS: usize = 256;
const GROUP_BYTES: usize = 256;
/// As for reviewers in the config.
const ID_BYTES: usize = 128;

pub(super) type Claims = Map<String, Value>;

/// All that a token says, whose signature was checked.
pub(super) fn of_token(token: &CoreIdToken) -> Result<Claims, Fault> {
    let text = token.to_string();
    let payload = text.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    read(&payload.ok_or_else(|| not_accepted("the ID token is no JWT"))?)
}

/// An object of claims.
pub(super) fn read(text: &[u8]) -> Result<Claims, Fault> {
    match json::parse(text, &json::Limits::default()) {
        Ok(Value::Object(claims)) => Ok(claims),
        Ok(_) => Err(not_accepted("the claims are no object")),
        Err(fault) => Err(not_accepted(&format!("the claims: {fault}"))),
    }
}

/// Adds what a second source says of the same person. The first one's word stands.
pub(super) fn add(claims: &mut Claims, more: Claims) -> Result<(), Fault> {
    if claims.get("sub") != more.get("sub") || !claims.contains_key("sub") {
        return Err(not_accepted("userinfo is about somebody else"));
    }
    // An address and whether it is verified belong together.
    let email = !claims.contains_key(EMAIL) || claims.get(EMAIL) == more.get(EMAIL);
    for (name, value) in more {
        if name != EMAIL_VERIFIED || email {
            claims.entry(name).or_insert(value);
        }
    }
    Ok(())
}

/// The person.
pub(super) fn reviewer(
    claims: &Claims,
    id_claim: &str,
    groups_claim: &str,
) -> Result<Reviewer, Fault> {
    let id = match claims.get(id_claim) {
        Some(Value::String(id)) if is_name(id) => id.clone(),
        _ => {
            tracing::warn!(claim = id_claim, "the claim that names people is missing or no name");
            return Err(Fault::Nameless);
        }
    };
    if id_claim == EMAIL && claims.get(EMAIL_VERIFIED) != Some(&Value::Bool(true)) {
        return Err(Fault::Unverified);
    }
    let groups = match claims.get(groups_claim) {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(group)) => vec![group.clone()],
        Some(Value::Array(groups)) if groups.len() <= GROUPS => groups
            .iter()
            .map(|group| group.as_str().map(str::to_owned))
            .collect::<Option<_>>()
            .ok_or_else(|| not_accepted("the claim that lists groups has more than names"))?,
        Some(_) => return Err(not_accepted("the claim that lists groups is no list of names")),
    };
    if groups.iter().any(|group| group.len() > GROUP_BYTES) {
        return Err(not_accepted("the name of a group is too long"));
    }
    Ok(Reviewer { id, groups, sole: false })
}

/// A name that reads the same in page, record and terminal, and that no other name looks like.
fn is_name(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._@+:/-".contains(&b);
    (1..=ID_BYTES).contains(&text.len()) && text.bytes().all(plain) && !text.starts_with("group:")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(text: &str) -> Claims {
        read(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_person_is_who_the_claims_name() {
        let many =
            format!(r#"{{"email":"a@b.c","email_verified":true,"groups":{:?}}}"#, ["g"; 257]);
        for (text, expected) in [
            (r#"{"email":"ann@x.y","email_verified":true}"#, Ok(("ann@x.y", vec![]))),
            (
                r#"{"email":"ann@x.y","email_verified":true,"groups":["a","b"]}"#,
                Ok(("ann@x.y", vec!["a", "b"])),
            ),
            (r#"{"email":"a@x.y","email_verified":true,"groups":"a"}"#, Ok(("a@x.y", vec!["a"]))),
            (r#"{"email":"ann@x.y"}"#, Err(Fault::Unverified)),
            (r#"{"email":"ann@x.y","email_verified":false}"#, Err(Fault::Unverified)),
            (r#"{"email":"ann@x.y","email_verified":"true"}"#, Err(Fault::Unverified)),
            (r#"{"email_verified":true,"sub":"1"}"#, Err(Fault::Nameless)),
            (r#"{"email":"","email_verified":true}"#, Err(Fault::Nameless)),
            (r#"{"email":"аnn@x.y","email_verified":true}"#, Err(Fault::Nameless)),
            (r#"{"email":"group:x","email_verified":true}"#, Err(Fault::Nameless)),
            (r#"{"email":["ann@x.y"],"email_verified":true}"#, Err(Fault::Nameless)),
            (r#"{"email":"a@x.y","email_verified":true,"groups":[1]}"#, Err(Fault::NotAccepted)),
            (r#"{"email":"a@x.y","email_verified":true,"groups":{}}"#, Err(Fault::NotAccepted)),
            (many.as_str(), Err(Fault::NotAccepted)),
        ] {
            let found = reviewer(&claims(text), EMAIL, "groups");
            let found = found
                .as_ref()
                .map(|found| {
                    (found.id.as_str(), found.groups.iter().map(String::as_str).collect::<Vec<_>>())
                })
                .map_err(|fault| *fault);
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn userinfo_adds_to_the_token_and_changes_nothing_in_it() {
        let token = claims(r#"{"sub":"1","groups":["a"]}"#);
        let mut said = token.clone();
        add(&mut said, claims(r#"{"sub":"1","groups":["root"],"email":"a@x.y"}"#)).unwrap();
        assert_eq!(said["groups"], serde_json::json!(["a"]));
        assert_eq!(said["email"], "a@x.y");

        let mut said = token.clone();
        assert_eq!(add(&mut said, claims(r#"{"sub":"2"}"#)), Err(Fault::NotAccepted));
        assert_eq!(add(&mut Claims::new(), claims("{}")), Err(Fault::NotAccepted));

        // Verified is the other address.
        let mut said = claims(r#"{"sub":"1","email":"boss@x.y"}"#);
        let more = claims(r#"{"sub":"1","email":"eve@x.y","email_verified":true}"#);
        add(&mut said, more).unwrap();
        assert_eq!(reviewer(&said, EMAIL, "groups"), Err(Fault::Unverified));
    }
}
