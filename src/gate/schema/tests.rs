use serde_json::json;
use serde_json::value::RawValue;

use super::*;
use crate::tools::{Catalogue, Limits};

fn catalogue(tools: &[Value]) -> Catalogue {
    let raw = |tool: &Value| RawValue::from_string(tool.to_string()).unwrap();
    Catalogue::build(&tools.iter().map(raw).collect::<Vec<_>>(), &Limits::default())
}

fn tool(schema: &Value) -> Catalogue {
    catalogue(&[json!({"name": "t", "inputSchema": schema})])
}

fn usable(schema: &Value) -> Result<(), String> {
    let catalogue = tool(schema);
    let listed = catalogue.iter().next().unwrap();
    listed.schemas.as_ref().map(|_| ()).map_err(Clone::clone)
}

fn check(schema: &Value, given: &Value) -> Result<Value, Vec<String>> {
    let catalogue = tool(schema);
    let schemas = catalogue.find("t").unwrap().usable().unwrap();
    arguments(schemas, Some(given.clone())).map_err(|refusal| match refusal {
        Refusal::Arguments { problems } => problems,
        other => panic!("{other}"),
    })
}

const D7: &str = "http://json-schema.org/draft-07/schema#";

#[test]
fn what_the_schema_does_not_mention_is_refused() {
    let plain = json!({"type": "object", "properties": {"a": {"type": "string"}}});
    let open = json!({"type": "object", "properties": {"a": {}}, "additionalProperties": true});
    let nested = json!({"type": "object", "properties": {
        "o": {"type": "object", "properties": {"x": {}}},
        "list": {"type": "array", "items": {"type": "object", "properties": {"x": {}}}},
        "map": {"type": "object"},
        "maps": {"type": "object", "additionalProperties": {"properties": {"x": {}}}}}});
    let all_of = json!({"allOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}}]});
    let all_of_7 = json!({"$schema": D7, "type": "object",
        "allOf": [{"properties": {"a": {}}}, {"$ref": "#/definitions/b"}],
        "definitions": {"b": {"properties": {"b": {"type": "object", "properties": {"x": {}}}}}}});
    let any_of = json!({"type": "object", "properties": {"id": {}}, "anyOf": [
        {"properties": {"kind": {"const": "a"}, "x": {}}, "required": ["kind"]},
        {"properties": {"kind": {"const": "b"}, "y": {}}, "required": ["kind"]}]});
    let tagged = json!({"type": "object", "properties": {"v": {"oneOf": [
        {"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}]}}, "$defs": {
        "a": {"type": "object", "properties": {"kind": {"const": "a"}, "x": {}}, "required": ["kind"]},
        "b": {"type": "object", "properties": {"kind": {"const": "b"}, "y": {}}, "required": ["kind"]}}});
    let nullable = json!({"type": "object", "properties": {"m": {"anyOf": [
        {"$ref": "#/$defs/M"}, {"type": "null"}]}, "n": {"$ref": "#/$defs/M"}},
        "$defs": {"M": {"type": "object", "properties": {"x": {}}}}});
    let shared = json!({"type": "object", "properties": {"m": {"$ref": "#/$defs/M"},
        "n": {"allOf": [{"$ref": "#/$defs/M"}, {"properties": {"y": {}}}]}},
        "$defs": {"M": {"type": "object", "properties": {"x": {}}}}});
    let map_or = json!({"type": "object", "properties": {"m": {"anyOf": [
        {"type": "object"}, {"type": "string"}, {"properties": {"x": {"type": "integer"}}}]}}});
    let tree = json!({"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#"}}}});
    let patterned = json!({"type": "object", "patternProperties": {"^x-": {"type": "string"}}});
    let conditional = json!({"type": "object", "properties": {"a": {}},
        "if": {"properties": {"a": {"const": 1}}, "required": ["a"]},
        "then": {"properties": {"b": {}}}, "else": {"properties": {"c": {}}}});
    let negated = json!({"type": "object", "properties": {"a": {"properties": {"x": {}}, "not": {"required": ["z"]}}}});
    let said_open = json!({"type": "object", "allOf": [{"properties": {"a": {}}, "additionalProperties": true}]});
    for (schema, given, fits) in [
        (&plain, json!({"a": "1"}), true),
        (&plain, json!({"a": "1", "b": 1}), false),
        (&plain, json!({"A": "1"}), false),
        (&open, json!({"b": 1}), true),
        (&nested, json!({"o": {"x": 1}}), true),
        (&nested, json!({"o": {"y": 1}}), false),
        (&nested, json!({"list": [{"x": 1}, {"y": 1}]}), false),
        (&nested, json!({"map": {"y": {"z": 1}}}), true),
        (&nested, json!({"maps": {"any": {"x": 1}}}), true),
        (&nested, json!({"maps": {"any": {"y": 1}}}), false),
        (&all_of, json!({"a": 1, "b": 1}), true),
        (&all_of, json!({"a": 1, "c": 1}), false),
        (&all_of_7, json!({"a": 1, "b": {"x": 1}}), true),
        (&all_of_7, json!({"a": 1, "b": {"y": 1}}), false),
        (&all_of_7, json!({"c": 1}), false),
        (&any_of, json!({"id": 1, "kind": "a", "x": 1}), true),
        (&any_of, json!({"id": 1, "kind": "a", "y": 1}), false),
        (&tagged, json!({"v": {"kind": "b", "y": 1}}), true),
        (&tagged, json!({"v": {"kind": "b", "x": 1}}), false),
        (&tagged, json!({"v": {"kind": "c"}}), false),
        (&nullable, json!({"m": null, "n": {"x": 1}}), true),
        (&nullable, json!({"m": {"x": 1}}), true),
        (&nullable, json!({"m": {"y": 1}}), false),
        (&nullable, json!({"n": {"y": 1}}), false),
        (&shared, json!({"m": {"x": 1}, "n": {"x": 1, "y": 1}}), true),
        (&shared, json!({"m": {"y": 1}}), false),
        (&shared, json!({"n": {"z": 1}}), false),
        (&map_or, json!({"m": {"anything": 1}}), true),
        (&map_or, json!({"m": "text"}), true),
        (&tree, json!({"children": [{"children": [{}]}]}), true),
        (&tree, json!({"children": [{"children": [{"x": 1}]}]}), false),
        (&patterned, json!({"x-a": "1"}), true),
        (&patterned, json!({"y": "1"}), false),
        (&conditional, json!({"a": 1, "b": 1}), true),
        (&conditional, json!({"a": 1, "c": 1}), false),
        (&conditional, json!({"a": 2, "c": 1}), true),
        (&negated, json!({"a": {"x": 1}}), true),
        (&negated, json!({"a": {"x": 1, "z": 1}}), false),
        (&said_open, json!({"b": 1}), true),
        (&json!({"type": "object"}), json!({}), true),
        (&json!({"type": "object"}), json!({"a": 1}), false),
        (&json!({"type": "object", "properties": {}}), json!({"a": 1}), false),
        (&json!({"type": "object", "additionalProperties": true}), json!({"a": 1}), true),
        (&json!({"type": "object", "additionalProperties": {}}), json!({"a": 1}), true),
        (&plain, json!(["a"]), false),
    ] {
        let checked = check(schema, &given);
        assert_eq!(checked.is_ok(), fits, "{schema} on {given}: {checked:?}");
    }
}

#[test]
fn closing_never_admits_what_the_schema_itself_refuses() {
    let either = json!({"type": "object", "properties": {"v": {"oneOf": [
        {"properties": {"o": {"type": "object", "properties": {"x": {}}}}},
        {"properties": {"o": {"type": "object", "properties": {"y": {}}}}}]}}});
    let excluded = json!({"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}},
        "not": {"properties": {"a": {"$ref": "#/$defs/a"}}, "required": ["a"]},
        "$defs": {"a": {"type": "object", "properties": {"o": {"properties": {"x": {}}}}}}});
    for (schema, given) in [
        (&either, json!({"v": {"o": {"x": 1}}})),
        (&either, json!({"v": {"o": {}}})),
        (&excluded, json!({"a": {"o": {"z": 1}}})),
        (&excluded, json!({"a": {"o": {"x": 1}}})),
    ] {
        assert!(!jsonschema::is_valid(schema, &given), "{given} should not fit as it is");
        assert!(check(schema, &given).is_err(), "{schema} on {given}");
    }
}

#[test]
fn problems_are_told_by_place_and_rule_never_by_value() {
    const SECRET: &str = "canary-4711";
    let schema = json!({"type": "object", "required": ["amount"], "properties": {
        "amount": {"type": "string", "pattern": "^[0-9]+$"},
        "currency": {"enum": ["EUR", "USD"]},
        "when": {"type": "string", "format": "date-time"},
        "count": {"type": "integer", "minimum": 1},
        "note": {"type": "string", "maxLength": 3},
        "any": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "to": {"type": "object", "required": ["iban"], "properties": {"iban": {"type": "string"}}}}});
    for (given, expected) in [
        (json!({}), "`amount` is missing"),
        (
            json!({"amont": SECRET, "amount": "1"}),
            "`amont` (did you mean `amount`?) is not in the schema",
        ),
        (json!({"amount": SECRET}), "`/amount`: has to match the pattern `^[0-9]+$`"),
        (
            json!({"amount": "1", "currency": SECRET}),
            "`/currency`: has to be one of `\"EUR\"`, `\"USD\"`",
        ),
        (json!({"amount": "1", "when": SECRET}), "`/when`: has to have the format `date-time`"),
        (json!({"amount": "1", "count": SECRET}), "`/count`: has to be of type integer"),
        (json!({"amount": "1", "count": 0}), "`/count`: has to be at least 1"),
        (json!({"amount": "1", "note": SECRET}), "`/note`: has to have at most 3 characters"),
        (
            json!({"amount": "1", "any": SECRET}),
            "`/any`: fits none of the alternatives that the schema has",
        ),
        (
            json!({"amount": "1", "to": {"ibna": SECRET, "iban": "x"}}),
            "`/to`: `ibna` (did you mean `iban`?) is not in the schema",
        ),
    ] {
        let problems = check(&schema, &given).unwrap_err();
        assert_eq!(problems, [expected], "{given}");
        assert!(!problems.join(" ").contains(SECRET));
    }
    let many: Map<String, Value> = (0..100).map(|n| (format!("m{n}"), json!(n))).collect();
    let problems = check(&schema, &Value::Object(many)).unwrap_err();
    assert!(problems.iter().any(|said| said.contains("and 95 more")), "{problems:?}");
}

#[test]
fn defaults_are_filled_in_where_they_are_certain() {
    let schema = json!({"type": "object", "properties": {
        "limit": {"type": "integer", "default": 10},
        "wrong": {"type": "string", "default": 5},
        "region": {"type": "string", "default": "eu", "x-mcp-header": "Region"},
        "none": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": null},
        "page": {"$ref": "#/$defs/page"},
        "node": {"$ref": "#/$defs/node"},
        "either": {"oneOf": [{"properties": {"a": {"default": 1}}}, {"type": "null"}]}},
        "$defs": {
            "page": {"type": "object", "properties": {"size": {"type": "integer", "default": 20}}},
            "node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node", "default": {}}}}}});
    for (given, expected) in [
        (json!({}), json!({"limit": 10, "none": null})),
        (json!({"limit": 3, "none": "x"}), json!({"limit": 3, "none": "x"})),
        (json!({"page": {}}), json!({"page": {"size": 20}, "limit": 10, "none": null})),
        (json!({"node": {}}), json!({"node": {"next": {}}, "limit": 10, "none": null})),
        (json!({"either": {}}), json!({"either": {}, "limit": 10, "none": null})),
    ] {
        assert_eq!(check(&schema, &given).unwrap(), expected, "{given}");
    }
    let catalogue = tool(&schema);
    let warnings = &catalogue.find("t").unwrap().warnings;
    assert!(warnings.iter().any(|said| said.contains("default of `/wrong`")), "{warnings:?}");
    let exclusive = json!({"type": "object", "properties": {"a": {"default": 1}, "b": {}},
        "oneOf": [{"required": ["a"]}, {"required": ["b"]}]});
    assert_eq!(check(&exclusive, &json!({"b": 1})).unwrap(), json!({"b": 1}));
    let absent = tool(&schema);
    let schemas = absent.find("t").unwrap().usable().unwrap();
    assert_eq!(arguments(schemas, None).unwrap(), json!({"limit": 10, "none": null}));
}

#[test]
fn g07_a_schema_that_points_elsewhere_makes_its_tool_unusable_and_no_other() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let local = format!("http://{}/schema.json", listener.local_addr().unwrap());
    for reference in [local.as_str(), "file:///etc/passwd", "http://169.254.169.254/latest/"] {
        let catalogue = catalogue(&[
            json!({"name": "bad", "inputSchema": {"type": "object", "properties": {"a": {"$ref": reference}}}}),
            json!({"name": "good", "inputSchema": {"type": "object"}}),
            json!({"name": "out", "inputSchema": {"type": "object"}, "outputSchema": {"$ref": reference}}),
        ]);
        for (name, is_usable) in [("bad", false), ("good", true), ("out", false)] {
            assert_eq!(
                catalogue.find(name).unwrap().usable().is_ok(),
                is_usable,
                "{name} {reference}"
            );
        }
    }
    assert!(listener.accept().is_err(), "a reference was fetched");
}

#[test]
fn hostile_and_broken_schemas_are_refused_by_place_and_usual_ones_are_not() {
    let nested =
        |levels: usize| (0..levels).fold(json!({}), |inner, _| json!({"properties": {"a": inner}}));
    for (name, schema, expected) in [
        (
            "look-around",
            json!({"properties": {"a": {"pattern": "(?=x)y"}}}),
            Some("`/properties/a/pattern`"),
        ),
        (
            "large automaton",
            json!({"properties": {"a": {"pattern": "((a{900}){900}){90}"}}}),
            Some("`/properties/a"),
        ),
        (
            "long pattern",
            json!({"properties": {"a": {"pattern": "a".repeat(3_000)}}}),
            Some("longer"),
        ),
        ("deep", nested(47), None),
        ("too deep", nested(49), Some("deeper")),
        ("far too deep", nested(400), Some("strict JSON")),
        ("wrong type", json!({"type": "objekt"}), Some("`/type`")),
        ("wrong required", json!({"required": "a"}), Some("`/required`")),
        (
            "no target",
            json!({"properties": {"a": {"$ref": "#/$defs/none"}}}),
            Some("points at no schema"),
        ),
        (
            "schemars",
            json!({"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "A",
            "properties": {"n": {"type": "integer", "format": "uint32", "minimum": 0}}}),
            None,
        ),
        (
            "zod",
            json!({"$schema": D7, "type": "object", "additionalProperties": false,
            "properties": {"id": {"type": "string", "format": "cuid"}}}),
            None,
        ),
    ] {
        let judged = usable(&schema);
        match expected {
            None => assert_eq!(judged, Ok(()), "{name}"),
            Some(part) => {
                assert!(judged.as_ref().is_err_and(|why| why.contains(part)), "{name}: {judged:?}")
            }
        }
    }
    for member in [false, true] {
        let step = |n: usize| {
            let next = json!({"$ref": format!("#/$defs/d{}", n + 1)});
            (format!("d{n}"), if member { json!({"properties": {"a": next}}) } else { next })
        };
        let mut definitions: Map<String, Value> = (0..3_000).map(step).collect();
        definitions.insert("d3000".into(), json!({}));
        let schema = json!({"properties": {"a": {"$ref": "#/$defs/d0"}}, "$defs": definitions});
        let judged = usable(&schema);
        assert_eq!(judged.is_ok(), member, "a long chain: {judged:?}");
    }
    let catalogue = catalogue(&[json!({"name": "t"})]);
    assert!(catalogue.find("t").unwrap().usable().is_err());
}

#[test]
fn linear_patterns_do_not_slow_down_on_hostile_text() {
    let schema =
        json!({"type": "object", "properties": {"a": {"type": "string", "pattern": "^(a+)+$"}}});
    let given = json!({"a": format!("{}!", "a".repeat(50_000))});
    let start = std::time::Instant::now();
    assert!(check(&schema, &given).is_err());
    assert!(start.elapsed() < std::time::Duration::from_secs(2));
}

#[test]
fn arguments_deeper_than_their_schema_can_bear_are_refused_at_the_limit() {
    let branch = |tag: &str| json!({"type": "object", "properties": {"op": {"const": tag}, "arg": {"$ref": "#/$defs/f"}}, "required": ["op"]});
    let schema = json!({"type": "object", "properties": {"filter": {"$ref": "#/$defs/f"}},
        "$defs": {"f": {"anyOf": [branch("and"), branch("or")]}}});
    let nested = |levels: usize| json!({"filter": (0..levels).fold(json!({"op": "or"}), |inner, _| json!({"op": "or", "arg": inner}))});
    assert!(check(&schema, &nested(2)).is_ok());
    let problems = check(&schema, &nested(100)).unwrap_err();
    assert!(problems[0].contains("deeper"), "{problems:?}");
}

#[test]
fn results_fit_the_output_schema_unless_they_are_errors() {
    let output =
        json!({"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}});
    let catalogue = catalogue(&[
        json!({"name": "t", "inputSchema": {"type": "object"}, "outputSchema": output}),
        json!({"name": "free", "inputSchema": {"type": "object"}}),
    ]);
    for (name, structured, is_error, fits) in [
        ("t", Some(json!({"id": "1"})), false, true),
        ("t", Some(json!({"id": "1", "more": 1})), false, true),
        ("t", Some(json!({"id": "1"})), true, true),
        ("t", None, true, true),
        ("t", Some(json!({"id": 4711})), true, true),
        ("t", None, false, false),
        ("t", Some(json!({"id": 4711})), false, false),
        ("t", Some(json!(null)), false, false),
        ("free", None, false, true),
        ("free", Some(json!({"id": 4711})), false, true),
    ] {
        let schemas = catalogue.find(name).unwrap().usable().unwrap();
        let checked = result(schemas, structured.as_ref(), is_error);
        assert_eq!(checked.is_ok(), fits, "{name} {structured:?} {is_error}: {checked:?}");
        assert!(!checked.is_err_and(|why| why.contains("4711")));
    }
}

#[test]
fn a05_tools_are_found_by_their_exact_bytes() {
    let empty = json!({"type": "object"});
    let catalogue = catalogue(&[
        json!({"name": "refund", "inputSchema": empty}),
        json!({"name": "caf\u{e9}", "inputSchema": empty}),
        json!({"name": "twice", "inputSchema": empty}),
        json!({"name": "twice", "inputSchema": {"type": "object", "properties": {"a": {}}}}),
        json!({"name": "resources/read", "inputSchema": empty}),
        json!({"name": "re\u{200b}fund", "inputSchema": empty}),
        json!({"inputSchema": empty}),
    ]);
    for (name, found, is_usable) in [
        ("refund", true, true),
        ("Refund", false, false),
        ("refund ", false, false),
        ("r\u{435}fund", false, false),
        ("caf\u{e9}", true, true),
        ("cafe\u{301}", false, false),
        ("re\u{200b}fund", true, false),
        ("twice", true, false),
        ("resources/read", true, false),
        ("", false, false),
    ] {
        let definition = catalogue.find(name);
        assert_eq!(definition.is_some(), found, "{name:?}");
        assert_eq!(definition.is_some_and(|d| d.usable().is_ok()), is_usable, "{name:?}");
    }
    assert_eq!(catalogue.len(), 7);
    assert_eq!(catalogue.iter().next().map(|d| &*d.name), Some("refund"));
}

#[test]
fn h01_a_change_anywhere_in_a_definition_changes_its_digest() {
    let digest = |text: &str| {
        let raw = RawValue::from_string(text.to_owned()).unwrap();
        Catalogue::build(&[raw], &Limits::default()).iter().next().unwrap().digest
    };
    let original = r#"{"name":"t","description":"reads","inputSchema":{"type":"object"},"annotations":{"readOnlyHint":true}}"#;
    for (text, same) in [
        (
            r#"{ "annotations": {"readOnlyHint": true}, "description":"re\u0061ds", "inputSchema":{"type":"object"}, "name":"t" }"#,
            true,
        ),
        (
            r#"{"name":"t","description":"Reads","inputSchema":{"type":"object"},"annotations":{"readOnlyHint":true}}"#,
            false,
        ),
        (
            r#"{"name":"t","description":"reads","inputSchema":{"type":"object","title":""},"annotations":{"readOnlyHint":true}}"#,
            false,
        ),
        (
            r#"{"name":"t","description":"reads","inputSchema":{"type":"object"},"annotations":{"readOnlyHint":false}}"#,
            false,
        ),
        (
            r#"{"name":"t","description":"reads","inputSchema":{"type":"object"},"annotations":{"readOnlyHint":true},"_meta":{}}"#,
            false,
        ),
    ] {
        assert_eq!(digest(text) == digest(original), same, "{text}");
    }
}
