//! What does a reviewer say, and what do they sign?

use maud::{Markup, html};

use super::words::Said;
use crate::config::Preset;
use crate::hold::Hold;
use crate::json::Value;
use crate::review::act::WORDS;
use crate::review::auth::Person;
use crate::review::visible;

/// All that a decision can be, closed until it is asked for.
pub(super) fn all(hold: &Hold, person: &Person, said: &Said, presets: &[Preset]) -> Markup {
    let asked = Asked { hold, person, said };
    html! {
        (asked.dialog("approve", "Approve", asked.justification(), asked.approve()))
        (asked.dialog("deny", "Deny", deny(presets), html! { button.no.submit { "Deny" } }))
        (asked.dialog("edit", "Edit", asked.edit(), html! { button.yes.submit { "Edit and approve" } }))
        (asked.dialog("answer", "Answer in the tool's place", answer(), html! { button.submit { "Send the answer" } }))
    }
}

struct Asked<'a> {
    hold: &'a Hold,
    person: &'a Person,
    said: &'a Said,
}

impl Asked<'_> {
    fn dialog(&self, name: &str, title: &str, inside: Markup, submit: Markup) -> Markup {
        let address = format!("/holds/{}/{name}", self.hold.id);
        let problem = format!("problem-{name}");
        html! {
            dialog id={ "dialog-" (name) } aria-labelledby={ "title-" (name) } data-seen=(self.hold.ask.hash) {
                h2 id={ "title-" (name) } { (title) }
                p { (self.said.markup()) }
                form method="post" action=(address) hx-post=(address) hx-target="#main" hx-select="#main"
                    hx-select-oob="#said" hx-swap="outerHTML" hx-disabled-elt="find .submit" {
                    input type="hidden" name="csrf" value=(self.person.csrf());
                    input type="hidden" name="seen" value=(self.hold.ask.hash);
                    (inside)
                    div id=(problem) role="alert" {}
                    div.choices {
                        (submit)
                        button type="button" data-close { "Back" }
                    }
                }
            }
        }
    }

    fn justification(&self) -> Markup {
        let needed = self.hold.terms.justification;
        html! {
            label { span { "Justification" @if !needed { " (if you like)" } }
                textarea name="justification" rows="2" maxlength=(WORDS) required[needed] {}
            }
        }
    }

    fn approve(&self) -> Markup {
        html! { button.yes.submit autofocus[!self.hold.terms.justification] { "Approve" } }
    }

    fn edit(&self) -> Markup {
        html! {
            label { span { "Arguments, as JSON" }
                // A first line break would be dropped; and what typed it does not check spelling.
                textarea.code name="arguments" rows="12" spellcheck="false" autocomplete="off" required {
                    (typed(&self.hold.ask.arguments))
                }
            }
            p.small { "What you write goes through schema and policy like any other call. The agent is told what you changed." }
            (self.justification())
        }
    }
}

fn deny(presets: &[Preset]) -> Markup {
    html! {
        fieldset {
            legend { "Reason" }
            @for preset in presets {
                label.choice { input type="radio" name="preset" value=(preset.code); (preset.message) }
            }
        }
        label { span { "In your own words" } textarea name="reason" rows="3" maxlength=(WORDS) {} }
        p.small { "The agent reads this." }
    }
}

fn answer() -> Markup {
    html! {
        label { span { "Answer" } textarea name="answer" rows="3" maxlength=(WORDS) required {} }
        p.small { "The call is not made; the agent reads this instead, such as “use invoice 42”." }
    }
}

/// Arguments as somebody can type them: what cannot be seen is escaped.
fn typed(arguments: &Value) -> String {
    visible::escaped(&serde_json::to_string_pretty(arguments).unwrap_or_default())
}
