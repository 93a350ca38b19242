//! Is this really what is to happen?

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::path::Path;

use serde_json::{Value, json};

use super::client::{Gate, Said};
use super::{editor, show};
use crate::cli::{Failure, say};
use crate::json::{self as strict, Limits};

/// How a signature is given.
#[derive(Clone, Copy)]
pub(super) struct How<'a> {
    pub(super) justification: Option<&'a str>,
    pub(super) yes: bool,
}

pub(super) async fn approve(
    gate: &Gate,
    id: &str,
    expected: Option<&str>,
    how: How<'_>,
) -> Result<(), Said> {
    let hold = gate.hold(id).await?;
    let hash = show::text(&hold, "/hash");
    if expected.is_some_and(|expected| expected != hash) {
        return Err(Said::No("it has another hash by now; look again".into()));
    }
    say(&show::hold(&hold))?;
    agreed("sign this", how.yes)?;
    let told = gate.tell(id, "approve", &signature(&hash, how.justification)).await?;
    Ok(say(&show::outcome(&told))?)
}

pub(super) async fn deny(
    gate: &Gate,
    id: &str,
    reason: Option<&str>,
    preset: Option<&str>,
) -> Result<(), Said> {
    let mut body = json!({});
    for (name, value) in [("reason", reason), ("preset", preset)] {
        if let (Some(value), Some(body)) = (value, body.as_object_mut()) {
            body.insert(name.to_owned(), value.into());
        }
    }
    let told = gate.tell(id, "deny", &body).await?;
    Ok(say(&show::outcome(&told))?)
}

pub(super) async fn answer(gate: &Gate, id: &str, message: &str) -> Result<(), Said> {
    let told = gate.tell(id, "answer", &json!({ "message": message })).await?;
    Ok(say(&show::outcome(&told))?)
}

pub(super) async fn edit(
    gate: &Gate,
    id: &str,
    file: Option<&Path>,
    how: How<'_>,
) -> Result<(), Said> {
    let hold = gate.hold(id).await?;
    let before = hold.get("arguments").cloned().unwrap_or_default();
    let text = match file {
        None => editor::edited(&show::escaped(&before))?,
        Some(path) if path == Path::new("-") => {
            let mut text = Vec::new();
            let most = Limits::default().bytes as u64 + 1;
            io::stdin().take(most).read_to_end(&mut text)?;
            text
        }
        Some(path) => std::fs::read(path)
            .map_err(|error| Said::failed(format!("`{}`: {error}", path.display())))?,
    };
    let after = strict::parse(&text, &Limits::default())
        .map_err(|fault| Said::failed(format!("the new arguments are not used: {fault}")))?;
    if after == before {
        return Err(Said::failed("nothing was changed; `holds approve` signs it as it is"));
    }
    say(&show::change(&hold, &after))?;
    agreed("sign this instead", how.yes)?;
    let mut body = signature(&show::text(&hold, "/hash"), how.justification);
    if let Some(body) = body.as_object_mut() {
        body.insert("arguments".to_owned(), after);
    }
    let told = gate.tell(id, "edit", &body).await?;
    Ok(say(&show::outcome(&told))?)
}

fn signature(hash: &str, justification: Option<&str>) -> Value {
    match justification {
        Some(justification) => json!({ "hash": hash, "justification": justification }),
        None => json!({ "hash": hash }),
    }
}

/// Asks, unless told not to. Only `y` and `yes` are consent.
fn agreed(what: &str, yes: bool) -> Result<(), Said> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        let message = "nobody can be asked here; `--yes` signs without asking";
        return Err(Said::Failed(Failure::Usage(message.into())));
    }
    let mut out = io::stderr().lock();
    write!(out, "\n{what}? [y/N] ").and_then(|()| out.flush())?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    match line.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Said::failed("nothing was signed")),
    }
}
