//! What a host's coming reads of the cloud: that host, and not all of the others.

use leasehold_cloudsim::{Fault, FaultKind, Kind, Match};
use leasehold_ledger::model::{HostId, PoolKind};
use leasehold_node::leader::onboard::OnboardError;

use super::world::World;

/// What was read of Nova since the record was looked at last.
fn asked(world: &World) -> Vec<String> {
    let record = world.sim.lock().take_record();
    let reads = record.into_iter().filter(|line| line.kind == Kind::Request && line.service == "compute" && line.method == "GET");
    reads.map(|line| line.path.trim_start_matches("/v2.1").to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_host_is_taken_in_without_a_look_at_all_others() {
    // Names that contain the one that is asked for.
    let world = World::new(&["cmp10", "cmp1", "old-cmp1", "cmp2"]);
    asked(&world);
    for name in ["cmp1", "cmp10"] {
        let taken = world.take_in(name, PoolKind::Dedicated).await.description;
        assert_eq!(
            (taken.hypervisor_hostname.as_str(), taken.service_name.as_str(), taken.zone.as_deref()),
            (name, name, Some("nova"))
        );
        let hypervisors = format!("/os-hypervisors/detail?hypervisor_hostname_pattern={name}");
        let service = format!("/os-services?binary=nova-compute&host={name}");
        assert_eq!(asked(&world), [hypervisors, service], "and no flavors: nothing else is ever on a dedicated host");
    }
    world.take_in("cmp2", PoolKind::Shared).await;
    let asked = asked(&world);
    assert!(asked.len() == 3 && asked[2].starts_with("/flavors/detail?"), "they have a grain: {asked:?}");
}

#[tokio::test(start_paused = true)]
async fn all_hypervisors_are_read_for_a_name_that_none_of_them_has() {
    let world = World::new(&["cmp1", "cmp2"]);
    asked(&world);
    let refused = world.try_take_in("none.example.org", PoolKind::Dedicated).await.unwrap_err();
    assert_eq!(refused, OnboardError::NotFound("none.example.org".to_owned()));
    let [first, second] = asked(&world).try_into().unwrap();
    assert_eq!(first, "/os-hypervisors/detail?hypervisor_hostname_pattern=none.example.org");
    assert_eq!(second, "/os-hypervisors/detail?limit=500", "it might be the name of a compute service");
    // What a database might take for a part of every name is asked of nobody.
    let refused = world.try_take_in("no%/host", PoolKind::Dedicated).await.unwrap_err();
    assert_eq!(refused, OnboardError::NotFound("no%/host".to_owned()));
    assert_eq!(asked(&world), ["/os-hypervisors/detail?limit=500"]);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_down_is_taken_in_as_such_and_one_in_a_silent_cell_not_at_all() {
    let world = World::new(&["cmp1", "cmp2"]);
    let up = |id: HostId| world.ledger.look(|state| state.host(id).unwrap().observation.up);
    let when = Match { service: "compute".to_owned(), method: "GET".to_owned(), ..Match::default() };
    let silent = Fault { when, kind: FaultKind::Partial, skip: 0, count: None, probability: 1.0 };
    let silent = world.sim.lock().add_fault(silent);
    let refused = world.try_take_in("cmp1", PoolKind::Dedicated).await.unwrap_err();
    assert!(matches!(&refused, OnboardError::Conflict(text) if text.contains("cell of host cmp1")), "{refused}");
    assert!(up(world.onboard("cmp2", PoolKind::Dedicated).await), "its cell answers");
    world.sim.lock().remove_fault(silent);
    assert!(world.sim.lock().set_host_alive("cmp1", false));
    assert!(!up(world.onboard("cmp1", PoolKind::Dedicated).await));
}
