//! Values of every type that goes over the wire, drawn at random.

use std::collections::BTreeMap;

use leasehold_ledger::command::{
    BeforeEndWish, EndWish, LeaseChange, OfferWish, ReservationChange, ReservationWish, StagingWish, StartWish, WaitWish,
};
use leasehold_ledger::model::*;
use leasehold_ledger::plan::{
    Capacity, CapacityWish, Density, DensityWish, HostAmount, HostCount, HostFilter, HostReservation, NoRoom, OccurrenceHosts,
    Piece, Preempts, Sums, WhatFits, WhatIf, WhatIfHosts, WindowWish,
};
use leasehold_ledger::state::{Change, ChangeSubject};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;

use super::super::*;
use crate::answer::BookedSeries;
use crate::wire::v1;

pub(super) fn any_uuid() -> impl Strategy<Value = Uuid> {
    any::<u128>().prop_map(Uuid::from_u128)
}

pub(super) fn second() -> impl Strategy<Value = Seconds> {
    (0..u32::MAX).prop_map(Seconds)
}

pub(super) fn any_end() -> impl Strategy<Value = Seconds> {
    prop_oneof![4 => second(), 1 => Just(Seconds::OPEN_END)]
}

pub(super) fn timestamp() -> impl Strategy<Value = Timestamp> {
    any::<u64>().prop_map(Timestamp)
}

pub(super) fn text() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9_ äß$]{0,12}"
}

pub(super) fn on_end() -> impl Strategy<Value = OnEnd> {
    select(vec![OnEnd::Delete, OnEnd::Shelve, OnEnd::Snapshot])
}

pub(super) fn pool() -> impl Strategy<Value = PoolKind> {
    select(vec![PoolKind::Dedicated, PoolKind::Shared])
}

pub(super) fn anchor() -> impl Strategy<Value = Anchor> {
    select(Anchor::ALL.to_vec())
}

pub(super) fn requirement() -> impl Strategy<Value = Requirement> {
    use Comparison::*;
    let comparison = select(vec![Equal, NotEqual, AtLeast, AtMost, Above, Below]);
    (text(), comparison, text()).prop_map(|(key, comparison, value)| Requirement { key, comparison, value })
}

fn flavor() -> impl Strategy<Value = SourceFlavor> {
    let specs = btree_map(text(), text(), 0..3);
    (text(), text(), any::<u32>(), any::<u32>(), specs).prop_map(|(id, name, ephemeral_gb, swap_mb, extra_specs)| SourceFlavor {
        id,
        name,
        ephemeral_gb,
        swap_mb,
        extra_specs,
    })
}

pub(super) fn resource() -> impl Strategy<Value = ResourceWish> {
    let sizes = (any::<u32>(), any::<u32>(), any::<u32>(), any::<u32>());
    let terms = (vec(requirement(), 0..3), text(), of(flavor()));
    (sizes, of(any::<bool>()), of(text()), of(pool()), btree_set(text(), 0..3), btree_set(text(), 0..3), terms).prop_map(
        |((vcpus, memory_mb, disk_gb, amount), affinity, zone, pool, required_traits, forbidden_traits, terms)| {
            let (requirements, resource_properties, flavor) = terms;
            ResourceWish::Instance(
                InstanceWish {
                    vcpus,
                    memory_mb,
                    disk_gb,
                    amount,
                    affinity,
                    zone,
                    pool,
                    required_traits,
                    forbidden_traits,
                    requirements,
                    resource_properties,
                    flavor: flavor.map(Into::into),
                }
                .into(),
            )
        },
    )
}

pub(super) fn staging() -> impl Strategy<Value = Staging> {
    (0..u32::MAX / 2, 1..1000u32, any::<u32>()).prop_map(|(start, length, park_margin_s)| Staging {
        window: Interval::new(Seconds(start), Seconds(start + length)).unwrap(),
        park_margin_s,
    })
}

pub(super) fn binding() -> impl Strategy<Value = Binding> {
    (select(vec![Phase::Staging, Phase::Main]), any::<u64>(), any::<u32>()).prop_map(|(phase, host, slots)| Binding {
        phase,
        host: HostId(host),
        slots,
    })
}

/// Fills what the strategies do not vary.
pub(super) fn reservation() -> impl Strategy<Value = Reservation> {
    use Stage::*;
    let stage = select(vec![Booked, Prepared, Staging, Parking, Parked, Open, Ended]);
    let status =
        select(vec![ReservationStatus::Pending, ReservationStatus::Active, ReservationStatus::Deleted, ReservationStatus::Error]);
    let ids = (any_uuid(), any_uuid(), of(any_uuid()), of(text()));
    let flags = (any::<bool>(), any::<bool>(), timestamp(), of(timestamp()));
    let adoption = (any_uuid(), anchor(), btree_set(any_uuid(), 0..3)).prop_map(|(flavor_of, anchor, servers)| Adoption {
        flavor_of: ReservationId(flavor_of),
        anchor,
        servers,
        opened: false,
    });
    let rest = (flags, of(adoption), of(1..u32::MAX));
    (ids, resource(), of(staging()), on_end(), status, stage, vec(binding(), 0..3), rest).prop_map(
        |(ids, wish, staging, on_end, status, stage, bindings, (flags, adoption, released))| {
            let at = flags.3.unwrap_or(flags.2);
            let wire = v1::Reservation {
                id: ids.0.to_string(),
                resource_id: ids.1.to_string(),
                server_group_id: ids.2.map(|id| id.to_string()),
                server_group_problem: ids.3,
                resource: Some(wish.clone().into()),
                on_end: 1,
                status: 1,
                stage: 1,
                ..Default::default()
            };
            Reservation {
                staging,
                on_end,
                status,
                stage,
                bindings,
                adoption: adoption.map(Box::new),
                expiry: released.map(|released| Expiry::Counted { at, released }),
                missing_resources: flags.0,
                resources_changed: flags.1,
                created_at: flags.2,
                updated_at: flags.3,
                ..Reservation::try_from(wire).unwrap()
            }
        },
    )
}

pub(super) fn event() -> impl Strategy<Value = Event> {
    use EventKind::*;
    let kind = select(vec![StartLease, BeforeEndLease, EndLease, Prepare, StagingOpen, StagingClose, EventKind::Expiry]);
    let status = select(vec![EventStatus::Undone, EventStatus::InProgress, EventStatus::Done, EventStatus::Error]);
    (any_uuid(), kind, any_end(), status, timestamp(), of(timestamp())).prop_map(
        |(id, kind, time, status, created_at, updated_at)| Event { id: EventId(id), kind, time, status, created_at, updated_at },
    )
}

pub(super) fn mode() -> impl Strategy<Value = SeriesMode> {
    select(vec![SeriesMode::AllOrNothing, SeriesMode::BestEffort])
}

pub(super) fn occurrence() -> impl Strategy<Value = Occurrence> {
    (any::<u32>(), second(), second()).prop_map(|(number, start, end)| Occurrence { number, start, end })
}

pub(super) fn left_out() -> impl Strategy<Value = LeftOut> {
    let no_room = (any::<[u32; 3]>(), class()).prop_map(|([reservation, short_by, largest_amount], tightest)| {
        LeftOutReason::NoRoom { reservation, short_by, largest_amount, tightest }
    });
    (occurrence(), prop_oneof![no_room, reason().prop_map(LeftOutReason::Withdrawn)])
        .prop_map(|(occurrence, reason)| LeftOut { occurrence, reason })
}

pub(super) fn booked_series() -> impl Strategy<Value = BookedSeries> {
    let lease_of = (any_uuid(), occurrence()).prop_map(|(id, occurrence)| SeriesLease { lease_id: LeaseId(id), occurrence });
    (any_uuid(), lease(), vec(lease_of, 0..3), vec(left_out(), 0..3)).prop_map(|(id, first, leases, left_out)| BookedSeries {
        id: SeriesId(id),
        first,
        leases,
        left_out,
    })
}

pub(super) fn reason() -> impl Strategy<Value = Reason> {
    use ReasonCode::*;
    let code = select(vec![WaitingForEnd, Late, CloudUnavailable, Quota, ServerFailed, CloudRefused, Preempted, Expired]);
    (code, text()).prop_map(|(code, text)| Reason { code, text })
}

pub(super) fn lease() -> impl Strategy<Value = Lease> {
    use LeaseStatus::*;
    let status = select(vec![Creating, Pending, Starting, Active, Updating, Terminating, Terminated, Deleting, Error, Waiting]);
    let who = (any_uuid(), text(), text(), text());
    let when = (second(), any_end(), timestamp(), of(timestamp()));
    let offer = (second(), of(timestamp())).prop_map(|(expires_at, claimed_at)| Box::new(Offer { expires_at, claimed_at }));
    let series = (any_uuid(), any::<u32>(), mode())
        .prop_map(|(id, number, mode)| Box::new(SeriesMember { id: SeriesId(id), number, mode }));
    let wait = (second(), second(), of(second()), any::<u64>())
        .prop_map(|(until, first, latest, since)| Box::new(Wait { until, first, latest, since, ignore_quota: false }));
    let rank = (precedence(), of(any::<u32>()));
    let rest = (any::<bool>(), of(reason()), any::<u32>(), any::<u64>(), of(offer), of(series), of(wait), rank);
    (who, when, status, rest, vec(reservation(), 0..3), vec(event(), 0..4)).prop_map(
        |(who, when, status, rest, reservations, events)| {
            let wire = v1::Lease { id: who.0.to_string(), start: unix_s(when.0), status: 1, ..Default::default() };
            Lease {
                name: who.1,
                project_id: ProjectId(who.2.into()),
                user_id: UserId(who.3.into()),
                end: when.1,
                created_at: when.2,
                updated_at: when.3,
                status,
                degraded: rest.0,
                reason: rest.1,
                revision: rest.2,
                ledger_index: rest.3,
                offer: rest.4,
                series: rest.5,
                wait: rest.6,
                precedence: Precedence { preempt: false, ..rest.7.0 },
                expiry_s: rest.7.1,
                reservations,
                events,
                ..Lease::try_from(wire).unwrap()
            }
        },
    )
}

pub(super) fn amounts() -> impl Strategy<Value = Amounts> {
    any::<[u32; 4]>().prop_map(Amounts::from_array)
}

pub(super) fn properties() -> impl Strategy<Value = BTreeMap<String, String>> {
    btree_map(text(), text(), 0..3)
}

pub(super) fn host() -> impl Strategy<Value = Host> {
    let description =
        (text(), text(), any_uuid(), text(), any::<i64>(), text(), any::<[u32; 5]>(), of(text()), (pool(), anchor())).prop_map(
            |(
                hypervisor_hostname,
                service_name,
                root_provider,
                hypervisor_type,
                hypervisor_version,
                cpu_info,
                numbers,
                zone,
                (pool, anchor),
            )| {
                let [vcpus, memory_mb, local_gb, anchor_budget, memory_grain_mb] = numbers;
                HostDescription {
                    hypervisor_hostname,
                    service_name,
                    root_provider,
                    hypervisor_type,
                    hypervisor_version,
                    cpu_info,
                    vcpus,
                    memory_mb,
                    local_gb,
                    zone,
                    pool,
                    anchor_budget,
                    memory_grain_mb,
                    anchor,
                }
            },
        );
    let observation = (amounts(), amounts(), amounts(), btree_set(text(), 0..3), any::<bool>())
        .prop_map(|(capacity, firm, max_unit, traits, up)| Observation { capacity, firm, max_unit, traits, up });
    (
        any::<u64>(),
        description,
        observation,
        (properties(), vec(downtime(), 0..3), of(upgrade())),
        any::<[bool; 2]>(),
        timestamp(),
        of(timestamp()),
    )
        .prop_map(|(id, description, observation, (properties, downtimes, upgrade), flags, created_at, updated_at)| Host {
            id: HostId(id),
            description,
            observation,
            properties,
            reservable: flags[0],
            overcommitted: flags[1],
            downtimes,
            upgrade,
            created_at,
            updated_at,
        })
}

pub(super) fn withheld() -> impl Strategy<Value = Withheld> {
    (any::<Option<u32>>(), any::<Option<u32>>(), any::<Option<u32>>()).prop_map(|(vcpus, memory_mb, disk_gb)| Withheld {
        vcpus,
        memory_mb,
        disk_gb,
    })
}

pub(super) fn downtime() -> impl Strategy<Value = Downtime> {
    (any_uuid(), window(), withheld()).prop_map(|(id, interval, withheld)| Downtime { id: DowntimeId(id), interval, withheld })
}

pub(super) fn upgrade() -> impl Strategy<Value = Upgrade> {
    (second(), withheld()).prop_map(|(start, Withheld { vcpus, memory_mb, disk_gb })| Upgrade {
        start,
        vcpus,
        memory_mb,
        disk_gb,
    })
}

pub(super) fn new_downtime() -> impl Strategy<Value = NewDowntime> {
    (any_uuid(), of(start_wish()), any_end(), withheld()).prop_map(|(id, start, end, withheld)| NewDowntime {
        id: DowntimeId(id),
        start,
        end,
        withheld,
    })
}

pub(super) fn start_wish() -> impl Strategy<Value = StartWish> {
    let earliest = (of(second()), second()).prop_map(|(from, latest)| StartWish::Earliest { from, latest });
    prop_oneof![Just(StartWish::Now), second().prop_map(StartWish::At), earliest]
}

pub(super) fn before_end() -> impl Strategy<Value = BeforeEndWish> {
    prop_oneof![
        Just(BeforeEndWish::Never),
        any::<u32>().prop_map(BeforeEndWish::SecondsBefore),
        second().prop_map(BeforeEndWish::At)
    ]
}

pub(super) fn precedence() -> impl Strategy<Value = Precedence> {
    (0u8..=9, any::<bool>(), any::<bool>()).prop_map(|(priority, preemptible, preempt)| Precedence {
        priority,
        preemptible,
        preempt,
    })
}

pub(super) fn new_lease() -> impl Strategy<Value = NewLease> {
    let staging = (of(second()), of(second()), any::<u32>()).prop_map(|(start, end, park_margin_s)| StagingWish {
        start,
        end,
        park_margin_s,
    });
    let reservation = (resource(), of(staging), on_end(), btree_set(any_uuid(), 0..3))
        .prop_map(|(resource, staging, on_end, servers)| ReservationWish { resource, staging, on_end, servers });
    let offer = prop_oneof![second().prop_map(OfferWish::Until), any::<u32>().prop_map(OfferWish::For)];
    let wait = prop_oneof![Just(WaitWish::UntilStart), second().prop_map(WaitWish::Until)];
    let rest = (precedence(), of(any::<u32>()), any::<bool>());
    (text(), start_wish(), any_end(), before_end(), vec(reservation, 0..3), of(offer), of(wait), rest).prop_map(
        |(name, start, end, before_end, reservations, offer, wait, (precedence, expiry_s, ignore_quota))| NewLease {
            name,
            start,
            end,
            before_end,
            reservations,
            offer,
            wait,
            precedence,
            expiry_s,
            ignore_quota,
        },
    )
}

pub(super) fn lease_change() -> impl Strategy<Value = LeaseChange> {
    let end = prop_oneof![Just(EndWish::Now), any_end().prop_map(EndWish::At)];
    let reservation = (any_uuid(), resource(), of(on_end())).prop_map(|(id, resource, on_end)| ReservationChange {
        reservation_id: ReservationId(id),
        resource,
        on_end,
    });
    (of(text()), of(start_wish()), of(end), of(before_end()), vec(reservation, 0..3), any::<bool>()).prop_map(
        |(name, start, end, before_end, reservations, ignore_quota)| LeaseChange {
            name,
            start,
            end,
            before_end,
            reservations,
            ignore_quota,
        },
    )
}

pub(super) fn change() -> impl Strategy<Value = Change> {
    let subject = prop_oneof![
        lease().prop_map(|lease| ChangeSubject::Lease(Box::new(lease))),
        host().prop_map(|host| ChangeSubject::Host(Box::new(host))),
        any::<u64>().prop_map(|id| ChangeSubject::HostRemoved(HostId(id))),
        (any_uuid(), text()).prop_map(|(id, project)| ChangeSubject::LeaseRemoved {
            lease_id: LeaseId(id),
            project_id: ProjectId(project.into())
        }),
    ];
    (any::<u64>(), timestamp(), subject).prop_map(|(ledger_index, at, subject)| Change { ledger_index, at, subject })
}

pub(super) fn window_wish() -> impl Strategy<Value = WindowWish> {
    (start_wish(), any_end()).prop_map(|(start, end)| WindowWish { start, end })
}

pub(super) fn window() -> impl Strategy<Value = Interval> {
    (0..u32::MAX / 2, 1..u32::MAX / 4, any::<bool>()).prop_map(|(start, length, open)| Interval {
        start: Seconds(start),
        end: if open { Seconds::OPEN_END } else { Seconds(start + length) },
    })
}

pub(super) fn some_hosts() -> impl Strategy<Value = Option<std::collections::BTreeSet<HostId>>> {
    of(btree_set(any::<u64>().prop_map(HostId), 1..4))
}

pub(super) fn instance() -> impl Strategy<Value = InstanceWish> {
    resource().prop_map(|resource| resource.instance().clone())
}

fn host_filter() -> impl Strategy<Value = HostFilter> {
    (instance(), some_hosts()).prop_map(|(kind, hosts)| {
        let InstanceWish { zone, pool, required_traits, forbidden_traits, requirements, .. } = kind;
        HostFilter { zone, pool, hosts, required_traits, forbidden_traits, requirements }
    })
}

pub(super) fn capacity_wish() -> impl Strategy<Value = CapacityWish> {
    (host_filter(), window_wish(), 1..u32::MAX).prop_map(|(filter, window, steps_max)| CapacityWish { filter, window, steps_max })
}

pub(super) fn sums() -> impl Strategy<Value = Sums> {
    any::<Sums>()
}

pub(super) fn capacity() -> impl Strategy<Value = Capacity> {
    let piece = (second(), sums(), sums(), sums(), sums()).prop_map(|(start, reserved, available, withheld, added)| Piece {
        start,
        reserved,
        available,
        withheld,
        added,
    });
    (any::<(u32, u32)>(), sums(), sums(), window(), vec(piece, 0..3)).prop_map(
        |((hosts, open_hosts), total, firm, window, pieces)| Capacity { hosts, open_hosts, total, firm, window, pieces },
    )
}

pub(super) fn class() -> impl Strategy<Value = Option<Class>> {
    of(select(Class::ALL.to_vec()))
}

pub(super) fn density_wish() -> impl Strategy<Value = DensityWish> {
    let flags = (any::<bool>(), any::<bool>());
    (instance(), flags, some_hosts(), window_wish()).prop_map(|(mut instance, (whole_hosts, seek), among, window)| {
        // An amount that does not count is not sent.
        instance.amount = if seek { instance.amount.max(1) } else { 1 };
        DensityWish { instance, whole_hosts, seek, among, window }
    })
}

pub(super) fn density() -> impl Strategy<Value = Density> {
    (window(), any::<u32>(), class(), of(second())).prop_map(|(window, largest_amount, tightest, earliest_start)| Density {
        window,
        fits: WhatFits { largest_amount, tightest },
        earliest_start,
    })
}

fn no_room() -> impl Strategy<Value = NoRoom> {
    (0..1000usize, any::<(u32, u32, bool)>(), class(), of(second())).prop_map(
        |(reservation, (short_by, largest_amount, staging), tightest, next_start)| NoRoom {
            reservation,
            short_by,
            tightest,
            largest_amount,
            next_start,
            next_end: next_start.filter(|_| !staging),
            preempts: Preempts { count: largest_amount, leases: Vec::new() },
            occurrence: staging.then_some(short_by),
            staging,
            ..NoRoom::default()
        },
    )
}

pub(super) fn host_reservation() -> impl Strategy<Value = HostReservation> {
    (any::<(u32, u32)>(), host_filter()).prop_map(|((min, max), filter)| HostReservation { min, max, filter })
}

pub(super) fn what_if_hosts() -> impl Strategy<Value = WhatIfHosts> {
    let amount = || {
        (any::<u32>(), vec(any::<u64>(), 0..3))
            .prop_map(|(count, hosts)| HostAmount { count, hosts: hosts.into_iter().map(HostId).collect() })
    };
    let of_series =
        (occurrence(), vec(amount(), 0..3)).prop_map(|(occurrence, reservations)| OccurrenceHosts { occurrence, reservations });
    prop_oneof![
        (of(second()), vec(amount(), 0..3)).prop_map(|(moved_to, reservations)| WhatIfHosts::Fits { moved_to, reservations }),
        (vec(of_series, 0..3), vec(left_out(), 0..3))
            .prop_map(|(occurrences, left_out)| WhatIfHosts::SeriesFits { occurrences, left_out }),
        no_room().prop_map(WhatIfHosts::NoRoom)
    ]
}

pub(super) fn what_if() -> impl Strategy<Value = WhatIf> {
    let count = any::<(u32, u32)>().prop_map(|(main, staging)| HostCount { main, staging });
    prop_oneof![
        (of(second()), vec(count, 0..3), vec(any_uuid(), 0..3)).prop_map(|(moved_to, reservations, leases)| {
            let preempts = Preempts { count: leases.len() as u32, leases: leases.into_iter().map(LeaseId).collect() };
            WhatIf::Fits { moved_to, preempts, reservations }
        }),
        (vec(occurrence(), 0..3), vec(left_out(), 0..3))
            .prop_map(|(occurrences, left_out)| WhatIf::SeriesFits { occurrences, left_out }),
        no_room().prop_map(WhatIf::NoRoom)
    ]
}
