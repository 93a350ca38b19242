//! What is an agent told of its hold?

use serde::Serialize;

use super::{Hold, HoldId, State};
use crate::time::At;

/// What an agent is told of a hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ticket {
    /// The hold.
    pub id: HoldId,
    /// Where it is.
    pub state: State,
    /// Signatures that are missing.
    pub missing: u32,
    /// Who may give them; empty: any reviewer.
    pub reviewers: Vec<String>,
    /// Until when.
    pub expires_at: At,
}

impl Ticket {
    /// Of a hold.
    pub fn of(hold: &Hold) -> Self {
        let reviewers = hold.terms.reviewers.iter().chain(&hold.escalated).cloned().collect();
        Self {
            id: hold.id,
            state: hold.state,
            missing: if hold.state == State::Pending { hold.missing(&hold.terms) } else { 0 },
            reviewers,
            expires_at: hold.expires_at,
        }
    }

    /// Who must sign, for a person or a model.
    pub fn who(&self) -> String {
        let names: Vec<_> =
            self.reviewers.iter().map(|name| name.replacen("group:", "group ", 1)).collect();
        let whom = if names.is_empty() { "any reviewer".to_owned() } else { names.join(" or ") };
        match self.missing {
            0 => "it is signed".to_owned(),
            1 => format!("{whom} has to sign it"),
            many => format!("{many} of {whom} have to sign it"),
        }
    }
}

impl std::fmt::Display for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let until = humantime::format_rfc3339_seconds(self.expires_at.0);
        write!(
            f,
            ". It waits as {} until {until}; {}. Make the same call again to collect the result",
            self.id,
            self.who()
        )
    }
}
