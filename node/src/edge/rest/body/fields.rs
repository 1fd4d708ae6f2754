//! Reading one JSON object: every refusal names the field, the value and what would be right.

use serde_json::{Map, Value};

use crate::edge::error::Problem;
use crate::edge::rest::microversion::Microversion;

/// Longest part of a caller's text that is echoed.
const SHOWN_CHARS_MAX: usize = 80;

/// A text, shortened for an answer.
pub fn cut(text: &str) -> String {
    let mut chars = text.chars();
    let mut shown: String = chars.by_ref().take(SHOWN_CHARS_MAX).collect();
    if chars.next().is_some() {
        shown.push('…');
    }
    shown
}

/// A value as JSON, shortened for an answer.
pub fn shown(value: &Value) -> String {
    cut(&value.to_string())
}

/// One object of a request.
#[derive(Clone)]
pub struct Fields<'a> {
    /// Where it is, as `reservations[0].`; empty at the top.
    prefix: String,
    object: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    /// The request body itself.
    pub fn of_body(body: &'a Value) -> Result<Fields<'a>, Problem> {
        let object = body
            .as_object()
            .ok_or_else(|| Problem::malformed(format!("the body is {}; it must be a JSON object", shown(body))))?;
        Ok(Fields { prefix: String::new(), object })
    }

    /// An object that is not part of a body.
    pub fn of_object(object: &'a Map<String, Value>) -> Fields<'a> {
        Fields { prefix: String::new(), object }
    }

    /// The objects of a list; none when the key is missing or null.
    pub fn list(&self, key: &str, len_max: usize) -> Result<Vec<Fields<'a>>, Problem> {
        let Some(value) = self.get(key) else {
            return Ok(Vec::new());
        };
        let items = value.as_array().ok_or_else(|| self.wrong(key, value, "must be a list of objects"))?;
        if items.len() > len_max {
            return Err(Problem::malformed(format!(
                "{}{key} has {} elements; at most {len_max} are allowed",
                self.prefix,
                items.len()
            )));
        }
        let fields = |(at, item): (usize, &'a Value)| {
            let name = format!("{key}[{at}]");
            let object = item.as_object().ok_or_else(|| self.wrong(&name, item, "must be an object"))?;
            Ok(Fields { prefix: format!("{}{name}.", self.prefix), object })
        };
        items.iter().enumerate().map(fields).collect()
    }

    /// The object under a key; `None` when it is missing or null.
    pub fn object(&self, key: &str) -> Result<Option<Fields<'a>>, Problem> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let object = value.as_object().ok_or_else(|| self.wrong(key, value, "must be an object; {} takes all defaults"))?;
        Ok(Some(Fields { prefix: format!("{}{key}.", self.prefix), object }))
    }

    /// Whether the key is there, null or not.
    pub fn has(&self, key: &str) -> bool {
        self.object.contains_key(key)
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.object.is_empty()
    }

    /// Its keys and values.
    pub fn iter(&self) -> impl Iterator<Item = (&'a String, &'a Value)> {
        self.object.iter()
    }

    /// The value, unless missing or null.
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.object.get(key).filter(|value| !value.is_null())
    }

    /// Refuses the absence of any of `keys`, with Blazar's text.
    pub fn require(&self, keys: &[&str]) -> Result<(), Problem> {
        let missing: Vec<&str> = keys.iter().copied().filter(|key| !self.has(key)).collect();
        if missing.is_empty() { Ok(()) } else { Err(Problem::malformed(format!("Missing parameter {}", missing.join(", ")))) }
    }

    /// Refuses what belongs to 1.1 under 1.0 (architecture D9), and under 1.1 what neither version knows. Under 1.0
    /// unknown keys are ignored, as Blazar does.
    pub fn refuse_others(&self, version: Microversion, known: &[&str], since_1_1: &[&str]) -> Result<(), Problem> {
        for key in self.object.keys() {
            let key = key.as_str();
            if version < Microversion::V1_1 && since_1_1.contains(&key) {
                return Err(Problem::malformed(format!(
                    "{}{key} needs microversion 1.1: send the header OpenStack-API-Version: reservation 1.1",
                    self.prefix
                )));
            }
            if version >= Microversion::V1_1 && !known.contains(&key) && !since_1_1.contains(&key) {
                let mut all = [known, since_1_1].concat();
                all.sort_unstable();
                return Err(Problem::malformed(format!("{}{} is unknown; known are {}", self.prefix, cut(key), all.join(", "))));
            }
        }
        Ok(())
    }

    /// A text; `None` when missing or null.
    pub fn text(&self, key: &str) -> Result<Option<&'a str>, Problem> {
        self.get(key).map(|value| value.as_str().ok_or_else(|| self.wrong(key, value, "must be a string"))).transpose()
    }

    /// A whole number in `[min, max]`, also as a string of digits, as Blazar takes it; `None` when missing or null.
    pub fn whole(&self, key: &str, min: u32, max: u32) -> Result<Option<u32>, Problem> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let number = match value {
            Value::Number(number) => number.as_i64().or_else(|| number.as_u64().map(|_| i64::MAX)),
            Value::String(digits) => digits.trim().parse().ok(),
            _ => None,
        };
        let number = number.ok_or_else(|| self.wrong(key, value, &format!("must be a whole number from {min} to {max}")))?;
        if number < i64::from(min) {
            // Blazar's text for the amount.
            return Err(Problem::malformed(format!("{key} must be >= {min}")));
        }
        match u32::try_from(number) {
            Ok(number) if number <= max => Ok(Some(number)),
            _ => Err(self.wrong(key, value, &format!("must be a whole number from {min} to {max}"))),
        }
    }

    /// `None` when missing or null.
    pub fn flag(&self, key: &str) -> Result<Option<bool>, Problem> {
        self.get(key).map(|value| value.as_bool().ok_or_else(|| self.wrong(key, value, "must be true or false"))).transpose()
    }

    /// One of a few words; `None` when missing or null.
    pub fn word<T: Copy>(&self, key: &str, words: &[(&str, T)]) -> Result<Option<T>, Problem> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let found = words.iter().find(|(word, _)| value.as_str() == Some(word));
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        found
            .map(|(_, meaning)| Some(*meaning))
            .ok_or_else(|| self.wrong(key, value, &format!("must be one of {}", known.join(", "))))
    }

    /// A refusal of one value.
    pub fn wrong(&self, key: &str, value: &Value, right: &str) -> Problem {
        Problem::malformed(format!("{}{key} is {}; it {right}", self.prefix, shown(value)))
    }
}
