//! V3: one slow, paused or full follower does not slow writes down. V4: what is too much is refused clearly, and everything is as
//! before soon after.

use super::{Judgement, Sheet};
use crate::plan::{Fault, Target};
use crate::record::{Answered, Metered, Record};

/// How much slower the slowest hundredth of the writes may be.
const TIMES: u64 = 2;
/// Differences below this are none, nanoseconds.
const FLOOR_NS: u64 = 5_000_000;
/// Before and after a fault nothing is quiet, nanoseconds.
const MARGIN_NS: u64 = 3_000_000_000;
/// Fewer measurements say nothing of a hundredth.
const LEAST: usize = 100;
/// After so long a burst must be over and forgotten, nanoseconds.
const RECOVERS_NS: u64 = 10_000_000_000;
/// Then a write takes less than this, nanoseconds.
const PROMPT_NS: u64 = 1_000_000_000;
/// Commands of a burst that may be under way when the time of their callers is over: what becomes of them nobody knows.
const UNDER_WAY: usize = 4 * 256;

struct Window<'r> {
    fault: &'r Fault,
    from_ns: u64,
    until_ns: u64,
}

fn windows(record: &Record) -> Vec<Window<'_>> {
    let began = record.incidents.iter().find(|incident| incident.what == "phase" && incident.text == "faults");
    let began_ns = began.map_or(0, |incident| incident.at_ns);
    let window = |planned: &'_ crate::plan::Planned| began_ns + planned.at_ms * 1_000_000;
    record
        .plan
        .faults
        .iter()
        .map(|planned| {
            let from_ns = window(planned);
            Window { fault: &planned.fault, from_ns, until_ns: from_ns + planned.fault.lasts_ms() * 1_000_000 }
        })
        .collect()
}

fn hits_one_follower(fault: &Fault) -> bool {
    matches!(
        fault,
        Fault::Pause { target: Target::Follower(_), .. }
            | Fault::DiskFull { target: Target::Follower(_), .. }
            | Fault::DiskSlow { target: Target::Follower(_), .. }
    )
}

/// The slowest hundredth begins here.
fn p99(mut took: Vec<u64>) -> Option<u64> {
    took.sort_unstable();
    (took.len() >= LEAST).then(|| took[(took.len() * 99).div_ceil(100) - 1])
}

/// V3.
pub fn steady(record: &Record) -> Judgement {
    let mut sheet = Sheet::default();
    let all = windows(record);
    let phase = |text: &str| record.incidents.iter().find(|incident| incident.what == "phase" && incident.text.starts_with(text));
    let from_ns = phase("faults").map_or(0, |incident| incident.at_ns);
    let until_ns = phase("the core is ").map_or(u64::MAX, |incident| incident.at_ns);
    let near = |window: &Window<'_>, at_ns: u64| at_ns + MARGIN_NS >= window.from_ns && at_ns <= window.until_ns + MARGIN_NS;
    let took = |of: &dyn Fn(&Metered) -> bool| -> Vec<u64> {
        let even = record.metered.iter().filter(|one| !one.burst && (from_ns..until_ns).contains(&one.at_ns));
        even.filter(|one| of(one)).map(|one| one.took_ns).collect()
    };
    let Some(quiet) = p99(took(&|one| !all.iter().any(|window| near(window, one.at_ns)))) else {
        // Most runs are not measured.
        return sheet.close("V3");
    };
    for window in all.iter().filter(|window| hits_one_follower(window.fault)) {
        let others = all.iter().filter(|other| other.from_ns != window.from_ns);
        if others.clone().any(|other| other.from_ns <= window.until_ns && window.from_ns <= other.until_ns) {
            continue;
        }
        let Some(slow) = p99(took(&|one| (window.from_ns..window.until_ns).contains(&one.at_ns))) else { continue };
        let most = TIMES * quiet + FLOOR_NS;
        sheet.must(slow <= most, || {
            let (kind, from, quiet) = (window.fault.kind(), window.from_ns, quiet / 1_000);
            format!("with one follower hit by {kind} at {from} ns a write takes {} us, without {quiet} us (p99)", slow / 1_000)
        });
    }
    sheet.close("V3")
}

/// V4.
pub fn sheds(record: &Record) -> Judgement {
    let mut sheet = Sheet::default();
    for window in windows(record).iter().filter(|window| matches!(window.fault, Fault::Burst { .. })) {
        let asked: Vec<&Metered> =
            record.metered.iter().filter(|one| one.burst && (window.from_ns..=window.until_ns).contains(&one.at_ns)).collect();
        let many = |answer: Answered| asked.iter().filter(|one| one.answer == answer).count();
        let never = many(Answered::Never);
        sheet.must(never == 0, || format!("{never} of {} writes of a burst have no answer", asked.len()));
        let unknown = many(Answered::Unknown);
        sheet.must(unknown <= UNDER_WAY, || {
            format!("of {} writes of a burst {unknown} ended with nobody knowing how, {UNDER_WAY} can be under way", asked.len())
        });
        if asked.is_empty() {
            sheet.unknown("a burst was planned and nothing was asked");
        }
        let until = window.until_ns + RECOVERS_NS;
        let after = |one: &&Metered| !one.burst && (until..until + RECOVERS_NS).contains(&one.at_ns);
        let bad = record.metered.iter().filter(after).find(|one| one.answer != Answered::Ok || one.took_ns > PROMPT_NS);
        sheet.must(bad.is_none(), || format!("10 s after a burst it is not as before: {bad:?}"));
    }
    sheet.close("V4")
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Made, incident};
    use super::*;
    use crate::plan::Planned;
    use crate::report::Verdict;

    const S: u64 = 1_000_000_000;

    fn metered(at_ns: u64, took_ns: u64) -> Metered {
        Metered { at_ns, took_ns, node: 1, burst: false, answer: Answered::Ok }
    }

    fn record(fault: Fault, change: impl FnOnce(&mut Vec<Metered>)) -> Record {
        let mut record = Made { incidents: vec![incident(None, 0, "phase", "faults")], ..Made::default() }.record();
        record.plan.faults = vec![Planned { at_ms: 60_000, fault }];
        record.metered = (0..1_200).map(|n| metered(n * S / 10, 8_000_000)).collect();
        change(&mut record.metered);
        record
    }

    fn slow(target: Target) -> Fault {
        Fault::DiskSlow { target, times: 50, for_ms: 20_000 }
    }

    #[test]
    fn writes_as_quick_as_before_pass_and_slower_ones_fire() {
        assert_eq!(steady(&record(slow(Target::Follower(0)), |_| ())).verdict, Verdict::Pass);
        assert_eq!(steady(&record(slow(Target::Follower(0)), |_| ())).looked_at, 1);
        let slower = |lines: &mut Vec<Metered>| {
            lines.iter_mut().filter(|one| (60 * S..80 * S).contains(&one.at_ns)).for_each(|one| one.took_ns = 30_000_000);
        };
        let judgement = steady(&record(slow(Target::Follower(0)), slower));
        assert_eq!(judgement.verdict, Verdict::Violation);
        assert!(judgement.evidence[0].contains("disk_slow"), "{judgement:?}");
        // A slow leader is another matter.
        assert_eq!(steady(&record(slow(Target::Leader), slower)).looked_at, 0);
    }

    fn burst(change: impl FnOnce(&mut Vec<Metered>)) -> Judgement {
        sheds(&record(Fault::Burst { many: 5_000, times: 1, for_ms: 10_000 }, |lines| {
            lines.extend((0..5_000).map(|_| Metered { burst: true, answer: Answered::Refused, ..metered(60 * S, 10 * S) }));
            change(lines);
        }))
    }

    #[test]
    fn a_burst_that_is_refused_clearly_and_forgotten_passes() {
        assert_eq!(burst(|_| ()).verdict, Verdict::Pass);
        assert_eq!(sheds(&record(Fault::Transfer, |_| ())).looked_at, 0);
    }

    #[test]
    fn a_burst_without_answers_or_with_a_long_memory_fires() {
        let answered = |lines: &mut Vec<Metered>, many: usize, answer: Answered| {
            lines.iter_mut().filter(|one| one.burst).take(many).for_each(|one| one.answer = answer);
        };
        assert_eq!(burst(|lines| answered(lines, 1, Answered::Never)).verdict, Verdict::Violation);
        assert_eq!(burst(|lines| answered(lines, UNDER_WAY, Answered::Unknown)).verdict, Verdict::Pass);
        assert_eq!(burst(|lines| answered(lines, UNDER_WAY + 1, Answered::Unknown)).verdict, Verdict::Violation);
        let late = burst(|lines| lines.iter_mut().filter(|one| one.at_ns == 85 * S).for_each(|one| one.took_ns = 2 * S));
        assert!(late.evidence[0].contains("not as before"), "{late:?}");
        let refused = |lines: &mut Vec<Metered>| {
            lines.iter_mut().filter(|one| one.at_ns == 85 * S).for_each(|one| one.answer = Answered::Refused);
        };
        assert_eq!(burst(refused).verdict, Verdict::Violation);
        assert_eq!(burst(|lines| lines.retain(|one| !one.burst)).verdict, Verdict::Unknown);
    }
}
