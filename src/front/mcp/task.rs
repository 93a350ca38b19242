//! Whose task is it, and may what it brings pass?
//!
//! A task is a call that goes on after its answer: who asks for it, who hears of it, and what it
//! brings in the end are held to the same as the call was.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Front;
use super::answer::{CallResult, Inspector};
use super::message::{FromServer, Message};
use crate::gate::forward::{ResultShape, check};
use crate::refusal::Refusal;
use crate::tools::Definition;

/// What the gate reads of a task.
#[derive(Deserialize)]
pub(super) struct Task<'a> {
    #[serde(borrow, rename = "taskId", default)]
    pub(super) id: Option<Cow<'a, str>>,
    /// From 2026-07-28 on a task carries its result, and what it asks.
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
    #[serde(borrow, rename = "inputRequests", default)]
    questions: Option<&'a RawValue>,
}

impl<'a> Task<'a> {
    pub(super) fn read(raw: &'a RawValue) -> Option<Self> {
        serde_json::from_str(raw.get()).ok()
    }
}

impl Front {
    /// A subscription may name tasks (SEP-2663): another agent's do not exist.
    pub(super) fn own_tasks_only(
        &self,
        message: &Message,
        server: &Arc<str>,
        agent: &Arc<str>,
    ) -> Result<(), Refusal> {
        let params = message.params();
        let wanted = params.and_then(|params| params.get("notifications"));
        let Some(tasks) = wanted.and_then(|wanted| wanted.get("taskIds")) else { return Ok(()) };
        let unreadable = || Refusal::Parameters {
            method: "subscriptions/listen",
            reason: "`taskIds` must be a list of strings".to_owned(),
        };
        for task in tasks.as_array().ok_or_else(unreadable)? {
            let task = task.as_str().ok_or_else(unreadable)?;
            self.tasks.find(server, task, agent)?;
        }
        Ok(())
    }
}

impl Inspector {
    /// Whether the news is of this agent's own task, and what it carries may pass.
    pub(super) fn may_hear_of(&self, message: &FromServer<'_>) -> bool {
        let Some(task) = message.params.and_then(Task::read) else { return false };
        let Some(id) = &task.id else { return false };
        let name = &self.server.settings.name;
        let Ok(definition) = self.front.tasks.find(name, id, &self.agent.id) else { return false };
        // Questions have to be decided, which takes a `tasks/get`: the client makes one anyway.
        let passes =
            task.questions.is_none() && self.inner_result(&task, definition.as_deref()).is_ok();
        if !passes {
            tracing::warn!(server.name = %name, "news of a task are dropped: what they carry is not checked, or does not fit");
        }
        passes
    }

    /// Holds the result that a finished task carries to its tool's schema.
    pub(super) fn inner_result(
        &self,
        task: &Task<'_>,
        definition: Option<&Definition>,
    ) -> Result<(), Refusal> {
        let (Some(raw), Some(definition)) = (task.result, definition) else { return Ok(()) };
        let unreadable = |_| self.server.bad_answer("its task's result cannot be read");
        let result: CallResult<'_> = serde_json::from_str(raw.get()).map_err(unreadable)?;
        let structured = self.structured(&result, definition.promises_structure())?;
        let is_error = result.is_error.unwrap_or(false);
        let shape = ResultShape { is_error, is_final: true, structured, bytes: 0 };
        check(&self.server.settings.name, definition, &shape)
    }

    /// Whether a task of a list is this agent's.
    pub(super) fn is_mine(&self, task: &RawValue) -> bool {
        let name = &self.server.settings.name;
        Task::read(task)
            .and_then(|task| task.id)
            .is_some_and(|id| self.front.tasks.find(name, &id, &self.agent.id).is_ok())
    }
}
