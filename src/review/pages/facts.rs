//! What should a reviewer know beside the call itself?
//!
//! What the gate knows stands plainly; what the agent merely says is set apart and marked.

use maud::{Markup, html};

use super::words::{since, undo};
use crate::hold::{Hold, State};
use crate::json::Value;
use crate::refusal::Reason;
use crate::review::visible::{Block, Line};
use crate::tools::Class;

/// How people decided before.
pub(super) type Past = Vec<(State, u64)>;

/// The rules that hold it.
pub(super) fn rules(hold: &Hold) -> Markup {
    html! {
        section aria-labelledby="rules-title" {
            h2 #rules-title { "Why it is held" }
            ul { @for reason in &hold.context.reasons { li { (rule(reason)) } } }
            @if !hold.context.warnings.is_empty() {
                h3 { "Warnings" }
                ul { @for warning in &hold.context.warnings { li { (rule(warning)) } } }
            }
        }
    }
}

fn rule(reason: &Reason) -> Markup {
    html! {
        (Line(&reason.message)) " "
        code.small { (Line(&reason.policy)) "/" (Line(&reason.code)) }
    }
}

/// What it does to the world.
pub(super) fn impact(hold: &Hold, class: &Class) -> Markup {
    let context = &hold.context;
    html! {
        section aria-labelledby="impact-title" {
            h2 #impact-title { "Impact" }
            dl.pairs {
                dt { "Tier" }
                dd { (context.tier.name()) }
                dt { "Can be undone" }
                dd {
                    @if context.reversible { "yes" } @else { "no" }
                    @if let Some(how) = undo(&hold.ask, class) { ". " (how) }
                }
                @if !context.labels.is_empty() {
                    dt { "Labels" }
                    dd { (Line(&context.labels.join(", "))) }
                }
                @for (budget, amount) in &context.charges {
                    dt { "Budget " (Line(budget)) }
                    dd { "takes " (Line(amount)) }
                }
            }
        }
    }
}

/// What the agent says of it.
pub(super) fn claims(hold: &Hold) -> Markup {
    let claimed = &hold.ask.claimed;
    let chain = hold.context.session.get("confidence").and_then(Value::as_f64);
    html! {
        section.claims data-untrusted aria-labelledby="claims-title" {
            h2 #claims-title { "What the agent says" }
            p.small { "The agent's own claims. Nobody has checked them." }
            dl.pairs {
                dt { "Why" }
                dd { @match &claimed.reason { Some(reason) => (Block(reason)), None => "It does not say." } }
                dt { "How sure it is" }
                dd {
                    @match claimed.confidence { Some(sure) => { (percent(sure)) " of this call" }, None => "It does not say" }
                    @if let Some(chain) = chain { "; " (percent(chain)) " of all its calls up to this one" }
                }
                @for (name, said) in [("For", &claimed.user), ("Workflow", &claimed.workflow), ("Step", &claimed.step)] {
                    @if let Some(said) = said {
                        dt { (name) }
                        dd { (Line(said)) }
                    }
                }
                @if !claimed.evidence.is_empty() {
                    dt { "Evidence" }
                    dd { ul { @for link in &claimed.evidence { li { (evidence(link)) } } } }
                }
            }
        }
    }
}

fn percent(share: f64) -> String {
    format!("{} %", (share * 1000.0).round() / 10.0)
}

/// A link only where it leads to a web page; anything else is text.
fn evidence(link: &str) -> Markup {
    let parsed = link.parse::<http::Uri>().ok();
    let scheme = parsed.as_ref().and_then(http::Uri::scheme_str);
    let host = parsed.as_ref().and_then(http::Uri::authority);
    // What a reader takes for the host may be a user's name.
    let plain = host.is_some_and(|host| !host.as_str().contains('@'));
    html! {
        @if matches!(scheme, Some("https" | "http")) && plain {
            a href=(link) rel="noopener noreferrer nofollow" target="_blank" { (Line(link)) }
        } @else {
            (Line(link))
        }
    }
}

/// What this agent did just before.
pub(super) fn session(hold: &Hold) -> Markup {
    let session = &hold.context.session;
    let number = |name: &str| session.get(name).and_then(Value::as_u64);
    let recent = session.get("recent").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    html! {
        @if let Some(calls) = number("calls") {
            section aria-labelledby="session-title" {
                h2 #session-title { "This session" }
                p { (so_far(calls, number("refusals").unwrap_or_default())) }
                @if !recent.is_empty() {
                    div.wide tabindex="0" role="region" aria-label="Last calls" {
                        table {
                            thead { tr { th { "Tool" } th { "Decision" } th { "Same arguments" } th { "When" } } }
                            tbody { @for call in recent.iter().rev() { (recent_call(call)) } }
                        }
                    }
                }
            }
        }
    }
}

fn so_far(calls: u64, refusals: u64) -> String {
    match (calls, refusals) {
        (0, _) => "This is its first call.".to_owned(),
        (1, 0) => "One call before, which was allowed.".to_owned(),
        (1, _) => "One call before, which was held or refused.".to_owned(),
        (_, 0) => format!("{calls} calls before, all of them allowed."),
        _ => format!("{calls} calls before, {refusals} of them held or refused."),
    }
}

fn recent_call(call: &Value) -> Markup {
    let text = |name: &str| call.get(name).and_then(Value::as_str).unwrap_or_default();
    let same = call.get("same_arguments").and_then(Value::as_u64).unwrap_or_default();
    html! {
        tr {
            td { code { (Line(text("server"))) "/" (Line(text("tool"))) } }
            td { (Line(text("decision"))) }
            td { (same) "×" }
            td { (Line(text("at"))) }
        }
    }
}

/// What became of such calls of this agent before.
pub(super) fn past(hold: &Hold, past: &Past) -> Markup {
    html! {
        section aria-labelledby="past-title" {
            h2 #past-title { "Before" }
            p {
                @if past.is_empty() { "No other call" } @else { "Other calls" }
                " of " code { (Line(&hold.ask.tool)) } " by " b { (Line(&hold.ask.agent.id)) }
                @if past.is_empty() { " came before people yet" } @else { " came before people" }
                @for (n, (state, count)) in past.iter().enumerate() {
                    @if n == 0 { ": " } @else { ", " }
                    (count) " " (state.name())
                }
                "."
            }
        }
    }
}

/// All that happened to it.
pub(super) fn history(hold: &Hold) -> Markup {
    html! {
        section aria-labelledby="history-title" {
            h2 #history-title { "History" }
            ol.history {
                @for event in &hold.history {
                    li {
                        (since(event.at)) " ago: " (Line(&event.what))
                        @if let Some(by) = &event.by { " by " b { (Line(by)) } }
                        @if let Some(note) = &event.note { " – " (Line(note)) }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e09_only_web_pages_are_links() {
        for (link, linked) in [
            ("https://example.org/ticket/1", true),
            ("http://example.org", true),
            ("HTTPS://example.org", true),
            ("javascript:alert(1)", false),
            (" javascript:alert(1)", false),
            ("data:text/html,<script>alert(1)</script>", false),
            ("https://bank.example@evil.example/", false),
            ("//evil.example", false),
            ("vbscript:x", false),
            ("https:evil", false),
            ("", false),
        ] {
            let markup = evidence(link).0;
            assert_eq!(markup.contains("<a "), linked, "{markup}");
            assert!(!markup.contains("<script"), "{markup}");
        }
    }
}
