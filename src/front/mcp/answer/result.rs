//! What is read of a result, and how is it put together again?

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::front::mcp::task::Task;

/// An answer as it is kept: one member of a message.
pub(super) fn kept(member: &str, raw: Option<&RawValue>) -> Bytes {
    format!("{{\"{member}\":{}}}", raw.map_or("null", RawValue::get)).into()
}

pub(in crate::front::mcp) type Members = std::collections::BTreeMap<String, Box<RawValue>>;

pub(super) fn replace(message: &[u8], result: &Members) -> Result<Vec<u8>, serde_json::Error> {
    let mut members: Members = serde_json::from_slice(message)?;
    members.insert("result".to_owned(), to_raw_value(result)?);
    serde_json::to_vec(&members)
}

/// A call's part in what its answer is held to.
#[derive(Debug, Clone)]
pub struct ExpectedCall {
    /// The method.
    pub method: &'static str,
    /// The tool, prompt, resource or task.
    pub name: Arc<str>,
    /// The tool's definition, where it is about one.
    pub definition: Option<Arc<crate::tools::Definition>>,
    /// The canonical arguments, where the client may be asked back.
    pub arguments: Arc<[u8]>,
}

impl PartialEq for ExpectedCall {
    fn eq(&self, other: &Self) -> bool {
        let digest = |call: &Self| call.definition.as_ref().map(|definition| definition.digest);
        self.method == other.method && self.name == other.name && digest(self) == digest(other)
    }
}

/// What the gate reads of a result; `Value`s only where they are checked.
#[derive(Deserialize)]
pub(in crate::front::mcp) struct CallResult<'a> {
    #[serde(rename = "isError", default)]
    pub(in crate::front::mcp) is_error: Option<bool>,
    #[serde(borrow, rename = "resultType", default)]
    pub(super) result_type: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "structuredContent", default)]
    pub(super) structured: Option<&'a RawValue>,
    #[serde(borrow, rename = "requestState", default)]
    pub(super) request_state: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "inputRequests", default)]
    pub(super) input_requests: Option<&'a RawValue>,
    #[serde(borrow, rename = "taskId", default)]
    pub(super) task_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) task: Option<Task<'a>>,
    #[serde(borrow, default)]
    pub(super) tasks: Option<Vec<&'a RawValue>>,
}

impl CallResult<'_> {
    /// Whether it is a question back to the client.
    pub(super) fn asks_back(&self) -> bool {
        self.result_type.as_deref() == Some("input_required")
    }
}
