//! Which tools does the sample server offer?

use serde_json::{Value, json};

/// The result of `tools/list`, all on one page.
pub(super) fn definitions() -> Vec<Value> {
    let mut all = customer_tools();
    all.extend(money_tools());
    all.extend(mail_tools());
    all.extend(file_tools());
    all
}

/// What a tool says of its own harm. Hints, as MCP calls them: nobody has to believe them.
#[derive(Clone, Copy)]
enum Harm {
    ReadsOnly,
    Adds,
    Overwrites,
    Destroys,
}

impl Harm {
    fn annotations(self) -> Value {
        json!({
            "readOnlyHint": matches!(self, Self::ReadsOnly),
            "destructiveHint": matches!(self, Self::Overwrites | Self::Destroys),
            "idempotentHint": matches!(self, Self::ReadsOnly | Self::Overwrites),
            "openWorldHint": matches!(self, Self::Adds),
        })
    }
}

fn tool(name: &str, title: &str, description: &str, harm: Harm, properties: Value) -> Value {
    let required: Vec<&String> =
        properties.as_object().into_iter().flat_map(|p| p.keys()).collect();
    json!({
        "name": name,
        "title": title,
        "description": description,
        "inputSchema": {
            "type": "object",
            "required": required,
            "additionalProperties": false,
            "properties": properties,
        },
        "annotations": harm.annotations(),
    })
}

fn with_output(mut tool: Value, properties: Value) -> Value {
    let required: Vec<&String> =
        properties.as_object().into_iter().flat_map(|p| p.keys()).collect();
    let schema = json!({
        "type": "object",
        "required": required,
        "additionalProperties": false,
        "properties": properties,
    });
    if let Some(members) = tool.as_object_mut() {
        members.insert("outputSchema".into(), schema);
    }
    tool
}

fn customer_id() -> Value {
    let about = "The customer's id, such as cus_1001";
    json!({"type": "string", "pattern": "^cus_[0-9]{4}$", "description": about})
}

fn amount() -> Value {
    let about = "A decimal amount in whole units and cents, such as 12.50";
    json!({"type": "string", "pattern": "^[0-9]{1,9}(\\.[0-9]{1,2})?$", "description": about})
}

fn path() -> Value {
    let about = "An absolute path, such as /reports/q3.md";
    json!({"type": "string", "pattern": "^/", "maxLength": 200, "description": about})
}

fn prose(about: &str, longest: usize) -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": longest, "description": about})
}

fn customer_tools() -> Vec<Value> {
    let lookup = tool(
        "lookup_customer",
        "Look up a customer",
        "Returns one customer's record: name, e-mail address, plan and notes.",
        Harm::ReadsOnly,
        json!({"customer_id": customer_id()}),
    );
    let update = tool(
        "update_customer",
        "Change a customer",
        "Changes some fields of one customer's record; fields that are not given stay as they are.",
        Harm::Overwrites,
        json!({
            "customer_id": customer_id(),
            "fields": {
                "type": "object",
                "description": "The fields to change, with their new values",
                "minProperties": 1,
                "additionalProperties": false,
                "properties": {
                    "name": prose("The full name", 100),
                    "email": prose("The e-mail address", 200),
                    "plan": {
                        "enum": ["free", "team", "business"],
                        "description": "The plan the customer pays for",
                    },
                    "notes": prose("Notes for colleagues", 2000),
                },
            },
        }),
    );
    let record = json!({
        "customer_id": {"type": "string"},
        "name": {"type": "string"},
        "email": {"type": "string"},
        "plan": {"type": "string"},
        "notes": {"type": "string"},
    });
    vec![with_output(lookup, record), update]
}

fn money_tools() -> Vec<Value> {
    let list = tool(
        "list_payments",
        "List payments",
        "Lists the payments of one customer, with what was refunded of each.",
        Harm::ReadsOnly,
        json!({"customer_id": customer_id()}),
    );
    let refund = tool(
        "refund",
        "Refund a payment",
        "Sends money back for one payment, in the payment's currency. Cannot be undone.",
        Harm::Destroys,
        json!({
            "payment_id": {
                "type": "string",
                "pattern": "^pay_[0-9]{4}$",
                "description": "The payment's id, such as pay_5001",
            },
            "amount": amount(),
            "reason": prose("Why the customer gets the money back", 500),
        }),
    );
    let refunded = json!({
        "refund_id": {"type": "string"},
        "payment_id": {"type": "string"},
        "amount": {"type": "string"},
        "currency": {"type": "string"},
        "remaining": {"type": "string"},
    });
    let wire = tool(
        "wire_transfer",
        "Wire money",
        "Wires money to any bank account. Cannot be undone.",
        Harm::Destroys,
        json!({
            "iban": {
                "type": "string",
                "pattern": "^[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}$",
                "description": "The account that gets the money, without spaces",
            },
            "amount": amount(),
            "currency": {
                "type": "string",
                "pattern": "^[A-Z]{3}$",
                "description": "ISO 4217 code, such as EUR",
            },
        }),
    );
    vec![list, with_output(refund, refunded), wire]
}

fn mail_tools() -> Vec<Value> {
    vec![tool(
        "send_email",
        "Send an e-mail",
        "Sends an e-mail in the shop's name. It cannot be called back.",
        Harm::Adds,
        json!({
            "to": {
                "type": "string",
                "pattern": "^[^@ ]+@[^@ ]+$",
                "maxLength": 200,
                "description": "The address of the recipient",
            },
            "subject": prose("The subject line", 200),
            "body": prose("The text", 10_000),
        }),
    )]
}

fn file_tools() -> Vec<Value> {
    vec![
        tool(
            "read_file",
            "Read a file",
            "Returns the text of one file.",
            Harm::ReadsOnly,
            json!({"path": path()}),
        ),
        tool(
            "write_file",
            "Write a file",
            "Writes a text to a file, replacing what was there.",
            Harm::Overwrites,
            json!({
                "path": path(),
                "text": {"type": "string", "maxLength": 50_000, "description": "The new text"},
            }),
        ),
        tool(
            "delete_file",
            "Delete a file",
            "Deletes one file. There is no bin to get it back from.",
            Harm::Destroys,
            json!({"path": path()}),
        ),
    ]
}
