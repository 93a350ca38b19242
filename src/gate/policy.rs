//! Does policy allow it?
//!
//! Three packages speak: `countersign.permission`, `.budget` and `.reversibility`. Each is
//! evaluated by itself and its outcome remembered by what it reads of the input; together they
//! decide by law (`combine`). Whatever goes wrong denies.
//!
//! ```text
//! source → scan → load (syntax → graph) → Policies
//! decide: paths (the key) ─ remembered ──────────────┬→ outcome → combine → Verdict
//!                └ not ─ workers → engine → outcome ─┘
//! ```

mod builtins;
mod combine;
mod data;
mod engine;
mod graph;
mod load;
mod outcome;
mod paths;
mod scan;
mod source;
mod syntax;
#[cfg(test)]
mod tests;
mod workers;

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::json::{Digest, Value};

pub use combine::Verdict;
pub use graph::MAX_CHAIN;
pub use outcome::{Charge, Redact};
pub use scan::{MAX_NESTING, MAX_OPERATORS};
pub use source::{MAX_DATA_BYTES, MAX_FILES, MAX_REGO_BYTES, Problem, Source, read_directory};

use engine::Question;
use outcome::Outcome;
use paths::Reads;
use workers::Workers;

/// A key longer than this is not remembered.
const MAX_KEY_BYTES: usize = 32 << 10;
/// What one remembered outcome weighs on average, for the bound in bytes.
const ENTRY_BYTES: u64 = 1_024;

/// The packages that speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Package {
    Permission,
    Budget,
    Reversibility,
}

impl Package {
    const ALL: [Self; 3] = [Self::Permission, Self::Budget, Self::Reversibility];
    /// Every rule name that means something in one of them.
    const WORDS: [&str; 9] =
        ["allow", "charge", "deny", "hold", "labels", "redact", "tier", "visible", "warn"];

    const fn name(self) -> &'static str {
        match self {
            Self::Permission => "permission",
            Self::Budget => "budget",
            Self::Reversibility => "reversibility",
        }
    }

    const fn rules(self) -> &'static [&'static str] {
        match self {
            Self::Permission => &["allow", "visible", "deny", "warn", "redact", "labels"],
            Self::Budget => &["charge", "deny", "hold", "warn", "redact", "labels"],
            Self::Reversibility => &["tier", "deny", "hold", "warn", "redact", "labels"],
        }
    }

    /// A rule that nobody would ask for must not look as if it counted.
    fn misplaced(self, rule: &str, is_function: bool) -> String {
        if is_function {
            return format!(
                "the gate asks for `{rule}` as a rule; a function would never be called"
            );
        }
        let homes: Vec<_> =
            Self::ALL.iter().filter(|p| p.rules().contains(&rule)).map(|p| p.name()).collect();
        format!(
            "`{rule}` is not asked for in `countersign.{}`; write it in `countersign.{}`",
            self.name(),
            homes.join("` or `countersign.")
        )
    }
}

/// How policy is evaluated.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long a decision may take.
    pub deadline: Duration,
    /// How long loading may take.
    pub patience: Duration,
    /// Threads that evaluate.
    pub workers: usize,
    /// Outcomes remembered for each package.
    pub remembered: usize,
    /// Stack of each thread, reserved and not yet used.
    pub stack_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            deadline: Duration::from_millis(50),
            patience: Duration::from_secs(10),
            workers: std::thread::available_parallelism().map_or(1, |n| n.get().min(8)),
            remembered: 4_096,
            stack_bytes: 64 << 20,
        }
    }
}

#[derive(Clone)]
struct Weight;

impl quick_cache::Weighter<Box<[u8]>, Arc<Outcome>> for Weight {
    fn weight(&self, key: &Box<[u8]>, _: &Arc<Outcome>) -> u64 {
        key.len() as u64 + 256
    }
}

type Memory = quick_cache::sync::Cache<Box<[u8]>, Arc<Outcome>, Weight>;

/// One question that the files can answer.
struct Entry {
    package: Package,
    visible: bool,
    reads: Reads,
    /// `None` where the answer changes by itself, or nothing is to be remembered.
    memory: Option<Memory>,
}

/// One immutable set of policy files, ready to decide.
pub struct Policies {
    digest: Digest,
    entries: Vec<Entry>,
    workers: Workers,
    deadline: Duration,
}

impl std::fmt::Debug for Policies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Policies").field("digest", &self.digest).finish_non_exhaustive()
    }
}

thread_local! {
    /// Keys are made here; only a miss needs one of its own.
    static KEY: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

enum Found {
    Known(Arc<Outcome>),
    /// The question's place among those asked, and the key to remember its answer by.
    Asked(usize, Option<Box<[u8]>>),
}

impl Policies {
    /// Load all or nothing. Blocks for as long as parsing takes (milliseconds; at most
    /// `settings.patience`).
    pub fn load(sources: &[Source], settings: &Settings) -> Result<Self, Vec<Problem>> {
        let loaded = load::load(sources, settings.stack_bytes, settings.patience)?;
        let entries = loaded
            .entries
            .into_iter()
            .map(|known| Entry {
                package: known.package,
                visible: known.visible,
                reads: known.reads,
                memory: (!known.changes && settings.remembered > 0).then(|| memory(settings)),
            })
            .collect();
        let workers = Workers::start(loaded.program, settings).map_err(|error| {
            vec![Problem::whole("", format!("no thread to evaluate on: {error}"))]
        })?;
        let digest = source::digest(sources);
        Ok(Self { digest, entries, workers, deadline: settings.deadline })
    }

    /// SHA-256 over the names and texts of all files, whatever their order.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Whether any package can read the input at, above or below `path`. What none reads, the gate
    /// need not compute.
    pub fn reads(&self, path: &[&str]) -> bool {
        self.entries.iter().any(|entry| entry.reads.touches(path))
    }

    /// Threads that are stuck in one built-in, past every deadline, and were replaced. For metrics:
    /// each burns a core until it comes back.
    pub fn stuck_threads(&self) -> usize {
        self.workers.stuck()
    }

    /// Decide one call. Never an error: what fails, denies, and says so.
    pub async fn decide(&self, input: &Value) -> Verdict {
        let said = self.ask(input, false).await;
        combine::combine(
            said.iter()
                .map(|(package, outcome)| (*package, outcome.as_deref().map_err(String::as_str))),
        )
    }

    /// Whether the agent may know of the tool. Undefined and failure are no.
    pub async fn visible(&self, input: &Value) -> bool {
        let said = self.ask(input, true).await;
        said.iter().any(|(_, outcome)| outcome.as_ref().is_ok_and(|outcome| outcome.visible))
    }

    async fn ask(
        &self,
        input: &Value,
        visible: bool,
    ) -> Vec<(Package, Result<Arc<Outcome>, String>)> {
        let mut questions = Vec::new();
        let mut found = Vec::with_capacity(self.entries.len());
        for entry in self.entries.iter().filter(|entry| entry.visible == visible) {
            found.push((entry, entry.look_up(input, &mut questions)));
        }
        let answers = if questions.is_empty() {
            Ok(Vec::new())
        } else {
            self.workers.ask(questions, Instant::now() + self.deadline).await
        };
        found
            .into_iter()
            .map(|(entry, found)| {
                let outcome = match (found, &answers) {
                    (Found::Known(outcome), _) => Ok(outcome),
                    (Found::Asked(at, key), Ok(answers)) => entry.learn(key, answers.get(at)),
                    (Found::Asked(..), Err(failure)) => Err((*failure).to_owned()),
                };
                (entry.package, outcome)
            })
            .collect()
    }
}

fn memory(settings: &Settings) -> Memory {
    let capacity = (settings.remembered as u64).saturating_mul(ENTRY_BYTES);
    Memory::with_weighter(settings.remembered, capacity, Weight)
}

impl Entry {
    fn look_up(&self, input: &Value, questions: &mut Vec<Question>) -> Found {
        let mut ask = |key| {
            questions.push(Question {
                package: self.package,
                visible: self.visible,
                input: self.reads.cut(input),
            });
            Found::Asked(questions.len() - 1, key)
        };
        let Some(memory) = &self.memory else { return ask(None) };
        KEY.with_borrow_mut(|key| {
            key.clear();
            if !self.reads.key(input, MAX_KEY_BYTES, key) {
                *key = Vec::new();
                return ask(None);
            }
            match memory.get(key.as_slice()) {
                Some(outcome) => Found::Known(outcome),
                None => ask(Some(key.as_slice().into())),
            }
        })
    }

    fn learn(
        &self,
        key: Option<Box<[u8]>>,
        answer: Option<&Result<Outcome, String>>,
    ) -> Result<Arc<Outcome>, String> {
        // A failure is not remembered: the next evaluation may have more time.
        let outcome = Arc::new(answer.ok_or("no answer came")?.clone()?);
        if let (Some(memory), Some(key)) = (&self.memory, key) {
            memory.insert(key, outcome.clone());
        }
        Ok(outcome)
    }
}
