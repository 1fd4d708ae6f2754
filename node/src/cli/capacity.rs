//! `leasehold capacity …`: what is free, when, and how many fit.

use std::collections::BTreeSet;

use clap::{Args, Subcommand};
use leasehold_client::{CapacityWish, Density, DensityWish, HostFilter, WindowWish};
use leasehold_ledger::command::StartWish;
use leasehold_ledger::model::{Class, HostId, InstanceWish, Seconds};
use leasehold_ledger::plan::STEPS_MAX;
use serde_json::{Value, json};

use super::host::find;
use super::lease::args::{Kind, Where};
use super::time::{self, When, rfc3339, utc};
use super::wait::with_progress;
use super::{Failure, Session};

#[path = "capacity_picture.rs"]
pub(super) mod picture;

pub(super) const EXAMPLES: &str = "\
Examples:
  What is free in the next week, drawn over time (admins):
    leasehold capacity show
  As one figure, what is free all of Friday night in one zone:
    leasehold capacity show --from '2026-11-27 22:00' --to +8h --steps 1 --zone north
  How many more servers of a size fit into the next eight hours, and when 20 do:
    leasehold capacity density --vcpus 4 --memory-mb 8192 --disk-gb 20 --to +8h --amount 20
  How many more like a flavor fit at any time of the next day:
    leasehold capacity density --flavor m1.large
  How many whole hosts are free over the weekend, and when five are:
    leasehold capacity whole-hosts --from '2026-11-28' --to +2d --amount 5
  What a whole lease would come to:
    leasehold lease create exam --vcpus 4 --memory-mb 8192 --amount 20 --end +8h --what-if";

/// Capacity.
#[derive(Subcommand, Clone, Debug)]
pub enum CapacityCommand {
    /// Show what hosts have, and what of it is used, reserved and available over time (admins)
    #[command(after_help = HOW_TO_READ)]
    Show(Show),
    /// How many more servers of one size fit, and from when on so many do
    #[command(after_help = HOW_TO_COUNT)]
    Density(Ask),
    /// How many hosts of the dedicated pool nobody has anything on, and from when on so many are free
    #[command(after_help = HOW_TO_COUNT_HOSTS)]
    WholeHosts(AskHosts),
}

pub(super) const HOW_TO_READ: &str = "\
  total      what the hosts have, after Nova's allocation ratios
  used       what ordinary servers use of it, as last seen
  reserved   what leases have booked, used or not: the most of it at one instant
  withheld   what downtimes take of it: the most at one instant
  available  what is left for new leases on hosts that accept them: the least at one instant
In the picture a column is the least that is available within it; a full block is the total.

Example, hour by hour a week of the hosts with an A100, for a program:
  leasehold capacity show --from 2026-11-23 --to +7d --steps 168 --property gpu=a100 -o json";

pub(super) const HOW_TO_COUNT: &str = "\
Examples:
  How many more of these fit at any time of the next day?
    leasehold capacity density --vcpus 4 --memory-mb 8192 --disk-gb 20
  And from when on do 20 of them fit for eight hours, no two on one host?
    leasehold capacity density --vcpus 4 --memory-mb 8192 --to +8h --amount 20 --affinity different-hosts";

pub(super) const HOW_TO_COUNT_HOSTS: &str = "\
Whole hosts cannot be reserved as such yet; this tells where a lease of large servers would have hosts to itself.

Examples:
  How many hosts with an A100 has nobody anything on, for the next day?
    leasehold capacity whole-hosts --property gpu=a100
  And from when on are five free for two days?
    leasehold capacity whole-hosts --to +2d --amount 5";

/// `capacity show`
#[derive(Args, Clone, Debug)]
pub struct Show {
    /// now, +30m, or a UTC date as '2026-11-22 14:00'
    #[arg(long, default_value = "now", value_parser = time::parse)]
    from: When,
    /// +2h (after --from), a UTC date, or never
    #[arg(long, default_value = "+7d", value_parser = time::parse)]
    to: When,
    /// In how many steps at most; 1: as one figure
    #[arg(long, value_name = "N", default_value_t = picture::COLUMNS, value_parser = clap::value_parser!(u32).range(1..=i64::from(STEPS_MAX)))]
    steps: u32,
    /// Only this host, by number or hypervisor hostname; several may be given
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,
    #[command(flatten)]
    place: Where,
}

/// `capacity density`
#[derive(Args, Clone, Debug)]
pub struct Ask {
    /// now, +30m, or a UTC date as '2026-11-22 14:00'
    #[arg(long, default_value = "now", value_parser = time::parse)]
    from: When,
    /// +2h (after --from), a UTC date, or never
    #[arg(long, default_value = "+1d", value_parser = time::parse)]
    to: When,
    #[command(flatten)]
    kind: Kind,
    /// Also: from when on do so many fit for as long
    #[arg(long)]
    amount: Option<u32>,
    /// Only on this host, by number or (admins) hypervisor hostname; several may be given
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,
}

/// `capacity whole-hosts`
#[derive(Args, Clone, Debug)]
pub struct AskHosts {
    /// now, +30m, or a UTC date as '2026-11-22 14:00'
    #[arg(long, default_value = "now", value_parser = time::parse)]
    from: When,
    /// +2h (after --from), a UTC date, or never
    #[arg(long, default_value = "+1d", value_parser = time::parse)]
    to: When,
    /// Also: from when on so many are free for as long
    #[arg(long)]
    amount: Option<u32>,
    /// Only of these hosts, by number or (admins) hypervisor hostname; several may be given
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,
    #[command(flatten)]
    place: Where,
}

pub(super) async fn run(command: CapacityCommand, session: &Session) -> Result<(), Failure> {
    let (client, output) = (&session.client, session.output);
    let window = window_of(&command, session.key_and_now().1)?;
    match command {
        CapacityCommand::Show(Show { steps, hosts, place, .. }) => {
            let filter = HostFilter { hosts: named(session, &hosts).await?, ..place.into() };
            let wish = CapacityWish { filter, window, steps_max: steps };
            let answer = with_progress("the answer", client.capacity(wish)).await?;
            let capacity = &answer.value;
            output.print(picture::json(capacity, answer.ledger_index), || picture::text(capacity))?;
        }
        CapacityCommand::Density(Ask { kind, amount, hosts, .. }) => {
            let among = named(session, &hosts).await?;
            let instance = kind.instance(amount.unwrap_or(1));
            let wish = DensityWish { instance, whole_hosts: false, seek: amount.is_some(), among, window };
            let answer = with_progress("the answer", client.density(wish)).await?;
            let density = answer.value;
            output.print(density_json(&density, answer.ledger_index), || density_text(&density, amount))?;
        }
        CapacityCommand::WholeHosts(AskHosts { amount, hosts, place, .. }) => {
            let among = named(session, &hosts).await?;
            let HostFilter { zone, pool, required_traits, forbidden_traits, requirements, .. } = place.into();
            let bare = InstanceWish::anywhere(0, 0, 0, amount.unwrap_or(1));
            let instance = InstanceWish { zone, pool, required_traits, forbidden_traits, requirements, ..bare };
            let wish = DensityWish { instance, whole_hosts: true, seek: amount.is_some(), among, window };
            let answer = with_progress("the answer", client.density(wish)).await?;
            let density = answer.value;
            output.print(density_json(&density, answer.ledger_index), || whole_hosts_text(&density, amount))?;
        }
    }
    Ok(())
}

/// The hosts that were named; `None`: none was, all are meant.
async fn named(session: &Session, hosts: &[String]) -> Result<Option<BTreeSet<HostId>>, Failure> {
    let mut ids = BTreeSet::new();
    for host in hosts {
        ids.insert(find(session, host).await?);
    }
    Ok((!ids.is_empty()).then_some(ids))
}

/// The window that is asked about, as a command given at `now` means it.
pub(super) fn window_of(command: &CapacityCommand, now: Seconds) -> Result<WindowWish, Failure> {
    let (CapacityCommand::Show(Show { from, to, .. })
    | CapacityCommand::Density(Ask { from, to, .. })
    | CapacityCommand::WholeHosts(AskHosts { from, to, .. })) = command;
    window(*from, *to, now)
}

/// A window between two times of a command given at `now`.
pub(super) fn window(from: When, to: When, now: Seconds) -> Result<WindowWish, Failure> {
    let (start, began) = match from {
        When::Now => (StartWish::Now, now),
        When::After(seconds) => (StartWish::At(now.plus(seconds)), now.plus(seconds)),
        When::At(second) => (StartWish::At(second), second),
        When::Never => return Err(Failure::Usage("--from never: write now, +1h or a date".to_owned())),
    };
    let end = match to {
        When::After(seconds) => began.plus(seconds),
        When::At(second) => second,
        When::Never => Seconds::OPEN_END,
        When::Now => return Err(Failure::Usage("--to now: write +1h (after --from), a date or never".to_owned())),
    };
    Ok(WindowWish { start, end })
}

fn density_json(density: &Density, ledger_index: u64) -> Value {
    json!({
        "start": rfc3339(density.window.start), "end": rfc3339(density.window.end),
        "largest_amount": density.fits.largest_amount, "tightest": density.fits.tightest.map(Class::name),
        "earliest_start": density.earliest_start.and_then(rfc3339), "ledger_index": ledger_index,
    })
}

pub(super) fn density_text(density: &Density, amount: Option<u32>) -> String {
    let (start, end) = (utc(density.window.start), utc(density.window.end));
    let text = match (density.fits.largest_amount, density.fits.tightest) {
        (_, None) => format!("No host is of this kind, so none fits from {start} to {end} (UTC)."),
        (0, Some(class)) => format!("None fits from {start} to {end} (UTC); {} is the tightest.", class.name()),
        (most, Some(class)) => format!("{most} more fit from {start} to {end} (UTC); {} is the tightest.", class.name()),
    };
    text + &from_when(density, amount, "fit")
}

pub(super) fn whole_hosts_text(density: &Density, amount: Option<u32>) -> String {
    let when = format!("from {} to {} (UTC)", utc(density.window.start), utc(density.window.end));
    let text = match density.fits.largest_amount {
        0 => format!("No host of the dedicated pool that meets this is free as a whole {when}."),
        1 => format!("1 host is free as a whole {when}."),
        free => format!("{free} hosts are free as a whole {when}."),
    };
    text + &from_when(density, amount, "are free")
}

/// From when on so many do, in a line of its own; nothing where that was not asked.
fn from_when(density: &Density, amount: Option<u32>, they: &str) -> String {
    let Some(amount) = amount else { return String::new() };
    match density.earliest_start {
        Some(first) if first == density.window.start => format!("\n{amount} {they} at once."),
        Some(first) => format!("\n{amount} {they} from {} on, for as long.", utc(first)),
        None => format!("\n{amount} {they} at no start within a year, with the hosts that are there."),
    }
}
