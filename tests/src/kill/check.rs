//! The end of a run: what clients were told against what the ledger holds, and the ledger against the hosts.
//! Shares no code with the ledger's own rules.

use std::collections::BTreeMap;

use leasehold_ledger::model::{Host, Lease, LeaseId, Phase};

use super::workload::{Deletion, Knowledge};
use crate::cloud::Capacity;

/// Everything in `leases` that contradicts what clients were told.
pub fn against_clients(knowledge: &Knowledge, leases: &[Lease]) -> Vec<String> {
    let by_id: BTreeMap<LeaseId, &Lease> = leases.iter().map(|lease| (lease.id, lease)).collect();
    let mut by_name: BTreeMap<&str, Vec<&Lease>> = BTreeMap::new();
    for lease in leases {
        let made_as = lease.name.split('.').next().unwrap_or_default();
        by_name.entry(made_as).or_default().push(lease);
    }
    let mut wrong = Vec::new();
    for (name, known) in knowledge {
        let there = by_name.remove(name.as_str()).unwrap_or_default();
        if there.len() > 1 {
            wrong.push(format!("{name} was created {} times", there.len()));
        }
        if let Some(other) = there.iter().find(|lease| !known.names.contains(&lease.name)) {
            wrong.push(format!("{name} is called {}, which was never acknowledged or asked: {:?}", other.name, known.names));
        }
        let Some(id) = known.id else { continue };
        match (known.deletion, by_id.get(&id)) {
            (Deletion::No, None) => wrong.push(format!("{name} ({id}) was acknowledged and is lost")),
            (Deletion::Yes, Some(_)) => wrong.push(format!("{name} ({id}) was deleted and is there again")),
            (Deletion::No, Some(_)) | (Deletion::Yes, None) | (Deletion::Maybe, _) => {}
        }
    }
    wrong.extend(by_name.keys().map(|name| format!("{name} is there and no client asked for it")));
    wrong
}

/// Every instant at which a host is promised more than the cloud says it has.
pub fn double_booked(hosts: &[Host], leases: &[Lease], capacities: &BTreeMap<String, Capacity>) -> Vec<String> {
    let mut wrong = Vec::new();
    for host in hosts {
        let Some(room) = capacities.get(&host.description.hypervisor_hostname) else {
            wrong.push(format!("host {} is not in the cloud", host.id));
            continue;
        };
        // At equal seconds what ends comes before what starts.
        let mut edges: Vec<(u32, bool, Capacity)> = Vec::new();
        for lease in leases {
            for reservation in &lease.reservations {
                let wish = reservation.wish.instance();
                let one = Capacity { vcpus: wish.vcpus.into(), memory_mb: wish.memory_mb.into(), disk_gb: wish.disk_gb.into() };
                for binding in reservation.bindings.iter().filter(|binding| binding.host == host.id) {
                    let interval = match (binding.phase, reservation.staging) {
                        (Phase::Staging, Some(staging)) => staging.booked(),
                        (Phase::Staging | Phase::Main, _) => lease.interval(),
                    };
                    let amount = one.times(binding.slots.into());
                    edges.push((interval.start.0, true, amount));
                    edges.push((interval.end.0, false, amount));
                }
            }
        }
        edges.sort_by_key(|(at, begins, _)| (*at, *begins));
        let mut taken = Capacity::default();
        for (at, begins, amount) in edges {
            taken = if begins { taken.plus(amount) } else { taken.minus(amount) };
            if !taken.fits(*room) {
                wrong.push(format!("host {} at second {at}: {taken:?} of {room:?}", host.id));
            }
        }
    }
    wrong
}

/// Every lease whose bindings do not come to what was asked.
pub fn short(leases: &[Lease]) -> Vec<String> {
    leases
        .iter()
        .flat_map(|lease| lease.reservations.iter().map(move |reservation| (lease, reservation)))
        .filter_map(|(lease, reservation)| {
            let bound: u32 =
                reservation.bindings.iter().filter(|binding| binding.phase == Phase::Main).map(|binding| binding.slots).sum();
            let asked = reservation.wish.instance().amount;
            (bound != asked).then(|| format!("{}: {asked} asked, {bound} bound", lease.name))
        })
        .collect()
}
