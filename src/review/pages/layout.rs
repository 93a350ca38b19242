//! What is the same on every page?

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use maud::{DOCTYPE, Markup, html};

use crate::review::assets::AT;
use crate::review::auth::Person;
use crate::review::visible::Line;

/// htmx adds a style and evaluates texts unless it is told not to, and swaps no refusal. A refusal
/// that is shown in its dialog is no error of the page.
const HTMX: &str = r#"{"includeIndicatorStyles":false,"allowEval":false,"selfRequestsOnly":true,
"historyCacheSize":0,"responseHandling":[{"code":"204","swap":false},{"code":"[23]..","swap":true},
{"code":"401","swap":false,"error":true},{"code":"[45]..","swap":true,"error":false}]}"#;

/// One page.
pub(super) struct Page<'a> {
    /// What the tab says: plain text.
    pub(super) title: &'a str,
    /// Who looks at it; nobody, where one signs in.
    pub(super) person: Option<&'a Person>,
    /// Where its live changes come from.
    pub(super) events: Option<String>,
    /// What is said to whoever cannot see it change: plain text.
    pub(super) said: String,
    /// The `<main>`.
    pub(super) main: Markup,
    /// Dialogs and what else is not swapped.
    pub(super) after: Markup,
}

impl Page<'_> {
    /// With this status.
    pub(super) fn at(self, status: StatusCode) -> Response {
        (status, self.markup()).into_response()
    }

    fn markup(self) -> Markup {
        let Self { title, person, events, said, main, after } = self;
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    meta name="htmx-config" content=(HTMX);
                    title { (title) " · Countersign" }
                    link rel="icon" type="image/svg+xml" href=(AT.icon);
                    link rel="stylesheet" href=(AT.style);
                    script src=(AT.htmx) defer {}
                    script src=(AT.sse) defer {}
                    script src=(AT.script) defer {}
                }
                body hx-ext=[events.as_ref().map(|_| "sse")] sse-connect=[events.as_ref()] {
                    header.top {
                        a.home href="/" { "Countersign" }
                        p #live role="status" data-live=[events.as_ref().map(|_| "off")] { span #said { (said) } }
                        @if let Some(person) = person { (whoever(person)) }
                    }
                    (main)
                    (after)
                    @if person.is_some() { (help()) }
                }
            }
        }
    }
}

fn whoever(person: &Person) -> Markup {
    html! {
        div.who {
            span { (Line(&person.reviewer.id)) }
            button.quiet type="button" data-open="help" { "Help " kbd { "?" } }
            form method="post" action="/sign-out" {
                input type="hidden" name="csrf" value=(person.csrf());
                button.quiet { "Sign out" }
            }
        }
    }
}

fn help() -> Markup {
    let keys = [
        ("j", "the next call in the queue"),
        ("k", "the one before"),
        ("o", "open it"),
        ("a", "approve"),
        ("d", "deny"),
        ("e", "edit"),
        ("r", "answer in the tool's place"),
        ("q", "back to the queue"),
        ("/", "search"),
        ("?", "this help"),
    ];
    html! {
        dialog #help aria-labelledby="help-title" {
            h2 #help-title { "Keyboard help" }
            dl.keys {
                @for (key, does) in keys { div { dt { kbd { (key) } } dd { (does) } } }
                div { dt { kbd { "Escape" } } dd { "close what is open" } }
            }
            form method="dialog" { button { "Close" } }
        }
    }
}

/// A page that says one thing: that something is not there, or not possible.
pub(super) fn notice(
    status: StatusCode,
    person: Option<&Person>,
    title: &str,
    text: &str,
) -> Response {
    let main = html! {
        main {
            h1 { (title) }
            p role="alert" { (Line(text)) }
            p { a href="/" { "To the queue" } }
        }
    };
    let after = html! {};
    Page { title, person, events: None, said: String::new(), main, after }.at(status)
}
