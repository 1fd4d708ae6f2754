//! What a recurrence comes to: the occurrences of an RFC 5545 rule as seconds of the calendar. Pure.
//!
//! The rule runs by the clocks of its time zone, so `rrule` is given times without a zone; where the zone's clocks are then is
//! `chrono-tz`'s to say. A time that the clocks leave out is no occurrence and is not counted (RFC 5545 §3.3.10); one that comes
//! twice is the first of the two (§3.3.5). Each occurrence is as many seconds long as the first (§3.8.5.3, a `DTEND`).

use chrono::{DateTime, LocalResult, NaiveDateTime, TimeZone, Utc};
use chrono_tz::Tz;
use leasehold_ledger::command::SeriesWish;
use leasehold_ledger::model::{OCCURRENCES_MAX, Occurrence, Seconds};
use leasehold_ledger::plan::check_series_wish;
use leasehold_ledger::reply::Rejection;
use rrule::{Frequency, NWeekday, RRule, RRuleSet, Unvalidated, Validated};

/// Parts of a rule that are taken. `COUNT` and `UNTIL` are counted here, for they concern what the zone makes of the rule.
const PARTS: [&str; 11] =
    ["FREQ", "INTERVAL", "BYMONTH", "BYMONTHDAY", "BYYEARDAY", "BYWEEKNO", "BYDAY", "BYHOUR", "BYMINUTE", "BYSETPOS", "WKST"];
/// Times of one day that a rule may name: hours times minutes.
const TIMES_A_DAY_MAX: usize = 96;

/// The occurrences of a series, by number.
///
/// # Errors
/// Those of [`check_series_wish`]; `Invalid` (`recurrence.rule`, `recurrence.time_zone`, `start`); `EndBeyondCalendar`.
pub(super) fn occurrences(wish: &SeriesWish) -> Result<Vec<Occurrence>, Rejection> {
    let (first, length) = check_series_wish(wish)?;
    let zone = zone(&wish.recurrence.time_zone)?;
    let begin = in_zone(first, zone)?;
    let Rule { rule, bound } = Rule::read(&wish.recurrence.rule, begin)?;
    let mut found: Vec<Occurrence> = Vec::new();
    for date in &dates(rule, begin) {
        let wall = date.naive_utc();
        // The first may be the second of two that read the same.
        let start = if found.is_empty() { is_first(wall, begin).map(|()| Some(first))? } else { on_calendar(wall, zone)? };
        let Some(start) = start.filter(|start| found.last().is_none_or(|last| last.start < *start)) else { continue };
        if bound.is_over(start) {
            let early = || bad_rule("UNTIL lies before the start, so that there is no occurrence".to_owned());
            return if found.is_empty() { Err(early()) } else { Ok(found) };
        }
        if found.len() == OCCURRENCES_MAX {
            return Err(bad_rule(format!("it gives more than {OCCURRENCES_MAX} occurrences: ask for several series")));
        }
        let end = start.0.checked_add(length).map(Seconds).filter(|end| *end <= Seconds::LAST);
        let number = u32::try_from(found.len() + 1).unwrap_or(u32::MAX);
        found.push(Occurrence { number, start, end: end.ok_or(Rejection::EndBeyondCalendar)? });
        if bound == Bound::Count(found.len()) {
            return Ok(found);
        }
    }
    match bound {
        Bound::Until(_) if !found.is_empty() => Ok(found),
        Bound::Until(_) | Bound::Count(_) => {
            Err(bad_rule(format!("it gives {} occurrences and then none for too long to look further", found.len())))
        }
    }
}

/// What a rule gives from a time on, as the clocks of the zone show it. Limited: a rule that finds nothing for too long ends.
fn dates(rule: RRule<Validated>, begin: NaiveDateTime) -> RRuleSet {
    RRuleSet::new(begin.and_utc().with_timezone(&rrule::Tz::UTC)).rrule(rule).limit()
}

/// The occurrences of the same series from another second on, or from the first one after that which its rule gives; `None` where there is
/// none, or nothing to ask for.
pub(super) fn occurrences_from(wish: &SeriesWish, at: Seconds) -> Option<Vec<Occurrence>> {
    let begun = |at: Seconds| occurrences(&wish.started_at(at)).ok();
    begun(at).or_else(|| begun(first_from(wish, at)?))
}

/// The first second from one on, by the clocks of the zone, that the rule gives.
fn first_from(wish: &SeriesWish, at: Seconds) -> Option<Seconds> {
    let zone = zone(&wish.recurrence.time_zone).ok()?;
    let begin = in_zone(at, zone).ok()?;
    let Rule { rule, .. } = Rule::read(&wish.recurrence.rule, begin).ok()?;
    let first = dates(rule, begin).into_iter().next()?;
    on_calendar(first.naive_utc(), zone).ok()?.filter(|first| *first > at)
}

/// How far a rule goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bound {
    /// So many occurrences.
    Count(usize),
    /// Not after this second since 1970.
    Until(i64),
}

impl Bound {
    fn is_over(self, start: Seconds) -> bool {
        match self {
            Bound::Count(_) => false,
            Bound::Until(last) => i64::try_from(start.unix_s()).is_ok_and(|start| start > last),
        }
    }
}

/// A rule without its bound, and that.
struct Rule {
    rule: RRule<Validated>,
    bound: Bound,
}

impl Rule {
    fn read(text: &str, begin: NaiveDateTime) -> Result<Rule, Rejection> {
        // The crate takes values apart by bytes.
        if let Some(odd) = text.chars().find(|c| !c.is_ascii() || c.is_ascii_control()) {
            return Err(bad_rule(format!(
                "it has the character {odd:?}; a rule is plain ASCII, as FREQ=WEEKLY;BYDAY=MO,WE;COUNT=10"
            )));
        }
        let (mut count, mut until, mut kept) = (None, None, Vec::new());
        let mut seen = Vec::new();
        for part in text.split(';') {
            let right = "it must be parts as in FREQ=WEEKLY;BYDAY=MO,WE;COUNT=10";
            let (name, value) = part.split_once('=').ok_or_else(|| bad_rule(format!("{} has no value; {right}", shown(part))))?;
            let name = name.to_ascii_uppercase();
            if seen.contains(&name) {
                return Err(bad_rule(format!("{name} is given twice")));
            }
            match name.as_str() {
                "COUNT" => count = Some(read_count(value)?),
                "UNTIL" => until = Some(read_until(value)?),
                "BYDAY" => {
                    check_days(value)?;
                    kept.push(format!("{name}={value}"));
                }
                known if PARTS.contains(&known) => kept.push(format!("{name}={value}")),
                "BYSECOND" => {
                    return Err(bad_rule("BYSECOND is not supported: occurrences keep the second of the start".to_owned()));
                }
                _ => return Err(bad_rule(format!("{} is no part of a rule; {right}", shown(&name)))),
            }
            seen.push(name);
        }
        let bound = match (count, until) {
            (Some(count), None) => Bound::Count(count),
            (None, Some(until)) => Bound::Until(until),
            (None, None) => return Err(bad_rule("it never ends; it must say COUNT or UNTIL".to_owned())),
            (Some(_), Some(_)) => return Err(bad_rule("it says COUNT and UNTIL; it must say one of them".to_owned())),
        };
        let parsed: Result<RRule<Unvalidated>, _> = kept.join(";").parse();
        let refused = |error: rrule::RRuleError| bad_rule(error.to_string());
        let rule = parsed.map_err(refused)?.validate(begin.and_utc().with_timezone(&rrule::Tz::UTC)).map_err(refused)?;
        check(&rule)?;
        Ok(Rule { rule, bound })
    }
}

/// Days, all with a number or all without. The crate drops numbers that it does not read, and asks for both where they are mixed.
fn check_days(value: &str) -> Result<(), Rejection> {
    const DAYS: [&str; 7] = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"];
    let mut numbered = [false; 2];
    for day in value.split(',') {
        let upper = day.to_ascii_uppercase();
        let name = DAYS.iter().find_map(|name| upper.strip_suffix(name));
        let number = name.map(|number| number.strip_prefix(['+', '-']).unwrap_or(number));
        let is_number = |text: &str| {
            text.len() <= 2 && text.parse::<u8>().is_ok_and(|n| (1..=53).contains(&n)) && !text.starts_with(['+', '0'])
        };
        let right = name == Some("") || number.is_some_and(is_number);
        if !right {
            let problem =
                format!("BYDAY has {}; its days must be as MO, or with numbers from 1 to 53 as 2MO and -1FR", shown(day));
            return Err(bad_rule(problem));
        }
        numbered[usize::from(name != Some(""))] = true;
    }
    if numbered == [true, true] {
        return Err(bad_rule("BYDAY has days with and without numbers; it must have one kind".to_owned()));
    }
    Ok(())
}

/// What the crate takes and gives no sense to, or takes too long for.
fn check(rule: &RRule<Validated>) -> Result<(), Rejection> {
    if rule.get_freq() == Frequency::Secondly {
        return Err(bad_rule("FREQ=SECONDLY is not supported; MINUTELY and longer are".to_owned()));
    }
    if rule.get_interval() == 0 {
        return Err(bad_rule("INTERVAL is 0; it must be >= 1".to_owned()));
    }
    let counted = rule.get_by_weekday().iter().any(|day| matches!(day, NWeekday::Nth(..)));
    if counted && !matches!(rule.get_freq(), Frequency::Monthly | Frequency::Yearly) {
        return Err(bad_rule("BYDAY may have numbers, as in 2MO, with FREQ=MONTHLY and YEARLY only".to_owned()));
    }
    // The crate goes on from the first minute that it carries into a named hour.
    let by_minutes = rule.get_freq() == Frequency::Minutely && !rule.get_by_hour().is_empty();
    if by_minutes && !60_u16.is_multiple_of(rule.get_interval()) {
        let problem = format!("FREQ=MINUTELY with BYHOUR has the INTERVAL {}; it must divide 60", rule.get_interval());
        return Err(bad_rule(problem));
    }
    let times = rule.get_by_hour().len().max(1) * rule.get_by_minute().len().max(1);
    if times > TIMES_A_DAY_MAX {
        return Err(bad_rule(format!("it names {times} times of a day; at most {TIMES_A_DAY_MAX} are allowed")));
    }
    Ok(())
}

fn read_count(value: &str) -> Result<usize, Rejection> {
    let count = value.parse::<usize>().ok().filter(|count| (1..=OCCURRENCES_MAX).contains(count));
    count.ok_or_else(|| bad_rule(format!("COUNT is {}; it must be from 1 to {OCCURRENCES_MAX}", shown(value))))
}

/// RFC 5545 §3.3.10: in UTC where the start has a zone.
fn read_until(value: &str) -> Result<i64, Rejection> {
    let until = NaiveDateTime::parse_from_str(value, "%Y%m%dT%H%M%SZ").map(|until| until.and_utc().timestamp());
    until.map_err(|_| bad_rule(format!("UNTIL is {}; it must be a time in UTC, as in 20270131T225959Z", shown(value))))
}

fn zone(name: &str) -> Result<Tz, Rejection> {
    name.parse().map_err(|_| {
        invalid("recurrence.time_zone", format!("{} is no time zone; it must be an IANA name, as in Europe/Berlin", shown(name)))
    })
}

/// What the zone's clocks show.
fn in_zone(second: Seconds, zone: Tz) -> Result<NaiveDateTime, Rejection> {
    let utc = i64::try_from(second.unix_s()).ok().and_then(|unix_s| DateTime::<Utc>::from_timestamp(unix_s, 0));
    Ok(utc.ok_or(Rejection::EndBeyondCalendar)?.with_timezone(&zone).naive_local())
}

/// The second at which the zone's clocks show this; `None` when they never do.
fn on_calendar(wall: NaiveDateTime, zone: Tz) -> Result<Option<Seconds>, Rejection> {
    let unix_s = match zone.from_local_datetime(&wall) {
        LocalResult::None => return Ok(None),
        LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => at.timestamp(),
    };
    Seconds::from_unix_s(unix_s).map(Some).ok_or(Rejection::EndBeyondCalendar)
}

fn is_first(wall: NaiveDateTime, begin: NaiveDateTime) -> Result<(), Rejection> {
    if wall == begin {
        return Ok(());
    }
    let text = |at: NaiveDateTime| at.format("%a %Y-%m-%d %H:%M:%S").to_string();
    let problem = format!(
        "{} is none that the rule gives in its time zone; the first that it gives from there on is {}",
        text(begin),
        text(wall)
    );
    Err(invalid("start", problem))
}

fn bad_rule(problem: String) -> Rejection {
    invalid("recurrence.rule", problem)
}

fn invalid(field: &str, problem: String) -> Rejection {
    Rejection::Invalid { field: field.to_owned(), problem }
}

/// As much of a value as an error tells.
fn shown(value: &str) -> String {
    const CHARS: usize = 40;
    let cut: String = value.chars().take(CHARS).collect();
    if cut.len() < value.len() { format!("{cut:?}...") } else { format!("{cut:?}") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use leasehold_ledger::command::{BeforeEndWish, LeaseWish, Recurrence, StartWish};
    use leasehold_ledger::model::{ProjectId, SeriesMode, UserId};

    use super::*;

    fn wish(start: &str, minutes: u32, rule: &str, time_zone: &str) -> SeriesWish {
        let start = DateTime::parse_from_rfc3339(start).unwrap().timestamp();
        let start = Seconds::from_unix_s(start).unwrap();
        let lease = LeaseWish {
            name: "a".to_owned(),
            project_id: ProjectId("p".into()),
            user_id: UserId("u".into()),
            start: StartWish::At(start),
            end: start.plus(60 * minutes),
            before_end: BeforeEndWish::Never,
            reservations: Vec::new(),
            offer: None,
            wait: None,
            precedence: Default::default(),
            expiry_s: None,
            ignore_quota: false,
        };
        let recurrence = Recurrence { rule: rule.to_owned(), time_zone: time_zone.to_owned(), mode: SeriesMode::AllOrNothing };
        SeriesWish { lease, recurrence }
    }

    /// Starts, in UTC; the length is checked.
    fn starts(start: &str, rule: &str, time_zone: &str) -> Vec<String> {
        let found = occurrences(&wish(start, 90, rule, time_zone)).unwrap();
        for (place, one) in (1..).zip(&found) {
            assert_eq!((one.number, one.end), (place, one.start.plus(90 * 60)));
        }
        let text = |at: Seconds| DateTime::from_timestamp(at.unix_s() as i64, 0).unwrap().format("%m-%d %H:%M").to_string();
        found.into_iter().map(|one| text(one.start)).collect()
    }

    fn refused(start: &str, rule: &str, time_zone: &str) -> String {
        occurrences(&wish(start, 90, rule, time_zone)).unwrap_err().to_string()
    }

    #[test]
    fn a_meeting_at_nine_stays_at_nine_when_the_clocks_change() {
        let found = starts("2027-03-26T09:00:00+01:00", "FREQ=DAILY;COUNT=4", "Europe/Berlin");
        assert_eq!(found, ["03-26 08:00", "03-27 08:00", "03-28 07:00", "03-29 07:00"]);
        let found = starts("2027-10-30T09:00:00+02:00", "FREQ=DAILY;COUNT=3", "Europe/Berlin");
        assert_eq!(found, ["10-30 07:00", "10-31 08:00", "11-01 08:00"]);
        assert_eq!(starts("2027-03-27T09:00:00Z", "FREQ=DAILY;COUNT=2", "UTC"), ["03-27 09:00", "03-28 09:00"]);
    }

    #[test]
    fn from_a_later_start_the_rule_goes_on_as_it_says_or_begins_where_it_next_may() {
        let from = |rule: &str, at: &str| -> Option<Vec<String>> {
            let wish = wish("2027-03-22T09:00:00+01:00", 90, rule, "Europe/Berlin");
            let at = Seconds::from_unix_s(DateTime::parse_from_rfc3339(at).unwrap().timestamp()).unwrap();
            let text =
                |at: Seconds| DateTime::from_timestamp(at.unix_s() as i64, 0).unwrap().format("%a %m-%d %H:%M").to_string();
            let found = occurrences_from(&wish, at)?;
            assert!(found.iter().all(|one| one.end == one.start.plus(90 * 60)));
            Some(found.into_iter().map(|one| text(one.start)).collect())
        };
        let weekly = "FREQ=WEEKLY;BYDAY=MO;COUNT=2";
        // At 11:00 by the clocks of the zone, which change in between.
        assert_eq!(from(weekly, "2027-03-22T11:00:00+01:00").unwrap(), ["Mon 03-22 10:00", "Mon 03-29 09:00"]);
        assert_eq!(from(weekly, "2027-03-23T00:30:00+01:00").unwrap(), ["Sun 03-28 22:30", "Sun 04-04 22:30"]);
        assert_eq!(from("FREQ=DAILY;COUNT=2", "2027-03-28T02:10:00+01:00").unwrap(), ["Sun 03-28 01:10", "Mon 03-29 01:10"]);
        let until = "FREQ=DAILY;UNTIL=20270324T120000Z";
        assert_eq!(from(until, "2027-03-22T12:00:00+01:00").unwrap().len(), 3);
        assert_eq!(from(until, "2027-03-23T12:00:00+01:00").unwrap().len(), 2);
        assert_eq!(from(until, "2027-03-25T12:00:00+01:00"), None);
    }

    #[test]
    fn a_time_that_the_clocks_leave_out_is_no_occurrence_and_not_counted() {
        // 02:30 does not exist on 28 March in Berlin.
        let found = starts("2027-03-27T02:30:00+01:00", "FREQ=DAILY;COUNT=3", "Europe/Berlin");
        assert_eq!(found, ["03-27 01:30", "03-29 00:30", "03-30 00:30"]);
        // Midnight does not exist in Havana when the clocks change there.
        let found = starts("2027-03-13T00:30:00-05:00", "FREQ=DAILY;COUNT=2", "America/Havana");
        assert_eq!(found, ["03-13 05:30", "03-15 04:30"]);
    }

    #[test]
    fn a_time_that_comes_twice_is_the_first_of_the_two_unless_the_start_is_the_second() {
        let found = starts("2027-10-30T02:30:00+02:00", "FREQ=DAILY;COUNT=3", "Europe/Berlin");
        assert_eq!(found, ["10-30 00:30", "10-31 00:30", "11-01 01:30"]);
        let found = starts("2027-10-31T02:30:00+01:00", "FREQ=DAILY;COUNT=2", "Europe/Berlin");
        assert_eq!(found, ["10-31 01:30", "11-01 01:30"]);
        // What would come before the start that was given is none.
        let found = starts("2027-10-31T02:30:00+01:00", "FREQ=MINUTELY;INTERVAL=15;COUNT=3", "Europe/Berlin");
        assert_eq!(found, ["10-31 01:30", "10-31 02:00", "10-31 02:15"]);
    }

    #[test]
    fn rules_mean_what_rfc_5545_says() {
        let found = starts("2027-01-04T09:00:00Z", "FREQ=WEEKLY;BYDAY=MO,WE;COUNT=4", "UTC");
        assert_eq!(found, ["01-04 09:00", "01-06 09:00", "01-11 09:00", "01-13 09:00"]);
        let found = starts("2027-01-29T09:00:00Z", "freq=monthly;byday=-1FR;count=3", "UTC");
        assert_eq!(found, ["01-29 09:00", "02-26 09:00", "03-26 09:00"]);
        let found = starts("2027-01-31T09:00:00Z", "FREQ=MONTHLY;COUNT=3", "UTC");
        assert_eq!(found, ["01-31 09:00", "03-31 09:00", "05-31 09:00"]);
        let found = starts("2027-01-04T09:00:00Z", "FREQ=WEEKLY;INTERVAL=2;UNTIL=20270118T090000Z", "UTC");
        assert_eq!(found, ["01-04 09:00", "01-18 09:00"]);
        let found = starts("2027-01-04T09:00:00Z", "FREQ=HOURLY;INTERVAL=6;UNTIL=20270104T205959Z", "UTC");
        assert_eq!(found, ["01-04 09:00", "01-04 15:00"]);
        let found = starts("2027-01-04T09:00:00+01:00", "FREQ=DAILY;UNTIL=20270105T080000Z", "Europe/Berlin");
        assert_eq!(found, ["01-04 08:00", "01-05 08:00"]);
        assert_eq!(starts("2027-01-04T09:00:00Z", "FREQ=DAILY;COUNT=128", "UTC").len(), 128);
    }

    #[test]
    fn what_makes_no_series_is_refused_with_the_field_and_what_would_be_right() {
        let monday = "2027-01-04T09:00:00Z";
        let of = |rule: &str| refused(monday, rule, "UTC");
        assert_eq!(of("FREQ=WEEKLY"), "recurrence.rule: it never ends; it must say COUNT or UNTIL");
        assert_eq!(
            of("FREQ=DAILY;COUNT=2;UNTIL=20270118T090000Z"),
            "recurrence.rule: it says COUNT and UNTIL; it must say one of them"
        );
        assert_eq!(of("FREQ=DAILY;COUNT=129"), "recurrence.rule: COUNT is \"129\"; it must be from 1 to 128");
        // The crate would have panicked, or taken each of these for every Monday.
        assert!(of("FREQ=WEEKLY;BYDAY=\u{e9}M;COUNT=2").contains("it has the character"));
        for day in ["1stMO", "1 MO", "99999MO", "0MO", "54MO", "+-1MO", "++1MO", "MO,", "M", "1"] {
            let text = of(&format!("FREQ=MONTHLY;BYDAY={day};COUNT=2"));
            assert!(text.contains("BYDAY has") && text.contains("as 2MO and -1FR"), "{day}: {text}");
        }
        assert!(of("FREQ=MONTHLY;BYDAY=MO,2TU;COUNT=2").contains("it must have one kind"));
        assert!(of("FREQ=MINUTELY;INTERVAL=90;BYHOUR=9;COUNT=3").contains("it must divide 60"));
        assert_eq!(of("FREQ=DAILY;COUNT=0"), "recurrence.rule: COUNT is \"0\"; it must be from 1 to 128");
        assert!(of("FREQ=DAILY;UNTIL=20280118T090000Z").contains("more than 128 occurrences"));
        assert!(of("FREQ=DAILY;UNTIL=20270118").contains("it must be a time in UTC, as in 20270131T225959Z"));
        assert!(of("FREQ=DAILY;UNTIL=20270103T090000Z").contains("UNTIL lies before the start"));
        assert!(of("").contains("has no value; it must be parts as in"));
        assert!(of("RRULE:FREQ=DAILY;COUNT=2").contains("\"RRULE:FREQ\" is no part of a rule"));
        assert!(of("FREQ=DAILY;COUNT=2;COUNT=3").contains("COUNT is given twice"));
        assert!(of("COUNT=2").contains("recurrence.rule: "));
        assert!(of("FREQ=NEVER;COUNT=2").contains("NEVER"));
        assert!(of("FREQ=SECONDLY;COUNT=2").contains("SECONDLY is not supported"));
        assert!(of("FREQ=DAILY;BYSECOND=1;COUNT=2").contains("BYSECOND is not supported"));
        assert!(of("FREQ=DAILY;INTERVAL=0;COUNT=2").contains("INTERVAL is 0"));
        assert!(of("FREQ=WEEKLY;BYDAY=2MO;COUNT=2").contains("MONTHLY and YEARLY only"));
        let many = (0..60).map(|minute| minute.to_string()).collect::<Vec<_>>().join(",");
        assert!(of(&format!("FREQ=DAILY;BYHOUR=1,2;BYMINUTE={many};COUNT=2")).contains("120 times of a day"));
        assert!(of("FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30;COUNT=2").contains("gives 0 occurrences"));
        assert_eq!(
            of("FREQ=WEEKLY;BYDAY=TU;COUNT=2"),
            "start: Mon 2027-01-04 09:00:00 is none that the rule gives in its time zone; \
             the first that it gives from there on is Tue 2027-01-05 09:00:00"
        );
        assert_eq!(
            refused(monday, "FREQ=DAILY;COUNT=2", "Europe/Atlantis"),
            "recurrence.time_zone: \"Europe/Atlantis\" is no time zone; it must be an IANA name, as in Europe/Berlin"
        );
        let far = refused(monday, "FREQ=YEARLY;COUNT=120", "UTC");
        assert_eq!(far, Rejection::EndBeyondCalendar.to_string());
    }
}
