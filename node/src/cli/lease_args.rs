//! Arguments of `lease create` and `lease update` as wishes.

use std::collections::BTreeSet;

use clap::{Args, ValueEnum};
use leasehold_client::wire::convert::DEFAULT_PARK_MARGIN_S;
use leasehold_client::{HostFilter, NewLease};
use leasehold_ledger::command::{
    BeforeEndWish, EndWish, LeaseChange, Recurrence, ReservationChange, ReservationWish, StagingWish, StartWish, WaitWish,
};
use leasehold_ledger::model::{
    AMOUNT_MAX, Comparison, EXPIRY_MIN_S, InstanceWish, Lease, OnEnd, PRIORITY_MAX, Precedence, Requirement, ResourceWish,
    Seconds, SeriesMode, SourceFlavor,
};

use super::super::Failure;
use super::super::host::Pool;
use super::super::time::{self, When};
use super::{Create, Update};

/// The servers of a reservation.
#[derive(Args, Clone, Debug)]
pub struct Servers {
    #[command(flatten)]
    kind: Kind,
    /// How many servers
    #[arg(long, default_value_t = 1)]
    amount: u32,
}

/// What kind of server.
#[derive(Args, Clone, Debug)]
pub struct Kind {
    /// Servers like this flavor of the cloud, by id or name, instead of sizes
    #[arg(long, value_name = "FLAVOR", conflicts_with_all = ["vcpus", "memory_mb", "disk_gb"])]
    flavor: Option<String>,
    /// Virtual CPUs of each server
    #[arg(long, required_unless_present = "flavor")]
    vcpus: Option<u32>,
    /// Memory of each server, MiB
    #[arg(long, required_unless_present = "flavor")]
    memory_mb: Option<u32>,
    /// Disk of each server, GiB
    #[arg(long, default_value_t = 0)]
    disk_gb: u32,
    /// How the servers lie to each other
    #[arg(long, value_enum, default_value_t = Affinity::Any)]
    affinity: Affinity,
    #[command(flatten)]
    place: Where,
}

/// On which hosts.
#[derive(Args, Clone, Debug)]
pub struct Where {
    /// Availability zone
    #[arg(long)]
    pub zone: Option<String>,
    /// Trait that every host must have
    #[arg(long = "trait", value_name = "TRAIT")]
    pub required_traits: Vec<String>,
    /// Trait that no host may have
    #[arg(long = "forbid-trait", value_name = "TRAIT")]
    pub forbidden_traits: Vec<String>,
    /// Term that every host must meet, as in gpu=a100 or 'vcpus>=16'
    #[arg(long = "property", value_name = "TERM", value_parser = parse_term)]
    pub terms: Vec<Term>,
    /// Only hosts of this pool
    #[arg(long, value_enum)]
    pub pool: Option<Pool>,
}

impl From<Where> for HostFilter {
    fn from(place: Where) -> HostFilter {
        let Where { zone, required_traits, forbidden_traits, terms, pool } = place;
        HostFilter {
            zone,
            pool: pool.map(Into::into),
            hosts: None,
            required_traits: required_traits.into_iter().collect(),
            forbidden_traits: forbidden_traits.into_iter().collect(),
            requirements: terms,
        }
    }
}

/// How servers lie to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Affinity {
    /// Anywhere.
    Any,
    /// All on one host.
    SameHost,
    /// Every one on another host.
    DifferentHosts,
}

/// See [`OnEnd`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AtEnd {
    /// Deleted.
    Delete,
    /// Shelved: kept, without using a host.
    Shelve,
    /// An image of each is kept, then they are deleted.
    Snapshot,
}

impl From<AtEnd> for OnEnd {
    fn from(at_end: AtEnd) -> OnEnd {
        match at_end {
            AtEnd::Delete => OnEnd::Delete,
            AtEnd::Shelve => OnEnd::Shelve,
            AtEnd::Snapshot => OnEnd::Snapshot,
        }
    }
}

/// Who gives way to whom.
#[derive(Args, Clone, Copy, Debug)]
pub struct Rank {
    /// From 0 to 9; more than 0 is for admins and a role that they name
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=i64::from(PRIORITY_MAX)))]
    priority: u8,
    /// Until it begins, a lease of a higher priority may take its room
    #[arg(long)]
    preemptible: bool,
    /// Without room, take some from leases of a lower priority that are preemptible and have not begun (--what-if: how many)
    #[arg(long)]
    preempt: bool,
}

impl From<Rank> for Precedence {
    fn from(Rank { priority, preemptible, preempt }: Rank) -> Precedence {
        Precedence { priority, preemptible, preempt }
    }
}

/// When a lease comes again.
#[derive(Args, Clone, Debug)]
pub struct Repeat {
    /// Book a series of leases like this one: an RRULE of RFC 5545 with COUNT or UNTIL (in UTC), as in
    /// 'FREQ=WEEKLY;BYDAY=MO,WE;COUNT=10'. The start must be its first date
    #[arg(long, value_name = "RULE")]
    repeat: Option<String>,
    /// Whose clocks the rule follows: a lease at 09:00 stays at 09:00 when they change. --start stays in UTC
    #[arg(long, value_name = "ZONE", default_value = "UTC", requires = "repeat")]
    time_zone: String,
    /// Leave out what does not fit, instead of booking nothing then
    #[arg(long, requires = "repeat")]
    best_effort: bool,
}

impl Repeat {
    /// `None`: one lease.
    pub fn recurrence(&self) -> Option<Recurrence> {
        let mode = if self.best_effort { SeriesMode::BestEffort } else { SeriesMode::AllOrNothing };
        self.repeat.clone().map(|rule| Recurrence { rule, time_zone: self.time_zone.clone(), mode })
    }
}

/// A term over a host.
pub(super) type Term = Requirement;

/// How many whole hosts: at least, and at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hosts {
    pub min: u32,
    pub max: u32,
}

pub(super) fn parse_hosts(text: &str) -> Result<Hosts, String> {
    let (min, max) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| text.trim().parse().ok().filter(|number| (1..=AMOUNT_MAX).contains(number));
    match (number(min), number(max)) {
        (Some(min), Some(max)) if min <= max => Ok(Hosts { min, max }),
        (Some(min), Some(max)) => Err(format!("{max} is less than {min}; write the smaller number first, as in 2-4")),
        _ => Err(format!("write how many hosts, from 1 to {AMOUNT_MAX}, or at least and at most how many, as in 2-4")),
    }
}

/// A staging window: start and end, if given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Staged {
    start: Option<When>,
    end: Option<When>,
}

/// How long before the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Before(BeforeEndWish);

pub(super) fn parse_before_end(text: &str) -> Result<Before, String> {
    match text {
        "never" => Ok(Before(BeforeEndWish::Never)),
        _ => time::duration(text).map(|seconds| Before(BeforeEndWish::SecondsBefore(seconds))),
    }
}

/// Seconds; 0: never.
pub(super) fn parse_expiry(text: &str) -> Result<u32, String> {
    if text == "never" {
        return Ok(0);
    }
    let seconds = time::duration(text).map_err(|problem| format!("{problem}, or never"))?;
    if seconds < EXPIRY_MIN_S {
        return Err(format!("'{text}' is shorter than {}; write a longer time, or never", time::span(EXPIRY_MIN_S)));
    }
    Ok(seconds)
}

pub(super) fn parse_staging(text: &str) -> Result<Staged, String> {
    let (start, end) = text.split_once("..").ok_or("write START..END, as in now..+1h; either may be left out")?;
    let part = |text: &str| match text.trim() {
        "" => Ok(None),
        text => time::parse(text).map(Some),
    };
    Ok(Staged { start: part(start)?, end: part(end)? })
}

pub(super) fn parse_term(text: &str) -> Result<Term, String> {
    let wrong = || "write a key, one of = == != >= <= > <, and a value, as in gpu=a100 or 'vcpus>=16'".to_owned();
    let at = text.find(['=', '!', '<', '>']).ok_or_else(wrong)?;
    let (key, rest) = text.split_at(at);
    let operators = [
        ("==", Comparison::Equal),
        ("!=", Comparison::NotEqual),
        (">=", Comparison::AtLeast),
        ("<=", Comparison::AtMost),
        ("=", Comparison::Equal),
        (">", Comparison::Above),
        ("<", Comparison::Below),
    ];
    let found = operators.iter().find_map(|(sign, comparison)| Some((rest.strip_prefix(sign)?, *comparison)));
    let (value, comparison) = found.ok_or_else(wrong)?;
    let (key, value) = (key.trim().to_owned(), value.trim().to_owned());
    if key.is_empty() || value.is_empty() { Err(wrong()) } else { Ok(Requirement { key, comparison, value }) }
}

/// What `lease create` asks for.
pub(in crate::cli) fn wish(create: Create, now: Seconds) -> Result<NewLease, Failure> {
    let Create { name, start, end, earliest, before_end, servers, staging, on_end, adopted, .. } = create;
    let (precedence, expiry_s) = (create.rank.into(), create.expiry);
    let (ignore_quota, wait) = (create.ignore_quota, waits(create.wait, create.wait_until, now)?);
    let start = match start {
        When::Now => StartWish::Now,
        When::After(seconds) => StartWish::At(now.plus(seconds)),
        When::At(second) => StartWish::At(second),
        When::Never => {
            return Err(Failure::Usage("--start never: a lease starts now, after a while (+1h) or at a date".to_owned()));
        }
    };
    let (began, from) = match start {
        StartWish::At(second) => (second, Some(second)),
        StartWish::Now | StartWish::Earliest { .. } => (now, None),
    };
    let latest = match earliest {
        None => None,
        Some(When::After(seconds)) => Some(now.plus(seconds)),
        Some(When::At(second)) => Some(second),
        Some(When::Now | When::Never) => {
            return Err(Failure::Usage("--earliest: say until when the lease may wait, as in +6h or a date".to_owned()));
        }
    };
    let start = latest.map_or(start, |latest| StartWish::Earliest { from, latest });
    let end = match end {
        When::After(seconds) => began.plus(seconds),
        When::At(second) => second,
        When::Never => Seconds::OPEN_END,
        When::Now => return Err(Failure::Usage("--end now: a lease ends after its start (+1h), at a date or never".to_owned())),
    };
    let staging = staging.map(|staged| window(staged, now)).transpose()?;
    let mut named = BTreeSet::new();
    if let Some(twice) = adopted.into_iter().find(|id| !named.insert(*id)) {
        return Err(Failure::Usage(format!("--server {twice}: name each server once")));
    }
    let resource = ResourceWish::Instance(servers.kind.instance(servers.amount).into());
    let reservation = ReservationWish { resource, staging, on_end: on_end.into(), servers: named };
    if wait.is_some() && start == StartWish::Now {
        let text = "--wait: a lease that starts now cannot wait; say a later start, or leave it open with --earliest";
        return Err(Failure::Usage(text.to_owned()));
    }
    let (before_end, reservations) = (before_end.0, vec![reservation]);
    Ok(NewLease { name, start, end, before_end, reservations, offer: None, wait, precedence, expiry_s, ignore_quota })
}

/// How long it waits for room: dates, which stay the same when the command is repeated under its key.
fn waits(wait: bool, until: Option<When>, now: Seconds) -> Result<Option<WaitWish>, Failure> {
    match until {
        None => Ok(wait.then_some(WaitWish::UntilStart)),
        Some(When::After(seconds)) => Ok(Some(WaitWish::Until(now.plus(seconds)))),
        Some(When::At(second)) => Ok(Some(WaitWish::Until(second))),
        Some(When::Now | When::Never) => {
            Err(Failure::Usage("--wait-until: say until when, as in +2h or a date; without an end of its own: --wait".to_owned()))
        }
    }
}

fn window(staged: Staged, now: Seconds) -> Result<StagingWish, Failure> {
    let never = || Failure::Usage("--staging: never is no time to stage; leave the end out for 30 minutes".to_owned());
    let start = match staged.start {
        None | Some(When::Now) => None,
        Some(When::After(seconds)) => Some(now.plus(seconds)),
        Some(When::At(second)) => Some(second),
        Some(When::Never) => return Err(never()),
    };
    let end = match staged.end {
        None => None,
        Some(When::After(seconds)) => Some(start.unwrap_or(now).plus(seconds)),
        Some(When::At(second)) => Some(second),
        Some(When::Now | When::Never) => return Err(never()),
    };
    Ok(StagingWish { start, end, park_margin_s: DEFAULT_PARK_MARGIN_S })
}

impl Servers {
    /// On which hosts, whatever the servers are.
    pub fn place(self) -> Where {
        self.kind.place
    }
}

impl Kind {
    /// So many of them.
    pub fn instance(self, amount: u32) -> InstanceWish {
        let Kind { flavor, vcpus, memory_mb, disk_gb, affinity, place } = self;
        let Where { zone, required_traits, forbidden_traits, terms, pool } = place;
        // Of a flavor the node looks the sizes up.
        InstanceWish {
            vcpus: vcpus.unwrap_or(0),
            memory_mb: memory_mb.unwrap_or(0),
            disk_gb,
            amount,
            affinity: match affinity {
                Affinity::Any => None,
                Affinity::SameHost => Some(true),
                Affinity::DifferentHosts => Some(false),
            },
            zone,
            pool: pool.map(Into::into),
            required_traits: required_traits.into_iter().collect(),
            forbidden_traits: forbidden_traits.into_iter().collect(),
            requirements: terms,
            resource_properties: String::new(),
            flavor: flavor.map(|named| SourceFlavor { id: named.clone(), name: named, ..SourceFlavor::default() }.into()),
        }
    }
}

/// What `lease update` asks to change in `lease`.
pub(super) fn change(update: Update, lease: &Lease, now: Seconds) -> Result<LeaseChange, Failure> {
    let Update { lease: _, name, start, end, before_end, amount, on_end, ignore_quota } = update;
    let start = match start {
        None => None,
        Some(When::Now) => Some(StartWish::Now),
        Some(When::After(seconds)) => Some(StartWish::At(now.plus(seconds))),
        Some(When::At(second)) => Some(StartWish::At(second)),
        Some(When::Never) => return Err(Failure::Usage("--start never: to give a lease up, delete it".to_owned())),
    };
    let end = end.map(|end| match end {
        When::Now => EndWish::Now,
        When::After(seconds) => EndWish::At(now.plus(seconds)),
        When::At(second) => EndWish::At(second),
        When::Never => EndWish::At(Seconds::OPEN_END),
    });
    let mut reservations = Vec::new();
    if amount.is_some() || on_end.is_some() {
        let [reservation] = lease.reservations.as_slice() else {
            let count = lease.reservations.len();
            return Err(Failure::Usage(format!("--amount and --on-end are for leases with one reservation; this has {count}")));
        };
        let mut resource = reservation.wish.clone();
        if let Some(amount) = amount {
            resource.instance_mut().amount = amount;
        }
        let on_end = on_end.map(Into::into);
        reservations.push(ReservationChange { reservation_id: reservation.id, resource, on_end });
    }
    let before_end = before_end.map(|before| before.0);
    let change = LeaseChange { name, start, end, before_end, reservations, ignore_quota };
    if change == (LeaseChange { ignore_quota, ..LeaseChange::default() }) {
        return Err(Failure::Usage(
            "nothing to change: give --name, --start, --end, --before-end, --amount or --on-end".to_owned(),
        ));
    }
    Ok(change)
}
