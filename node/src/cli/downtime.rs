//! `leasehold host downtime …`: what is not to be had of a host for a time.

use clap::{Args, Subcommand, ValueEnum};
use leasehold_client::{DowntimeListing, DowntimeName, DowntimeOrder, HostDowntime, NewDowntime};
use leasehold_ledger::command::StartWish;
use leasehold_ledger::model::{DowntimeId, Seconds, Withheld};
use leasehold_ledger::plan::WindowWish;
use serde_json::{Value, json};

use super::capacity::window;
use super::host::find;
use super::listing::{self, Page, Point};
use super::output::table;
use super::time::{self, When, rfc3339, utc};
use super::wait::with_progress;
use super::{Failure, Session};

pub(super) const EXAMPLES: &str = "\
In a downtime nothing new is promised of what it takes. Leases that were promised it before and have not begun move to other
hosts within seconds; where there is no room they say `degraded` until there is, or the downtime is dropped. Leases that have
begun stay: their servers are their owners'. Nova and Placement are told nothing: disable the compute service when you begin.

Examples:
  The host is to be taken apart on Sunday:
    leasehold host downtime add compute-1 --from '2026-11-29 06:00' --to +4h
  A part of its memory goes in January, for good:
    leasehold host downtime add compute-1 --from 2027-01-01 --to never --memory-mb 65536
  Two vCPUs are given to something else from now on, under an id of your own:
    leasehold host downtime add compute-1 --to never --vcpus 2 --id 6f1c1a52-0d0b-4f3b-9a54-0c1d2e3f4a5b
  It takes longer than that: the same id again; what is not said, its begin and what it takes, stays as it was:
    leasehold host downtime add compute-1 --to '2026-11-29 12:00' --id 0c6d8d0e-5b1f-4d55-8f53-1a2b3c4d5e6f
  What is planned, and what is not after all:
    leasehold host downtime list
    leasehold host downtime list --from now --to +7d --limit 20
    leasehold host downtime remove compute-1 0c6d8d0e-5b1f-4d55-8f53-1a2b3c4d5e6f";

/// Downtimes.
#[derive(Subcommand, Clone, Debug)]
pub enum DowntimeCommand {
    /// Declare that a host, or some of it, is not to be had for a time
    Add(Add),
    /// List the downtimes that are declared, filtered, sorted, page by page
    List(List),
    /// Take a downtime back: what it took is there again at once
    Remove {
        /// Number or hypervisor hostname
        host: String,
        /// Of the downtime, as the list shows it
        #[arg(value_name = "UUID")]
        id: DowntimeId,
    },
}

/// `host downtime list`
#[derive(Args, Clone, Debug)]
pub struct List {
    /// Only of this host, by number or hypervisor hostname
    pub(super) host: Option<String>,
    /// Only those at this time and later: now, -2d, +30m, or a UTC date
    #[arg(long, value_parser = listing::parse_point, allow_hyphen_values = true)]
    from: Option<Point>,
    /// Only those before this time: now, +2h (after --from), or a UTC date
    #[arg(long, value_parser = listing::parse_point, allow_hyphen_values = true)]
    to: Option<Point>,
    /// Sorted by; id: by the hosts' numbers. Unless given it is start, and id with --limit or --after
    #[arg(long, value_enum)]
    sort: Option<Sort>,
    #[command(flatten)]
    page: Page,
    /// Only those behind this one in the order: the last of the page before
    #[arg(long, value_name = "HOST/UUID")]
    after: Option<DowntimeName>,
}

/// See [`DowntimeOrder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum Sort {
    Id,
    Start,
    End,
}

impl List {
    /// As a command given at `now` means it; of which host is to be found out.
    pub(super) fn listing(self, now: Seconds) -> Result<DowntimeListing, Failure> {
        let List { host: _, from, to, sort, page, after } = self;
        let window = listing::some_window(from, to, now)?;
        // Behind one that is dropped meanwhile only the order by id goes on.
        let is_page = page.limit.is_some() || after.is_some();
        let order = match sort.unwrap_or(if is_page { Sort::Id } else { Sort::Start }) {
            Sort::Id => DowntimeOrder::Id,
            Sort::Start => DowntimeOrder::Start,
            Sort::End => DowntimeOrder::End,
        };
        Ok(DowntimeListing { window, order, descending: page.reverse, after, limit: page.limit, ..DowntimeListing::default() })
    }
}

/// `host downtime add`
#[derive(Args, Clone, Debug)]
pub struct Add {
    /// Number or hypervisor hostname
    host: String,
    /// now, +30m, or a UTC date as '2026-11-22 14:00'; now unless given, and as it was with the --id of one that is there
    #[arg(long, value_parser = time::parse)]
    from: Option<When>,
    /// +2h (after --from), a UTC date, or never
    #[arg(long, value_parser = time::parse)]
    to: When,
    /// Only so many vCPUs of it (after Nova's allocation ratio); without any amount all of the host, and as it was with the --id
    /// of one that is there
    #[arg(long, value_name = "N")]
    vcpus: Option<u32>,
    /// Only so much of its memory
    #[arg(long, value_name = "MIB")]
    memory_mb: Option<u32>,
    /// Only so much of its disk
    #[arg(long, value_name = "GIB")]
    disk_gb: Option<u32>,
    /// Changes the downtime of this id, if the host has it; a new one unless given
    #[arg(long, value_name = "UUID")]
    id: Option<DowntimeId>,
}

impl Add {
    /// As it is meant at `now`; `made` is the id where none is given.
    pub(super) fn wish(&self, now: Seconds, made: DowntimeId) -> Result<NewDowntime, Failure> {
        let WindowWish { start, end } = window(self.from.unwrap_or(When::Now), self.to, now)?;
        let withheld = Withheld { vcpus: self.vcpus, memory_mb: self.memory_mb, disk_gb: self.disk_gb };
        // Now is the cluster's, whose clock may differ from this machine's.
        let start = self.from.map(|from| if from == When::Now { StartWish::Now } else { start });
        Ok(NewDowntime { id: self.id.unwrap_or(made), start, end, withheld })
    }
}

pub(super) async fn run(command: DowntimeCommand, session: &Session) -> Result<(), Failure> {
    let (client, output) = (&session.client, session.output);
    match command {
        DowntimeCommand::Add(add) => {
            let (key, now) = session.key_and_now();
            let wish = add.wish(now, DowntimeId(key.id))?;
            let id = find(session, &add.host).await?;
            let host = with_progress("the downtime", client.set_downtime(key, id, wish)).await?.value;
            let name = &host.description.hypervisor_hostname;
            let its = host.downtimes.iter().filter(|one| one.id == wish.id);
            let of: Vec<HostDowntime> =
                its.map(|one| HostDowntime { host_id: host.id, hypervisor_hostname: name.clone(), downtime: *one }).collect();
            output.print(downtimes_json(&of), || downtimes_table(&of))?;
        }
        DowntimeCommand::List(asked) => {
            let host_id = match &asked.host {
                Some(host) => Some(find(session, host).await?),
                None => None,
            };
            let listing = DowntimeListing { host_id, ..asked.listing(session.key_and_now().1)? };
            let limit = listing.limit;
            let found = with_progress("the list", client.list_downtimes(listing)).await?.value;
            let more = || listing::more(limit, found.len(), found.last().map(|last| last.name().to_string()));
            output.print(downtimes_json(&found), || downtimes_table(&found) + &more())?;
        }
        DowntimeCommand::Remove { host, id } => {
            let host_id = find(session, &host).await?;
            let answer = with_progress("the downtime", client.drop_downtime(session.key(), host_id, id)).await?;
            let removed = json!({ "removed": id, "host_id": host_id.0, "ledger_index": answer.ledger_index });
            output.print(removed, || format!("Downtime {id} of host {host_id} is dropped."))?;
        }
    }
    Ok(())
}

/// For programs.
pub(super) fn downtimes_json(downtimes: &[HostDowntime]) -> Value {
    let one = |HostDowntime { host_id, hypervisor_hostname, downtime: one }: &HostDowntime| {
        json!({
            "id": one.id, "host_id": host_id.0, "hypervisor_hostname": hypervisor_hostname,
            "start": rfc3339(one.interval.start), "end": rfc3339(one.interval.end), "whole_host": one.withheld.all(),
            "vcpus": one.withheld.vcpus, "memory_mb": one.withheld.memory_mb, "disk_gb": one.withheld.disk_gb,
        })
    };
    downtimes.iter().map(one).collect()
}

/// For people.
pub(super) fn downtimes_table(downtimes: &[HostDowntime]) -> String {
    let taken = |withheld: Withheld| {
        let named = [(withheld.vcpus, "vCPU"), (withheld.memory_mb, "MiB"), (withheld.disk_gb, "GiB")];
        let amounts: Vec<String> =
            named.into_iter().filter_map(|(amount, unit)| amount.map(|amount| format!("{amount} {unit}"))).collect();
        if amounts.is_empty() { "all".to_owned() } else { amounts.join(", ") }
    };
    let row = |HostDowntime { hypervisor_hostname, downtime: one, .. }: &HostDowntime| {
        vec![one.id.to_string(), hypervisor_hostname.clone(), utc(one.interval.start), utc(one.interval.end), taken(one.withheld)]
    };
    let head = ["id", "host", "start (UTC)", "end (UTC)", "not to be had"];
    let empty = "No downtimes. Declare one: leasehold host downtime add HOST --from TIME --to TIME";
    table(&head, downtimes.iter().map(row).collect(), empty)
}
