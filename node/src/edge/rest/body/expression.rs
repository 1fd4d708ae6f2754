//! Property expressions (blazar-api §8): `""`, `"[]"`, `["<op>", "$<key>", "<value>"]` or `["and", expression, …]`.
//!
//! A nested `and` is honoured; Blazar drops all of its terms but the first.

use leasehold_ledger::model::{Comparison, Requirement};
use serde_json::Value;

use super::fields::cut;

/// Terms of one expression at most.
pub const TERMS_MAX: usize = 64;
/// `and`s inside each other at most.
const DEPTH_MAX: usize = 8;
/// Longest expression, in bytes.
const BYTES_MAX: usize = 16 * 1024;

/// Reads an expression into the terms that must all hold.
///
/// Errors: Blazar's text and what is wrong.
pub fn parse(text: &str) -> Result<Vec<Requirement>, String> {
    let malformed = |problem: &str| format!("Malformed requirements {} ({problem})", cut(text));
    if text.is_empty() {
        return Ok(Vec::new());
    }
    if text.len() > BYTES_MAX {
        return Err(malformed("longer than 16 KiB"));
    }
    let value: Value = serde_json::from_str(text).map_err(|_| malformed("not JSON"))?;
    if value.as_array().is_some_and(Vec::is_empty) {
        return Ok(Vec::new());
    }
    let mut terms = Vec::new();
    collect(&value, 0, &mut terms).map_err(|problem| malformed(&problem))?;
    Ok(terms)
}

fn collect(value: &Value, depth: usize, terms: &mut Vec<Requirement>) -> Result<(), String> {
    let shape = || "a term is [\"<op>\", \"$<key>\", \"<value>\"] or [\"and\", term, …]".to_owned();
    let list = value.as_array().ok_or_else(shape)?;
    let Some((Value::String(operator), rest)) = list.split_first() else {
        return Err(shape());
    };
    if operator == "and" {
        if depth == DEPTH_MAX {
            return Err(format!("more than {DEPTH_MAX} `and` inside each other"));
        }
        if rest.is_empty() {
            return Err("`and` without terms".to_owned());
        }
        return rest.iter().try_for_each(|term| collect(term, depth + 1, terms));
    }
    let comparison = match operator.as_str() {
        "=" | "==" => Comparison::Equal,
        "!=" => Comparison::NotEqual,
        ">=" => Comparison::AtLeast,
        "<=" => Comparison::AtMost,
        ">" => Comparison::Above,
        "<" => Comparison::Below,
        other => return Err(format!("operator {} is unknown; known are = == != >= <= > < and", cut(other))),
    };
    let [Value::String(key), Value::String(right)] = rest else {
        return Err(shape());
    };
    let key = key.strip_prefix('$').filter(|key| !key.is_empty()).ok_or("the key must begin with $")?;
    if terms.len() == TERMS_MAX {
        return Err(format!("more than {TERMS_MAX} terms"));
    }
    terms.push(Requirement { key: key.to_owned(), comparison, value: right.clone() });
    Ok(())
}
