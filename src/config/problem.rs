//! What is wrong in a file that an operator wrote, and where?

use std::fmt;

/// One fault of a config, policy or tool file. It prints like a compiler's:
/// `countersign.yaml:12:5: unknown key `agnets`; did you mean `agents`?`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub struct Problem {
    /// The file, as the operator named it.
    pub path: String,
    /// The line, from 1; 0 where the whole file is meant.
    pub line: u32,
    /// The column in characters, from 1; 0 where the whole line is meant.
    pub column: u32,
    /// What is wrong, and what would be right; never a secret's value.
    pub message: String,
}

impl Problem {
    /// A fault of the file as a whole: it cannot be read, say.
    pub fn whole(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), line: 0, column: 0, message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, column, message } = self;
        match (line, column) {
            (0, _) => write!(f, "{path}: {message}"),
            (_, 0) => write!(f, "{path}:{line}: {message}"),
            _ => write!(f, "{path}:{line}:{column}: {message}"),
        }
    }
}

/// The known name that `wrong` was probably meant to be: near enough that a slip of the hand
/// explains it.
pub fn nearest<'k>(wrong: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    // A distance is quadratic in the lengths, and nobody's slip is this long.
    if wrong.len() > 64 {
        return None;
    }
    let plain = |name: &str| name.to_lowercase().replace('-', "_");
    let wrong = plain(wrong);
    known
        .into_iter()
        .map(|name| (strsim::osa_distance(&wrong, &plain(name)), name))
        // A slip in every third letter; one or two letters are another name.
        .filter(|(distance, name)| *distance <= name.chars().count() / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_prints_like_a_compilers() {
        for (line, column, expected) in
            [(12, 5, "c.yaml:12:5: no"), (12, 0, "c.yaml:12: no"), (0, 0, "c.yaml: no")]
        {
            let problem = Problem { path: "c.yaml".into(), line, column, message: "no".into() };
            assert_eq!(problem.to_string(), expected);
        }
    }

    #[test]
    fn a_slip_of_the_hand_finds_its_key_and_another_word_does_not() {
        let known = ["agents", "listen", "header_timeout", "tls", "jwt", "id", "dryRun"];
        for (wrong, expected) in [
            ("agnets", Some("agents")),
            ("Listen", Some("listen")),
            ("header-timeout", Some("header_timeout")),
            ("tsl", Some("tls")),
            ("agent", Some("agents")),
            ("bananas", None),
            ("dryrun", Some("dryRun")),
            ("dry-Run", Some("dryRun")),
            ("ip", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(wrong, known), expected, "{wrong}");
        }
        assert_eq!(nearest(&"a".repeat(10_000), known), None);
    }
}
