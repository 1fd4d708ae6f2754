//! Every host of the ledger: its compute service, its two child providers, its hold and its tokens.

use std::collections::BTreeMap;

use leasehold_ledger::model::{Amounts, Host, HostId, LeaseStatus, Seconds};
use leasehold_ledger::state::{Booking, lease_bookings, segments, sum_at};

use super::{Ledger, Report};
use crate::leader::desired::{self, HostWish};
use crate::leader::host_plan::{self, HostRead, Write};
use crate::leader::host_writer;
use crate::openstack::nova::ServiceState;
use crate::openstack::{Cloud, CloudError};

/// Cloud and ledger cannot be read at one instant, and the leader may be at work between the two.
const AT_WORK: &str = "run the doctor again in a minute; if it stays, look at the leader's log and at the status_reason of the \
                       host's leases";

pub(super) async fn examine(cloud: &Cloud, ledger: &Ledger, report: &mut Report) {
    if ledger.hosts.is_empty() {
        report.warn("hosts", "the ledger has none: nothing can be reserved", "leasehold host add NAME");
        return;
    }
    let services = match cloud.nova().compute_services().await {
        Ok(services) => services,
        Err(error) => return report.no_answer("hosts: compute services", &error),
    };
    let services: BTreeMap<&str, &ServiceState> = services.iter().map(|service| (service.host.as_str(), service)).collect();
    let bookings: Vec<Booking> = ledger.leases.iter().flat_map(lease_bookings).collect();
    for host in &ledger.hosts {
        let name = &host.description.hypervisor_hostname;
        service(name, services.get(host.description.service_name.as_str()).copied(), report);
        if host.overcommitted {
            let next = "it takes nothing new; bring its capacity back, or move what is reserved away";
            report.fail(&format!("host {name}: capacity"), "more is promised on it than it has now", next);
        }
        providers(cloud, ledger, host, &bookings, report).await;
    }
}

fn service(name: &str, service: Option<&ServiceState>, report: &mut Report) {
    let subject = format!("host {name}: compute service");
    match service {
        Some(service) if service.usable() => report.ok(&subject, "up and enabled"),
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

async fn providers(cloud: &Cloud, ledger: &Ledger, host: &Host, bookings: &[Booking], report: &mut Report) {
    let name = &host.description.hypervisor_hostname;
    let subject = format!("host {name}: providers");
    let (names, root) = (ledger.names(), host.description.root_provider);
    let read = match host_writer::read_root(cloud, &names, host.id, root).await {
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
    let wish = desired::wish_of(host, peak_from(host.id, ledger.now, bookings), &ledger.leases);
    hold(name, &wish, &read, report);
    tokens(name, ledger, &wish, &read, report);
}

fn gone(subject: &str, error: &CloudError, report: &mut Report) {
    let next = "the leader makes a missing child again within leader.reconcile_s; if the root provider itself is gone, Nova has \
                forgotten the host: remove it, and add it again when it is back";
    report.fail(subject, error.to_string(), next);
}

fn hold(name: &str, wish: &HostWish, read: &HostRead, report: &mut Report) {
    let subject = format!("host {name}: hold");
    let (held, wanted) = (read.held(), Amounts { slots: 0, ..wish.hold });
    if read.holds(wish) {
        report.ok(&subject, told(held));
    } else {
        let seen = format!("{} are held, {} are to be: ordinary servers may take what is reserved", told(held), told(wanted));
        report.fail(&subject, seen, AT_WORK);
    }
}

fn tokens(name: &str, ledger: &Ledger, wish: &HostWish, read: &HostRead, report: &mut Report) {
    let subject = format!("host {name}: tokens");
    let strangers = read.usage.iter().filter(|(class, used)| **used > 0 && !wish.tokens.contains_key(*class));
    let strangers: Vec<String> = strangers.map(|(class, used)| format!("{used} of {class}")).collect();
    if !strangers.is_empty() {
        let seen = format!("tokens of no lease are in use: {}", strangers.join(", "));
        let next = "a lease that is being deleted still has its servers for a moment: run the doctor again in a minute; then \
                    openstack server list --all-projects --host HOST, and delete what should not run any more";
        return report.warn(&subject, seen, next);
    }
    match host_plan::next_write(&ledger.names(), wish, read, true) {
        Some(Write::Inventories(_)) => {
            let changing = ledger.leases.iter().filter(|lease| lease.status == LeaseStatus::Updating).count();
            let seen =
                format!("not as the {} reservations on it want them ({changing} leases are being changed)", wish.tokens.len());
            report.warn(&subject, seen, AT_WORK);
        }
        Some(Write::Hold(_)) | None => report.ok(&subject, format!("{} reservations, as wanted", wish.tokens.len())),
    }
}

fn told(amounts: Amounts) -> String {
    format!("{} vcpus, {} MB, {} GB", amounts.vcpus, amounts.memory_mb, amounts.disk_gb)
}

/// The most that is booked on a host at any instant from now on.
fn peak_from(host: HostId, now: Seconds, bookings: &[Booking]) -> Amounts {
    let to_come = segments(host, bookings, &[]).into_iter().filter(|segment| segment.end > now);
    to_come.map(|segment| sum_at(host, segment, bookings)).fold(Amounts::default(), Amounts::max)
}
