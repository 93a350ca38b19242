//! Is this the state that this agent was given for this call?
//!
//! A server's `requestState` comes back by way of the agent. The server cannot tell agents apart,
//! so the gate binds the state to agent and call with a MAC, keyed by a file in the state
//! directory so that it outlives a restart.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::refusal::Refusal;

const PREFIX: &str = "cs1.";

/// Binds states.
pub struct Seal {
    keyed: Hmac<Sha256>,
}

/// What a state is bound to.
#[derive(Debug, Clone, Copy)]
pub struct Bound<'a> {
    /// Who was given it.
    pub agent: &'a str,
    /// By which server.
    pub server: &'a str,
    /// For which method.
    pub method: &'a str,
    /// For which tool, prompt or resource.
    pub name: &'a str,
    /// With which arguments, canonical.
    pub arguments: &'a [u8],
}

impl Seal {
    /// Seals with this key.
    pub fn new(key: &[u8; 64]) -> Self {
        Self { keyed: Hmac::new(key.into()) }
    }

    /// The state as the agent gets it.
    pub fn close(&self, state: &str, bound: &Bound<'_>) -> String {
        let tag = self.mac(state, bound).finalize().into_bytes();
        format!("{PREFIX}{}.{state}", BASE64_URL_SAFE_NO_PAD.encode(tag))
    }

    /// The state as the server gave it.
    pub fn open<'s>(&self, sealed: &'s str, bound: &Bound<'_>) -> Result<&'s str, Refusal> {
        let broken = || Refusal::Unknown("request state");
        let rest = sealed.strip_prefix(PREFIX).ok_or_else(broken)?;
        let (tag, state) = rest.split_once('.').ok_or_else(broken)?;
        let tag = BASE64_URL_SAFE_NO_PAD.decode(tag).map_err(|_| broken())?;
        self.mac(state, bound).verify_slice(&tag).map_err(|_| broken())?;
        Ok(state)
    }

    fn mac(&self, state: &str, bound: &Bound<'_>) -> Hmac<Sha256> {
        let mut mac = self.keyed.clone();
        for part in [bound.agent, bound.server, bound.method, bound.name, state] {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        mac.update(bound.arguments);
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b12_a_state_is_for_one_agent_and_one_call() {
        let seal = Seal::new(&[7; 64]);
        let bound = Bound {
            agent: "ada",
            server: "crm",
            method: "tools/call",
            name: "refund",
            arguments: b"{}",
        };
        let sealed = seal.close("round.1", &bound);
        assert_eq!(seal.open(&sealed, &bound), Ok("round.1"));
        for other in [
            Bound { agent: "bob", ..bound },
            Bound { server: "erp", ..bound },
            Bound { method: "prompts/get", ..bound },
            Bound { name: "wire", ..bound },
            Bound { arguments: b"{\"a\":1}", ..bound },
        ] {
            assert!(seal.open(&sealed, &other).is_err(), "{other:?}");
        }
        for tampered in ["round.1", "cs1.", "cs1.AAAA.round.1", &sealed.replace("round", "rounD")] {
            assert!(seal.open(tampered, &bound).is_err(), "{tampered}");
        }
        assert!(Seal::new(&[8; 64]).open(&sealed, &bound).is_err());
    }
}
