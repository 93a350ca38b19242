//! How is one package evaluated?
//!
//! By the strict interpreter of `regorus`, never its register machine, which allows what the
//! interpreter denies.

use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use regorus::utils::limits::{ExecutionTimerConfig, LimitError};
use regorus::{Engine, Value};

use super::Package;
use super::builtins;
use super::outcome::Outcome;

/// The package that the gate adds, with one rule for each question that it asks.
pub(super) const ENTRY: &str = "countersign_entry";
/// Steps of the interpreter between two looks at the clock.
const STEPS_PER_LOOK: NonZeroU32 = NonZeroU32::new(16).unwrap();

/// What every engine of a snapshot is built from.
#[derive(Debug)]
pub(super) struct Program {
    /// Path and text of each module, the entry module last.
    pub(super) modules: Vec<(String, String)>,
    pub(super) data: Value,
}

impl Program {
    /// A new engine, ready to be asked.
    pub(super) fn engine(&self) -> anyhow::Result<Engine> {
        let mut engine = Engine::new();
        engine.set_strict_builtin_errors(true);
        builtins::bound(&mut engine)?;
        for (path, text) in &self.modules {
            engine.add_policy(path.clone(), text.clone())?;
        }
        engine.add_data(self.data.clone())?;
        engine.set_input(Value::new_object());
        // The first question makes the engine prepare itself.
        engine.eval_rule(format!("data.{ENTRY}.ready"))?;
        Ok(engine)
    }
}

/// One question: a package, and what it may see.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) package: Package,
    pub(super) visible: bool,
    pub(super) input: Value,
}

impl Question {
    fn rule(&self) -> String {
        let name = if self.visible { "visible" } else { self.package.name() };
        format!("data.{ENTRY}.{name}")
    }
}

/// An engine with a spare to start again from.
pub(super) struct Seat<'a> {
    program: &'a Program,
    pristine: Option<Engine>,
    engine: Option<Engine>,
}

impl<'a> Seat<'a> {
    pub(super) fn new(program: &'a Program) -> Self {
        Self { program, pristine: None, engine: None }
    }

    /// Build the engine before it is needed.
    pub(super) fn warm(&mut self) {
        let _ = self.ready();
    }

    /// Ask, and read the answer. The error is for the operator's log and holds no value.
    pub(super) fn ask(&mut self, question: Question, until: Instant) -> Result<Outcome, String> {
        let package = question.package;
        let answer = catch_unwind(AssertUnwindSafe(|| self.evaluate(question, until)));
        match answer {
            Ok(Ok(value)) => Outcome::read(package, &value),
            Ok(Err(error)) => {
                // An evaluation that stops half way leaves loop variables behind.
                self.engine = None;
                Err(error)
            }
            Err(_) => {
                self.engine = None;
                self.pristine = None;
                Err("the interpreter panicked".into())
            }
        }
    }

    fn evaluate(&mut self, question: Question, until: Instant) -> Result<Value, String> {
        let engine = self.ready()?;
        let limit = until.saturating_duration_since(Instant::now());
        if limit.is_zero() {
            return Err("no time was left to begin".into());
        }
        engine.set_execution_timer_config(ExecutionTimerConfig {
            limit: limit.max(Duration::from_micros(1)),
            check_interval: STEPS_PER_LOOK,
        });
        let rule = question.rule();
        engine.set_input(question.input);
        engine.eval_rule(rule).map_err(|error| describe(&error))
    }

    fn ready(&mut self) -> Result<&mut Engine, String> {
        if self.pristine.is_none() {
            self.pristine = Some(self.program.engine().map_err(|error| describe(&error))?);
        }
        let engine = self.engine.take().or_else(|| self.pristine.clone());
        engine.map(|engine| self.engine.insert(engine)).ok_or_else(|| "no engine".to_owned())
    }
}

/// Kind and place of an error. The text of the interpreter quotes values, so none of it is told.
fn describe(error: &anyhow::Error) -> String {
    if matches!(error.downcast_ref::<LimitError>(), Some(LimitError::TimeLimitExceeded { .. })) {
        return "it ran past its deadline".to_owned();
    }
    let text = error.to_string();
    let kind = if text.contains("multiple outputs") || text.contains("multiple values") {
        "two rules give different answers"
    } else if text.contains("recursion detected") || text.contains("cyclic evaluation") {
        "rules ask for each other in a circle"
    } else {
        "an expression failed"
    };
    match place(&text) {
        Some((path, line, column)) => format!("{kind} at {path}:{line}:{column}"),
        None => kind.to_owned(),
    }
}

/// The place in an error of the interpreter: `--> path:line:column`.
pub(super) fn place(text: &str) -> Option<(&str, u32, u32)> {
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix("--> "))?;
    let (rest, column) = line.rsplit_once(':')?;
    let (path, row) = rest.rsplit_once(':')?;
    Some((path, row.parse().ok()?, column.parse().ok()?))
}
