//! Downtimes and upgrades as operators declare them: over gRPC, as they see them on the command line, and what becomes of the leases
//! there.

use leasehold_client::command::StartWish;
use leasehold_client::model::{DowntimeId, HostId, Lease, LeaseId, LeaseStatus, PoolKind, ResourceWish, Upgrade, Withheld};
use leasehold_client::{CapacityWish, Client, Error, HostFilter, NewDowntime, NewHost, RefusalKind, WindowWish};
use leasehold_tests::caller;
use leasehold_tests::settings::{Auth, Timing};
use leasehold_tests::wait::wait_for;
use uuid::Uuid;

use crate::command_line::{fails, json, says};
use crate::rig::{PATIENCE, from_now, rig, rig_with, tomorrow, wish};

fn of_tomorrow(id: u128, withheld: Withheld) -> NewDowntime {
    let (start, end) = (Some(StartWish::At(from_now(86_400 + 60))), from_now(86_400 + 600));
    NewDowntime { id: DowntimeId(Uuid::from_u128(id)), start, end, withheld }
}

fn host_of(lease: &Lease) -> HostId {
    lease.reservations[0].bindings[0].host
}

async fn until(client: &Client, lease: LeaseId, what: &str, so: impl Fn(&Lease) -> bool) -> Lease {
    wait_for(what, PATIENCE, || async {
        let now = client.get_lease(lease).await.map_err(|error| error.to_string())?.value;
        if so(&now) { Ok(now) } else { Err(format!("{now:?}")) }
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn who_was_promised_a_host_moves_before_its_downtime_and_nobody_is_promised_it_anew() {
    let mut rig = rig(2).await;
    let client = &rig.client.clone();
    let made = client.create_lease(client.new_key(), tomorrow("a")).await.unwrap().value;
    let first = host_of(&made);
    // A second later it were another request.
    let (key, all_of_it) = (client.new_key(), of_tomorrow(1, Withheld::ALL));
    for _ in 0..2 {
        let host = client.set_downtime(key, first, all_of_it).await.unwrap().value;
        assert_eq!((host.downtimes.len(), host.downtimes[0].withheld), (1, Withheld::ALL));
    }
    let moved = until(client, made.id, "the lease to move", |lease| host_of(lease) != first).await;
    assert!(!moved.degraded);

    // Beside it there is room on the other host only, and the leader's end changes nothing of that.
    let leader = rig.cluster.wait_leader(PATIENCE).await.unwrap();
    rig.cluster.kill9(leader);
    for name in ["b", "c"] {
        let more = client.create_lease(client.new_key(), tomorrow(name)).await.unwrap().value;
        assert_ne!(host_of(&more), first, "{more:?}");
    }
    // On both nothing is left of the window.
    let second = host_of(&moved);
    client.set_downtime(client.new_key(), second, of_tomorrow(2, Withheld::ALL)).await.unwrap();
    let Err(Error::Refused(refused)) = client.create_lease(client.new_key(), tomorrow("d")).await else { panic!("no room") };
    assert_eq!(refused.code, "no_room");
    until(client, made.id, "the lease to be degraded", |lease| lease.degraded).await;
    let window = WindowWish { start: StartWish::At(from_now(86_400 + 120)), end: from_now(86_400 + 130) };
    let asked = CapacityWish { filter: HostFilter::default(), window, steps_max: 1 };
    let found = client.capacity(asked.clone()).await.unwrap().value;
    assert_eq!((found.pieces[0].available, found.pieces[0].withheld), ([0; 4], found.total));

    client.drop_downtime(client.new_key(), second, DowntimeId(Uuid::from_u128(2))).await.unwrap();
    until(client, made.id, "the lease to be well again", |lease| !lease.degraded).await;
    client.create_lease(client.new_key(), tomorrow("d")).await.unwrap();
    let Err(Error::Refused(gone)) = client.drop_downtime(client.new_key(), second, DowntimeId(Uuid::from_u128(2))).await else {
        panic!("it is gone")
    };
    assert_eq!((gone.kind, gone.code.as_str()), (RefusalKind::NotFound, "downtime_not_found"));
    let some = Withheld { vcpus: Some(1), ..Withheld::ALL };
    client.set_downtime(client.new_key(), first, of_tomorrow(1, some)).await.unwrap();
    let found = client.capacity(asked).await.unwrap().value;
    assert_eq!((found.pieces[0].withheld[0], found.pieces[0].withheld[1]), (1, 0));
}

#[tokio::test]
async fn tenants_declare_nothing() {
    let rig = rig_with(1, Auth::Keystone, Timing::default()).await;
    let tenant = rig.cloud.tenant("demo").await.unwrap();
    let client = caller::connect(&rig.cluster, Some(tenant.token())).unwrap();
    let forbidden =
        |result: Result<_, Error>| matches!(result, Err(Error::Refused(refused)) if refused.kind == RefusalKind::Forbidden);
    let host = HostId(1);
    assert!(forbidden(client.set_downtime(client.new_key(), host, of_tomorrow(1, Withheld::ALL)).await.map(drop)));
    let id = DowntimeId(Uuid::from_u128(1));
    assert!(forbidden(client.drop_downtime(client.new_key(), host, id).await.map(drop)));
    let upgrade = Upgrade { start: from_now(60), vcpus: Some(1_000), memory_mb: None, disk_gb: None };
    assert!(forbidden(client.set_upgrade(client.new_key(), host, upgrade).await.map(drop)));
    assert!(forbidden(client.drop_upgrade(client.new_key(), host).await.map(drop)));
}

#[tokio::test]
async fn downtimes_are_managed_from_the_command_line() {
    let rig = rig(1).await;
    let cluster = &rig.cluster;
    let none = says(cluster, &["host", "downtime", "list"]).await;
    assert!(none.contains("No downtimes"), "{none}");
    let made = json(cluster, &["host", "downtime", "add", "cmp1", "--from", "+1h", "--to", "+2h"]).await;
    let id = made[0]["id"].as_str().unwrap().to_owned();
    assert_eq!((&made[0]["whole_host"], &made[0]["hypervisor_hostname"]), (&true.into(), &"cmp1".into()), "{made}");
    let some = says(cluster, &["host", "downtime", "add", "1", "--to", "never", "--vcpus", "1", "--memory-mb", "512"]).await;
    assert!(some.contains("1 vCPU, 512 MiB") && some.contains("never"), "{some}");
    let listed = json(cluster, &["host", "downtime", "list"]).await;
    assert_eq!(listed.as_array().unwrap().len(), 2, "{listed}");
    assert_eq!(listed[0]["end"], serde_json::Value::Null, "what begins first comes first, and has no end: {listed}");
    let page = says(cluster, &["host", "downtime", "list", "--limit", "1", "--to", "+1d"]).await;
    let after = page.lines().last().and_then(|text| text.strip_prefix("There may be more: --after ")).unwrap().to_owned();
    let rest = json(cluster, &["host", "downtime", "list", "--after", &after]).await;
    // Pages are by id.
    let other = listed.as_array().unwrap().iter().find(|one| !after.ends_with(one["id"].as_str().unwrap())).unwrap();
    assert_eq!((rest.as_array().unwrap().len(), &rest[0]["id"]), (1, &other["id"]), "{rest}");
    let shown = says(cluster, &["host", "show", "cmp1"]).await;
    assert!(shown.contains("2 downtimes"), "{shown}");

    // The same id again: another one in its place.
    let longer = json(cluster, &["host", "downtime", "add", "cmp1", "--to", "+9h", "--id", &id]).await;
    assert_eq!(longer[0]["start"], made[0]["start"], "{longer}");
    assert_ne!(longer[0]["end"], made[0]["end"], "{longer}");
    let (code, text) = fails(cluster, &["host", "downtime", "add", "cmp1", "--to", "+1h", "--vcpus", "5000"]).await;
    assert!(code != 0 && text.contains("vcpus") && text.contains("5000"), "{text}");
    let gone = says(cluster, &["host", "downtime", "remove", "cmp1", &id]).await;
    assert!(gone.contains(&id), "{gone}");
    let (code, text) = fails(cluster, &["host", "downtime", "remove", "cmp1", &id]).await;
    assert!(code != 0 && text.contains(&id), "{text}");
    assert_eq!(json(cluster, &["host", "downtime", "list", "cmp1"]).await.as_array().unwrap().len(), 1);
    let (code, text) = fails(cluster, &["host", "downtime", "list", "99"]).await;
    assert!(code != 0 && text.contains("99"), "{text}");
}

#[tokio::test]
async fn what_a_host_is_to_have_is_promised_from_then_on_whoever_leads() {
    let mut rig = rig(1).await;
    let client = &rig.client.clone();
    let host = client.get_host(HostId(1)).await.unwrap().value;
    let has = host.observation.capacity.vcpus;
    let start = from_now(86_400);
    let upgrade = Upgrade { start, vcpus: Some(has + 10), memory_mb: None, disk_gb: None };
    let key = client.new_key();
    for _ in 0..2 {
        let host = client.set_upgrade(key, host.id, upgrade).await.unwrap().value;
        assert_eq!(host.upgrade, Some(upgrade));
    }
    let leader = rig.cluster.wait_leader(PATIENCE).await.unwrap();
    rig.cluster.kill9(leader);
    let host = client.get_host(host.id).await.unwrap().value;
    let large = |name: &str, start, end| {
        let mut large = wish(name, start, end);
        let ResourceWish::Instance(instance) = &mut large.reservations[0].resource;
        let instance = std::sync::Arc::make_mut(instance);
        (instance.vcpus, instance.amount) = (has + 10, 1);
        large
    };
    let early = client.create_lease(client.new_key(), large("a", start.minus(1), start.plus(600))).await;
    let Err(Error::Refused(refused)) = early else { panic!("it is not there yet") };
    let offer = refused.offer.unwrap();
    assert_eq!((refused.code.as_str(), offer.next_start), ("no_room", Some(i64::try_from(start.unix_s()).unwrap())), "{offer:?}");
    let made = client.create_lease(client.new_key(), large("a", start, start.plus(600))).await.unwrap().value;
    let window = WindowWish { start: StartWish::At(start.minus(60)), end: start.plus(60) };
    let asked = CapacityWish { filter: HostFilter::default(), window, steps_max: 10 };
    let found = client.capacity(asked).await.unwrap().value;
    let seen: Vec<(u64, u64)> = found.pieces.iter().map(|piece| (piece.added[0], piece.available[0])).collect();
    assert_eq!((seen, found.total[0]), (vec![(0, u64::from(has)), (10, 0)], u64::from(has)));

    // What was promised of it stays promised; no new lease is taken by a host that lacks it.
    let without = client.drop_upgrade(client.new_key(), host.id).await.unwrap().value;
    assert!(without.upgrade.is_none() && without.overcommitted);
    let Err(Error::Refused(refused)) = client.create_lease(client.new_key(), tomorrow("b")).await else { panic!("it is full") };
    assert_eq!(refused.code, "no_room");
    client.delete_lease(client.new_key(), made.id).await.unwrap();
    client.create_lease(client.new_key(), tomorrow("b")).await.unwrap();
    let Err(Error::Refused(gone)) = client.drop_upgrade(client.new_key(), host.id).await else { panic!("it is gone") };
    assert_eq!((gone.kind, gone.code.as_str()), (RefusalKind::NotFound, "upgrade_not_found"));
    let past = Upgrade { start: from_now(0).minus(60), ..upgrade };
    let Err(Error::Refused(refused)) = client.set_upgrade(client.new_key(), host.id, past).await else { panic!("it is past") };
    assert!(refused.message.starts_with("start: it is not to come"), "{refused:?}");
}

#[tokio::test]
async fn upgrades_are_managed_from_the_command_line() {
    let rig = rig(1).await;
    let cluster = &rig.cluster;
    let set = json(cluster, &["host", "upgrade", "set", "cmp1", "--from", "+2d", "--vcpus", "5000"]).await;
    assert_eq!((&set["upgrade"]["vcpus"], &set["upgrade"]["memory_mb"]), (&5000.into(), &serde_json::Value::Null), "{set}");
    let listed = says(cluster, &["host", "list"]).await;
    assert!(listed.contains("upgrade") && listed.contains("5000 vCPU from "), "{listed}");
    let capacity = says(cluster, &["capacity", "show", "--to", "+4d"]).await;
    assert!(capacity.contains("upgrades (most)"), "{capacity}");
    let (code, text) = fails(cluster, &["host", "upgrade", "set", "cmp1", "--from", "+2d", "--vcpus", "1"]).await;
    assert!(code != 0 && text.contains("vcpus") && text.contains("not what is added"), "{text}");
    let (code, text) = fails(cluster, &["host", "upgrade", "set", "cmp1", "--from", "now", "--vcpus", "5000"]).await;
    assert!(code != 0 && text.contains("--from must be a time to come"), "{text}");
    let (code, text) = fails(cluster, &["host", "upgrade", "set", "cmp1", "--from", "+2d"]).await;
    assert!(code != 0 && text.contains("--vcpus"), "{text}");
    let gone = says(cluster, &["host", "upgrade", "remove", "cmp1"]).await;
    assert!(!gone.contains("5000"), "{gone}");
    assert!(!says(cluster, &["host", "list"]).await.contains("upgrade"));
    let (code, text) = fails(cluster, &["host", "upgrade", "remove", "cmp1"]).await;
    assert!(code != 0 && text.contains("no planned upgrade"), "{text}");
}

/// On shared hosts a lease moves once the cloud has accepted its hold on the other host; where there is none it says so.
#[tokio::test]
async fn on_shared_hosts_a_lease_moves_with_its_hold_or_is_degraded() {
    let rig = rig(2).await;
    let client = &rig.client;
    for (id, name) in [(HostId(1), "cmp1"), (HostId(2), "cmp2")] {
        client.delete_host(client.new_key(), id).await.unwrap();
        let host = NewHost { name: name.into(), pool: PoolKind::Shared, properties: Default::default() };
        client.register_host(client.new_key(), host).await.unwrap();
    }
    let made = client.create_lease(client.new_key(), wish("a", from_now(3_600), from_now(7_200))).await.unwrap().value;
    let first = host_of(&made);
    let all =
        |id| NewDowntime { id: DowntimeId(Uuid::from_u128(id)), start: None, end: from_now(86_400), withheld: Withheld::ALL };
    client.set_downtime(client.new_key(), first, all(1)).await.unwrap();
    let is_there = |lease: &Lease| host_of(lease) != first && lease.status == LeaseStatus::Pending;
    let moved = until(client, made.id, "the lease to move with its hold", is_there).await;
    assert!(!moved.degraded);

    client.set_downtime(client.new_key(), host_of(&moved), all(2)).await.unwrap();
    until(client, made.id, "the lease to be degraded", |lease| lease.degraded).await;
    let Err(Error::Refused(refused)) = client.create_lease(client.new_key(), wish("b", from_now(60), from_now(90))).await else {
        panic!("nothing is left")
    };
    assert_eq!(refused.code, "no_room");
}
