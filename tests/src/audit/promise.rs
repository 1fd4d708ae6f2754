//! Promises held against the cloud's record.

use super::history::{History, class_of};

/// What is to become of a reservation's servers at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// They are deleted.
    Delete,
    /// They are shelved and offloaded.
    Shelve,
    /// An image of each is made, then they are deleted.
    Snapshot,
}

impl End {
    /// As the API spells it.
    pub fn name(self) -> &'static str {
        match self {
            End::Delete => "delete",
            End::Shelve => "shelve",
            End::Snapshot => "snapshot",
        }
    }
}

/// An acknowledged lease with one reservation, and what its tenant did with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promise {
    /// For people.
    pub name: String,
    /// UUID; the flavor's id too.
    pub reservation_id: String,
    /// How many instances.
    pub amount: u64,
    /// Start, ms since 1970.
    pub start_ms: u64,
    /// End, ms since 1970.
    pub end_ms: u64,
    /// What is to happen at the end.
    pub on_end: End,
    /// Servers booted in the staging window: to be parked before the start and woken at it.
    pub staged: Vec<String>,
    /// Servers booted after the start.
    pub booted: Vec<String>,
}

/// What the record says of a promise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Finding {
    /// When the promise was kept at the start: the last staged server ACTIVE again, or without staged servers all tokens open.
    pub started_ms: Option<u64>,
    /// When it was kept at the end: tokens closed and every server treated as asked.
    pub ended_ms: Option<u64>,
    /// Unshelves, shelves, snapshots and deletions beyond the one that was owed.
    pub duplicates: u64,
    /// What is wrong, for people: all of the above that is missing or too much, and everything that came too early.
    pub problems: Vec<String>,
}

/// Holds one promise against the record.
pub fn judge(promise: &Promise, history: &History) -> Finding {
    let mut finding = Finding::default();
    judge_start(promise, history, &mut finding);
    judge_end(promise, history, &mut finding);
    for server in promise.staged.iter().chain(&promise.booted) {
        count_duplicates(promise, history, server, &mut finding);
    }
    finding
}

fn judge_start(promise: &Promise, history: &History, finding: &mut Finding) {
    let mut woken = Vec::new();
    for server in &promise.staged {
        let times = history.times(server, "active", "unshelve");
        if let Some(early) = times.iter().find(|at| **at < promise.start_ms) {
            finding.problems.push(format!("server {server} woke {} ms before the start", promise.start_ms - early));
        }
        let parked = history.times(server, "shelved_offloaded", "shelve");
        if parked.first().is_none_or(|at| *at > promise.start_ms) {
            finding.problems.push(format!("server {server} was not parked before the start"));
        }
        woken.push(times.into_iter().find(|at| *at >= promise.start_ms));
    }
    let tokens = history.open_tokens(&class_of(&promise.reservation_id));
    let opened = tokens.iter().find(|(at, open)| *at >= promise.start_ms && *open >= promise.amount).map(|(at, _)| *at);
    if promise.staged.is_empty() {
        if let Some((early, _)) = tokens.iter().find(|(at, open)| *at < promise.start_ms && *open > 0) {
            finding.problems.push(format!("tokens opened {} ms before the start", promise.start_ms - early));
        }
        finding.started_ms = opened;
    } else if opened.is_some() {
        finding.started_ms = woken.into_iter().collect::<Option<Vec<u64>>>().and_then(|times| times.into_iter().max());
    }
    match finding.started_ms {
        None => finding.problems.push("its start left no effect".to_owned()),
        Some(at) if at >= promise.end_ms => {
            finding.problems.push("it started after its end".to_owned());
            finding.started_ms = None;
        }
        Some(_) => {}
    }
}

fn judge_end(promise: &Promise, history: &History, finding: &mut Finding) {
    let tokens = history.open_tokens(&class_of(&promise.reservation_id));
    let started = finding.started_ms.unwrap_or(promise.start_ms);
    if let Some((at, _)) = tokens.iter().find(|(at, open)| *at > started && *at < promise.end_ms && *open < promise.amount) {
        finding.problems.push(format!("tokens closed {} ms before the end", promise.end_ms - at));
    }
    let closed = tokens.iter().find(|(at, open)| *at >= promise.end_ms && *open == 0).map(|(at, _)| *at);
    let closed_for_good = tokens.last().is_none_or(|(_, open)| *open == 0);
    let mut ends = vec![closed.filter(|_| closed_for_good)];
    for server in promise.staged.iter().chain(&promise.booted) {
        let after = |times: Vec<u64>| times.into_iter().find(|at| *at >= promise.end_ms);
        let deleted = history.times(server, "deleted", "delete");
        if let Some(early) = deleted.iter().find(|at| **at < promise.end_ms) {
            finding.problems.push(format!("server {server} was deleted {} ms before the end", promise.end_ms - early));
        }
        ends.push(match promise.on_end {
            End::Delete => after(deleted),
            End::Shelve => after(history.times(server, "shelved_offloaded", "shelve")),
            End::Snapshot => {
                let image = history.images.get(server).and_then(|times| after(times.clone()));
                after(deleted).filter(|deleted| image.is_some_and(|image| image <= *deleted))
            }
        });
    }
    finding.ended_ms = ends.into_iter().collect::<Option<Vec<u64>>>().and_then(|times| times.into_iter().max());
    if finding.ended_ms.is_none() {
        finding.problems.push(format!("its end ({}) left no or only some effect", promise.on_end.name()));
    }
}

fn count_duplicates(promise: &Promise, history: &History, server: &str, finding: &mut Finding) {
    let staged = promise.staged.iter().any(|known| known == server);
    let owed = [
        ("unshelve", history.times(server, "active", "unshelve").len(), usize::from(staged)),
        (
            "shelve",
            history.times(server, "shelved_offloaded", "shelve").len(),
            usize::from(staged) + usize::from(promise.on_end == End::Shelve),
        ),
        ("createImage", history.image_calls.get(server).map_or(0, Vec::len), usize::from(promise.on_end == End::Snapshot)),
        ("delete", history.times(server, "deleting", "delete").len(), usize::from(promise.on_end != End::Shelve)),
    ];
    for (verb, seen, owed) in owed {
        let surplus = seen.saturating_sub(owed);
        if surplus > 0 {
            finding.duplicates += surplus as u64;
            finding.problems.push(format!("server {server}: {seen} × {verb}, {owed} owed"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::history::{ServerEvent, TokenEvent};
    use super::*;

    fn promise() -> Promise {
        Promise {
            name: "a".to_owned(),
            reservation_id: "r-1".to_owned(),
            amount: 1,
            start_ms: 10_000,
            end_ms: 20_000,
            on_end: End::Delete,
            staged: vec!["s".to_owned()],
            booted: Vec::new(),
        }
    }

    fn kept() -> History {
        let mut history = History::default();
        let token = |at_ms, open| TokenEvent { at_ms, host: "h".to_owned(), total: 1, open };
        history.tokens.insert(class_of("r-1"), vec![token(1_000, 1), token(5_000, 0), token(10_100, 1), token(20_100, 0)]);
        let event = |at_ms, what: &str, verb: &str| ServerEvent {
            at_ms,
            what: what.to_owned(),
            verb: verb.to_owned(),
            host: Some("h".to_owned()),
        };
        let life = vec![
            event(2_000, "active", "create"),
            event(6_000, "shelved_offloaded", "shelve"),
            event(10_400, "active", "unshelve"),
            event(20_200, "deleting", "delete"),
            event(20_300, "deleted", "delete"),
        ];
        history.servers.insert("s".to_owned(), life);
        history
    }

    fn push(history: &mut History, at_ms: u64, what: &str, verb: &str) {
        let event = ServerEvent { at_ms, what: what.to_owned(), verb: verb.to_owned(), host: None };
        if let Some(life) = history.servers.get_mut("s") {
            life.push(event);
        }
    }

    #[test]
    fn a_kept_promise_has_no_problems() {
        let finding = judge(&promise(), &kept());
        assert_eq!(finding, Finding { started_ms: Some(10_400), ended_ms: Some(20_300), ..Finding::default() });
    }

    #[test]
    fn a_second_unshelve_is_a_duplicate() {
        let mut history = kept();
        push(&mut history, 12_000, "active", "unshelve");
        assert_eq!(judge(&promise(), &history).duplicates, 1);
    }

    #[test]
    fn a_server_that_never_wakes_is_a_lost_start() {
        let mut history = kept();
        if let Some(life) = history.servers.get_mut("s") {
            life.retain(|event| event.verb != "unshelve");
        }
        assert_eq!(judge(&promise(), &history).started_ms, None);
    }

    #[test]
    fn tokens_left_open_are_a_lost_end() {
        let mut history = kept();
        if let Some(tokens) = history.tokens.get_mut(&class_of("r-1")) {
            tokens.pop();
        }
        assert_eq!(judge(&promise(), &history).ended_ms, None);
    }

    #[test]
    fn waking_before_the_start_is_a_problem() {
        let mut history = kept();
        push(&mut history, 9_000, "active", "unshelve");
        assert!(judge(&promise(), &history).problems.iter().any(|problem| problem.contains("before the start")));
    }

    #[test]
    fn a_snapshot_is_owed_before_the_deletion() {
        let (mut promise, mut history) = (promise(), kept());
        promise.on_end = End::Snapshot;
        assert_eq!(judge(&promise, &history).ended_ms, None);
        history.images.insert("s".to_owned(), vec![20_250]);
        assert_eq!(judge(&promise, &history).ended_ms, Some(20_300));
    }
}
