//! Whether an answer shows a lease as it is. Who asks operations is told all of a row; the edges leave out what is the ledger's own
//! affair, each other things, so that at the wire level everything that was told must be so, and no more.

use serde_json::Value;

use crate::record::Record;

/// Whether a row was told rightly.
pub fn is_shown(record: &Record, told: &Value, row: &Value) -> bool {
    if record.plan.sim.wire { is_part(told, row) } else { told == row }
}

/// Whether two answers agree: in all, or at the wire level in what both tell.
pub fn agree(record: &Record, one: &Value, other: &Value) -> bool {
    if record.plan.sim.wire { meet(one, other) } else { one == other }
}

/// Every field that was told is one of the row, with its value. Of a list of things with ids those are there that were told.
fn is_part(told: &Value, row: &Value) -> bool {
    match (told, row) {
        // A field without a value may be left out.
        (Value::Null, Value::Null) => true,
        (Value::Object(told), Value::Object(row)) => told.iter().all(|(name, value)| match row.get(name) {
            // In whole seconds, at one of the edges.
            Some(row) if name == "claimed_at" => same_second(value, row),
            // What a lease consists of is told as a whole.
            Some(row) if name == "reservations" => len(value) == len(row) && is_part(value, row),
            Some(row) => is_part(value, row),
            None => value.is_null() || value == false,
        }),
        (Value::Array(told), Value::Array(row)) if told.iter().all(|one| one["id"].is_string()) => {
            told.iter().all(|one| row.iter().any(|row| row["id"] == one["id"] && is_part(one, row)))
        }
        (told, row) => told == row,
    }
}

/// What both tell is the same.
fn meet(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            one.iter().all(|(name, value)| other.get(name).is_none_or(|other| meet(value, other)))
        }
        (Value::Array(one), Value::Array(other)) if one.iter().all(|item| item["id"].is_string()) => one.iter().all(|item| {
            let same: Vec<&Value> = other.iter().filter(|known| known["id"] == item["id"]).collect();
            same.iter().all(|known| meet(item, known))
        }),
        (one, other) => one == other,
    }
}

fn same_second(told: &Value, row: &Value) -> bool {
    told == row || told.as_u64().is_some_and(|ms| row.as_u64().is_some_and(|row| ms == row / 1_000 * 1_000))
}

fn len(list: &Value) -> Option<usize> {
    list.as_array().map(Vec::len)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::Made;
    use super::*;

    fn wire() -> Record {
        let mut record = Made::default().record();
        record.plan.sim.wire = true;
        record
    }

    #[test]
    fn all_of_a_row_is_told_or_at_the_wire_level_nothing_that_is_not_so() {
        let row = json!({"id": "a", "name": "n", "reservations": [{"id": "r", "stage": "open", "bindings": []}],
            "events": [{"id": "e", "time": 1}, {"id": "f", "time": 2}]});
        let told = json!({"id": "a", "name": "n", "reason": null, "reservations": [{"id": "r", "stage": "open"}],
            "events": [{"id": "f", "time": 2}]});
        assert!(is_shown(&wire(), &told, &row) && !is_shown(&Made::default().record(), &told, &row));
        assert!(is_shown(&Made::default().record(), &row, &row));
        let others = [
            ("/name", json!("m")),
            ("/reservations/0/stage", json!("booked")),
            ("/reservations/0/id", json!("s")),
            ("/reservations", json!([])),
            ("/events/0/time", json!(3)),
            ("/reason", json!("why")),
        ];
        for (place, value) in others {
            let mut other = told.clone();
            *other.pointer_mut(place).expect("the place is there") = value;
            assert!(!is_shown(&wire(), &other, &row), "{place}");
        }
    }

    #[test]
    fn an_instant_of_a_claim_may_be_told_in_whole_seconds() {
        let offer = |ms: Option<u64>| json!({"offer": {"expires_at": 9, "claimed_at": ms}});
        let row = offer(Some(5_432));
        assert!(is_shown(&wire(), &row, &row) && is_shown(&wire(), &offer(Some(5_000)), &row));
        assert!(!is_shown(&wire(), &offer(Some(4_000)), &row) && !is_shown(&wire(), &offer(Some(5_431)), &row));
        assert!(!is_shown(&wire(), &offer(None), &row));
    }

    #[test]
    fn two_answers_agree_in_what_both_tell() {
        let (one, other) = (json!({"id": "a", "end": 1, "list": [{"id": "r", "x": 1}]}), json!({"id": "a", "name": "n"}));
        assert!(agree(&wire(), &one, &other) && !agree(&Made::default().record(), &one, &other));
        let later = json!({"id": "a", "end": 2});
        assert!(!agree(&wire(), &one, &later));
        let other = json!({"list": [{"id": "r", "x": 2, "y": 1}]});
        assert!(!agree(&wire(), &one, &other));
    }
}
