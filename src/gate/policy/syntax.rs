//! What does each rule read, and whom does it ask?
//!
//! From the syntax tree, erring to more: what is held under another name counts where it is first
//! named, and what ends in a variable counts as all that is above it.

mod path;

use std::collections::{BTreeMap, BTreeSet};

use regorus::unstable::{Expr, Literal, LiteralStmt, Module, Query, Ref, Rule, RuleHead, Span};

use super::builtins::{self, Standing};
use super::paths::Reads;
use super::source::Problem;
use path::{dotted, unwind};

/// All rules of one name in one package.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// Where the first of them stands.
    pub(super) place: Option<Problem>,
    /// What it reads of the input by itself.
    pub(super) reads: Reads,
    /// The paths in `data` that it asks for.
    pub(super) asks: BTreeSet<Vec<String>>,
    /// Those that are no local variable by any look: what recursion is told by.
    pub(super) surely: BTreeSet<Vec<String>>,
    /// It calls something whose answer changes by itself.
    pub(super) changes: bool,
    /// Functions that it calls and that are no built-ins: path, name, place.
    pub(super) calls: Vec<(Vec<String>, String, Problem)>,
    /// Names in values without a body, which nothing can bind: path, name, place.
    pub(super) needs: Vec<(Vec<String>, String, Problem)>,
    /// It is a function.
    pub(super) function: bool,
}

/// By full path: package and first component of the rule's name.
pub(super) type Rules = BTreeMap<Vec<String>, Facts>;

/// The components of a module's package.
pub(super) fn package(module: &Module) -> Vec<String> {
    let path = unwind(&module.package.refr);
    let mut name = Vec::new();
    if let Expr::Var { span, .. } = path.root {
        name.push(span.text().to_owned());
    }
    name.extend(path.fixed);
    name
}

/// Add what the rules of one module read and ask for.
pub(super) fn survey(module: &Module, rules: &mut Rules, problems: &mut Vec<Problem>) {
    let package = package(module);
    let mut aliases = BTreeMap::new();
    for import in &module.imports {
        let path = unwind(&import.refr);
        let Expr::Var { span, .. } = path.root else { continue };
        let root = span.text();
        if !matches!(root, "input" | "data") {
            continue;
        }
        let name = match &import.r#as {
            Some(alias) => alias.text().to_owned(),
            None => path.fixed.last().cloned().unwrap_or_else(|| root.to_owned()),
        };
        let all = (root == "input", path.fixed);
        aliases.entry(name).or_insert_with(Vec::new).push(all);
    }
    for rule in &module.policy {
        let head = match &**rule {
            Rule::Spec { head, .. } => match head {
                RuleHead::Compr { refr, .. }
                | RuleHead::Set { refr, .. }
                | RuleHead::Func { refr, .. } => refr,
            },
            Rule::Default { refr, .. } => refr,
        };
        let mut name = package.clone();
        if let Expr::Var { span, .. } = unwind(head).root {
            name.push(span.text().to_owned());
        }
        let facts = rules.entry(name).or_default();
        facts.place.get_or_insert_with(|| problem(rule.span(), String::new()));
        let mut walk = Walk {
            package: &package,
            aliases: &aliases,
            locals: BTreeSet::new(),
            names: BTreeSet::new(),
            called: BTreeSet::new(),
            binds: false,
            facts,
            problems,
        };
        walk.rule(rule);
    }
}

pub(super) fn problem(span: &Span, message: String) -> Problem {
    Problem { path: span.source.get_path().clone(), line: span.line, column: span.col, message }
}

type Aliases = BTreeMap<String, Vec<(bool, Vec<String>)>>;

struct Walk<'a> {
    package: &'a [String],
    aliases: &'a Aliases,
    /// Names that the rule binds somewhere.
    locals: BTreeSet<String>,
    /// Names of this package that it refers to, as paths; told apart from locals at the end.
    names: BTreeSet<(String, Vec<String>)>,
    /// Roots of what it calls.
    called: BTreeSet<String>,
    /// It has a body or a comprehension, which may bind names in ways not looked into here.
    binds: bool,
    facts: &'a mut Facts,
    problems: &'a mut Vec<Problem>,
}

impl Walk<'_> {
    fn rule(&mut self, rule: &Rule) {
        match rule {
            Rule::Default { refr, args, value, .. } => {
                self.head(refr);
                self.pattern_all(args);
                self.expr(value);
            }
            Rule::Spec { head, bodies, .. } => {
                match head {
                    RuleHead::Compr { refr, assign, .. } => {
                        self.head(refr);
                        assign.iter().for_each(|a| self.expr(&a.value));
                    }
                    RuleHead::Set { refr, key, .. } => {
                        self.head(refr);
                        key.iter().for_each(|key| self.expr(key));
                    }
                    RuleHead::Func { refr, args, assign, .. } => {
                        self.facts.function = true;
                        self.head(refr);
                        self.pattern_all(args);
                        assign.iter().for_each(|a| self.expr(&a.value));
                    }
                }
                for body in bodies {
                    body.assign.iter().for_each(|a| self.expr(&a.value));
                    self.query(&body.query);
                }
            }
        }
        for (name, path) in std::mem::take(&mut self.names) {
            let known = self.locals.contains(&name) || self.aliases.contains_key(&name);
            if !self.binds && !known && !self.called.contains(&name) {
                let rule_path = [self.package, std::slice::from_ref(&name)].concat();
                self.facts.needs.push((
                    rule_path,
                    name.clone(),
                    problem(rule.span(), String::new()),
                ));
            }
            if !self.locals.contains(&name) {
                self.facts.surely.insert(path.clone());
            }
            self.facts.asks.insert(path);
        }
    }

    fn head(&mut self, refr: &Expr) {
        for index in unwind(refr).indexes {
            self.expr(index);
        }
    }

    /// Parameters: what they bind is local, and they may also be compared with what they name.
    fn pattern_all(&mut self, patterns: &[Ref<Expr>]) {
        for pattern in patterns {
            self.pattern(pattern);
        }
    }

    fn pattern(&mut self, pattern: &Expr) {
        self.bind(pattern);
        self.expr(pattern);
    }

    fn bind(&mut self, pattern: &Expr) {
        match pattern {
            Expr::Var { span, .. } => {
                self.locals.insert(span.text().to_owned());
            }
            Expr::Array { items, .. } => items.iter().for_each(|item| self.bind(item)),
            Expr::Object { fields, .. } => fields.iter().for_each(|(_, _, v)| self.bind(v)),
            _ => {}
        }
    }

    fn query(&mut self, query: &Query) {
        self.binds |= !query.stmts.is_empty();
        query.stmts.iter().for_each(|statement| self.statement(statement));
    }

    fn statement(&mut self, statement: &LiteralStmt) {
        for with in &statement.with_mods {
            // What runs under it sees another input, other data or other functions.
            self.facts.reads = Reads::all();
            self.expr(&with.refr);
            self.expr(&with.r#as);
        }
        match &statement.literal {
            Literal::SomeVars { vars, .. } => {
                self.locals.extend(vars.iter().map(|v| v.text().to_owned()));
            }
            Literal::SomeIn { key, value, collection, .. } => {
                key.iter().for_each(|key| self.pattern(key));
                self.pattern(value);
                self.expr(collection);
            }
            Literal::Expr { expr, .. } | Literal::NotExpr { expr, .. } => self.expr(expr),
            Literal::Every { key, value, domain, query, .. } => {
                self.locals.extend(key.iter().map(|k| k.text().to_owned()));
                self.locals.insert(value.text().to_owned());
                self.expr(domain);
                self.query(query);
            }
        }
    }

    // No wildcard: a new kind of node must not compile until somebody has said what it reads.
    fn expr(&mut self, expr: &Expr) {
        match expr {
            Expr::String { .. }
            | Expr::RawString { .. }
            | Expr::Number { .. }
            | Expr::Bool { .. }
            | Expr::Null { .. } => {}
            Expr::Var { .. } | Expr::RefDot { .. } | Expr::RefBrack { .. } => self.reference(expr),
            Expr::Array { items, .. } | Expr::Set { items, .. } => {
                items.iter().for_each(|item| self.expr(item));
            }
            Expr::Object { fields, .. } => {
                for (_, key, value) in fields {
                    self.expr(key);
                    self.expr(value);
                }
            }
            Expr::ArrayCompr { term, query, .. } | Expr::SetCompr { term, query, .. } => {
                self.expr(term);
                self.query(query);
            }
            Expr::ObjectCompr { key, value, query, .. } => {
                self.expr(key);
                self.expr(value);
                self.query(query);
            }
            Expr::Call { span, fcn, params, .. } => {
                self.call(span, fcn, params);
                params.iter().for_each(|param| self.expr(param));
            }
            Expr::UnaryExpr { expr, .. } => self.expr(expr),
            Expr::BinExpr { lhs, rhs, .. }
            | Expr::BoolExpr { lhs, rhs, .. }
            | Expr::ArithExpr { lhs, rhs, .. } => {
                self.expr(lhs);
                self.expr(rhs);
            }
            Expr::AssignExpr { op, lhs, rhs, .. } => {
                if *op == regorus::unstable::AssignOp::ColEq {
                    self.bind(lhs);
                }
                self.expr(lhs);
                self.expr(rhs);
            }
            Expr::Membership { key, value, collection, .. } => {
                key.iter().for_each(|key| self.expr(key));
                self.expr(value);
                self.expr(collection);
            }
        }
    }

    fn reference(&mut self, expr: &Expr) {
        let path = unwind(expr);
        for index in &path.indexes {
            self.expr(index);
        }
        let Expr::Var { span, .. } = path.root else {
            return self.expr(path.root);
        };
        let root = span.text();
        match root {
            "input" => self.facts.reads.add(&path.fixed),
            "data" => self.ask(path.fixed),
            _ => {
                let dotted = dotted(root, &path.fixed);
                self.refuse(span, &dotted);
                self.named(root, &path.fixed);
            }
        }
    }

    /// A name that is neither `input` nor `data`: an alias, a rule of this package, or a local.
    fn named(&mut self, root: &str, fixed: &[String]) {
        let aliases = self.aliases;
        for (is_input, prefix) in aliases.get(root).into_iter().flatten() {
            let full = [prefix.as_slice(), fixed].concat();
            if *is_input {
                self.facts.reads.add(&full);
            } else {
                self.ask(full);
            }
        }
        let mut full = self.package.to_vec();
        full.push(root.to_owned());
        full.extend_from_slice(fixed);
        self.names.insert((root.to_owned(), full));
    }

    fn ask(&mut self, path: Vec<String>) {
        self.facts.surely.insert(path.clone());
        self.facts.asks.insert(path);
    }

    fn refuse(&mut self, span: &Span, name: &str) {
        if let Some(reason) = builtins::refused(name) {
            self.problems.push(problem(span, format!("`{name}` may not be called: {reason}")));
        }
        self.facts.changes |= builtins::standing(name) == Standing::Changing;
    }

    fn call(&mut self, span: &Span, function: &Expr, params: &[Ref<Expr>]) {
        self.reference(function);
        let path = unwind(function);
        let Expr::Var { span: root, .. } = path.root else { return };
        self.called.insert(root.text().to_owned());
        let name = dotted(root.text(), &path.fixed);
        for at in builtins::constants(&name) {
            let Some(param) = params.get(*at) else { continue };
            if !is_constant(param) {
                let message = format!(
                    "argument {} of `{name}` has to be written out here: taken from elsewhere, the \
                     result could outgrow memory",
                    at + 1
                );
                self.problems.push(problem(span, message));
            } else if name == "sprintf" && is_wide(param) {
                let message = "a width of more than two digits in `sprintf`".to_owned();
                self.problems.push(problem(span, message));
            }
        }
        let is_alias = self.aliases.contains_key(root.text());
        if root.text() != "data" && !is_alias && builtins::standing(&name) == Standing::Unknown {
            // Perhaps a function of this package; told when all are known.
            let mut full = self.package.to_vec();
            full.push(root.text().to_owned());
            self.facts.calls.push((full, name, problem(span, String::new())));
        }
    }
}

fn is_constant(expr: &Expr) -> bool {
    match expr {
        Expr::String { .. } | Expr::RawString { .. } => true,
        Expr::Object { fields, .. } => {
            fields.iter().all(|(_, key, value)| is_constant(key) && is_constant(value))
        }
        _ => false,
    }
}

/// Whether a format asks for padding past two digits.
fn is_wide(format: &Expr) -> bool {
    let (Expr::String { value, .. } | Expr::RawString { value, .. }) = format else { return true };
    let regorus::Value::String(text) = value else { return true };
    let mut parts = text.split('%');
    parts.next();
    parts
        .any(|part| part.trim_start_matches('.').chars().take_while(|c| c.is_numeric()).count() > 2)
}
