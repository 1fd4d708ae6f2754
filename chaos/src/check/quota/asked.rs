//! What a call asked for that was refused for a quota.

use serde_json::Value;

use super::super::model::{Span, Wish};
use super::super::rules;
use super::super::used::{Piece, at, pieces};
use super::super::witness::staging;
use crate::history::Operation;

/// What a refused call asked for, as far as that is clear.
pub(super) struct Asked {
    /// Main windows, each with what was asked for in it: instances, vCPUs of each, and staging.
    windows: Option<Vec<(Span, Vec<Piece>)>>,
    seconds: (u32, u32),
    /// Occurrences may have been left out.
    in_part: bool,
}

impl Asked {
    pub fn new(operation: &Operation, seconds: std::ops::RangeInclusive<u32>) -> Asked {
        let request = &operation.body["request"];
        let windows = Asked::windows(&operation.op, request, &seconds);
        let in_part = request["wish"]["recurrence"]["mode"] == "best_effort";
        Asked { windows, seconds: (*seconds.start(), *seconds.end()), in_part }
    }

    /// `None`: it hangs on the lease that was to be changed, or on the second that was "now".
    fn windows(op: &str, request: &Value, seconds: &std::ops::RangeInclusive<u32>) -> Option<Vec<(Span, Vec<Piece>)>> {
        let second = |value: &Value| value.as_u64().and_then(|second| u32::try_from(second).ok());
        let (wish, spans) = match op {
            "create" | "what_if" => {
                let wish = &request["wish"];
                let span = Span { start: second(&wish["start"]["at"])?, end: second(&wish["end"])? };
                (wish, vec![span])
            }
            "create_series" => (&request["wish"]["lease"], rules::occurrences(&request["wish"])?),
            _ => return None,
        };
        let of = |span: Span| {
            let mut all = Vec::new();
            for one in wish["reservations"].as_array()? {
                let asked: Wish = serde_json::from_value(one["resource"]["instance"].clone()).ok()?;
                // A window that opens at once is not known to the second.
                if one["staging"].is_object() && one["staging"]["start"].is_null() {
                    return None;
                }
                let staging = staging(&one["staging"], span.start, *seconds.start());
                all.extend(pieces(span, asked.vcpus, asked.amount, staging.map(|staging| (staging, asked.amount))));
            }
            Some((span, all))
        };
        spans.into_iter().map(of).collect()
    }

    /// Whether it may take so much at a second.
    pub fn may_take(&self, class: usize, second: u32, wanted: u64) -> bool {
        let Some(windows) = &self.windows else { return true };
        let takes: u64 = windows.iter().map(|(_, pieces)| at(pieces, second)[class]).sum();
        if self.in_part { (1..=takes).contains(&wanted) } else { takes == wanted }
    }

    /// Whether it may reach so far.
    pub fn may_reach(&self, kind: &str, wanted: u64) -> bool {
        let Some(windows) = &self.windows else { return true };
        windows.iter().any(|(span, _)| {
            let ahead = |to: u32| {
                let (early, late) = self.seconds;
                (u64::from(to.saturating_sub(late))..=u64::from(to.saturating_sub(early))).contains(&wanted)
            };
            match kind {
                "start_ahead_s" => ahead(span.start),
                "end_ahead_s" => ahead(span.end),
                _ => wanted == u64::from(span.end - span.start),
            }
        })
    }
}
