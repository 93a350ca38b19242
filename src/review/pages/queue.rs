//! What waits, for whom, and for how long?

use std::sync::Arc;

use axum::extract::{Query, State as Shared};
use axum::response::Response;
use http::StatusCode;
use maud::{Markup, html};
use serde::Deserialize;

use super::layout::{Page, notice};
use super::words::{Said, class_of, since, until};
use crate::call::Tier;
use crate::hold::{Hold, State};
use crate::review::act::{self, Office};
use crate::review::auth::Person;
use crate::review::visible::Line;
use crate::store;

/// Holds on one page.
const AT_ONCE: u64 = 200;

/// What is asked for in the address.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Filter {
    q: String,
    state: Which,
    tier: String,
    skip: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Which {
    #[default]
    Pending,
    Sent,
    Over,
    All,
}

impl Which {
    const ALL: [(Self, &'static str, &'static str); 4] = [
        (Self::Pending, "pending", "Waiting"),
        (Self::Sent, "sent", "On their way"),
        (Self::Over, "over", "Decided"),
        (Self::All, "all", "All"),
    ];

    fn states(self) -> Vec<State> {
        let states = State::ALL.into_iter();
        match self {
            Self::Pending => vec![State::Pending],
            Self::Sent => vec![State::Approved, State::Executing],
            Self::Over => states.filter(|state| !state.is_open()).collect(),
            Self::All => Vec::new(),
        }
    }
}

impl Filter {
    fn query(&self) -> store::Query {
        let tier = [Tier::Low, Tier::Medium, Tier::High];
        store::Query {
            states: self.state.states(),
            tier: tier.into_iter().find(|tier| tier.name() == self.tier),
            text: Some(self.q.trim().to_owned()).filter(|text| !text.is_empty()),
            newest_first: !matches!(self.state, Which::Pending | Which::Sent),
            skip: self.skip,
            limit: AT_ONCE,
            ..store::Query::default()
        }
    }
}

pub(super) async fn page(
    person: Person,
    Shared(office): Shared<Arc<Office>>,
    Query(mut filter): Query<Filter>,
) -> Response {
    // Another filter may leave less than was skipped.
    if filter.skip > 0
        && let Ok(found) = office.gate.desk().page(filter.query()).await
        && found.total <= filter.skip
    {
        filter.skip = 0;
    }
    show(&office, &person, &filter, String::new(), StatusCode::OK).await
}

/// The queue, with something said of what was done.
pub(super) async fn after(
    office: &Office,
    person: &Person,
    said: String,
    status: StatusCode,
) -> Response {
    show(office, person, &Filter::default(), said, status).await
}

async fn show(
    office: &Office,
    person: &Person,
    filter: &Filter,
    said: String,
    status: StatusCode,
) -> Response {
    let found = match office.gate.desk().page(filter.query()).await {
        Ok(found) => found,
        Err(fault) => {
            tracing::error!(error = %fault, "the queue cannot be read");
            let text = "the store cannot be read now; what is held stays held";
            return notice(StatusCode::SERVICE_UNAVAILABLE, Some(person), "Try again", text);
        }
    };
    let main = html! {
        main {
            h1 { "Calls that wait for people" }
            (filters(filter))
            // Never swapped itself, so it hears of each change.
            div #refresh hidden hx-get="/" hx-trigger="sse:queue" hx-include="#filters"
                hx-target="#list" hx-select="#list" hx-swap="outerHTML" hx-sync="#filters:queue last" {}
            (list(office, person, filter, &found))
            (together(person))
        }
    };
    let events = Some("/events".to_owned());
    Page { title: "Queue", person: Some(person), events, said, main, after: html! {} }.at(status)
}

fn filters(filter: &Filter) -> Markup {
    html! {
        form #filters.filters role="search" action="/" hx-get="/" hx-target="#list" hx-select="#list"
            hx-trigger="input delay:120ms, change, submit" hx-swap="outerHTML" hx-sync="this:queue last" {
            label { span { "Search " kbd { "/" } }
                input #q type="search" name="q" value=(filter.q) autocomplete="off"
                    placeholder="agent, tool, server or id"; }
            label { span { "Show" }
                select name="state" {
                    @for (which, name, label) in Which::ALL {
                        option value=(name) selected[which == filter.state] { (label) }
                    }
                }
            }
            label { span { "Tier" }
                select name="tier" {
                    option value="" { "Any" }
                    @for tier in ["low", "medium", "high"] {
                        option value=(tier) selected[tier == filter.tier] { (tier) }
                    }
                }
            }
            noscript { button { "Search" } }
        }
    }
}

fn list(office: &Office, person: &Person, filter: &Filter, found: &store::Page) -> Markup {
    let shown = u64::try_from(found.holds.len()).unwrap_or(u64::MAX);
    html! {
        div #list {
            @if found.holds.is_empty() {
                p.nothing { "Nothing here. What agents want signed appears by itself." }
            } @else {
                p.count { (filter.skip + 1) "–" (filter.skip + shown) " of " (found.total) }
                ol.queue { @for hold in &found.holds { (row(office, person, hold)) } }
            }
            (pager(filter, shown, found.total))
        }
    }
}

fn pager(filter: &Filter, shown: u64, total: u64) -> Markup {
    let to = |skip: u64| {
        let state = Which::ALL.iter().find(|(which, ..)| *which == filter.state);
        let state = state.map_or("pending", |(_, name, _)| name);
        let skip = skip.to_string();
        let pairs =
            [("q", &*filter.q), ("state", state), ("tier", &*filter.tier), ("skip", &*skip)];
        let query = pairs.map(|(name, value)| format!("{name}={}", encoded(value)));
        format!("/?{}", query.join("&"))
    };
    html! {
        @if filter.skip > 0 || filter.skip + shown < total {
            nav.pager aria-label="More" {
                // Live changes keep the place.
                input type="hidden" name="skip" form="filters" value=(filter.skip);
                @if filter.skip > 0 { a href=(to(filter.skip.saturating_sub(AT_ONCE))) { "Before" } }
                @if filter.skip + shown < total { a href=(to(filter.skip + shown)) { "After" } }
            }
        }
    }
}

fn encoded(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    value
        .bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

fn row(office: &Office, person: &Person, hold: &Hold) -> Markup {
    let ask = &hold.ask;
    let said = Said::of(ask, &class_of(&office.gate, ask));
    let pending = hold.state == State::Pending;
    let missing = if pending { hold.missing(&hold.terms) } else { 0 };
    let signed = pending && hold.has_signed(&person.reviewer);
    let mine = pending && hold.may_sign(&person.reviewer).is_ok();
    let tool = format!("{}/{}", ask.server, ask.tool);
    let tier = hold.context.tier.name();
    html! {
        li data-hold=(hold.id) data-state=(hold.state.name()) data-missing=(missing) data-tool=(tool)
            data-tier=(tier) data-justification[hold.terms.justification] {
            @if mine && !signed {
                input type="checkbox" form="together" name="hold" disabled[!act::fits_a_row(hold)]
                    value={ (hold.id) " " (ask.hash) } aria-label={ "Choose " (said.plain()) };
            }
            a.what href={ "/holds/" (hold.id) } { (said.markup()) }
            p.facts {
                span.tier data-tier=(tier) { (tier) }
                span { (Line(&ask.agent.id)) }
                @if let Some(user) = &ask.claimed.user { span data-untrusted { "for " (Line(user)) } }
                code { (Line(&tool)) }
                @if pending {
                    span { "waits " (since(hold.created_at)) }
                    span { "expires in " (until(hold.expires_at)) }
                    span { (missing) @if missing == 1 { " signature" } @else { " signatures" } " missing" }
                    @if signed { span { "signed by you" } } @else if !mine { span { "not yours to sign" } }
                } @else {
                    span.state data-state=(hold.state.name()) { (hold.state.name()) }
                    span { (since(hold.changed_at)) " ago" }
                }
            }
        }
    }
}

fn together(person: &Person) -> Markup {
    html! {
        form #together.bar method="post" action="/holds/approve" hx-post="/holds/approve" hidden
            hx-target="#list" hx-select="#list" hx-swap="outerHTML" hx-select-oob="#said" {
            input type="hidden" name="csrf" value=(person.csrf());
            label { span { "Justification" } input name="justification" autocomplete="off"; }
            button.yes type="submit" disabled { "Approve selected" }
        }
    }
}
