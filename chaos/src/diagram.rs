//! A run as text: who said what to whom, when. A lane for the clients, for each node and for the cloud; an arrow for a message
//! as it arrives; what happened to the cluster in between.
//!
//! ```text
//!  time s     clients     node 1      node 2      node 3       cloud
//!   4.201000     │           ├─vote─────▶│           │           │    term 3
//!   4.203000     │           │◀──────────┤           │           │    vote answer granted in term 3
//!   4.203000     │           ★           │           │           │    node 1 leads term 3
//!   4.231000     │           ├─append───────────────▶│           │    appends 9..=9 in term 3, committed 8
//! ```
//! A lane is `┃` while its node leads, `│` while it runs otherwise, `╎` while it is held still, and empty while it is down. What
//! repeats and tells little (heartbeats, looks at clocks, syncs, reads of the cloud) is counted and not drawn, but with `all`.

use std::collections::{BTreeMap, BTreeSet};

use crate::sim::network::{CLIENTS, CLOUD};

/// Columns of a lane.
const WIDE: usize = 12;
/// Columns before the first lane.
const LEFT: usize = 17;
/// What was folded is told once a stretch was silent for so long.
const SILENCE_NS: u64 = 500_000_000;
/// Marks that have a node and no message; the other figures of theirs are no places.
const OWN: [&str; 6] = ["disk sync", "disk write", "disk failed", "state", "watched", "operation"];
/// Messages that are folded.
const DULL: [&str; 5] = ["append", "clock", "health", "read index", "stream"];

/// What is to be shown of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// From this time on, nanoseconds after the run's start.
    pub from_ns: u64,
    /// Until then.
    pub until_ns: u64,
    /// Every message.
    pub all: bool,
}

/// How a lane looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lane {
    Down,
    Runs,
    Leads,
    Still,
}

/// The diagram in the making: it is told what happens, in order, and gives the lines to print.
#[derive(Debug)]
pub struct Diagram {
    view: View,
    nodes: u64,
    lanes: BTreeMap<u64, Lane>,
    /// Nodes that joined later; they have no lane.
    joined: BTreeSet<u64>,
    folded: BTreeMap<String, u64>,
    shown_ns: u64,
    headed: bool,
}

impl Diagram {
    /// For a cluster of so many nodes, numbered from 1.
    #[must_use]
    pub fn new(view: View, nodes: u32) -> Diagram {
        let nodes = u64::from(nodes);
        let lanes = (1..=nodes).map(|node| (node, Lane::Down)).chain([(CLIENTS, Lane::Runs), (CLOUD, Lane::Runs)]);
        let (lanes, shown_ns) = (lanes.collect(), view.from_ns);
        Diagram { view, nodes, lanes, joined: BTreeSet::new(), folded: BTreeMap::new(), shown_ns, headed: false }
    }

    /// A mark of the trace: a message from one place to another, or something on one node. `detail`: what it says.
    pub fn mark(&mut self, at_ns: u64, what: &str, from: u64, to: u64, detail: &str) -> Vec<String> {
        let own = OWN.contains(&what);
        let known = |place| self.lanes.contains_key(&place) || self.joined.contains(&place);
        let message = !own && from != to && known(from) && known(to);
        // Operations, incidents and findings are told with their text.
        if what == "operation" || !(own || message) {
            return Vec::new();
        }
        // An answer names what it answers.
        let (name, detail) = match what {
            "answer" => detail.split_once(": ").map_or((detail, ""), |(name, detail)| (name, detail)),
            _ => ("", detail),
        };
        let answer = format!("{name} answer");
        let what = if what == "answer" { answer.as_str() } else { what };
        if !self.view.all && (own || dull(what, detail)) {
            *self.folded.entry(folded(what).to_owned()).or_default() += 1;
            return Vec::new();
        }
        let row = match message {
            false if self.joined.contains(&from) => self.plain(&format!("{}: {what}", named(from))),
            false => self.dot(from, '•', what),
            true if self.joined.contains(&from) || self.joined.contains(&to) => {
                self.plain(&format!("{} to {}: {} {detail}", named(from), named(to), label(what)))
            }
            true => self.arrow(label(what), from, to, detail),
        };
        self.lines(at_ns, row)
    }

    /// Something that happened to the cluster.
    pub fn incident(&mut self, at_ns: u64, node: Option<u64>, what: &str, text: &str) -> Vec<String> {
        let sign = match what {
            "crash" | "ended" => '✗',
            "leads" => '★',
            "start" => '○',
            _ => '◆',
        };
        let row = match node {
            Some(node) => self.dot(node, sign, &format!("node {node} {what} {text}")),
            None if what == "phase" => {
                let mut row = self.rails();
                row.iter_mut().skip(LEFT - 5).for_each(|c| *c = if *c == ' ' { '═' } else { '╪' });
                row.iter().collect::<String>() + "══ " + text
            }
            None => self.plain(&format!("◆ {what} {text}")),
        };
        if let Some(node) = node {
            let lane = match what {
                "start" | "resume" => Some(Lane::Runs),
                "crash" | "ended" => Some(Lane::Down),
                "pause" => Some(Lane::Still),
                "leads" => {
                    self.lanes.values_mut().filter(|lane| **lane == Lane::Leads).for_each(|lane| *lane = Lane::Runs);
                    Some(Lane::Leads)
                }
                _ => None,
            };
            match (lane, self.lanes.get_mut(&node)) {
                (Some(lane), Some(known)) => *known = lane,
                (Some(Lane::Runs), None) => drop(self.joined.insert(node)),
                _ => {}
            }
        }
        self.lines(at_ns, row)
    }

    /// What somebody does, in words.
    pub fn remark(&mut self, at_ns: u64, place: u64, text: &str) -> Vec<String> {
        let row = self.dot(place, '•', text);
        self.lines(at_ns, row)
    }

    /// A property that did not hold.
    pub fn finding(&mut self, at_ns: u64, check: &str, text: &str) -> Vec<String> {
        let row = self.plain(&format!("!!! {check}: {text}"));
        self.lines(at_ns, row)
    }

    fn column(&self, place: u64) -> usize {
        let lane = match place {
            CLIENTS => 0,
            CLOUD => self.nodes + 1,
            node => node,
        };
        LEFT + usize::try_from(lane).unwrap_or(0) * WIDE
    }

    fn rails(&self) -> Vec<char> {
        let mut row = vec![' '; self.column(CLOUD) + 5];
        for (place, lane) in &self.lanes {
            row[self.column(*place)] = match lane {
                Lane::Down => ' ',
                Lane::Runs => '│',
                Lane::Leads => '┃',
                Lane::Still => '╎',
            };
        }
        row
    }

    fn plain(&self, text: &str) -> String {
        self.rails().into_iter().collect::<String>() + text
    }

    fn dot(&self, place: u64, sign: char, text: &str) -> String {
        let mut row = self.rails();
        // Whoever joined later has no lane.
        if self.lanes.contains_key(&place) {
            row[self.column(place)] = sign;
        }
        row.into_iter().collect::<String>() + text
    }

    fn arrow(&self, what: &str, from: u64, to: u64, detail: &str) -> String {
        let mut row = self.rails();
        let (source, target) = (self.column(from), self.column(to));
        let (low, high) = (source.min(target), source.max(target));
        row[low + 1..high].fill('─');
        row[source] = if source < target { '├' } else { '┤' };
        let gone = matches!(what, "lost" | "broke" | "reset");
        let head = match (gone, source < target) {
            (true, _) => '✗',
            (false, true) => '▶',
            (false, false) => '◀',
        };
        let tip = if source < target { high - 1 } else { low + 1 };
        row[tip] = head;
        // The words stand beside the source, so that they are read in the direction of the arrow.
        let label: Vec<char> = what.chars().collect();
        let room = high - low - 3;
        if label.len() <= room {
            let begin = if source < target { low + 2 } else { high - 1 - label.len() };
            row[begin..begin + label.len()].copy_from_slice(&label);
            return row.into_iter().collect::<String>() + detail;
        }
        row.into_iter().collect::<String>() + what + " " + detail
    }

    /// The row at its time, after what was folded in a silence before it, and after the heading.
    fn lines(&mut self, at_ns: u64, row: String) -> Vec<String> {
        if !(self.view.from_ns..=self.view.until_ns).contains(&at_ns) {
            self.folded.clear();
            return Vec::new();
        }
        let mut lines = Vec::new();
        if !self.headed {
            self.headed = true;
            lines.push(self.heading());
        }
        if at_ns.saturating_sub(self.shown_ns) >= SILENCE_NS && !self.folded.is_empty() {
            let counts: Vec<String> = self.folded.iter().map(|(what, count)| format!("{count} {what}")).collect();
            let rails: String = self.rails().into_iter().skip(13).collect();
            lines.push(format!("            ⋮{rails}⋮ {}", counts.join(", ")));
            self.folded.clear();
        }
        self.shown_ns = at_ns;
        let row: String = row.chars().skip(13).collect();
        lines.push(format!("{:>12.6} {}", at_ns as f64 / 1e9, row.trim_end()));
        lines
    }

    fn heading(&self) -> String {
        let mut row = vec![' '; self.column(CLOUD) + 5];
        let places = (1..=self.nodes).map(|node| (node, format!("node {node}")));
        for (place, name) in places.chain([(CLIENTS, "clients".to_owned()), (CLOUD, "cloud".to_owned())]) {
            let begin = self.column(place) - name.len() / 2;
            drop(row.splice(begin..begin + name.len(), name.chars()));
        }
        let row: String = row.into_iter().skip(13).collect();
        format!("      time s {}", row.trim_end())
    }
}

/// A place in words.
fn named(place: u64) -> String {
    match place {
        CLIENTS => "clients".to_owned(),
        CLOUD => "cloud".to_owned(),
        node => format!("node {node}"),
    }
}

/// Whether a message tells little: what the leader says again and again, and reads of the cloud.
fn dull(what: &str, detail: &str) -> bool {
    // What was lost names the message that was.
    let subject = if matches!(what, "lost" | "broke" | "reset") { detail } else { what };
    let subject = subject.strip_suffix(" answer").unwrap_or(subject);
    DULL.contains(&subject) || (subject == "frame" && detail.is_empty()) || (subject == "http" && detail.starts_with("GET"))
}

/// What a message is called: entries travel in frames of a stream, and a call that appends nothing is a heartbeat.
fn label(what: &str) -> &str {
    match what {
        "frame" => "append",
        "append" => "heartbeat",
        "append answer" => "beat answer",
        what => what,
    }
}

fn folded(what: &str) -> &str {
    match what.strip_suffix(" answer").unwrap_or(what) {
        "lost" | "broke" | "reset" => "lost messages of these kinds",
        "append" => "heartbeats and their answers",
        "stream" => "openings of a stream",
        "frame" => "empty appends and acknowledgements",
        "http" => "reads of the cloud and their answers",
        what => what,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diagram(all: bool) -> Diagram {
        let mut diagram = Diagram::new(View { from_ns: 0, until_ns: 60_000_000_000, all }, 3);
        for node in 1..=3 {
            drop(diagram.incident(0, Some(node), "start", "life 1"));
        }
        diagram
    }

    #[test]
    fn an_arrow_leads_from_lane_to_lane_and_says_what() {
        let mut diagram = diagram(false);
        let lines = diagram.mark(1_500_000, "vote", 1, 2, "term 3");
        assert_eq!(lines, ["    0.001500     │           ├─vote─────▶│           │           │    term 3"]);
        let lines = diagram.mark(2_000_000, "answer", 2, 1, "vote: granted");
        assert_eq!(lines, ["    0.002000     │           │◀──────────┤           │           │    vote answer granted"]);
        let lines = diagram.mark(2_000_000, "lost", 3, CLIENTS, "");
        assert_eq!(lines, [format!("    0.002000     │✗{}lost─┤           │", "─".repeat(29))]);
    }

    #[test]
    fn a_lane_shows_what_its_node_does() {
        let mut diagram = diagram(false);
        let rails = |diagram: &mut Diagram| {
            diagram.remark(1, CLIENTS, "").concat().trim_start_matches(|c: char| !"•".contains(c)).to_owned()
        };
        drop(diagram.incident(1, Some(2), "leads", "term 1"));
        drop(diagram.incident(1, Some(3), "crash", "Kill"));
        drop(diagram.incident(1, Some(1), "pause", ""));
        assert_eq!(rails(&mut diagram), "•           ╎           ┃                       │");
        drop(diagram.incident(1, Some(1), "resume", ""));
        drop(diagram.incident(1, Some(1), "leads", "term 2"));
        assert_eq!(rails(&mut diagram), "•           ┃           │                       │");
    }

    #[test]
    fn what_repeats_is_counted_and_told_after_a_silence() {
        let mut diagram = diagram(false);
        for at in 1..=4 {
            assert!(diagram.mark(at * 100_000_000, "append", 1, 2, "").is_empty());
            assert!(diagram.mark(at * 100_000_000, "disk sync", 1, 9, "").is_empty());
        }
        let lines = diagram.mark(900_000_000, "forward", 2, 1, "");
        assert_eq!(lines.len(), 2);
        assert!(lines[0].contains("4 heartbeats") && lines[0].contains("4 disk sync"), "{lines:?}");
        assert_eq!(self::diagram(true).mark(1, "append", 1, 2, "").len(), 1);
    }

    #[test]
    fn only_the_stretch_that_is_asked_for_is_shown() {
        let mut diagram = Diagram::new(View { from_ns: 10, until_ns: 20, all: false }, 3);
        assert!(diagram.incident(5, Some(1), "start", "").is_empty());
        assert!(diagram.mark(9, "vote", 1, 2, "").is_empty());
        let lines = diagram.finding(10, "L1", "twice");
        assert!(lines[0].contains("clients") && lines[0].contains("node 3") && lines[1].contains("!!! L1: twice"), "{lines:?}");
        assert!(diagram.mark(21, "vote", 1, 2, "").is_empty());
        // A node that joined later has no lane, and is told of all the same.
        assert!(diagram.incident(12, Some(9), "leads", "term 4").concat().contains("node 9 leads term 4"));
        assert!(diagram.mark(13, "vote", 9, 1, "term 5").is_empty(), "nobody of that name has started");
        drop(diagram.incident(13, Some(9), "start", "life 1"));
        assert!(diagram.mark(14, "vote", 9, 1, "term 5").concat().ends_with("node 9 to node 1: vote term 5"));
        assert!(diagram.mark(15, "answer", CLOUD, 9, "http: 200").concat().ends_with("cloud to node 9: http answer 200"));
    }
}
