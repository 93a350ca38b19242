//! Which keywords hold schemas, and how do those apply?
//!
//! JSON Schema 2020-12, core section 10 and 11; older revisions are rewritten to it first.

use crate::config::nearest;

/// How a subschema applies to the value that its parent is applied to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Applies {
    /// To the same value, and what it says of properties counts.
    Here,
    /// To the same value, but only to ask a question (`not`, `if`).
    Asks,
    /// To one member or element of it, or to a name in it.
    Below,
    /// Nowhere, until a `$ref` points there.
    Stored,
}

/// What stands under a keyword.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    /// One schema.
    One,
    /// An array of schemas.
    Many,
    /// An object of schemas.
    Named,
}

/// Every keyword that holds schemas.
pub(super) const APPLICATORS: &[(&str, Holds, Applies)] = &[
    ("allOf", Holds::Many, Applies::Here),
    ("anyOf", Holds::Many, Applies::Here),
    ("oneOf", Holds::Many, Applies::Here),
    ("then", Holds::One, Applies::Here),
    ("else", Holds::One, Applies::Here),
    ("dependentSchemas", Holds::Named, Applies::Here),
    ("if", Holds::One, Applies::Asks),
    ("not", Holds::One, Applies::Asks),
    ("properties", Holds::Named, Applies::Below),
    ("patternProperties", Holds::Named, Applies::Below),
    ("additionalProperties", Holds::One, Applies::Below),
    ("unevaluatedProperties", Holds::One, Applies::Below),
    ("propertyNames", Holds::One, Applies::Below),
    ("prefixItems", Holds::Many, Applies::Below),
    ("items", Holds::One, Applies::Below),
    ("unevaluatedItems", Holds::One, Applies::Below),
    ("contains", Holds::One, Applies::Below),
    ("contentSchema", Holds::One, Applies::Stored),
    ("$defs", Holds::Named, Applies::Stored),
    ("definitions", Holds::Named, Applies::Stored),
];

/// Keywords that hold no schema.
const PLAIN: &[&str] = &[
    "$schema",
    "$id",
    "$ref",
    "$anchor",
    "$dynamicRef",
    "$dynamicAnchor",
    "$recursiveRef",
    "$recursiveAnchor",
    "$comment",
    "$vocabulary",
    "type",
    "enum",
    "const",
    "multipleOf",
    "maximum",
    "exclusiveMaximum",
    "minimum",
    "exclusiveMinimum",
    "maxLength",
    "minLength",
    "pattern",
    "maxItems",
    "minItems",
    "uniqueItems",
    "maxContains",
    "minContains",
    "maxProperties",
    "minProperties",
    "required",
    "dependentRequired",
    "format",
    "contentEncoding",
    "contentMediaType",
    "title",
    "description",
    "default",
    "deprecated",
    "readOnly",
    "writeOnly",
    "examples",
];

/// Words that generators and editors put into schemas, and that check nothing.
const VENDOR: &[&str] = &[
    "example",
    "discriminator",
    "xml",
    "externalDocs",
    "nullable",
    "markdownDescription",
    "markdownEnumDescriptions",
    "enumDescriptions",
    "enumNames",
    "enumItemLabels",
    "errorMessage",
    "propertyOrdering",
    "propertyOrder",
    "order",
    "defaultSnippets",
    "tsType",
    "javaType",
    "options",
    "label",
    "placeholder",
    "group",
    "icon",
    "units",
    "unit",
    "meta",
    "metadata",
    "tags",
    "ui",
    "widget",
    "optional",
    "additionalItems",
    "dependencies",
    "id",
    "in",
    "style",
    "explode",
    "param",
    "~standard",
    "instanceof",
    "isOptional",
    "strict",
];

/// What may be wrong with a keyword.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// It is close to one that exists.
    Misspelt(&'static str),
    /// Nothing knows it.
    Unknown,
}

/// Whether `word` is a keyword, and if not, what was probably meant.
pub(super) fn doubt(word: &str) -> Option<Doubt> {
    let known = || APPLICATORS.iter().map(|(name, ..)| *name).chain(PLAIN.iter().copied());
    let annotates = |prefix| word.starts_with(prefix);
    if annotates("x-") || annotates("x_") || annotates("_") || known().any(|name| name == word) {
        return None;
    }
    if VENDOR.contains(&word) {
        return None;
    }
    Some(nearest(word, known()).map_or(Doubt::Unknown, Doubt::Misspelt))
}

/// Formats that the gate checks (JSON Schema 2020-12, validation section 7.3).
pub(super) const FORMATS: &[&str] = &[
    "date",
    "date-time",
    "duration",
    "email",
    "hostname",
    "idn-email",
    "ipv4",
    "ipv6",
    "iri",
    "iri-reference",
    "json-pointer",
    "regex",
    "relative-json-pointer",
    "time",
    "uri",
    "uri-reference",
    "uri-template",
    "uuid",
];

/// Formats in use that say something about a value but that no standard lets a gate check.
pub(super) const KNOWN_FORMATS: &[&str] = &[
    "int8",
    "int16",
    "int32",
    "int64",
    "int128",
    "uint",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "uint128",
    "int",
    "integer",
    "number",
    "float",
    "double",
    "decimal",
    "byte",
    "binary",
    "password",
    "base64",
    "base64url",
    "url",
    "html",
    "markdown",
    "json",
    "json-string",
    "cuid",
    "cuid2",
    "ulid",
    "xid",
    "ksuid",
    "nanoid",
    "guid",
    "jwt",
    "e164",
    "emoji",
    "cidrv4",
    "cidrv6",
    "lowercase",
    "color",
    "phone",
    "textarea",
    "file",
    "path",
    "directory-path",
    "file-path",
    "char",
    "partial-date-time",
    "unix-time",
    "idn-hostname",
    "safeint",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelt_keywords_are_told_from_annotations() {
        for (word, expected) in [
            ("required", None),
            ("requird", Some(Doubt::Misspelt("required"))),
            ("propertes", Some(Doubt::Misspelt("properties"))),
            ("Pattern", Some(Doubt::Misspelt("pattern"))),
            ("x-requird", None),
            ("nullable", None),
            ("sensitivity", Some(Doubt::Unknown)),
            ("tpye", Some(Doubt::Misspelt("type"))),
        ] {
            assert_eq!(doubt(word), expected, "{word}");
        }
    }
}
