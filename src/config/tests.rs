use super::*;
use std::path::Path;

const DIGEST: &str = "4a1c9e0f7b2d6853a1c9e0f7b2d68534a1c9e0f7b2d6853a1c9e0f7b2d685341";
const OTHER: &str = "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752";
const THIRD: &str = "c3ab8ff13720e8ad9047dd39466b3c8974e592c2fa383d4a3960714caef0c4f2";

/// The least that a config can be, with some of its sections replaced.
fn smallest(replaced: &[(&str, &str)]) -> String {
    let mut sections = BTreeMap::from([
        ("policies", "[./policies]".to_owned()),
        ("agents", format!("[{{id: bot, token: {{sha256: '{DIGEST}'}}}}]")),
        ("servers", "{crm: {mcp: 'http://127.0.0.1:9000/mcp'}}".to_owned()),
    ]);
    sections.extend(replaced.iter().map(|(key, text)| (*key, (*text).to_owned())));
    sections.iter().map(|(key, text)| format!("{key}: {text}\n")).collect()
}

/// An operator's section whose sign-in has one key more.
fn oidc(more: &str) -> String {
    format!("{{oidc: {{issuer: 'https://id.example.com', client_id: c, {more}}}}}")
}

fn faults(text: &str) -> Vec<String> {
    match parse(text, Path::new("/etc/countersign")) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn the_smallest_config_has_safe_defaults() {
    let config = parse(&smallest(&[]), Path::new("/etc/countersign")).unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:8700");
    assert_eq!(config.operator, Operator::default());
    assert_eq!(config.operator.listen.to_string(), "127.0.0.1:8701");
    assert_eq!(config.operator.url_at(config.operator.listen), "http://127.0.0.1:8701");
    assert_eq!((&config.hold, config.notify.len()), (&Hold::default(), 0));
    assert_eq!(config.state, Path::new("/etc/countersign/state"));
    assert_eq!(config.policies, [Path::new("/etc/countersign/policies")]);
    assert_eq!((config.mode, config.environment.as_str()), (Mode::Enforce, "production"));
    assert_eq!(config.sync, Sync { low: false, medium: true, high: true });
    assert_eq!(config.limits, Limits::default());
    let crm = &config.servers["crm"];
    assert_eq!((crm.timeout, crm.idle), (Duration::from_secs(300), None));
    assert_eq!((crm.minimum_version, &crm.credential), ("2025-03-26", &None));
}

#[test]
fn one_fault_is_told_with_its_place_and_what_would_be_right() {
    for (key, text, expected) in [
        ("agnets", "[]", "did you mean `agents`"),
        ("listen", "8700", "write an address and a port"),
        ("drain", "", "`drain` has no value"),
        ("drain", "25", "with its unit"),
        ("mode", "monitor", "expected one of `enforce`, `warn`, `dryrun`"),
        ("state", "[x]", "expected text, found a list"),
        ("limits", "{bodi: 1MiB}", "did you mean `body`"),
        ("limits", "{body: 2GiB}", "expected a size from 1024"),
        ("limits", "{calls: 0}", "expected a number from 1"),
        ("policies", "[]", "nothing is allowed"),
        ("policies", "./policies", "expected a list, found text"),
        ("tls", "{certificate: a.pem}", "`key` is missing"),
        ("hosts", "['gate:8700']", "without port"),
        ("origins", "['*']", "such as `https://app.example.com`"),
        ("operator", "{listen: '127.0.0.1:8700'}", "different listeners"),
        ("servers", "{}", "name 1 to"),
        ("servers", "{CRM: {mcp: 'http://a/'}}", "a server's name"),
        ("servers", "{crm: {mcp: 'http://a/', url: x}}", "unknown key `url`"),
        ("servers", "{crm: {timeout: 5m}}", "`mcp` is missing"),
        ("servers", "{crm: {mcp: 'http://a/', tls: {roots: r.pem}}}", "`tls` has no effect"),
        ("servers", "{crm: {mcp: 'http://a/', forward_headers: [Cookie]}}", "never goes"),
        ("servers", "{crm: {mcp: 'http://a/', minimum_version: 2024-11-05}}", "expected one of"),
        ("jwt", "[{issuer: i, audience: a, jwks: {url: 'http://a/'}}]", "`https` only"),
        ("jwt", "[{issuer: i, audience: a, jwks: {file: a}, algorithms: [HS256]}]", "one of"),
        ("jwt", "[{issuer: i, audience: a, jwks: {file: a}, algorithms: [none]}]", "one of"),
        ("jwt", "[{issuer: i, jwks: {file: a}}]", "`audience` is missing"),
        ("otlp", "{endpoint: 'http://c:4318', headers: {key: plain}}", "does not stand"),
        ("otlp", "{endpoint: 'http://c:4318', sample: 2}", "from 0 to 1"),
        ("record", "{sync: {low: maybe}}", "true or false"),
        ("operator", "{url: 'https://a/review'}", "the root of a host"),
        ("operator", "{url: 'ftp://a'}", "begins with `http://`"),
        ("operator", "{session: 30s}", "expected a duration from 1m to 30days"),
        ("operator", "{oidc: {issuer: 'http://id/', client_id: c}}", "`https` only"),
        ("operator", "{oidc: {issuer: 'https://id/'}}", "`client_id` is missing"),
        ("operator", &oidc("client_secret: plain"), "does not stand in a config"),
        ("operator", &oidc("scopes: [email]"), "without `openid`"),
        ("operator", &oidc("allow: []"), "leave `allow` out"),
        ("operator", &oidc("allow: ['group:']"), "name the group"),
        ("operator", &oidc("scopes: ['openid email']"), "one word"),
        ("operator", &oidc("id_clam: sub"), "did you mean `id_claim`"),
        ("hold", "{wait: 51s}", "clients give up at 60s"),
        ("hold", "{repeat: 500ms}", "expected a duration from 1s to 1h"),
        ("hold", "{rounds: 10}", "expected a number from 1 to 9"),
        ("hold", "{expires: 5m}", "did you mean `expires_in`"),
        ("hold", "{keep: 2h}", "the longest of all"),
        ("hold", "{on_approval: wait}", "expected one of `execute`, `await_retry`"),
        ("hold", "{open: 0}", "expected a number from 1"),
        ("hold", "{remind: 9s}", "expected a duration from 10s"),
        ("hold", "{escalate: {after: 20m, to: []}}", "name 1 to 100"),
        ("hold", "{escalate: {after: 20m, to: ['group:']}}", "name the group"),
        ("hold", "{escalate: {after: 20m, to: ['group:x']}}", "nobody would be asked"),
        ("hold", "{escalate: {after: 20m}}", "`to` is missing"),
        ("hold", "{denials: [{code: Wrong, message: m}]}", "begins with a letter"),
        ("hold", "{denials: [{code: denied, message: m}]}", "take another"),
        ("hold", "{denials: [{code: a}]}", "`message` is missing"),
        ("hold", "{denials: [{code: a, message: m}, {code: a, message: n}]}", "the same code"),
        ("notify", "[{url: 'http://a/', format: slack}]", "`https` only"),
        ("notify", "[{url: 'https://a/'}]", "`secret` is missing"),
        ("notify", "[{url: 'https://a/', secret: hunter2}]", "does not stand in a config"),
        ("notify", "[{url: 'https://169.254.169.254/', format: slack}]", "link-local"),
        ("notify", "[{url: 'https://a/#b', format: slack}]", "no fragment"),
        ("notify", "[{url: 'https://a/', format: teams}]", "expected one of"),
    ] {
        let told = faults(&smallest(&[(key, text)]));
        assert_eq!(told.len(), 1, "{key}: {text}: {told:?}");
        assert!(told[0].contains(expected), "{key}: {text}: {told:?}");
        assert!(told[0].starts_with("countersign.yaml:"), "{told:?}");
    }
}

#[test]
fn agents_prove_themselves_in_one_way_that_no_other_has() {
    let sha = |digest| format!("token: {{sha256: '{digest}'}}");
    for (agents, expected) in [
        (format!("[{{id: a, {}}}, {{id: b, {}}}]", sha(DIGEST), sha(OTHER)), None),
        (format!("[{{{}}}]", sha(DIGEST)), Some("`id` is missing")),
        (format!("[{{id: a, {}}}, {{id: b, {}}}]", sha(DIGEST), sha(DIGEST)), Some("same token")),
        (format!("[{{id: a, {}}}, {{id: a, {}}}]", sha(DIGEST), sha(OTHER)), Some("same id")),
        (format!("[{{id: a, {}, anonymous: true}}]", sha(DIGEST)), Some("in one way")),
        ("[{id: a}]".into(), Some("in one way")),
        ("[{id: a, anonymous: false}]".into(), Some("leaves no way")),
        ("[{id: a, anonymous: true}]".into(), None),
        ("[{id: a, anonymous: true}, {id: b, anonymous: true}]".into(), Some("told apart")),
        ("[{id: 'a b', anonymous: true}]".into(), Some("letters")),
        ("[{id: a, token: hunter2hunter2hunter2}]".into(), Some("does not stand in a config")),
        ("[{id: a, token: {}}]".into(), Some("has one source")),
        ("[{id: a, token: {env: COUNTERSIGN_NOT_SET}}]".into(), Some("is not set")),
        ("[{id: a, token: {file: not-there}}]".into(), Some("cannot read")),
        ("[{id: a, token: {sha256: abc}}]".into(), Some("64 hexadecimal")),
        ("[{id: a, certificate: 'spiffe://e.org/a'}]".into(), Some("tls.client_ca")),
        ("[{id: a, certificate: 'spiffe://e.org'}]".into(), Some("SPIFFE")),
        ("[{id: a, certificate: 'spiffe://e.org/a/../b'}]".into(), Some("SPIFFE")),
    ] {
        let told = faults(&smallest(&[("agents", &agents)]));
        match expected {
            None => assert_eq!(told, Vec::<String>::new(), "{agents}"),
            Some(part) => {
                assert_eq!(told.len(), 1, "{agents}: {told:?}");
                assert!(told[0].contains(part), "{agents}: {told:?}");
                assert!(!told[0].contains("hunter2"), "{told:?}");
            }
        }
    }
}

#[test]
fn all_below_a_spiffe_id_are_named_by_their_own() {
    let tls = ("tls", "{certificate: c.pem, key: k.pem, client_ca: a.pem}");
    for (agents, expected) in [
        ("[{certificate: 'spiffe://e.org/*'}]", None),
        ("[{id: a, certificate: 'spiffe://e.org/*'}]", Some("leave `id` out")),
        ("[{certificate: 'spiffe://e.org/a'}]", Some("`id` is missing")),
    ] {
        let told = faults(&smallest(&[("agents", agents), tls]));
        assert_eq!(told.len(), usize::from(expected.is_some()), "{agents}: {told:?}");
        assert!(expected.is_none_or(|part| told[0].contains(part)), "{agents}: {told:?}");
    }
}

#[test]
fn d05_nobody_unproven_reaches_a_listener_off_loopback() {
    let token = format!("[{{id: a, token: {{sha256: '{DIGEST}'}}}}]");
    let anonymous = "[{id: a, anonymous: true}]";
    let jwt = "[{issuer: i, audience: a, jwks: {file: keys.json}}]";
    for (listen, operator, agents, jwt, starts) in [
        ("127.0.0.1:1", "127.0.0.1:2", anonymous, None, true),
        ("'[::1]:1'", "'[::1]:2'", anonymous, None, true),
        ("0.0.0.0:1", "127.0.0.1:2", anonymous, None, false),
        ("127.0.0.1:1", "0.0.0.0:2", anonymous, None, false),
        ("'[::]:1'", "127.0.0.1:2", anonymous, Some(jwt), false),
        ("0.0.0.0:1", "127.0.0.1:2", token.as_str(), None, true),
        ("0.0.0.0:1", "127.0.0.1:2", "[]", Some(jwt), true),
        ("0.0.0.0:1", "127.0.0.1:2", "[]", None, false),
        ("127.0.0.1:1", "127.0.0.1:2", "[]", None, false),
    ] {
        let operator = format!("{{listen: {operator}}}");
        let mut sections = vec![("listen", listen), ("operator", &operator), ("agents", agents)];
        sections.extend(jwt.map(|jwt| ("jwt", jwt)));
        let told = faults(&smallest(&sections));
        assert_eq!(told.is_empty(), starts, "{sections:?}: {told:?}");
    }
}

#[test]
fn reviewers_are_other_people_than_agents_and_each_other() {
    let agents = format!("[{{id: bot, token: {{sha256: '{DIGEST}'}}}}]");
    let sha = |digest| format!("token: {{sha256: '{digest}'}}");
    for (reviewers, expected) in [
        (format!("[{{id: ann@example.com, groups: [a], {}}}]", sha(OTHER)), None),
        ("[]".into(), None),
        (format!("[{{{}}}]", sha(OTHER)), Some("`id` is missing")),
        ("[{id: ann}]".into(), Some("`token` is missing")),
        (format!("[{{id: 'a b', {}}}]", sha(OTHER)), Some("letters, digits")),
        (format!("[{{id: 'group:a', {}}}]", sha(OTHER)), Some("stands for a group")),
        (format!("[{{id: Bot, {}}}]", sha(OTHER)), Some("an agent has this id")),
        (format!("[{{id: ann, {}}}]", sha(DIGEST)), Some("an agent has this token")),
        (format!("[{{id: ann, {}}}, {{id: Ann, {}}}]", sha(OTHER), sha(THIRD)), Some("same id")),
        (format!("[{{id: ann, {}}}, {{id: b, {}}}]", sha(OTHER), sha(OTHER)), Some("same token")),
        ("[{id: ann, token: hunter2hunter2hunter2}]".into(), Some("does not stand in a config")),
    ] {
        let told = faults(&smallest(&[("agents", &agents), ("reviewers", &reviewers)]));
        assert_eq!(told.len(), usize::from(expected.is_some()), "{reviewers}: {told:?}");
        assert!(expected.is_none_or(|part| told[0].contains(part)), "{reviewers}: {told:?}");
        assert!(!told.concat().contains("hunter2"), "{told:?}");
    }
}

#[test]
fn d05_nobody_signs_unproven_off_loopback() {
    let token = format!("[{{id: ann, groups: [oncall], token: {{sha256: '{OTHER}'}}}}]");
    let oidc = "oidc: {issuer: 'https://id.example.com', client_id: c}";
    let https = "url: 'https://review.example.com'";
    for (operator, reviewers, expected) in [
        ("{listen: '127.0.0.1:2'}".to_owned(), "[]", None),
        ("{listen: '0.0.0.0:2'}".to_owned(), "[]", Some("could sign")),
        ("{listen: '[::]:2'}".to_owned(), "[]", Some("could sign")),
        ("{listen: '10.0.0.7:2'}".to_owned(), token.as_str(), None),
        (format!("{{listen: '0.0.0.0:2', {oidc}, {https}}}"), "[]", None),
        (format!("{{listen: '127.0.0.1:2', {oidc}}}"), "[]", None),
        (format!("{{listen: '0.0.0.0:2', {oidc}}}"), "[]", Some("sign in as others")),
        (format!("{{{oidc}, url: 'http://review.example.com'}}"), "[]", Some("sign in as others")),
        // A broken entry is told, and not that there is none.
        ("{listen: '0.0.0.0:2', oidc: {}}".to_owned(), "[]", Some("is missing")),
        ("{listen: '0.0.0.0:2'}".to_owned(), "[{id: ann}]", Some("`token` is missing")),
    ] {
        let told = faults(&smallest(&[("operator", &operator), ("reviewers", reviewers)]));
        assert_eq!(told.is_empty(), expected.is_none(), "{operator}: {told:?}");
        let is_told = |part| told.iter().all(|told: &String| told.contains(part));
        assert!(expected.is_none_or(is_told), "{operator}: {told:?}");
    }
}

#[test]
fn the_host_that_people_type_is_known_to_the_listener() {
    for (url, host, base) in [
        ("{}", None, "http://127.0.0.1:8701"),
        (
            "{url: 'https://Review.example.com/'}",
            Some("review.example.com"),
            "https://review.example.com",
        ),
        ("{url: 'http://gate:8443'}", Some("gate"), "http://gate:8443"),
    ] {
        let text = smallest(&[("operator", url)]);
        let operator = parse(&text, Path::new("/etc")).unwrap().operator;
        assert_eq!(operator.host().as_deref(), host, "{url}");
        assert_eq!(operator.url_at(operator.listen), base, "{url}");
    }
}

#[test]
fn whom_to_ask_is_known_or_may_sign_in() {
    let reviewers = format!("[{{id: ann, groups: [oncall], token: {{sha256: '{OTHER}'}}}}]");
    for (to, operator, known) in [
        ("[Ann, 'group:oncall']", "{}".to_owned(), true),
        ("[bob]", "{}".to_owned(), false),
        ("['group:Oncall']", "{}".to_owned(), false),
        ("[bob, 'group:other']", oidc("id_claim: sub"), true),
    ] {
        let hold = format!("{{escalate: {{after: 20m, to: {to}}}}}");
        let sections =
            [("reviewers", reviewers.as_str()), ("hold", &hold), ("operator", &operator)];
        let told = faults(&smallest(&sections));
        assert_eq!(told.is_empty(), known, "{to}: {told:?}");
    }
}

#[test]
fn a_webhook_by_reference_is_a_secret_and_its_link_leads_somewhere() {
    let directory = tempfile::tempdir().unwrap();
    let reviewers = format!("[{{id: ann, token: {{sha256: '{OTHER}'}}}}]");
    let notify = "[{url: {file: hook}, format: slack}]";
    for (url, operator, expected) in [
        ("https://hooks.example.com/T0/k7Qw9ZpL2mXv", "{}", None),
        ("https://hooks.example.com/T0?sig=k7Qw9ZpL2mXv", "{}", None),
        ("http://127.0.0.1:9/k7Qw9ZpL2mXv", "{}", None),
        ("http://hooks.example.com/k7Qw9ZpL2mXv", "{}", Some("`https` only")),
        ("https://169.254.169.254/k7Qw9ZpL2mXv", "{}", Some("link-local")),
        ("https://a/k7Qw9ZpL2mXv", "{listen: '0.0.0.0:2'}", Some("`operator.url`")),
        ("https://a/k7Qw9ZpL2mXv", "{listen: '0.0.0.0:2', url: 'http://gate:2'}", None),
    ] {
        std::fs::write(directory.path().join("hook"), url).unwrap();
        let sections = [("operator", operator), ("reviewers", &reviewers), ("notify", notify)];
        let outcome = parse(&smallest(&sections), directory.path());
        let shown = format!("{outcome:?}");
        assert_eq!(outcome.is_ok(), expected.is_none(), "{url}: {shown}");
        assert!(expected.is_none_or(|part| shown.contains(part)), "{shown}");
        assert!(!shown.contains("k7Qw9"), "{shown}");
    }
}

#[test]
fn d05_weak_secrets_do_not_start() {
    let directory = tempfile::tempdir().unwrap();
    let text = smallest(&[("agents", "[{id: a, token: {file: token}}]")]);
    for (secret, starts) in [
        ("", false),
        ("\n", false),
        ("short-but-random", true),
        ("short-but-rando", false),
        ("changemechangeme", false),
        ("3f786850e387550fdab836ed7e6dc881\n", true),
    ] {
        std::fs::write(directory.path().join("token"), secret).unwrap();
        let outcome = parse(&text, directory.path());
        assert_eq!(outcome.is_ok(), starts, "{secret}: {outcome:?}");
        if let Ok(config) = outcome {
            let expected = Proof::Token(TokenDigest::of(secret.trim_end()));
            assert_eq!(config.agents[0].proof, expected);
        }
    }
}

#[test]
fn d05_a_digest_of_nothing_or_of_a_default_is_no_token() {
    for known in ["", "changeme", "password"] {
        let digest = hex::encode(TokenDigest::of(known).0);
        let agents = format!("[{{id: a, token: {{sha256: '{digest}'}}}}]");
        assert!(faults(&smallest(&[("agents", &agents)]))[0].contains("well-known"), "{known}");
    }
}

#[test]
fn a_credential_is_a_whole_header_and_never_printed() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("crm"), "Bearer k7Qw9ZpL2mXv4RtY\n").unwrap();
    let servers = "{crm: {mcp: 'http://a/', credential: \
                   {header: Authorization, value: {file: crm}}}}";
    let config = parse(&smallest(&[("servers", servers)]), directory.path()).unwrap();
    let credential = config.servers["crm"].credential.as_ref().unwrap();
    assert_eq!(credential.header, http::header::AUTHORIZATION);
    assert_eq!(credential.value, "Bearer k7Qw9ZpL2mXv4RtY");
    assert!(!format!("{config:?}").contains("k7Qw9"));
}

#[test]
fn a_file_that_is_named_but_not_there_is_told_at_load() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("countersign.yaml");
    std::fs::write(&path, smallest(&[("tools", "[./tools]")])).unwrap();
    let problems = Config::load(&path).unwrap_err();
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems.iter().all(|p| p.message.contains("cannot read")), "{problems:?}");
    std::fs::create_dir(directory.path().join("policies")).unwrap();
    std::fs::create_dir(directory.path().join("tools")).unwrap();
    assert!(Config::load(&path).is_ok());
    assert!(Config::load(Path::new("/not/there.yaml")).unwrap_err()[0].line == 0);
}

#[test]
fn every_fault_is_told_at_once() {
    let told = faults(include_str!("../../tests/config/faults.yaml"));
    insta::assert_snapshot!(told.join("\n"));
}

/// Each section of the schema, and the keys that the parser knows there.
const SECTIONS: &[(&str, &[&str])] = &[
    ("", ROOT),
    ("/$defs/tls", listeners::TLS),
    ("/$defs/operator", operator::OPERATOR),
    ("/$defs/oidc", operator::OIDC),
    ("/$defs/policy", POLICY),
    ("/$defs/agent", agents::AGENT),
    ("/$defs/issuer", agents::ISSUER),
    ("/$defs/jwks", agents::JWKS),
    ("/$defs/secret", secret::SECRET),
    ("/$defs/token", secret::TOKEN),
    ("/$defs/reviewer", reviewers::REVIEWER),
    ("/$defs/hold", holds::HOLD),
    ("/$defs/escalate", holds::ESCALATE),
    ("/$defs/preset", holds::PRESET),
    ("/$defs/notify", webhooks::NOTIFY),
    ("/$defs/server", servers::SERVER),
    ("/$defs/credential", servers::CREDENTIAL),
    ("/$defs/server_tls", servers::SERVER_TLS),
    ("/$defs/limits", limits::LIMITS),
    ("/$defs/record", output::RECORD),
    ("/$defs/sync", output::SYNC),
    ("/$defs/log", output::LOG),
    ("/$defs/otlp", output::OTLP),
];

fn schema() -> serde_json::Value {
    serde_json::from_str(include_str!("../../schemas/config.schema.json")).unwrap()
}

fn sorted<'a>(keys: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut keys: Vec<_> = keys.into_iter().map(str::to_owned).collect();
    keys.sort();
    keys
}

#[test]
fn schema_and_parser_know_the_same_keys() {
    let schema = schema();
    for (section, keys) in SECTIONS {
        let properties = schema.pointer(&format!("{section}/properties")).unwrap();
        let listed = sorted(properties.as_object().unwrap().keys().map(String::as_str));
        assert_eq!(listed, sorted(keys.iter().copied()), "{section}");
        let open = schema.pointer(&format!("{section}/additionalProperties")).unwrap();
        assert_eq!(open, false, "{section}");
    }
    let defined = schema["$defs"].as_object().unwrap();
    let sections = defined.values().filter(|part| part.get("properties").is_some()).count();
    assert_eq!(sections + 1, SECTIONS.len(), "a section of the schema is not compared");
}

/// The same text as the schema's validator sees it.
fn as_json(node: &yaml::Node) -> serde_json::Value {
    use serde_json::json;
    match &node.value {
        yaml::Value::Null => json!(null),
        yaml::Value::Bool(value) => json!(value),
        yaml::Value::Integer(value) => json!(value),
        yaml::Value::Number(value) => json!(value),
        yaml::Value::Text(value) => json!(value),
        yaml::Value::List(items) => items.iter().map(as_json).collect(),
        yaml::Value::Map(entries) => {
            let entries = entries.iter().map(|(key, node)| (key.name.clone(), as_json(node)));
            serde_json::Value::Object(entries.collect())
        }
    }
}

fn schema_faults(text: &str) -> Vec<String> {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let instance = as_json(&yaml::read(text, "c.yaml").unwrap());
    validator.iter_errors(&instance).map(|e| format!("{}: {e}", e.instance_path())).collect()
}

#[test]
fn what_the_parser_takes_the_schema_takes_and_what_is_misspelt_neither() {
    let full = include_str!("../../tests/config/every-key.yaml");
    let starter = include_str!("../cli/init/countersign.yaml");
    for text in [&smallest(&[]), starter, full] {
        assert_eq!(schema_faults(text), Vec::<String>::new());
    }
    for (key, text) in [
        ("agnets", "[]"),
        ("listen", "8700"),
        ("drain", "25"),
        ("limits", "{bodi: 1MiB}"),
        ("limits", "{calls: 0}"),
        ("agents", "[]"),
        ("agents", "[{id: a}]"),
        ("agents", "[{anonymous: true}]"),
        ("agents", "[{id: a, certificate: 'spiffe://e.org/*'}]"),
        ("agents", "[{id: a, token: hunter2hunter2hunter2}]"),
        ("agents", "[{id: a, token: {}}]"),
        ("servers", "{}"),
        ("servers", "{CRM: {mcp: 'http://a/'}}"),
        ("servers", "{crm: {mcp: 'http://a/?b'}}"),
        ("policies", "[]"),
        ("operator", "{url: 'https://a/review'}"),
        ("operator", &oidc("scopes: [email]")),
        ("operator", "{oidc: {issuer: 'https://id/'}}"),
        ("reviewers", "[{id: ann}]"),
        ("reviewers", "[{id: 'group:a', token: {file: a}}]"),
        ("hold", "{rounds: 10}"),
        ("hold", "{escalate: {after: 20m, to: []}}"),
        ("hold", "{escalate: {after: 20m, to: ['group:']}}"),
        ("hold", "{denials: [{code: answered, message: m}]}"),
        ("notify", "[{url: 'https://a/'}]"),
        ("notify", "[{url: 'https://a/#b', format: slack}]"),
        ("notify", "[{url: 'https://a/', secret: hunter2}]"),
    ] {
        let text = smallest(&[(key, text)]);
        assert!(!schema_faults(&text).is_empty(), "schema: {text}");
        assert!(!faults(&text).is_empty(), "parser: {text}");
    }
}

/// Every key of every section, each with another value than its default: none is read and dropped.
#[test]
fn every_key_is_read() {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("bot.token", "k7Qw9ZpL2mXv4RtY"),
        ("ann.token", "Zq3N8vK5cTj7HwXe"),
        ("hook.secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        ("crm.credential", "Bearer k7Qw9ZpL2mXv4RtY"),
    ] {
        std::fs::write(directory.path().join(name), text).unwrap();
    }
    let text = include_str!("../../tests/config/every-key.yaml");
    let node = yaml::read(text, "c.yaml").unwrap();
    let mut written = Vec::new();
    keys_of(&node, &mut written);
    for key in SECTIONS.iter().flat_map(|(_, keys)| keys.iter()) {
        // The environment of a test is shared, so that it sets nothing there.
        assert!(*key == "env" || written.iter().any(|w| w == key), "`{key}` is not in the file");
    }
    let config = parse(text, directory.path()).unwrap();
    let shown = format!("{config:#?}").replace(&directory.path().display().to_string(), "BASE");
    insta::assert_snapshot!(shown);
}

fn keys_of(node: &yaml::Node, keys: &mut Vec<String>) {
    match &node.value {
        yaml::Value::List(items) => items.iter().for_each(|item| keys_of(item, keys)),
        yaml::Value::Map(entries) => entries.iter().for_each(|(key, node)| {
            keys.push(key.name.clone());
            keys_of(node, keys);
        }),
        _ => {}
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,200}") {
        let _ = parse(&text, Path::new("."));
    }

    #[test]
    fn no_value_anywhere_makes_it_panic(
        key in proptest::sample::select(ROOT.to_vec()),
        value in "[ \\[\\]{}:,'\"a-z0-9.&*!|>~\n-]{0,80}",
    ) {
        let _ = parse(&smallest(&[(key, &value)]), Path::new("/nowhere"));
    }
}
