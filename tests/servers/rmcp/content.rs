//! What is there to read?
//!
//! Resources, resource templates and prompts, as the conformance suite names
//! them, written as the JSON that a client gets.

use rmcp::model::GetPromptRequestParams;
use serde_json::{Value, json};

/// A PNG of one red pixel.
pub(crate) const PIXEL: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==";

/// A WAV file without samples.
pub(crate) const SILENCE: &str = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQAAAAA=";

/// The answer to `resources/list`.
pub(crate) fn resources() -> Value {
    json!({"resources": [
        {"uri": "test://static-text", "name": "Static text", "description": "A text that never changes", "mimeType": "text/plain"},
        {"uri": "test://static-binary", "name": "Static binary", "description": "An image that never changes", "mimeType": "image/png"},
        {"uri": "test://watched-resource", "name": "Watched", "description": "A text to subscribe to", "mimeType": "text/plain"},
    ]})
}

/// The answer to `resources/templates/list`.
pub(crate) fn templates() -> Value {
    json!({"resourceTemplates": [{
        "uriTemplate": "test://template/{id}/data",
        "name": "Template",
        "description": "A text for each id",
        "mimeType": "application/json",
    }]})
}

/// The answer to `resources/read`, if there is such a resource.
pub(crate) fn read(uri: &str) -> Option<Value> {
    let content = match uri {
        "test://static-text" => {
            json!({"mimeType": "text/plain", "text": "This is the content of the static text resource."})
        }
        "test://static-binary" => json!({"mimeType": "image/png", "blob": PIXEL}),
        "test://watched-resource" => json!({"mimeType": "text/plain", "text": "Watched."}),
        other => {
            let id = other.strip_prefix("test://template/")?.strip_suffix("/data")?;
            let data =
                json!({"id": id, "templateTest": true, "data": format!("Data for ID: {id}")});
            json!({"mimeType": "application/json", "text": data.to_string()})
        }
    };
    let mut content = content;
    content["uri"] = json!(uri);
    Some(json!({"contents": [content]}))
}

/// The answer to `prompts/list`.
pub(crate) fn prompts() -> Value {
    let argument =
        |name: &str| json!({"name": name, "description": "An argument", "required": true});
    json!({"prompts": [
        {"name": "test_simple_prompt", "description": "A prompt without arguments"},
        {"name": "test_prompt_with_arguments", "description": "A prompt with two arguments",
         "arguments": [argument("arg1"), argument("arg2")]},
        {"name": "test_prompt_with_embedded_resource", "description": "A prompt with a resource",
         "arguments": [argument("resourceUri")]},
        {"name": "test_prompt_with_image", "description": "A prompt with an image"},
        {"name": "test_input_required_result_prompt", "description": "A prompt that asks back"},
    ]})
}

/// The answer to `prompts/get`, if there is such a prompt.
pub(crate) fn prompt(request: &GetPromptRequestParams) -> Option<Value> {
    let argument = |name: &str| {
        let arguments = request.arguments.as_ref();
        arguments.and_then(|arguments| arguments.get(name)?.as_str()).unwrap_or_default().to_owned()
    };
    let said = |content: Value| json!({"role": "user", "content": content});
    let text = |text: String| said(json!({"type": "text", "text": text}));
    let messages = match request.name.as_str() {
        "test_simple_prompt" => vec![text("This is a simple prompt for testing.".into())],
        "test_prompt_with_arguments" => vec![text(format!(
            "Prompt with arguments: arg1='{}', arg2='{}'",
            argument("arg1"),
            argument("arg2")
        ))],
        "test_prompt_with_embedded_resource" => vec![
            said(json!({"type": "resource", "resource": {
                "uri": argument("resourceUri"),
                "mimeType": "text/plain",
                "text": "Embedded resource content for testing.",
            }})),
            text("Please process the embedded resource above.".into()),
        ],
        "test_prompt_with_image" => vec![
            said(json!({"type": "image", "data": PIXEL, "mimeType": "image/png"})),
            text("Please analyze the image above.".into()),
        ],
        _ => return None,
    };
    Some(json!({"description": "A prompt for tests", "messages": messages}))
}
