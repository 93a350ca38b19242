//! What does the sample server keep, and what does each tool do to it?

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value, json};

/// Files, mails and transfers that are kept; one more is turned away.
const KEPT: usize = 1000;

/// What a tool has to say: a result, or a sentence about why there is none.
type Done = Result<Value, String>;

/// The shop's state; made up, in memory, gone with the process.
pub(super) struct World(Mutex<State>);

struct State {
    customers: BTreeMap<String, Map<String, Value>>,
    payments: BTreeMap<String, Payment>,
    files: BTreeMap<String, String>,
    refunds: usize,
    transfers: usize,
    mails: usize,
}

struct Payment {
    customer: &'static str,
    cents: u64,
    refunded_cents: u64,
    currency: &'static str,
    paid_on: &'static str,
}

impl Default for World {
    fn default() -> Self {
        Self(Mutex::new(State {
            customers: customers(),
            payments: payments(),
            files: files(),
            refunds: 0,
            transfers: 0,
            mails: 0,
        }))
    }
}

impl World {
    /// Runs a tool; `None` if there is none of that name.
    pub(super) fn run(&self, tool: &str, arguments: &Value) -> Option<Done> {
        let mut state = self.state();
        Some(match tool {
            "lookup_customer" => state.lookup(arguments),
            "update_customer" => state.update(arguments),
            "list_payments" => state.list(arguments),
            "refund" => state.refund(arguments),
            "wire_transfer" => state.wire(arguments),
            "send_email" => state.mail(arguments),
            "read_file" => state.read(arguments),
            "write_file" => state.write(arguments),
            "delete_file" => state.delete(arguments),
            _ => return None,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn lookup(&self, arguments: &Value) -> Done {
        let id = text(arguments, "customer_id")?;
        self.customers.get(id).map(|c| Value::Object(c.clone())).ok_or_else(no_customer)
    }

    fn update(&mut self, arguments: &Value) -> Done {
        let id = text(arguments, "customer_id")?;
        let customer = self.customers.get_mut(id).ok_or_else(no_customer)?;
        let fields = arguments.get("fields").and_then(Value::as_object);
        let fields = fields.ok_or("`fields` has to be an object")?;
        for (name, value) in fields {
            if name == "customer_id" || !customer.contains_key(name) || !value.is_string() {
                return Err(format!("`{name}` is not a text field that can be changed"));
            }
        }
        customer.extend(fields.clone());
        Ok(Value::Object(customer.clone()))
    }

    fn list(&self, arguments: &Value) -> Done {
        let id = text(arguments, "customer_id")?;
        self.customers.get(id).ok_or_else(no_customer)?;
        let payments: Vec<Value> = self
            .payments
            .iter()
            .filter(|(_, payment)| payment.customer == id)
            .map(|(id, payment)| payment.shown(id))
            .collect();
        Ok(json!({"payments": payments}))
    }

    fn refund(&mut self, arguments: &Value) -> Done {
        let id = text(arguments, "payment_id")?;
        let cents = cents(text(arguments, "amount")?)?;
        text(arguments, "reason")?;
        let payment = self.payments.get_mut(id).ok_or("no such payment")?;
        let left = payment.cents - payment.refunded_cents;
        if cents > left {
            return Err(format!("only {} are left to refund", decimal(left)));
        }
        payment.refunded_cents += cents;
        self.refunds += 1;
        Ok(json!({
            "refund_id": format!("ref_{:04}", 7000 + self.refunds),
            "payment_id": id,
            "amount": decimal(cents),
            "currency": payment.currency,
            "remaining": decimal(left - cents),
        }))
    }

    fn wire(&mut self, arguments: &Value) -> Done {
        text(arguments, "iban")?;
        let cents = cents(text(arguments, "amount")?)?;
        let currency = text(arguments, "currency")?;
        self.transfers += 1;
        let id = format!("wire_{:04}", 9000 + self.transfers);
        Ok(json!({"transfer_id": id, "amount": decimal(cents), "currency": currency}))
    }

    fn mail(&mut self, arguments: &Value) -> Done {
        let to = text(arguments, "to")?;
        text(arguments, "subject")?;
        text(arguments, "body")?;
        self.mails += 1;
        Ok(json!({"message_id": format!("mail_{:04}", 3000 + self.mails), "to": to}))
    }

    fn read(&self, arguments: &Value) -> Done {
        let path = text(arguments, "path")?;
        let content = self.files.get(path).ok_or("no such file")?;
        Ok(json!({"path": path, "text": content}))
    }

    fn write(&mut self, arguments: &Value) -> Done {
        let path = text(arguments, "path")?;
        let content = text(arguments, "text")?;
        if self.files.len() >= KEPT && !self.files.contains_key(path) {
            return Err("the disk is full; delete a file first".into());
        }
        self.files.insert(path.to_owned(), content.to_owned());
        Ok(json!({"path": path, "bytes": content.len()}))
    }

    fn delete(&mut self, arguments: &Value) -> Done {
        let path = text(arguments, "path")?;
        self.files.remove(path).ok_or("no such file")?;
        Ok(json!({"path": path, "deleted": true}))
    }
}

impl Payment {
    fn shown(&self, id: &str) -> Value {
        json!({
            "payment_id": id,
            "amount": decimal(self.cents),
            "refunded": decimal(self.refunded_cents),
            "currency": self.currency,
            "paid_on": self.paid_on,
        })
    }
}

fn text<'a>(arguments: &'a Value, name: &str) -> Result<&'a str, String> {
    let value = arguments.get(name).and_then(Value::as_str);
    value.ok_or_else(|| format!("`{name}` has to be a text"))
}

fn no_customer() -> String {
    "no such customer".into()
}

/// `12.5` as 1250. Plain digits only: what a bank would print.
fn cents(amount: &str) -> Result<u64, String> {
    let (whole, part) = amount.split_once('.').unwrap_or((amount, "0"));
    let digits = |text: &str, longest: usize| {
        (1..=longest).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
    };
    if !digits(whole, 9) || !digits(part, 2) {
        return Err("`amount` has to be a decimal such as 12.50".into());
    }
    let number = |text: &str| text.parse::<u64>().map_err(|error| error.to_string());
    let cents = number(whole)? * 100 + number(&format!("{part:0<2}"))?;
    if cents == 0 { Err("`amount` has to be more than nothing".into()) } else { Ok(cents) }
}

fn decimal(cents: u64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

fn customers() -> BTreeMap<String, Map<String, Value>> {
    [
        ("cus_1001", "Ada Okafor", "ada@okafor.example", "business", "Renews in March."),
        ("cus_1002", "Bertil Lind", "bertil@lind.example", "team", "Prefers e-mail."),
        ("cus_1003", "Chiara Russo", "chiara@russo.example", "free", ""),
        ("cus_1004", "Dev Patel", "dev@patel.example", "team", "Disputed a charge in May."),
    ]
    .into_iter()
    .map(|(id, name, email, plan, notes)| {
        let record = [
            ("customer_id", id),
            ("name", name),
            ("email", email),
            ("plan", plan),
            ("notes", notes),
        ];
        let record = record.into_iter().map(|(key, value)| (key.to_owned(), value.into()));
        (id.to_owned(), record.collect())
    })
    .collect()
}

fn payments() -> BTreeMap<String, Payment> {
    [
        ("pay_5001", "cus_1001", 49_900, "USD", "2026-09-01"),
        ("pay_5002", "cus_1001", 1_250, "USD", "2026-10-12"),
        ("pay_5003", "cus_1002", 9_900, "EUR", "2026-10-03"),
        ("pay_5004", "cus_1004", 9_900, "USD", "2026-05-17"),
        ("pay_5005", "cus_1004", 240_000, "USD", "2026-06-30"),
    ]
    .into_iter()
    .map(|(id, customer, cents, currency, paid_on)| {
        (id.to_owned(), Payment { customer, cents, refunded_cents: 0, currency, paid_on })
    })
    .collect()
}

fn files() -> BTreeMap<String, String> {
    [
        ("/readme.md", "The shop's shared folder. Reports are kept for seven years.\n"),
        ("/reports/q3.md", "# Third quarter\n\nRevenue 310,490 USD; refunds 1,204 USD.\n"),
        ("/templates/refund.txt", "Dear {name},\n\nyour refund of {amount} is on its way.\n"),
    ]
    .into_iter()
    .map(|(path, content)| (path.to_owned(), content.to_owned()))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_what_a_bank_would_print() {
        for (amount, expected) in [
            ("12.50", Some(1250)),
            ("12.5", Some(1250)),
            ("12", Some(1200)),
            ("0.01", Some(1)),
            ("999999999.99", Some(99_999_999_999)),
            ("0", None),
            ("0.00", None),
            ("-1", None),
            ("+1", None),
            ("1e9", None),
            ("1.234", None),
            ("1.", None),
            (".5", None),
            ("", None),
            ("NaN", None),
            ("1000000000", None),
        ] {
            assert_eq!(cents(amount).ok(), expected, "{amount}");
        }
    }

    #[test]
    fn a_payment_is_refunded_once() {
        let world = World::default();
        let refund = |amount: &str| {
            let arguments = json!({"payment_id": "pay_5002", "amount": amount, "reason": "late"});
            world.run("refund", &arguments).unwrap().map(|done| done["remaining"].clone())
        };
        for (amount, expected) in [
            ("10", Ok(json!("2.50"))),
            ("2.51", Err("only 2.50 are left to refund".to_owned())),
            ("2.50", Ok(json!("0.00"))),
            ("0.01", Err("only 0.00 are left to refund".to_owned())),
        ] {
            assert_eq!(refund(amount), expected, "{amount}");
        }
    }

    #[test]
    fn files_can_be_written_read_and_deleted_up_to_a_bound() {
        let world = World::default();
        let run = |tool: &str, arguments: Value| world.run(tool, &arguments).unwrap();
        assert!(run("write_file", json!({"path": "/a", "text": "b"})).is_ok());
        assert_eq!(run("read_file", json!({"path": "/a"})).unwrap()["text"], "b");
        assert!(run("delete_file", json!({"path": "/a"})).is_ok());
        assert!(run("read_file", json!({"path": "/a"})).is_err());
        let here = files().len();
        for n in here..KEPT {
            let path = format!("/{n}");
            assert!(run("write_file", json!({"path": path, "text": ""})).is_ok(), "{n}");
        }
        assert!(run("write_file", json!({"path": "/one-more", "text": ""})).is_err());
        assert!(run("write_file", json!({"path": "/readme.md", "text": ""})).is_ok());
    }

    #[test]
    fn every_tool_that_is_listed_runs_and_every_result_fits_its_schema() {
        let world = World::default();
        for (tool, arguments) in [
            ("lookup_customer", json!({"customer_id": "cus_1001"})),
            ("update_customer", json!({"customer_id": "cus_1001", "fields": {"plan": "free"}})),
            ("list_payments", json!({"customer_id": "cus_1001"})),
            ("refund", json!({"payment_id": "pay_5001", "amount": "1.00", "reason": "late"})),
            (
                "wire_transfer",
                json!({"iban": "DE89370400440532013000", "amount": "5", "currency": "EUR"}),
            ),
            ("send_email", json!({"to": "ada@okafor.example", "subject": "s", "body": "b"})),
            ("read_file", json!({"path": "/readme.md"})),
            ("write_file", json!({"path": "/new", "text": "t"})),
            ("delete_file", json!({"path": "/new"})),
        ] {
            let definitions = super::super::tools::definitions();
            let definition = definitions.iter().find(|d| d["name"] == tool).expect(tool);
            let input = jsonschema::validator_for(&definition["inputSchema"]).unwrap();
            assert!(input.is_valid(&arguments), "{tool}");
            let result = world.run(tool, &arguments).unwrap().expect(tool);
            if let Some(schema) = definition.get("outputSchema") {
                assert!(jsonschema::is_valid(schema, &result), "{tool}: {result}");
            }
        }
        assert_eq!(super::super::tools::definitions().len(), 9);
        assert!(world.run("drop_tables", &Value::Null).is_none());
    }
}
