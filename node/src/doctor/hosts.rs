//! Every host of the ledger: its compute service, its two child providers, its hold and its tokens.
//!
//! Cloud and ledger cannot be read at one instant, and the leader may be at work between the two. A host that differs is
//! therefore looked at again, with the ledger read anew, before it is told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt;
use leasehold_ledger::model::{Amounts, Host, HostId, Lease, LeaseStatus, Seconds};
use leasehold_ledger::state::{Booking, lease_bookings, segments, sum_at};

use super::{Ledger, Report, Rows};
use crate::leader::desired::{self, Booked, HostWish};
use crate::leader::host_monitor;
use crate::leader::host_plan::{self, HostRead, Write};
use crate::leader::host_writer;
use crate::leader::names::{ANCHOR_CLASS, Names};
use crate::openstack::nova::ServiceState;
use crate::openstack::{Cloud, CloudError};
use crate::seams::Clock;

/// Hosts looked at at once.
const AT_ONCE: usize = 16;
/// Looks at a host that differs.
const LOOKS_MAX: u32 = 3;
/// Between two of them: the leader mends what it sees in less.
const PAUSE: Duration = Duration::from_secs(1);

/// For what stays.
const AT_WORK: &str = "run the doctor again in a minute; if it stays, look at the leader's log and at the status_reason of the \
                       host's leases";

pub(super) async fn examine(cloud: &Cloud, clock: &dyn Clock, rows: &dyn Rows, ledger: &Ledger, report: &mut Report) {
    if ledger.hosts.is_empty() {
        report.warn("hosts", "the ledger has none: nothing can be reserved", "leasehold host add NAME");
        return;
    }
    let services = match cloud.nova().compute_services().await {
        Ok(services) => services,
        Err(error) => return report.no_answer("hosts: compute services", &error),
    };
    let services: BTreeMap<&str, &ServiceState> = services.iter().map(|service| (service.host.as_str(), service)).collect();
    let found = look_until_settled(cloud, clock, rows, ledger, report).await;
    for host in &ledger.hosts {
        let name = &host.description.hypervisor_hostname;
        let Some(found) = found.get(&host.id) else {
            report.skip(&format!("host {name}"), "it was taken out of the ledger meanwhile");
            continue;
        };
        service(name, services.get(host.description.service_name.as_str()).copied(), report);
        report.checks.extend(found.checks.iter().cloned());
    }
}

/// What is found of each host; nothing of those that left the ledger.
async fn look_until_settled(
    cloud: &Cloud,
    clock: &dyn Clock,
    rows: &dyn Rows,
    ledger: &Ledger,
    report: &mut Report,
) -> BTreeMap<HostId, Report> {
    let mut found = look(cloud, ledger, |_| true).await;
    for _ in 1..LOOKS_MAX {
        let mut differing = found.clone();
        differing.retain(|_, report| !report.is_all_ok());
        if differing.is_empty() {
            break;
        }
        clock.sleep(PAUSE).await;
        // What was seen stays, beside the failure to read again.
        let Some(again) = super::read(rows, report).await else { break };
        found.retain(|id, _| !differing.contains_key(id));
        found.extend(look(cloud, &again, |host| differing.contains_key(&host)).await);
    }
    found
}

/// One look at some of the hosts.
async fn look(cloud: &Cloud, ledger: &Ledger, which: impl Fn(HostId) -> bool) -> BTreeMap<HostId, Report> {
    let names = ledger.names();
    let mut promised: BTreeMap<HostId, Promised<'_>> = promised(ledger);
    let mut looks = Vec::new();
    for host in ledger.hosts.iter().filter(|host| which(host.id)) {
        let promised = promised.remove(&host.id).unwrap_or_default();
        looks.push(async move {
            let mut report = Report::default();
            capacity(host, &mut report);
            providers(cloud, &names, host, &promised, ledger.now, &mut report).await;
            (host.id, report)
        });
    }
    futures::stream::iter(looks).buffer_unordered(AT_ONCE).collect().await
}

/// Who wants something of a host.
#[derive(Default)]
struct Promised<'a> {
    bookings: Vec<Booking>,
    leases: Vec<&'a Lease>,
}

/// By host, so that each looks at its own alone.
fn promised(ledger: &Ledger) -> BTreeMap<HostId, Promised<'_>> {
    let mut promised: BTreeMap<HostId, Promised<'_>> = BTreeMap::new();
    for lease in &ledger.leases {
        for booking in lease_bookings(lease) {
            promised.entry(booking.host).or_default().bookings.push(booking);
        }
        let hosts: BTreeSet<HostId> = lease.reservations.iter().flat_map(desired::hosts_of).collect();
        for host in hosts {
            promised.entry(host).or_default().leases.push(lease);
        }
    }
    promised
}

fn service(name: &str, service: Option<&ServiceState>, report: &mut Report) {
    let subject = format!("host {name}: compute service");
    match service {
        Some(service) if service.usable() => report.ok(&subject, "up and enabled"),
        Some(service) if service.is_unknown() => {
            let seen =
                "its cell does not answer Nova: reservations on it cannot start, and lists of servers lack those of the cell";
            report.fail(&subject, seen.to_owned(), "look at the database and the message queue of the cell");
        }
        Some(service) => {
            let forced = if service.forced_down { ", forced down" } else { "" };
            let seen = format!("{} and {}{forced}: reservations on it cannot start", service.state, service.status);
            let next = if service.status == "disabled" {
                "openstack compute service set --enable HOST nova-compute, or: leasehold host set --reservable false"
            } else {
                "start nova-compute on it; openstack compute service list shows when it was last seen"
            };
            report.fail(&subject, seen, next);
        }
        None => report.fail(&subject, "Nova knows no such compute service", "did its name change? Then add the host again"),
    }
}

/// What the monitor last saw that it has, against what is promised on it and what it was taken in with.
fn capacity(host: &Host, report: &mut Report) {
    let (name, budget) = (&host.description.hypervisor_hostname, host.description.anchor_budget);
    if host.overcommitted {
        let next = "it takes nothing new; bring its capacity back, or move what is reserved away";
        report.fail(&format!("host {name}: capacity"), "more is promised on it than it has now", next);
    }
    if host_monitor::is_short_of_anchors(host) {
        let seen = format!("{} of the {budget} anchors that it was taken in with are left", host.observation.capacity.slots);
        let next = format!(
            "put the total of {ANCHOR_CLASS} in its provider.yaml back and restart nova-compute; docs/operations.md (Shared hosts \
             and flavors) shows the file"
        );
        report.warn(&format!("host {name}: anchors"), seen, next);
    }
}

async fn providers(cloud: &Cloud, names: &Names, host: &Host, promised: &Promised<'_>, now: Seconds, report: &mut Report) {
    let name = &host.description.hypervisor_hostname;
    let subject = format!("host {name}: providers");
    let root = host.description.root_provider;
    let read = match host_writer::read_root(cloud, names, host.id, root).await {
        Ok(read) => read,
        Err(error) if error.is_not_found() => return gone(&subject, &error, report),
        Err(error) => return report.no_answer(&subject, &error),
    };
    match cloud.placement().provider(names.loan_provider(root)).await {
        Ok(Some(_)) => report.ok(&subject, "both children are there"),
        Ok(None) => {
            let error = format!("the loan provider of host {} is gone", host.id);
            report.fail(&subject, error, AT_WORK);
        }
        Err(error) => report.no_answer(&subject, &error),
    }
    let wish = desired::wish_of(host, booked(host, now, &promised.bookings), promised.leases.iter().copied());
    hold(name, &wish, &read, report);
    tokens(name, names, promised, &wish, &read, report);
}

fn gone(subject: &str, error: &CloudError, report: &mut Report) {
    let next = "the leader makes a missing child again within leader.reconcile_s; if the root provider itself is gone, Nova has \
                forgotten the host: remove it, and add it again when it is back";
    report.fail(subject, error.to_string(), next);
}

fn hold(name: &str, wish: &HostWish, read: &HostRead, report: &mut Report) {
    let subject = format!("host {name}: hold");
    let (held, wanted) = (read.held(), Amounts { slots: 0, ..wish.hold });
    let sought = Amounts { slots: 0, ..wish.sought };
    if read.holds(wish) && sought.fits_in(held) {
        report.ok(&subject, told(held));
    } else if read.holds(wish) {
        let seen = format!("{} are held; {} are sought for what begins after the planned upgrade", told(held), told(sought));
        let next = "ordinary servers have the rest: see that Placement has the upgrade by its time";
        report.warn(&subject, seen, next);
    } else {
        let seen = format!("{} are held, {} are to be: ordinary servers may take what is reserved", told(held), told(wanted));
        report.fail(&subject, seen, AT_WORK);
    }
}

fn tokens(name: &str, names: &Names, promised: &Promised<'_>, wish: &HostWish, read: &HostRead, report: &mut Report) {
    let subject = format!("host {name}: tokens");
    let strangers = read.usage.iter().filter(|(class, used)| **used > 0 && !wish.tokens.contains_key(*class));
    let strangers: Vec<String> = strangers.map(|(class, used)| format!("{used} of {class}")).collect();
    if !strangers.is_empty() {
        let seen = format!("tokens of no lease are in use: {}", strangers.join(", "));
        let next = "a lease that is being deleted still has its servers for a moment: run the doctor again in a minute; then \
                    openstack server list --all-projects --host HOST, and delete what should not run any more";
        return report.warn(&subject, seen, next);
    }
    match host_plan::next_write(names, wish, read, true) {
        Some(Write::Inventories(_)) => {
            let changing = promised.leases.iter().filter(|lease| lease.status == LeaseStatus::Updating).count();
            let seen = format!(
                "not as the {} reservations on it want them ({changing} leases on it are being changed)",
                wish.tokens.len()
            );
            report.warn(&subject, seen, AT_WORK);
        }
        Some(Write::Hold(_)) | None => report.ok(&subject, format!("{} reservations, as wanted", wish.tokens.len())),
    }
}

fn told(amounts: Amounts) -> String {
    format!("{} vcpus, {} MB, {} GB", amounts.vcpus, amounts.memory_mb, amounts.disk_gb)
}

/// The most that is booked on a host at any instant from now on, and the same but for what its upgrade is to bring.
fn booked(host: &Host, now: Seconds, bookings: &[Booking]) -> Booked {
    let to_come = segments(host.id, bookings, &[]).into_iter().filter(|segment| segment.end > now);
    to_come.fold(Booked::default(), |most, segment| {
        let (booked, more_room) = (sum_at(host.id, segment, bookings), host.room_at(segment.start).saturating_sub(host.room()));
        Booked { to_hold: most.to_hold.max(booked.saturating_sub(more_room)), peak: most.peak.max(booked) }
    })
}
