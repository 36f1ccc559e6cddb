//! Strict decoding of JSON bodies: a handler asks for every field by name, the answer names every invalid field, and an
//! unknown field is an error.

use super::{FieldProblem, Problem, unique_json};
use localmart_kernel::text::{clean, is_visible};
use localmart_kernel::{Address, Currency, Id, Money, MoneyError};
use serde_json::{Map, Value};

/// Why one value was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// A stable code in lower snake case.
    pub code: &'static str,
    /// An explanation for people.
    pub detail: String,
}

impl Invalid {
    /// The general case, with the code `invalid`.
    pub fn new(detail: impl Into<String>) -> Self {
        Self {
            code: "invalid",
            detail: detail.into(),
        }
    }
}

/// A JSON object while it is decoded: the fields not yet read, and the problems found so far.
pub struct Fields {
    object: Map<String, Value>,
    path: String,
    errors: Vec<FieldProblem>,
    /// Whether the body is a PATCH, which names only what it changes.
    partial: bool,
}

impl Fields {
    /// Reads the body of a request, which must be one JSON object.
    pub fn of_body(body: &[u8]) -> Result<Self, Problem> {
        let malformed = |detail: String| Problem::new(400, "malformed_json", detail);
        match unique_json::read(body) {
            Ok(Value::Object(object)) => Ok(Self {
                object,
                path: String::new(),
                errors: Vec::new(),
                partial: false,
            }),
            Ok(_) => Err(Problem::invalid(vec![FieldProblem {
                field: String::new(),
                code: "invalid".into(),
                detail: "the body must be a JSON object".into(),
            }])),
            Err(error) => Err(malformed(format!(
                "The body is not JSON, or names a member twice: line {}, column {}.",
                error.line(),
                error.column()
            ))),
        }
    }

    /// Reads the body of a PATCH, which names only what it changes (JSON Merge Patch, RFC 7396). [`Self::value`],
    /// [`Self::value_or`] and [`Self::maybe`] then read the same fields as of a whole body.
    pub fn of_patch(body: &[u8]) -> Result<Self, Problem> {
        let fields = Self::of_body(body)?;
        Ok(Self {
            partial: true,
            ..fields
        })
    }

    /// A field that always has a value. In a PATCH a field that is absent keeps the value that it has; without `before` it is
    /// left open.
    pub fn value<T>(
        &mut self,
        name: &str,
        before: Option<T>,
        parse: impl FnOnce(&Value) -> Result<T, Invalid>,
    ) -> Option<T> {
        if self.partial {
            return self.changed(name, parse).or(before);
        }
        self.required(name, parse)
    }

    /// Like [`Self::value`], for a field with a default.
    pub fn value_or<T>(
        &mut self,
        name: &str,
        before: Option<T>,
        default: T,
        parse: impl FnOnce(&Value) -> Result<T, Invalid>,
    ) -> T {
        let read = if self.partial {
            self.changed(name, parse).or(before)
        } else {
            self.optional(name, parse)
        };
        read.unwrap_or(default)
    }

    /// A field that may have no value. In a PATCH a field that is absent keeps the value that it has, and null removes it.
    pub fn maybe<T>(
        &mut self,
        name: &str,
        before: Option<T>,
        parse: impl FnOnce(&Value) -> Result<T, Invalid>,
    ) -> Option<T> {
        if self.partial {
            return self.patch(name, parse).unwrap_or(before);
        }
        self.optional(name, parse)
    }

    /// A field that must be present and not null.
    pub fn required<T>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&Value) -> Result<T, Invalid>,
    ) -> Option<T> {
        match self.object.remove(name) {
            Some(value) if !value.is_null() => self.parsed(name, &value, parse),
            _ => {
                self.report(name, "required", "is required".to_owned());
                None
            }
        }
    }

    /// A field that may be absent; null counts as absent.
    pub fn optional<T>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&Value) -> Result<T, Invalid>,
    ) -> Option<T> {
        match self.object.remove(name) {
            Some(value) if !value.is_null() => self.parsed(name, &value, parse),
            _ => None,
        }
    }

    /// A field of a PATCH whose value cannot be removed: absent is `None`, null is an error.
    pub fn changed<T>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&Value) -> Result<T, Invalid>,
    ) -> Option<T> {
        let value = self.object.remove(name)?;
        if value.is_null() {
            self.report(name, "required", "cannot be removed".to_owned());
            return None;
        }
        self.parsed(name, &value, parse)
    }

    /// A field of a PATCH whose value can be removed: absent is `None`, null is `Some(None)`.
    pub fn patch<T>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&Value) -> Result<T, Invalid>,
    ) -> Option<Option<T>> {
        match self.object.remove(name)? {
            Value::Null => Some(None),
            value => self.parsed(name, &value, parse).map(Some),
        }
    }

    /// A nested object, decoded by `read`. Problems inside it are reported under its path.
    pub fn object<T>(
        &mut self,
        name: &str,
        required: bool,
        read: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<T> {
        let value = self.object.remove(name);
        self.nested(name, value, required, read)
    }

    fn nested<T>(
        &mut self,
        name: &str,
        value: Option<Value>,
        required: bool,
        read: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<T> {
        match value {
            Some(Value::Object(object)) => {
                let mut inner = Self {
                    object,
                    path: format!("{}{name}.", self.path),
                    errors: Vec::new(),
                    partial: false,
                };
                let value = read(&mut inner);
                inner.refuse_unknown();
                self.errors.append(&mut inner.errors);
                value
            }
            None | Some(Value::Null) => {
                if required {
                    self.report(name, "required", "is required".to_owned());
                }
                None
            }
            Some(_) => {
                self.report(name, "invalid", "must be an object".to_owned());
                None
            }
        }
    }

    /// A list of 1 to `most` objects. Problems inside it have paths like `items[0].quantity`.
    pub fn list<T>(
        &mut self,
        name: &str,
        most: usize,
        mut read: impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        let Some(value) = self.object.remove(name) else {
            self.report(name, "required", "is required".to_owned());
            return None;
        };
        let Some(list) = value
            .as_array()
            .filter(|list| (1..=most).contains(&list.len()))
        else {
            let detail = format!("must be a list of 1 to {most} objects");
            self.report(name, "invalid", detail);
            return None;
        };
        let mut read_all = Vec::with_capacity(list.len());
        for (place, value) in list.iter().enumerate() {
            let place = format!("{name}[{place}]");
            read_all.push(self.nested(&place, Some(value.clone()), true, &mut read));
        }
        read_all.into_iter().collect()
    }

    /// Reports a problem that concerns several fields.
    pub fn report(&mut self, name: &str, code: &str, detail: String) {
        self.errors.push(FieldProblem {
            field: format!("{}{name}", self.path),
            code: code.to_owned(),
            detail,
        });
    }

    /// The decoded value, or 422 with every invalid field.
    pub fn finish<T>(mut self, value: Option<T>) -> Result<T, Problem> {
        self.refuse_unknown();
        match value {
            Some(value) if self.errors.is_empty() => Ok(value),
            _ => Err(Problem::invalid(self.errors)),
        }
    }

    /// Like [`Fields::finish`], for messages of other systems, whose later versions may have more fields.
    pub fn finish_ignoring_others<T>(mut self, value: Option<T>) -> Result<T, Problem> {
        self.object.clear();
        self.finish(value)
    }

    fn refuse_unknown(&mut self) {
        let unknown: Vec<String> = self.object.keys().cloned().collect();
        for name in unknown {
            let shown: String = name.chars().take(100).collect();
            self.report(
                &shown,
                "unknown_field",
                "is not a field of this request".to_owned(),
            );
        }
        self.object.clear();
    }

    fn parsed<T>(
        &mut self,
        name: &str,
        value: &Value,
        parse: impl FnOnce(&Value) -> Result<T, Invalid>,
    ) -> Option<T> {
        parse(value)
            .map_err(|invalid| self.report(name, invalid.code, invalid.detail))
            .ok()
    }
}

/// Text of `min` to `max` characters, stored in its [clean](clean) form. Line breaks and tabs are the only control
/// characters allowed. Unless it may be empty, something of it must be visible.
pub fn text(min: usize, max: usize) -> impl Fn(&Value) -> Result<String, Invalid> {
    move |value| {
        let text = value.as_str().ok_or_else(|| Invalid::new("must be text"))?;
        let text = clean(text);
        let length = text.chars().count();
        let printable = text
            .chars()
            .all(|c| !c.is_control() || c == '\n' || c == '\t');
        if !(min..=max).contains(&length) {
            Err(Invalid::new(format!("must have {min} to {max} characters")))
        } else if !printable {
            Err(Invalid::new("must not contain control characters"))
        } else if min > 0 && !is_visible(&text) {
            Err(Invalid::new("must contain a visible character"))
        } else {
            Ok(text)
        }
    }
}

/// `true` or `false`.
pub fn boolean(value: &Value) -> Result<bool, Invalid> {
    value
        .as_bool()
        .ok_or_else(|| Invalid::new("must be true or false"))
}

/// An integer between two bounds, written as an integer: `1`, not `1.0`, `1e0` or `"1"`.
pub fn integer(min: i64, max: i64) -> impl Fn(&Value) -> Result<i64, Invalid> {
    move |value| {
        let number = value.as_i64().filter(|number| (min..=max).contains(number));
        number.ok_or_else(|| Invalid::new(format!("must be a whole number from {min} to {max}")))
    }
}

/// An id: a UUID in lower case.
pub fn id(value: &Value) -> Result<Id, Invalid> {
    let id = value.as_str().and_then(Id::parse);
    id.ok_or_else(|| Invalid::new("must be an id (UUID, lower case)"))
}

/// An ISO 4217 code.
pub fn currency(value: &Value) -> Result<Currency, Invalid> {
    let currency = value.as_str().map(Currency::parse);
    currency
        .and_then(Result::ok)
        .ok_or_else(|| Invalid::new("must be an ISO 4217 code like USD"))
}

/// A postal address: name, line1, city, postal_code and country; line2 and region if there are any.
pub fn address(fields: &mut Fields) -> Option<Address> {
    let name = fields.required("name", text(1, 200));
    let line1 = fields.required("line1", text(1, 200));
    let line2 = fields.optional("line2", text(0, 200));
    let city = fields.required("city", text(1, 100));
    let region = fields.optional("region", text(0, 100));
    let postal_code = fields.required("postal_code", text(1, 20));
    let country = fields.required("country", country);
    let parts = name.zip(line1).zip(city).zip(postal_code).zip(country);
    parts.map(|((((name, line1), city), postal_code), country)| Address {
        name,
        line1,
        line2,
        city,
        region,
        postal_code,
        country,
    })
}

fn country(value: &Value) -> Result<String, Invalid> {
    let code = value
        .as_str()
        .filter(|code| code.len() == 2 && code.bytes().all(|b| b.is_ascii_uppercase()));
    code.map(str::to_owned)
        .ok_or_else(|| Invalid::new("must be an ISO 3166-1 code like US"))
}

/// An e-mail address: one `@`, text on both sides, a dot in the domain, no white space, at most 254 characters. Only
/// sending mail can verify more than this.
pub fn email(value: &Value) -> Result<String, Invalid> {
    let shape = |text: &&str| {
        let parts: Vec<&str> = text.split('@').collect();
        text.len() <= 254
            && !text.chars().any(|c| c.is_whitespace() || c.is_control())
            && matches!(parts.as_slice(), [local, domain] if !local.is_empty() && domain.contains('.') && !domain.starts_with('.') && !domain.ends_with('.'))
    };
    let email = value.as_str().map(clean);
    let email = email.filter(|email| shape(&email.as_str()) && email.split('@').all(is_visible));
    email.ok_or_else(|| Invalid::new("must be an e-mail address"))
}

/// Exactly the two members of `{ "amount": 1999, "currency": "USD" }`.
pub fn money(value: &Value) -> Result<Money, Invalid> {
    let shape = "must be {\"amount\": whole minor units, \"currency\": ISO 4217 code}";
    let object = value.as_object().filter(|object| object.len() == 2);
    let object = object.ok_or_else(|| Invalid::new(shape))?;
    let amount = object.get("amount").and_then(Value::as_u64);
    let currency = object.get("currency").map(currency).transpose()?;
    let (Some(amount), Some(currency)) = (amount, currency) else {
        return Err(Invalid::new(shape));
    };
    Money::new(amount, currency).map_err(|error: MoneyError| Invalid {
        code: "amount_overflow",
        detail: error.to_string(),
    })
}

/// `{ "amount": 1999, "currency": "USD" }`.
pub fn money_json(money: Money) -> Value {
    serde_json::json!({ "amount": money.amount(), "currency": money.currency().code() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_quantity_must_be_an_integer_in_range() {
        let quantity = integer(1, 99);
        assert_eq!(quantity(&json!(99)), Ok(99));
        for bad in [
            "-1",
            "0",
            "1.5",
            "1.0",
            "\"2\"",
            "1e3",
            "1e0",
            "2147483648",
            "9223372036854775808",
            "null",
            "\"\"",
            "[]",
            "true",
        ] {
            let value: Value = serde_json::from_str(bad).unwrap();
            assert!(quantity(&value).is_err(), "{bad}");
        }
    }

    #[test]
    fn money_is_an_integer_and_a_known_currency() {
        assert_eq!(
            money(&json!({"amount": 5, "currency": "JPY"}))
                .unwrap()
                .amount(),
            5
        );
        for bad in [
            json!({"amount": 1.5, "currency": "USD"}),
            json!({"amount": "5", "currency": "USD"}),
            json!({"amount": -5, "currency": "USD"}),
            json!({"amount": 5, "currency": "usd"}),
            json!({"amount": 5}),
            json!({"amount": 5, "currency": "USD", "x": 1}),
            json!(5),
        ] {
            assert!(money(&bad).is_err(), "{bad}");
        }
        let over = money(&json!({"amount": 9007199254740992_u64, "currency": "USD"}));
        assert_eq!(over.unwrap_err().code, "amount_overflow");
    }

    #[test]
    fn every_invalid_field_is_reported_once() {
        let mut fields = Fields::of_body(br#"{"a":1,"b":{"c":2,"z":0},"q":null}"#).unwrap();
        let a = fields.required("a", text(1, 5));
        let b = fields.object("b", true, |inner| inner.required("d", boolean));
        let q = fields.required("q", boolean);
        let problem = fields.finish(a.zip(b).zip(q)).unwrap_err();
        let named: Vec<_> = problem
            .errors
            .iter()
            .map(|e| (e.field.as_str(), e.code.as_str()))
            .collect();
        assert_eq!(
            named,
            [
                ("a", "invalid"),
                ("b.d", "required"),
                ("b.c", "unknown_field"),
                ("b.z", "unknown_field"),
                ("q", "required")
            ]
        );
    }

    #[test]
    fn a_body_that_is_not_json_is_malformed() {
        for bad in [
            "",
            "{",
            "{\"a\":}",
            "{'a':1}",
            "{\"a\":1}x",
            "{\"a\":1,\"a\":2}",
            "{\"a\":{\"b\":1,\"b\":1}}",
            "\u{feff}{}",
        ] {
            assert_eq!(
                Fields::of_body(bad.as_bytes()).err().unwrap().code,
                "malformed_json",
                "{bad}"
            );
        }
        assert_eq!(Fields::of_body(b"[]").err().unwrap().code, "invalid");
    }
}
