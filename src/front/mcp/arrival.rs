//! What does this message ask of which tool?
//!
//! From a message that is read to an [`Arrival`] that the gate decides.

use std::sync::Arc;
use std::time::SystemTime;

use http::HeaderMap;

use super::answer::ExpectedCall;
use super::message::Message;
use super::methods::Method as Row;
use super::post::{Taken, subject};
use super::seal::Bound;
use super::{Front, held, mirror};
use crate::call::{Claimed, Door};
use crate::gate::{Arrival, Offered, Target, Waits};
use crate::json::{self, Map, Value};
use crate::refusal::Refusal;
use crate::telemetry::{CallSpan, Subject};

/// Where an agent says things of its call.
const CLAIM: &str = "io.countersign/claim";
/// Characters kept of one thing that an agent says.
const CLAIM_CHARS: usize = 2000;

/// A call's message on its way to the gate and on.
pub(super) struct Sending {
    pub(super) incoming: Taken,
    pub(super) expected: ExpectedCall,
    /// How often it came back for its hold.
    pub(super) rounds: u32,
}

/// What a call is aimed at.
struct Aim {
    /// The tool, prompt, resource or task.
    name: Arc<str>,
    /// What the gate is told of it.
    target: Target,
    /// The tool that it is about, if only by way of a task.
    definition: Option<Arc<crate::tools::Definition>>,
}

impl Front {
    /// Makes a message into a call.
    pub(super) async fn arrival(
        self: &Arc<Self>,
        id: uuid::Uuid,
        row: &'static Row,
        mut incoming: Taken,
        head: &HeaderMap,
    ) -> Result<(Arrival, Sending), Refusal> {
        let Aim { name, target, definition } = self.aim(row, &incoming).await?;
        self.mirrors(&target, &incoming, head).await?;
        let claimed = claimed(incoming.message.meta());
        let arguments = take_arguments(row, &mut incoming.message)?;
        let canonical: Arc<[u8]> = match incoming.asked.stateless {
            true => json::canonical(&arguments).into(),
            false => Arc::from([]),
        };
        let back = self.unseal(row, &name, &canonical, &mut incoming)?;
        // A name that no server defines is whatever an agent likes: the record alone has it.
        let known = matches!(target, Target::Tool(_)).then_some(&*name);
        let span = CallSpan::open(
            &Subject {
                agent: &incoming.agent.id,
                server: &incoming.server.settings.name,
                ..subject(row.name, known, &incoming.message, &incoming.headers)
            },
            &incoming.trace,
        );
        let arrival = Arrival {
            id,
            door: Door::Mcp,
            agent: Arc::clone(&incoming.agent),
            server: Arc::clone(&incoming.server.settings.name),
            method: row.name,
            tool: if row.name == "tools/call" { Arc::clone(&name) } else { Arc::from(row.name) },
            target,
            arguments,
            claimed,
            session: incoming.session.as_ref().map(|(id, _)| Arc::clone(id)),
            trace: span.trace_id(&incoming.trace),
            span,
            received_at: SystemTime::now(),
            hold: back.as_ref().map(|back| back.hold),
            waits: back.as_ref().map_or(Waits::Client, |back| back.waits),
        };
        let expected = ExpectedCall { method: row.name, name, definition, arguments: canonical };
        let rounds = back.map_or(0, |back| back.rounds);
        Ok((arrival, Sending { incoming, expected, rounds }))
    }

    async fn aim(&self, row: &'static Row, incoming: &Taken) -> Result<Aim, Refusal> {
        let Taken { message, server, agent, .. } = incoming;
        let name: Arc<str> = match row.named_by {
            Some(field) => Arc::from(message.param(field).ok_or_else(|| Refusal::Parameters {
                method: row.name,
                reason: format!("`{field}` must be a string"),
            })?),
            None => Arc::from(message.param("taskId").unwrap_or(row.name)),
        };
        let (target, definition) = match row.name {
            "tools/call" => match server.offer.look_up(server, &name).await {
                None => (Target::UnknownTool, None),
                Some(offered) => {
                    let definition = Arc::clone(&offered.definition);
                    (Target::Tool(offered), Some(definition))
                }
            },
            "tasks/get" | "tasks/update" | "tasks/cancel" | "tasks/result" => {
                (Target::Method, self.tasks.find(&server.settings.name, &name, &agent.id)?)
            }
            "subscriptions/listen" => {
                self.own_tasks_only(message, &server.settings.name, &agent.id)?;
                (Target::Method, None)
            }
            _ => (Target::Method, None),
        };
        Ok(Aim { name, target, definition })
    }

    /// Holds the `Mcp-Param-*` headers and the arguments together. What is wrong with those of a
    /// call to a hidden tool would tell that there is one; the gate refuses it anyway.
    async fn mirrors(
        &self,
        target: &Target,
        incoming: &Taken,
        head: &HeaderMap,
    ) -> Result<(), Refusal> {
        let Target::Tool(offered) = target else { return Ok(()) };
        let Offered { definition, .. } = offered;
        if definition.header_params.is_empty()
            || !self.gate.visible(&incoming.agent, &incoming.server.settings.name, offered).await
        {
            return Ok(());
        }
        let arguments = incoming.message.params().and_then(|params| params.get("arguments"));
        mirror::parameters(head, &definition.header_params, arguments, incoming.asked.stateless)
    }

    /// Puts the server's own state back where the agent brought it sealed. The gate's own state
    /// stays here: it names the hold that the agent comes back for.
    fn unseal(
        &self,
        row: &Row,
        name: &str,
        canonical: &[u8],
        incoming: &mut Taken,
    ) -> Result<Option<held::Back>, Refusal> {
        if !incoming.asked.stateless {
            return Ok(None);
        }
        let bound = Bound {
            agent: &incoming.agent.id,
            server: &incoming.server.settings.name,
            method: row.name,
            name,
            arguments: canonical,
        };
        let Some(params) = incoming.message.params_mut() else { return Ok(None) };
        match params.get_mut("requestState") {
            None => Ok(None),
            Some(Value::String(state)) => {
                if let Some(back) = held::round(&self.seal, state, &bound) {
                    params.shift_remove("requestState");
                    return Ok(Some(back));
                }
                if let Some((back, own)) = held::goes_on(&self.seal, state, &bound) {
                    if own.is_empty() {
                        params.shift_remove("requestState");
                    } else {
                        *state = own;
                    }
                    return Ok(Some(back));
                }
                *state = self.seal.open(state, &bound)?.to_owned();
                Ok(None)
            }
            Some(_) => Err(Refusal::Unknown("request state")),
        }
    }
}

/// What the tool gets: taken out of the message for `tools/call`, where it goes back in after the
/// gate; for all else a copy of the parameters, which do not change.
fn take_arguments(row: &Row, message: &mut Message) -> Result<Value, Refusal> {
    if row.name == "tools/call" {
        let arguments = message.params_mut().and_then(|params| params.get_mut("arguments"));
        return match arguments.map(Value::take) {
            None => Ok(Value::Object(Map::new())),
            Some(arguments @ Value::Object(_)) => Ok(arguments),
            Some(_) => Err(Refusal::Parameters {
                method: row.name,
                reason: "`arguments` must be an object".to_owned(),
            }),
        };
    }
    let mut arguments = message.params().cloned().unwrap_or_default();
    for transport in ["_meta", "requestState"] {
        arguments.shift_remove(transport);
    }
    if row.named_by.is_some() {
        arguments.shift_remove("inputResponses");
    }
    Ok(Value::Object(arguments))
}

fn claimed(meta: Option<&Map<String, Value>>) -> Claimed {
    let Some(Value::Object(claim)) = meta.and_then(|meta| meta.get(CLAIM)) else {
        return Claimed::default();
    };
    let text = |key: &str| {
        claim.get(key).and_then(Value::as_str).map(|text| text.chars().take(CLAIM_CHARS).collect())
    };
    let evidence = claim.get("evidence").and_then(Value::as_array);
    Claimed {
        user: text("user"),
        workflow: text("workflow"),
        step: text("step"),
        confidence: claim.get("confidence").and_then(Value::as_f64).map(|c| c.clamp(0.0, 1.0)),
        reason: text("reason"),
        evidence: evidence
            .map(|list| list.iter().take(16).filter_map(Value::as_str))
            .into_iter()
            .flatten()
            .map(|link| link.chars().take(CLAIM_CHARS).collect())
            .collect(),
    }
}
