//! What happens meanwhile?

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::client::{Gate, Said};
use super::show;
use crate::cli::say;

/// Bytes of one line; events are far shorter.
const LINE: usize = 64 * 1024;
/// Before a stream that ended is asked for again; doubled each time, up to a limit.
const PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Tells each change until something ends the process. A gate that goes away is waited for.
pub(super) async fn watch(gate: &Gate, json: bool) -> Result<(), Said> {
    // Whoever cannot watch at all hears it at once.
    let mut stream = gate.events().await?;
    loop {
        follow(stream, json).await?;
        stream = again(gate).await?;
        tell("missed", &json!({}), json)?;
    }
}

async fn again(gate: &Gate) -> Result<Incoming, Said> {
    let mut pause = PAUSE;
    loop {
        tokio::time::sleep(pause).await;
        match gate.events().await {
            Err(Said::Failed(_)) => pause = (pause * 2).min(LONGEST_PAUSE),
            other => return other,
        }
    }
}

/// Reads server-sent events (WHATWG HTML, 9.2) as far as the gate writes them.
async fn follow(mut stream: Incoming, json: bool) -> Result<(), Said> {
    let (mut rest, mut event) = (Vec::new(), String::new());
    while let Some(Ok(frame)) = stream.frame().await {
        let Ok(bytes) = frame.into_data() else { continue };
        take(&mut rest, &bytes);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line = rest.drain(..=end).collect::<Vec<_>>();
            let line = String::from_utf8_lossy(&line);
            match line.trim_end().split_once(": ") {
                Some(("event", name)) => name.clone_into(&mut event),
                Some(("data", data)) => {
                    tell(&event, &serde_json::from_str(data).unwrap_or_default(), json)?;
                }
                _ => {}
            }
        }
    }
    Ok(())
}

fn take(rest: &mut Vec<u8>, bytes: &Bytes) {
    if rest.len() + bytes.len() > LINE {
        rest.clear();
    }
    rest.extend_from_slice(bytes);
}

fn tell(event: &str, data: &Value, json: bool) -> Result<(), Said> {
    if json {
        let mut line = data.clone();
        if let Some(line) = line.as_object_mut() {
            line.insert("event".to_owned(), event.into());
        }
        return Ok(say(&format!("{line}\n"))?);
    }
    Ok(say(&match event {
        "change" => show::event(data),
        _ => "some changes were missed; `holds list` says how things are\n".to_owned(),
    })?)
}
