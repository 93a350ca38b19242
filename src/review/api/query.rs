//! Which holds are meant?

use axum::extract::RawQuery;

use super::fault::ApiFault;
use crate::call::Tier;
use crate::config::problem::nearest;
use crate::hold::State;
use crate::store::Query;

const PARAMETERS: [&str; 9] =
    ["state", "agent", "server", "tool", "tier", "q", "limit", "offset", "order"];
/// Holds of one page, unless asked otherwise; and at most.
const LIMIT: u64 = 100;
const MOST: u64 = 500;
/// Bytes of one filter.
const FILTER_BYTES: usize = 256;

/// Reads what stands behind the `?`. Each parameter stands there once; `state` may list several.
pub(super) fn query(RawQuery(text): RawQuery) -> Result<Query, ApiFault> {
    let mut query = Query { limit: LIMIT, ..Query::default() };
    let mut seen = Vec::new();
    for (name, value) in form_urlencoded::parse(text.unwrap_or_default().as_bytes()) {
        let Some(known) = PARAMETERS.iter().find(|known| **known == name) else {
            let meant = nearest(&name, PARAMETERS)
                .map(|name| format!("; did you mean `{name}`?"))
                .unwrap_or_default();
            return Err(ApiFault::query(format!("an unknown parameter{meant}")));
        };
        if seen.contains(known) {
            return Err(ApiFault::query(format!("`{known}` stands there twice")));
        }
        if value.len() > FILTER_BYTES {
            return Err(ApiFault::query(format!("`{known}` is longer than {FILTER_BYTES} bytes")));
        }
        seen.push(*known);
        take(&mut query, known, &value)?;
    }
    Ok(query)
}

fn take(query: &mut Query, name: &str, value: &str) -> Result<(), ApiFault> {
    match name {
        "state" => query.states = states(value)?,
        "agent" => query.agent = Some(value.to_owned()),
        "server" => query.server = Some(value.to_owned()),
        "tool" => query.tool = Some(value.to_owned()),
        "tier" => query.tier = Some(tier(value)?),
        "q" => query.text = Some(value.to_owned()),
        "limit" => query.limit = number(name, value, MOST)?,
        "offset" => query.skip = number(name, value, u64::from(u32::MAX))?,
        _ => query.newest_first = newest_first(value)?,
    }
    Ok(())
}

fn states(value: &str) -> Result<Vec<State>, ApiFault> {
    let one = |name: &str| State::ALL.into_iter().find(|state| state.name() == name);
    if value == "open" {
        return Ok(State::ALL.into_iter().filter(|state| state.is_open()).collect());
    }
    value.split(',').map(one).collect::<Option<_>>().ok_or_else(|| {
        let names = State::ALL.map(State::name).join("`, `");
        ApiFault::query(format!("`state` is `open`, or some of `{names}`, with commas between"))
    })
}

fn tier(value: &str) -> Result<Tier, ApiFault> {
    [Tier::Low, Tier::Medium, Tier::High]
        .into_iter()
        .find(|tier| tier.name() == value)
        .ok_or_else(|| ApiFault::query("`tier` is `low`, `medium` or `high`"))
}

fn number(name: &str, value: &str, most: u64) -> Result<u64, ApiFault> {
    let number = value.parse().ok().filter(|number| *number <= most);
    number.ok_or_else(|| ApiFault::query(format!("`{name}` is a number up to {most}")))
}

fn newest_first(value: &str) -> Result<bool, ApiFault> {
    match value {
        "newest" => Ok(true),
        "oldest" => Ok(false),
        _ => Err(ApiFault::query("`order` is `oldest` or `newest`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Query, ApiFault> {
        query(RawQuery(Some(text.to_owned())))
    }

    #[test]
    fn a_query_says_which_holds() {
        let expected = Query {
            states: vec![State::Pending, State::Approved],
            agent: Some("a b".into()),
            tier: Some(Tier::High),
            text: Some("ü&".into()),
            newest_first: true,
            skip: 3,
            limit: 500,
            ..Query::default()
        };
        let text = "state=pending,approved&agent=a+b&tier=high&q=%C3%BC%26&order=newest&offset=3&limit=500";
        assert_eq!(read(text), Ok(expected));
        assert_eq!(query(RawQuery(None)).unwrap().limit, LIMIT);
        assert_eq!(read("state=open").unwrap().states.len(), 3);
    }

    #[test]
    fn what_is_no_query_is_told_with_what_would_work() {
        for (text, told) in [
            ("stat=pending", "did you mean `state`?"),
            ("state=pendin", "`denied`"),
            ("state=", "`denied`"),
            ("tier=huge", "`medium`"),
            ("limit=501", "up to 500"),
            ("limit=-1", "up to 500"),
            ("limit=1&limit=2", "twice"),
            ("offset=1e3", "`offset` is a number"),
            ("order=random", "`newest`"),
            ("<script>=1", "unknown parameter"),
        ] {
            let fault = format!("{:?}", read(text).unwrap_err());
            assert!(fault.contains(told) && !fault.contains("<script>"), "{text}: {fault}");
        }
        assert!(read(&format!("q={}", "x".repeat(FILTER_BYTES))).is_ok());
        assert!(read(&format!("q={}", "x".repeat(FILTER_BYTES + 1))).is_err());
    }
}
