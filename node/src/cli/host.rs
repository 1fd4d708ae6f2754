//! `leasehold host …`

use std::collections::BTreeMap;

use clap::{Args, Subcommand, ValueEnum};
use leasehold_client::{AllocationFilter, HostChange, NewHost, ReservedName, ReservedPage};
use leasehold_ledger::model::{HostId, LeaseId, PoolKind, ReservationId, Seconds};
use serde_json::json;

use super::downtime::{self, DowntimeCommand};
use super::listing::{self, Hosts, Point, more};
use super::output::{allocations_json, allocations_table, host_details, host_json, host_table};
use super::time::{self, When, rfc3339};
use super::upgrade::{self, UpgradeCommand};
use super::wait::with_progress;
use super::{Failure, Session};

pub(super) const EXAMPLES: &str = "\
Examples:
  leasehold host add compute-1                      its servers come from reservations only
  leasehold host add compute-2 --pool shared        ordinary servers use what is not reserved
  leasehold host set 1 --property gpu=a100 --reservable false
  leasehold host downtime add compute-1 --from '2026-11-29 06:00' --to +4h
  leasehold host allocations --limit 100
  leasehold host allocations --zone north --sort name
  leasehold host allocations compute-1 --from now --to +7d
  leasehold host allocations compute-1 --limit 50 --behind 2026-12-06T06:00:00Z/6f1c1a52-0d0b-4f3b-9a54-0c1d2e3f4a5b";

/// Hosts.
#[derive(Subcommand, Clone, Debug)]
pub enum HostCommand {
    /// Onboard a compute host
    Add {
        /// Nova's compute host or hypervisor hostname
        name: String,
        /// Who else may use it
        #[arg(long, value_enum, default_value_t = Pool::Dedicated)]
        pool: Pool,
        /// Extra capability that reservations may ask for
        #[arg(long = "property", value_name = "KEY=VALUE", value_parser = parse_property)]
        properties: Vec<(String, String)>,
    },
    /// Show one host
    Show {
        /// Number or hypervisor hostname
        host: String,
    },
    /// List hosts, filtered, sorted, page by page
    List(Box<Hosts>),
    /// Change extra capabilities, or whether new reservations may use it
    Set {
        /// Number or hypervisor hostname
        host: String,
        /// Extra capability to add or replace
        #[arg(long = "property", value_name = "KEY=VALUE", value_parser = parse_property)]
        properties: Vec<(String, String)>,
        /// Whether new reservations may use it
        #[arg(long, value_name = "BOOL")]
        reservable: Option<bool>,
    },
    /// What is not to be had of a host for a time: maintenance, parts that go, a buffer
    #[command(subcommand, after_help = downtime::EXAMPLES)]
    Downtime(DowntimeCommand),
    /// What a host is to have from a time on: a planned upgrade
    #[command(subcommand, after_help = upgrade::EXAMPLES)]
    Upgrade(UpgradeCommand),
    /// Remove a host without reservations and servers
    Remove {
        /// Number or hypervisor hostname
        host: String,
    },
    /// Who has reserved what, when: of one host, or of many, filtered, sorted, page by page
    Allocations(Box<Allocations>),
}

/// `host allocations`
#[derive(Args, Clone, Debug)]
pub struct Allocations {
    /// Only of this host, by number or hypervisor hostname
    // `Hosts` has groups in it, and so is itself an empty one.
    #[arg(conflicts_with_all = ["Where", "reservable", "sort", "after"])]
    pub(super) host: Option<String>,
    /// Only of this lease
    #[arg(long, value_name = "UUID")]
    lease: Option<LeaseId>,
    /// Only this reservation
    #[arg(long, value_name = "UUID")]
    reservation: Option<ReservationId>,
    /// Only at this time and later: now, -2d, +30m, or a UTC date
    #[arg(long, value_parser = listing::parse_point, allow_hyphen_values = true)]
    from: Option<Point>,
    /// Only before this time: now, +2h (after --from), or a UTC date
    #[arg(long, value_parser = listing::parse_point, allow_hyphen_values = true)]
    to: Option<Point>,
    /// Of the one host, only what comes behind this in the order, by start: the last of the page before
    #[arg(long, value_name = "DATE/UUID", value_parser = parse_reserved, requires = "host")]
    behind: Option<ReservedName>,
    #[command(flatten, next_help_heading = "Of which hosts, or in which order and how much of the one host")]
    hosts: Hosts,
}

impl Allocations {
    /// As a command given at `now` means it; of which host is to be found out.
    pub(super) fn filter(self, now: Seconds) -> Result<AllocationFilter, Failure> {
        let Allocations { host, lease: lease_id, reservation: reservation_id, from, to, behind, hosts } = self;
        let window = listing::some_window(from, to, now)?;
        let mut hosts = hosts.listing();
        let mut page = ReservedPage::default();
        // Of one host it is a page of what is reserved.
        if host.is_some() {
            page = ReservedPage { descending: hosts.descending, after: behind, limit: hosts.limit };
            (hosts.descending, hosts.limit) = (false, None);
        }
        Ok(AllocationFilter { hosts, host_id: None, lease_id, reservation_id, window, page })
    }
}

/// See [`PoolKind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Pool {
    /// Nobody: its servers come from reservations only.
    Dedicated,
    /// Ordinary servers use what no reservation needs.
    Shared,
}

impl From<Pool> for PoolKind {
    fn from(pool: Pool) -> PoolKind {
        match pool {
            Pool::Dedicated => PoolKind::Dedicated,
            Pool::Shared => PoolKind::Shared,
        }
    }
}

pub(super) fn parse_property(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.trim().to_owned())),
        _ => Err("write KEY=VALUE, as in gpu=a100".to_owned()),
    }
}

fn parse_reserved(text: &str) -> Result<ReservedName, String> {
    let name = text.split_once('/').and_then(|(start, id)| match (time::parse(start), id.parse()) {
        (Ok(When::At(start)), Ok(reservation_id)) => Some(ReservedName { start, reservation_id }),
        _ => None,
    });
    name.ok_or_else(|| {
        "write DATE/UUID, of the start and the reservation, as in 2026-12-06T06:00:00Z/6f1c1a52-0d0b-4f3b-9a54-0c1d2e3f4a5b"
            .to_owned()
    })
}

pub(super) async fn run(command: HostCommand, session: &Session) -> Result<(), Failure> {
    let (client, output) = (&session.client, session.output);
    match command {
        HostCommand::Add { name, pool, properties } => {
            let waiting = format!("{name} to be onboarded in Nova and Placement");
            let new = NewHost { name, pool: pool.into(), properties: BTreeMap::from_iter(properties) };
            let host = with_progress(&waiting, client.register_host(session.key(), new)).await?.value;
            output.print(host_json(&host), || host_details(&host))?;
        }
        HostCommand::Show { host } => {
            let host = client.get_host(find(session, &host).await?).await?.value;
            output.print(host_json(&host), || host_details(&host))?;
        }
        HostCommand::List(asked) => {
            let listing = asked.listing();
            let limit = listing.limit;
            let hosts = with_progress("the list", client.list_hosts(listing)).await?.value;
            let more = || more(limit, hosts.len(), hosts.last().map(|host| host.id.to_string()));
            output.print(hosts.iter().map(host_json).collect(), || host_table(&hosts) + &more())?;
        }
        HostCommand::Set { host, properties, reservable } => {
            if properties.is_empty() && reservable.is_none() {
                return Err(Failure::Usage("nothing to set: give --property KEY=VALUE or --reservable true|false".to_owned()));
            }
            let id = find(session, &host).await?;
            let change = HostChange { properties: BTreeMap::from_iter(properties), reservable };
            let host = with_progress("the change", client.update_host(session.key(), id, change)).await?.value;
            output.print(host_json(&host), || host_details(&host))?;
        }
        HostCommand::Downtime(command) => downtime::run(command, session).await?,
        HostCommand::Upgrade(command) => upgrade::run(command, session).await?,
        HostCommand::Remove { host } => {
            let id = find(session, &host).await?;
            let waiting = format!("host {id} to be released in Nova and Placement");
            let answer = with_progress(&waiting, client.delete_host(session.key(), id)).await?;
            let removed = json!({ "removed": id.0, "ledger_index": answer.ledger_index });
            output.print(removed, || format!("Host {id} is removed."))?;
        }
        HostCommand::Allocations(asked) => {
            let host_id = match &asked.host {
                Some(host) => Some(find(session, host).await?),
                None => None,
            };
            let filter = AllocationFilter { host_id, ..asked.filter(session.key_and_now().1)? };
            let (limit, of_one) = (filter.hosts.limit, filter.page.limit);
            let allocations = with_progress("the list", client.host_allocations(filter)).await?.value;
            let more = || match (of_one, allocations.first().map(|one| &one.reservations)) {
                (Some(limit), Some(reserved)) if reserved.len() >= limit as usize => {
                    let last = reserved.last().and_then(|last| Some((rfc3339(last.start)?, last.reservation_id)));
                    last.map(|(start, id)| format!("\nThere may be more: --behind {start}/{id}")).unwrap_or_default()
                }
                _ => more(limit, allocations.len(), allocations.last().map(|last| last.host_id.to_string())),
            };
            output.print(allocations_json(&allocations), || allocations_table(&allocations) + &more())?;
        }
    }
    Ok(())
}

/// By number, or by name through the list.
pub(super) async fn find(session: &Session, host: &str) -> Result<HostId, Failure> {
    if let Ok(number) = host.parse() {
        return Ok(HostId(number));
    }
    let hosts = session.client.list_hosts(Default::default()).await?.value;
    let found = hosts.iter().find(|known| known.description.hypervisor_hostname == host);
    found.map(|known| known.id).ok_or_else(|| Failure::Name(format!("no host is called '{host}'; see: leasehold host list")))
}
