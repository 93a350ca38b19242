//! Is this text safe to give to the parser?
//!
//! The parser takes exponential time in nested literals and recurses along chains of operators;
//! a stack overflow would end the process. So both are bounded by a look at the plain text first.

use super::source::Problem;

/// Brackets within brackets. Each level can double the parser's work.
pub const MAX_NESTING: u32 = 10;
/// Operators in one expression.
pub const MAX_OPERATORS: u32 = 400;
/// Digits in a row, so that no number literal is slow to read.
const MAX_DIGITS: u32 = 40;

/// The first place that is too deep or too long.
pub(super) fn scan(path: &str, text: &str) -> Result<(), Problem> {
    let mut scan = Scan { line: 1, ..Scan::default() };
    let problem = |scan: &Scan, message: String| Problem {
        path: path.to_owned(),
        line: scan.line,
        column: scan.column,
        message,
    };
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        scan.column += 1;
        match c {
            '"' | '`' => scan.skip_string(&mut chars, c),
            '#' => while chars.next_if(|c| *c != '\n').is_some() {},
            _ => scan.step(c),
        }
        if scan.depth > MAX_NESTING {
            return Err(problem(
                &scan,
                format!("brackets are nested deeper than {MAX_NESTING}; split it into rules"),
            ));
        }
        if scan.operators > MAX_OPERATORS {
            return Err(problem(
                &scan,
                format!("more than {MAX_OPERATORS} operators in one expression; split it"),
            ));
        }
        if scan.digits > MAX_DIGITS {
            return Err(problem(&scan, format!("a number of more than {MAX_DIGITS} digits")));
        }
    }
    Ok(())
}

#[derive(Default)]
struct Scan {
    line: u32,
    column: u32,
    depth: u32,
    operators: u32,
    digits: u32,
    /// The last thing seen was an operator, so the expression goes on over a line's end.
    open: bool,
    /// A line has ended after something that can end an expression.
    ended: bool,
    word: Word,
}

/// As much of a word as it takes to know `in`.
#[derive(Default, Clone, Copy, PartialEq)]
enum Word {
    #[default]
    None,
    I,
    In,
    Other,
}

impl Scan {
    fn step(&mut self, c: char) {
        self.digits = match c {
            '0'..='9' => self.digits + 1,
            // An exponent of more than three digits is as slow as the number written out.
            'e' | 'E' if self.digits > 0 => self.digits.max(MAX_DIGITS - 3),
            '.' | '_' | '+' | '-' if self.digits > 0 => self.digits,
            _ => 0,
        };
        if c.is_alphanumeric() || c == '_' {
            self.word = match (self.word, c) {
                (Word::None, 'i') => Word::I,
                (Word::I, 'n') => Word::In,
                _ => Word::Other,
            };
        } else if std::mem::take(&mut self.word) == Word::In {
            self.operators += 1;
            self.open = true;
        }
        if c.is_whitespace() {
            if c == '\n' {
                self.line += 1;
                self.column = 0;
                self.ended = !self.open;
            }
            return;
        }
        if is_operator(c) {
            self.operators += 1;
            self.open = true;
            self.ended = false;
            return;
        }
        if std::mem::take(&mut self.ended) || matches!(c, ';' | ',') {
            self.operators = 0;
        }
        self.open = false;
        match c {
            '(' | '[' | '{' => self.depth += 1,
            ')' | ']' | '}' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }

    fn skip_string(&mut self, chars: &mut std::iter::Peekable<std::str::Chars<'_>>, quote: char) {
        if std::mem::take(&mut self.ended) {
            self.operators = 0;
        }
        self.open = false;
        self.digits = 0;
        self.word = Word::None;
        while let Some(c) = chars.next() {
            self.column += 1;
            match c {
                '\\' if quote == '"' => {
                    chars.next();
                    self.column += 1;
                }
                // A plain string cannot run over a line; the parser will say so.
                '\n' if quote == '"' => {
                    self.line += 1;
                    self.column = 0;
                    return;
                }
                '\n' => {
                    self.line += 1;
                    self.column = 0;
                }
                _ if c == quote => return,
                _ => {}
            }
        }
    }
}

fn is_operator(c: char) -> bool {
    matches!(c, '+' | '-' | '*' | '/' | '%' | '&' | '|' | '=' | '<' | '>' | '!')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_length_and_digits_are_bounded() {
        let nested = |n: usize| format!("package a\nx := {}1{}", "[".repeat(n), "]".repeat(n));
        let long = |n: usize| format!("package a\nx := 1{}", "\n +1".repeat(n));
        let members = |n: usize| format!("package a\nx := 1{}", " in y".repeat(n));
        for (name, text, fine) in [
            ("nesting at the bound", nested(10), true),
            ("nesting past it", nested(11), false),
            (
                "brackets in strings",
                format!("x := \"{}\" # {}", "[".repeat(99), "[".repeat(99)),
                true,
            ),
            ("a raw string", format!("x := `{}`", "[\n".repeat(99)), true),
            ("an escaped quote", format!(r#"x := "\"{}""#, "[".repeat(99)), true),
            ("operators at the bound", long(399), true),
            ("operators past it", long(400), false),
            ("a chain of in", members(400), false),
            ("a thousand lines", "  x == 1\n  not y in z\n".repeat(1000), true),
            ("a long list", format!("x := [{}]", "1+1,".repeat(1000)), true),
            ("digits", format!("x := {}", "1".repeat(40)), true),
            ("too many digits", format!("x := {}", "1".repeat(41)), false),
            ("a small exponent", "x := 1e300".into(), true),
            ("a huge exponent", "x := 1e3000".into(), false),
            ("a huge exponent with sign and fraction", "x := 1.5e+30_00".into(), false),
        ] {
            assert_eq!(scan("a.rego", &text).is_ok(), fine, "{name}");
        }
    }

    #[test]
    fn the_place_is_told() {
        let problem = scan("a.rego", "package a\n\nx := [[[[[[[[[[[[[[").unwrap_err();
        assert_eq!((problem.line, problem.column), (3, 16));
    }
}
