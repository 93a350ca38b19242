//! What is a hold called?

use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// 128 random bits; prints as `hold-<32 hexadecimal digits>`. Nobody guesses one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HoldId([u8; 16]);

/// Why a text names no hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a hold's id; write `hold-` and 32 lower-case hexadecimal digits")]
pub struct NotAHoldId;

const PREFIX: &str = "hold-";

impl HoldId {
    /// A new one.
    ///
    /// # Errors
    /// Where the system has no randomness to give.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bits = [0; 16];
        getrandom::fill(&mut bits)?;
        Ok(Self(bits))
    }

    /// This one, for tests and models.
    pub const fn of(bits: u128) -> Self {
        Self(bits.to_be_bytes())
    }
}

impl FromStr for HoldId {
    type Err = NotAHoldId;

    fn from_str(text: &str) -> Result<Self, NotAHoldId> {
        let digits = text.strip_prefix(PREFIX).ok_or(NotAHoldId)?;
        // One id has one text.
        if digits.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(NotAHoldId);
        }
        let mut bits = [0; 16];
        hex::decode_to_slice(digits, &mut bits).map_err(|_| NotAHoldId)?;
        Ok(Self(bits))
    }
}

impl std::fmt::Display for HoldId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{PREFIX}{}", hex::encode(self.0))
    }
}

impl std::fmt::Debug for HoldId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl Serialize for HoldId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HoldId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_what_it_prints_and_nothing_else() {
        let id = HoldId::random().unwrap();
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_ne!(HoldId::random().unwrap(), id);
        let text = HoldId::of(0xab).to_string();
        assert_eq!(text, "hold-000000000000000000000000000000ab");
        for wrong in ["", "hold-", "hold-ab", &text[5..], &text.to_uppercase(), &format!("{text}0")]
        {
            assert_eq!(wrong.parse::<HoldId>(), Err(NotAHoldId), "{wrong}");
        }
    }
}
