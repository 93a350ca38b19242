use super::*;
use serde_json::json;

fn read(text: impl AsRef<[u8]>) -> Result<Value, Fault> {
    parse(text.as_ref(), &Limits::default())
}

#[track_caller]
fn refuses(kind: FaultKind, cases: &[(&[u8], usize)]) {
    for (text, at) in cases {
        let shown = String::from_utf8_lossy(text);
        assert_eq!(read(text), Err(Fault { kind, at: *at }), "{shown}");
    }
}

#[test]
fn what_every_parser_reads_alike_is_read() {
    for (text, value) in [
        ("null", json!(null)),
        (" \t\r\n true \n", json!(true)),
        ("false", json!(false)),
        ("-17", json!(-17)),
        ("1.0", json!(1.0)),
        (r#""\u0000""#, json!("\0")),
        ("[]", json!([])),
        ("[ ]", json!([])),
        ("{ }", json!({})),
        ("[[],{},[1 , 2]]", json!([[], {}, [1, 2]])),
        (r#"{"":{"a":[{"a":null}]},"a":1}"#, json!({"": {"a": [{"a": null}]}, "a": 1})),
        (r#"{"A":1,"a":2,"__proto__":3}"#, json!({"A": 1, "a": 2, "__proto__": 3})),
    ] {
        assert_eq!(read(text).as_ref(), Ok(&value), "{text}");
    }
    let kept = read(r#"{"z":1,"a":2.0,"m":1e2}"#).expect("strict");
    assert_eq!(serde_json::to_string(&kept).unwrap(), r#"{"z":1,"a":2.0,"m":100.0}"#);
}

#[test]
fn a01_a_key_that_stands_twice_in_the_envelope_is_refused_where_it_stands_again() {
    refuses(
        FaultKind::DuplicateKey,
        &[
            (br#"{"method":"a","method":"b"}"#, 14),
            (br#"{"method":"a","id":1,"method":"a"}"#, 21),
            (br#"{"params":{},"params":{}}"#, 13),
            (br#"{"":1,"":1}"#, 6),
        ],
    );
}

#[test]
fn a02_a_key_that_stands_twice_at_any_depth_is_refused_also_after_unescaping() {
    refuses(
        FaultKind::DuplicateKey,
        &[
            (br#"{"a":{"b":[{"c":1,"c":2}]}}"#, 18),
            (br#"[[[{"name":1,"n\u0061me":2}]]]"#, 13),
            (br#"{"\ud83d\ude00":1,"\uD83D\uDE00":1}"#, 18),
            ("{\"\\ud83d\\ude00\":1,\"😀\":1}".as_bytes(), 18),
            (br#"{"/":1,"\/":1}"#, 7),
        ],
    );
    // Equal only after normalisation is not equal.
    assert!(read("{\"\u{e9}\":1,\"e\u{301}\":2}").is_ok());
}

#[test]
fn a09_a_number_that_would_round_is_refused_at_any_depth() {
    refuses(
        FaultKind::Number,
        &[
            (b"9007199254740993", 0),
            (br#"{"id":9007199254740993}"#, 6),
            (b"[1,123456789012345678901234567890]", 3),
            (b"[1e400]", 1),
            (b"[-1e-400]", 1),
            (b"{\"a\":[0.1000000000000000055]}", 6),
        ],
    );
    let digits = format!("[{}]", "7".repeat(400));
    assert_eq!(read(digits), Err(Fault { kind: FaultKind::Number, at: 1 }));
}

#[test]
fn a11_nesting_stops_at_the_limit_and_at_the_cap() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    for (limit, depth, fits) in [
        (64, 64, true),
        (64, 65, false),
        (0, 0, true),
        (0, 1, false),
        (128, 128, true),
        (usize::MAX, 128, true),
        (usize::MAX, 129, false),
        (64, 1_000_000, false),
    ] {
        let limits = Limits { depth: limit, ..Limits::default() };
        let text = if depth == 0 { "0".to_owned() } else { nested(depth) };
        let expected = Err(Fault { kind: FaultKind::Depth, at: limit.min(DEPTH_CAP) });
        let read = parse(text.as_bytes(), &limits).map(|_| ());
        assert_eq!(read, if fits { Ok(()) } else { expected }, "{depth} deep under {limit}");
    }
    // Siblings do not add up.
    assert!(read(format!("[{}[]]", "[],".repeat(1_000))).is_ok());
    let mixed = "[{\"a\":".repeat(500_000);
    assert_eq!(read(mixed), Err(Fault { kind: FaultKind::Depth, at: 6 * 32 }));
}

#[test]
fn a11_the_deepest_text_fits_a_small_stack() {
    let text = format!("{}0{}", "[{\"a\":".repeat(64), "}]".repeat(64));
    let limits = Limits { depth: DEPTH_CAP, ..Limits::default() };
    let small = std::thread::Builder::new().stack_size(512 << 10);
    let read = small.spawn(move || parse(text.as_bytes(), &limits).is_ok()).unwrap();
    assert!(read.join().unwrap());
}

#[test]
fn a11_size_is_bounded_in_bytes_and_in_values() {
    let limits = Limits { bytes: 10, depth: 64, values: 3 };
    for (text, at) in [
        ("[1,2,3]", None),
        ("[1,2,3,4]", Some(7)),
        (r#"{"a":[1]}"#, None),
        ("[[],[],[]]", None),
        ("[[[[]]]]", None),
        ("[[[[0]]]]", Some(4)),
        ("\"12345678\"", None),
        ("\"123456789\"", Some(10)),
        ("         0", None),
        ("0          ", Some(10)),
    ] {
        let read = parse(text.as_bytes(), &limits).err();
        assert_eq!(read, at.map(|at| Fault { kind: FaultKind::Size, at }), "{text}");
    }
    let million = format!("[{}0]", "0,".repeat(999_999));
    assert_eq!(read(million).unwrap_err().kind, FaultKind::Size);
}

#[test]
fn a11_a_hundred_thousand_keys_are_compared_in_linear_time() {
    let members: Vec<String> = (0..100_000).map(|n| format!("\"k{n}\":{n}")).collect();
    let started = std::time::Instant::now();
    assert!(read(format!("{{{}}}", members.join(","))).is_ok());
    // Quadratic would be 5 * 10^9 comparisons.
    assert!(started.elapsed().as_secs() < 5);
    let again = format!("{{{},\"k0\":0}}", members[..99_999].join(","));
    assert_eq!(read(again).unwrap_err().kind, FaultKind::DuplicateKey);
}

#[test]
fn a12_what_is_not_json_is_refused_where_it_goes_wrong() {
    refuses(
        FaultKind::Syntax,
        &[
            (b"", 0),
            (b"  ", 2),
            (b"NaN", 0),
            (b"[Infinity]", 1),
            (b"[-Infinity]", 2),
            (b"01", 0),
            (b"[-01]", 2),
            (b"+1", 0),
            (b".5", 0),
            (b"[1.]", 3),
            (b"0x1", 1),
            (b"1_000", 1),
            (b"// a\n1", 0),
            (b"1 /* a */", 2),
            (b"# a", 0),
            (b"[1,]", 3),
            (b"[,1]", 1),
            (b"[1,,2]", 3),
            (b"{\"a\":1,}", 7),
            (b"{,}", 1),
            (b"[1 2]", 3),
            (b"{\"a\" 1}", 5),
            (b"{\"a\":}", 5),
            (b"{\"a\"}", 4),
            (b"{\"a\":1 \"b\":2}", 7),
            (b"{a:1}", 1),
            (b"{'a':1}", 1),
            (b"{1:1}", 1),
            (b"{null:1}", 1),
            (b"'a'", 0),
            (b"{} {}", 3),
            (b"{}\n{}\n", 3),
            (b"1 2", 2),
            (b"{}x", 2),
            (b"[]]", 2),
            (b"{}\0", 2),
            (b"[", 1),
            (b"{", 1),
            (b"[1", 2),
            (b"{\"a", 3),
            (b"{\"a\":1", 6),
            (b"[1}", 2),
            (b"{\"a\":1]", 6),
            (b"True", 0),
            (b"nul", 0),
            (b"nullx", 4),
            (b"undefined", 0),
            (b"\xef\xbb\xbf{}", 0),
            (b"\x0b1", 0),
            (b"\x0c1", 0),
            (b"\xc2\xa01", 0),
            (b"\xe2\x80\xa81", 0),
            (b"\"a\tb\"", 2),
            (b"\"a\nb\"", 2),
        ],
    );
}

#[test]
fn a12_minus_zero_is_refused_in_each_form() {
    refuses(FaultKind::Number, &[(b"-0", 0), (b"[-0.0]", 1), (b"[-0e1]", 1), (b"{\"a\":-0}", 5)]);
}

#[test]
fn what_is_not_unicode_is_refused() {
    refuses(
        FaultKind::Text,
        &[
            (b"\"\xff\"", 1),
            (b"\"\xc0\xaf\"", 1),         // overlong
            (b"\"\xed\xa0\x80\"", 1),     // a surrogate in UTF-8
            (b"\"\xf4\x90\x80\x80\"", 1), // past U+10FFFF
            (b"\"\xe2\x82\"", 1),         // cut short
            (b"[\"\\ud800\"]", 2),
            (b"{\"\\udc00\":1}", 2),
            (b"\xff\xfe{\0}\0", 0), // UTF-16
        ],
    );
}

#[test]
fn a_key_that_serde_json_reads_as_something_else_is_refused() {
    refuses(
        FaultKind::ReservedKey,
        &[
            (br#"{"$serde_json::private::RawValue":"{\"a\":1,\"a\":2}"}"#, 1),
            (br#"[{"a":{"$serde_json::private::Number":"1e400"}}]"#, 7),
            (br#"{"a":1,"\u0024serde_json::private::RawValue":"1"}"#, 7),
        ],
    );
    assert!(read(r#"{"$serde_json":1,"serde_json::private::Number":2}"#).is_ok());
}

/// Texts near JSON: each piece is likely, their order is not.
fn nearly_json() -> impl proptest::strategy::Strategy<Value = String> {
    let pieces = proptest::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        " ",
        "\"a\"",
        "\"b\"",
        "\"\\u0061\"",
        "\"\\ud83d\\ude00\"",
        "\"\\ud800\"",
        "0",
        "-0",
        "1",
        "-1.5",
        "1e2",
        "01",
        "1.",
        "9007199254740993",
        "1e400",
        "true",
        "false",
        "null",
        "nul",
        "\n",
        "\"",
        "\\",
        "{\"a\":1}",
        "[1,2]",
        "\u{feff}",
        "é",
    ]);
    use proptest::strategy::Strategy;
    proptest::collection::vec(pieces, 0..12).prop_map(|pieces| pieces.concat())
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 4096, ..Default::default() })]

    #[test]
    fn nothing_is_accepted_that_serde_json_reads_otherwise(text in nearly_json()) {
        if let Ok(value) = read(&text) {
            let theirs: Value = serde_json::from_str(&text).expect("theirs is laxer");
            proptest::prop_assert_eq!(value, theirs);
        }
    }

    #[test]
    fn bytes_never_panic_and_a_fault_lies_within_them(bytes: Vec<u8>) {
        if let Err(fault) = read(&bytes) {
            proptest::prop_assert!(fault.at <= bytes.len());
        }
    }
}
