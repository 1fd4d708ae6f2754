//! Which leases and hosts a command lists, in which order and how many; and what listed leases reserve over time.

use std::collections::BTreeSet;

use clap::{Args, ValueEnum};
use leasehold_client::{
    Element, HostFilter, HostListing, HostOrder, LeaseFilter, LeaseOrder, Scope, Utilisation, UtilisationWish,
};
use leasehold_ledger::model::{Class, HostId, Interval, LeaseId, LeaseStatus, ProjectId, Seconds, SeriesId};
use leasehold_ledger::plan::STEPS_MAX;
use serde_json::{Value, json};

use super::Failure;
use super::capacity::picture;
use super::lease::args::Where;
use super::output::{counted, table};
use super::time::{self, When, rfc3339, utc};

pub(super) const EXAMPLES: &str = "\
Examples:
  What runs or will run in the first week of December, the next to start first:
    leasehold lease list --from 2026-12-01 --to +7d --status pending,active --sort start
  The ten that were made last:
    leasehold lease list --sort created --reverse --limit 10
  What lies on host 3 (admins: of all projects):
    leasehold lease list --with-any 3
  What is like the flavor of that id, which need not be a UUID:
    leasehold lease list --with-any flavor:42";

pub(super) const HOW_TO_READ: &str = "\
What the leases asked for at each time, used or not, ended leases too; staging windows count.
In the picture a column is the most that is reserved within it; a full block is the most of all.

Examples:
  leasehold lease utilisation --from -30d --to now
  leasehold lease utilisation --from 2026-11-01 --to +30d --name exam --steps 30 -o json";

/// Which leases.
#[derive(Args, Clone, Debug, Default)]
pub struct Which {
    /// Only of this project (admins)
    #[arg(long, value_name = "ID")]
    project: Option<String>,
    /// Only in one of these statuses, separated by commas
    #[arg(long = "status", value_name = "STATUS", value_delimiter = ',', value_parser = parse_status)]
    statuses: Vec<LeaseStatus>,
    /// Only with exactly this name
    #[arg(long)]
    name: Option<String>,
    /// Only those that ask for this availability zone or lie on a host of it
    #[arg(long)]
    zone: Option<String>,
    /// Only the leases of this series
    #[arg(long, value_name = "UUID")]
    series: Option<SeriesId>,
    /// Only with at least one of these: numbers of hosts (3 or host:3), UUIDs of reservations, flavors, server groups, adopted
    /// servers, ids of flavors (flavor:m1.large)
    #[arg(long, value_name = "ID", value_delimiter = ',', value_parser = parse_element)]
    with_any: Vec<Element>,
    /// Only with all of these
    #[arg(long, value_name = "ID", value_delimiter = ',', value_parser = parse_element)]
    with_all: Vec<Element>,
    /// Only with none of these
    #[arg(long, value_name = "ID", value_delimiter = ',', value_parser = parse_element)]
    without: Vec<Element>,
}

/// `lease list`
#[derive(Args, Clone, Debug, Default)]
pub struct Leases {
    #[command(flatten)]
    which: Which,
    /// Only those at this time and later: now, -2d, +30m, or a UTC date
    #[arg(long, value_parser = parse_point, allow_hyphen_values = true)]
    from: Option<Point>,
    /// Only those before this time: now, +2h (after --from), or a UTC date
    #[arg(long, value_parser = parse_point, allow_hyphen_values = true)]
    to: Option<Point>,
    /// How they lie to the time: overlapping it, inclusive (start or end within), exclusive (start and end within)
    #[arg(long, value_enum, default_value_t = Lie::Overlapping)]
    scope: Lie,
    /// Sorted by
    #[arg(long, value_enum, default_value_t = SortLeases::Id)]
    sort: SortLeases,
    #[command(flatten)]
    page: Page,
    /// Only those behind this one in the order: the last of the page before
    #[arg(long, value_name = "UUID")]
    after: Option<LeaseId>,
}

/// `lease utilisation`
#[derive(Args, Clone, Debug)]
pub struct Used {
    #[command(flatten)]
    which: Which,
    /// now, -30d, +30m, or a UTC date as '2026-11-22 14:00'
    #[arg(long, default_value = "now", value_parser = parse_point, allow_hyphen_values = true)]
    from: Point,
    /// now, +2h (after --from), or a UTC date
    #[arg(long, default_value = "+7d", value_parser = parse_point, allow_hyphen_values = true)]
    to: Point,
    /// Which leases count by how they lie to that time: overlapping it, staging windows too; inclusive (start or end within);
    /// exclusive (start and end within)
    #[arg(long, value_enum, default_value_t = Lie::Overlapping)]
    scope: Lie,
    /// In how many steps at most; 1: as one figure
    #[arg(long, value_name = "N", default_value_t = picture::COLUMNS, value_parser = clap::value_parser!(u32).range(1..=i64::from(STEPS_MAX)))]
    steps: u32,
}

/// `host list`, and whose allocations `host allocations` shows
#[derive(Args, Clone, Debug)]
pub struct Hosts {
    #[command(flatten)]
    place: Where,
    /// Only those that take new leases (true), or only those that do not
    #[arg(long)]
    reservable: Option<bool>,
    /// Sorted by
    #[arg(long, value_enum, default_value_t = SortHosts::Id)]
    sort: SortHosts,
    #[command(flatten)]
    page: Page,
    /// Only those behind this one in the order: the last of the page before
    #[arg(long, value_name = "NUMBER")]
    after: Option<u64>,
}

/// Which page.
#[derive(Args, Clone, Debug, Default)]
pub struct Page {
    /// The other way round
    #[arg(long)]
    pub(super) reverse: bool,
    /// At most so many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) limit: Option<u32>,
}

/// See [`Scope`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Lie {
    /// A second of it lies in the window.
    #[default]
    Overlapping,
    /// It starts or ends within.
    Inclusive,
    /// It starts and ends within.
    Exclusive,
}

/// See [`LeaseOrder`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum SortLeases {
    #[default]
    Id,
    Name,
    Status,
    Start,
    End,
    Created,
}

/// See [`HostOrder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum SortHosts {
    Id,
    Name,
    Zone,
}

/// A time that may be past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// `-2d`: so many seconds before now.
    Before(u32),
    /// Any other.
    Given(When),
}

impl From<Lie> for Scope {
    fn from(lie: Lie) -> Scope {
        match lie {
            Lie::Overlapping => Scope::Overlapping,
            Lie::Inclusive => Scope::Inclusive,
            Lie::Exclusive => Scope::Exclusive,
        }
    }
}

pub(super) fn parse_point(text: &str) -> Result<Point, String> {
    match text.trim().strip_prefix('-') {
        Some(span) => time::duration(span).map(Point::Before),
        None => time::parse(text).map(Point::Given),
    }
}

fn parse_status(text: &str) -> Result<LeaseStatus, String> {
    let known = LeaseStatus::ALL.into_iter();
    let found = known.clone().find(|status| status.as_str().eq_ignore_ascii_case(text.trim()));
    found.ok_or_else(|| {
        format!("write one of {}", known.map(|status| status.as_str().to_lowercase()).collect::<Vec<_>>().join(", "))
    })
}

fn parse_element(text: &str) -> Result<Element, String> {
    text.trim().parse().map_err(|error: leasehold_ledger::listing::NoElement| error.to_string())
}

impl Which {
    fn filter(self) -> LeaseFilter {
        let Which { project, statuses, name, zone, series, with_any, with_all, without } = self;
        LeaseFilter {
            project_id: project.map(|id| ProjectId(id.into())),
            statuses: BTreeSet::from_iter(statuses),
            name,
            zone,
            series,
            with_any: BTreeSet::from_iter(with_any),
            with_all: BTreeSet::from_iter(with_all),
            without: BTreeSet::from_iter(without),
            ..LeaseFilter::default()
        }
    }
}

impl Leases {
    /// As a command given at `now` means it.
    pub(super) fn filter(self, now: Seconds) -> Result<LeaseFilter, Failure> {
        let Leases { which, from, to, scope, sort, page, after } = self;
        let scope = Scope::from(scope);
        let window = some_window(from, to, now)?;
        if window.is_none() && scope != Scope::Overlapping {
            return Err(Failure::Usage("--scope says how leases lie to a time: give --from, --to or both, too".to_owned()));
        }
        let window = window.map(|window| (window, scope));
        let order = match sort {
            SortLeases::Id => LeaseOrder::Id,
            SortLeases::Name => LeaseOrder::Name,
            SortLeases::Status => LeaseOrder::Status,
            SortLeases::Start => LeaseOrder::Start,
            SortLeases::End => LeaseOrder::End,
            SortLeases::Created => LeaseOrder::CreatedAt,
        };
        Ok(LeaseFilter { window, order, descending: page.reverse, after, limit: page.limit, ..which.filter() })
    }
}

impl Used {
    /// As a command given at `now` means it.
    pub(super) fn wish(self, now: Seconds) -> Result<UtilisationWish, Failure> {
        let window = window(Some(self.from), Some(self.to), now)?;
        let scope = Some(Scope::from(self.scope)).filter(|scope| *scope != Scope::Overlapping);
        let filter = LeaseFilter { window: scope.map(|scope| (window, scope)), ..self.which.filter() };
        Ok(UtilisationWish { filter, window, steps_max: self.steps })
    }
}

impl Hosts {
    pub(super) fn listing(self) -> HostListing {
        let Hosts { place, reservable, sort, page, after } = self;
        let order = match sort {
            SortHosts::Id => HostOrder::Id,
            SortHosts::Name => HostOrder::Name,
            SortHosts::Zone => HostOrder::Zone,
        };
        let filter = HostFilter::from(place);
        HostListing { filter, reservable, order, descending: page.reverse, after: after.map(HostId), limit: page.limit }
    }
}

/// One side alone is open at the other.
fn window(from: Option<Point>, to: Option<Point>, now: Seconds) -> Result<Interval, Failure> {
    let start = match from {
        None => Seconds(0),
        Some(Point::Given(When::Now)) => now,
        Some(Point::Before(seconds)) => Seconds(now.0.saturating_sub(seconds)),
        Some(Point::Given(When::After(seconds))) => now.plus(seconds),
        Some(Point::Given(When::At(second))) => second,
        Some(Point::Given(When::Never)) => return Err(Failure::Usage("--from never: write now, -2d, +1h or a date".to_owned())),
    };
    let end = match to {
        None | Some(Point::Given(When::Never)) => Seconds::OPEN_END,
        Some(Point::Given(When::Now)) => now,
        Some(Point::Before(seconds)) => Seconds(now.0.saturating_sub(seconds)),
        Some(Point::Given(When::After(seconds))) => from.map_or(now, |_| start).plus(seconds),
        Some(Point::Given(When::At(second))) => second,
    };
    let wrong = || Failure::Usage(format!("--to {} is not later than --from {}", utc(end), utc(start)));
    Interval::new(start, end).ok_or_else(wrong)
}

/// The same; without both there is none.
pub(super) fn some_window(from: Option<Point>, to: Option<Point>, now: Seconds) -> Result<Option<Interval>, Failure> {
    if from.is_none() && to.is_none() { Ok(None) } else { window(from, to, now).map(Some) }
}

/// What to add to a list that may go on: how to see the rest.
pub(super) fn more(limit: Option<u32>, shown: usize, last: Option<String>) -> String {
    match last {
        Some(last) if limit.is_some_and(|limit| shown >= limit as usize) => format!("\nThere may be more: --after {last}"),
        _ => String::new(),
    }
}

/// Utilisation for programs.
pub(super) fn utilisation_json(utilisation: &Utilisation, ledger_index: u64) -> Value {
    let ends = utilisation.steps.iter().skip(1).map(|step| step.start).chain([utilisation.window.end]);
    let step = |(step, end): (&leasehold_client::UtilisationStep, Seconds)| json!({ "start": rfc3339(step.start), "end": rfc3339(end), "reserved": picture::sums(step.reserved) });
    json!({
        "start": rfc3339(utilisation.window.start), "end": rfc3339(utilisation.window.end), "leases": utilisation.leases,
        "steps": utilisation.steps.iter().zip(ends).map(step).collect::<Vec<_>>(), "ledger_index": ledger_index,
    })
}

/// The same for people: the most of it, and a picture where there is more than one step.
pub(super) fn utilisation_text(utilisation: &Utilisation) -> String {
    let (start, end) = (utc(utilisation.window.start), utc(utilisation.window.end));
    let most = |place: usize| utilisation.steps.iter().map(|step| step.reserved[place]).max().unwrap_or_default();
    let mut text = format!("From {start} to {end} (UTC), {}", counted(utilisation.leases, "lease"));
    let rows = Class::ALL.iter().enumerate().map(|(place, class)| vec![class.name().to_owned(), most(place).to_string()]);
    text += &format!("\n{}", table(&["class", "reserved (most)"], rows.collect(), ""));
    if utilisation.steps.len() > 1 {
        let steps: Vec<_> = utilisation.steps.iter().map(|step| (step.start, step.reserved)).collect();
        let scales = std::array::from_fn(most);
        text += &format!("\n{}", picture::draw("reserved over time", utilisation.window, &steps, scales, picture::Shown::Most));
    }
    text
}
