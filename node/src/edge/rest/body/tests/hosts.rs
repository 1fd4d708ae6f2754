//! Hosts, allocations and keys.

use super::*;

#[test]
fn hosts_and_their_capabilities_are_read_as_blazar_reads_them() {
    let body = json!({"name": "cmp1", "rack": "r1", "gpu": true, "slots": 3, "vcpus": 99, "id": "x"});
    let request = host_create(&body, V1_0).unwrap();
    let properties = [("rack", "r1"), ("gpu", "1"), ("slots", "3")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(request, HostRequest { name: "cmp1".into(), pool: PoolKind::Dedicated, properties: properties.into() });
    assert_eq!(host_create(&json!({"id": "cmp2", "pool": "shared"}), V1_1).unwrap().pool, PoolKind::Shared);
    let update = host_update(&json!({"rack": "r2", "reservable": false}), V1_1).unwrap();
    assert_eq!((update.properties.len(), update.reservable), (1, Some(false)));
    assert_eq!(host_update(&json!({"reservable": false}), V1_0).unwrap().reservable, None);
    let cases = vec![
        (refused(host_create(&json!({}), V1_0)), 403, "Invalid values for host {}"),
        (refused(host_create(&json!({"name": 5}), V1_0)), 400, "name is 5; it must be a string"),
        (
            refused(host_create(&json!({"name": "a", "pool": "shared"}), V1_0)),
            400,
            "pool needs microversion 1.1: send the header OpenStack-API-Version: reservation 1.1",
        ),
        (refused(host_create(&json!({"name": "a", "k".repeat(65): "v"}), V1_0)), 400, "Extra capability key too long"),
        (refused(host_create(&json!({"name": "a", "k": []}), V1_0)), 400, "k is []; it must be a string, a number or a boolean"),
        (refused(host_update(&json!({}), V1_0)), 400, "No data to update"),
        (refused(host_update(&json!({"reservable": 1}), V1_1)), 400, "reservable is 1; it must be true or false"),
        (
            refused(host_update(&json!({"pool": "shared"}), V1_0)),
            400,
            "pool needs microversion 1.1: send the header OpenStack-API-Version: reservation 1.1",
        ),
    ];
    for (told, status, text) in cases {
        assert_eq!(told, (status, text.to_owned()));
    }
}

#[test]
fn a_host_is_shown_exactly_as_blazar_shows_it() {
    let sample = Host {
        id: HostId(1),
        description: HostDescription {
            hypervisor_hostname: "compute-1".into(),
            service_name: "compute-1".into(),
            root_provider: id(1),
            hypervisor_type: "QEMU".into(),
            hypervisor_version: 8_002_002,
            cpu_info: "{}".into(),
            vcpus: 8,
            memory_mb: 16384,
            local_gb: 200,
            zone: Some("nova".into()),
            pool: PoolKind::Shared,
            anchor_budget: 63,
            memory_grain_mb: 64,
            anchor: Anchor::Memory,
        },
        observation: Observation { up: true, ..Observation::default() },
        properties: [("gpu".to_owned(), "True".to_owned()), ("vcpus".to_owned(), "lies".to_owned())].into(),
        reservable: true,
        overcommitted: false,
        downtimes: Vec::new(),
        upgrade: Some(Upgrade { start: at("2027-01-01 06:00:00"), vcpus: Some(32), memory_mb: None, disk_gb: None }),
        created_at: stamp("2026-11-22 10:36:30"),
        updated_at: None,
    };
    let golden = json!({"id": "1", "vcpus": 8, "cpu_info": "{}", "hypervisor_type": "QEMU", "hypervisor_version": 8_002_002,
        "hypervisor_hostname": "compute-1", "service_name": "compute-1", "memory_mb": 16384, "local_gb": 200, "status": null,
        "availability_zone": "nova", "trust_id": null, "reservable": true, "created_at": "2026-11-22 10:36:30", "updated_at": null,
        "gpu": "True"});
    assert_eq!(host(&sample, V1_0), golden);
    let more = host(&sample, V1_1);
    assert_eq!((&more["pool"], &more["up"], &more["overcommitted"]), (&json!("shared"), &json!(true), &json!(false)));
    let upgrade = json!({"start_date": "2027-01-01T06:00:00.000000", "vcpus": 32, "memory_mb": null, "disk_gb": null});
    assert_eq!(more["upgrade"], upgrade);
    assert_eq!(host(&Host { upgrade: None, ..sample }, V1_1)["upgrade"], json!(null));
}

#[test]
fn allocations_and_keys_are_shown() {
    let reserved = ReservedInterval {
        reservation_id: ReservationId(id(2)),
        lease_id: LeaseId(id(1)),
        start: at("2026-11-22 10:36:00"),
        end: Seconds::OPEN_END,
    };
    let shown = allocation(&HostAllocation { host_id: HostId(7), reservations: vec![reserved] });
    assert_eq!(
        shown,
        json!({"resource_id": "7", "reservations": [{"id": id(2).to_string(), "lease_id": id(1).to_string(),
        "start_date": "2026-11-22T10:36:00.000000", "end_date": "9999-12-31T23:59:59.000000"}]})
    );
    let applied = KeyState::Applied { lease_id: Some(LeaseId(id(1))), rejection: None, ledger_index: 9 };
    assert_eq!(
        key_state(&applied),
        json!({"state": "applied", "lease_id": id(1).to_string(), "rejection": null, "ledger_index": 9})
    );
    assert_eq!(key_state(&KeyState::Never), json!({"state": "never"}));
}
