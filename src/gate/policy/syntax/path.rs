//! Which parts does a reference have?

use regorus::unstable::Expr;

/// A reference taken apart: `root.fixed.fixed[index]…`.
pub(super) struct Path<'a> {
    /// What it is a reference into.
    pub(super) root: &'a Expr,
    /// Components up to the first that is not written out.
    pub(super) fixed: Vec<String>,
    /// Whether anything comes after `fixed`.
    pub(super) open: bool,
    /// What is in brackets and not written out.
    pub(super) indexes: Vec<&'a Expr>,
}

/// Takes a reference apart; any other expression is its own root.
pub(super) fn unwind(mut expr: &Expr) -> Path<'_> {
    let mut steps = Vec::new();
    let root = loop {
        match expr {
            Expr::RefDot { refr, field, .. } => {
                steps.push(Ok(field.1.as_string().map_or(field.0.text(), |text| text)));
                expr = refr;
            }
            Expr::RefBrack { refr, index, .. } => {
                steps.push(match &**index {
                    Expr::String { value: regorus::Value::String(text), .. } => Ok(&**text),
                    other => Err(other),
                });
                expr = refr;
            }
            root => break root,
        }
    };
    let mut path = Path { root, fixed: Vec::new(), open: false, indexes: Vec::new() };
    for step in steps.into_iter().rev() {
        match step {
            Ok(field) if !path.open => path.fixed.push(field.to_owned()),
            Ok(_) => {}
            Err(index) => {
                path.open = true;
                path.indexes.push(index);
            }
        }
    }
    path
}

/// Its name, with dots.
pub(super) fn dotted(root: &str, fixed: &[String]) -> String {
    let mut name = root.to_owned();
    for part in fixed {
        name.push('.');
        name.push_str(part);
    }
    name
}
