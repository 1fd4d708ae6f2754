//! Lines of a script: from words to a command, and from its answer to words.

use super::words::*;
use super::*;

impl World {
    /// `hosts h1 h2 shared anchored vcpus=8 slots=8 zone=z traits=T1,T2 prop=k:v`
    pub(super) fn register(&mut self, words: &[&str]) -> String {
        let shared = words.contains(&"shared");
        let anchor = if words.contains(&"anchored") { Anchor::Class } else { Anchor::Memory };
        let capacity = Amounts {
            vcpus: number(words, "vcpus", 8),
            memory_mb: number(words, "memory", 8192),
            disk_gb: number(words, "disk", 100),
            slots: number(words, "slots", 16),
        };
        let mut found = Vec::new();
        for name in words.iter().filter(|word| !word.contains('=') && **word != "shared" && **word != "anchored") {
            let description = HostDescription {
                hypervisor_hostname: text(name),
                service_name: (*name).to_owned(),
                root_provider: Uuid::from_u128(77),
                hypervisor_type: "QEMU".to_owned(),
                hypervisor_version: 8_000_000,
                cpu_info: "{}".to_owned(),
                vcpus: capacity.vcpus,
                memory_mb: capacity.memory_mb,
                local_gb: capacity.disk_gb,
                zone: option(words, "zone").map(str::to_owned),
                pool: if shared { PoolKind::Shared } else { PoolKind::Dedicated },
                anchor_budget: capacity.slots,
                memory_grain_mb: 256,
                anchor,
            };
            let observation =
                Observation { capacity, firm: Amounts::default(), max_unit: capacity, traits: set(words, "traits"), up: true };
            let properties = properties(words);
            let register = Command::RegisterHost(Box::new(RegisterHost { description, observation, properties }));
            found.push(match self.tell(None, register) {
                Ok(Reply::HostRegistered { host_id }) => {
                    self.hosts.insert((*name).to_owned(), host_id);
                    host_id.to_string()
                }
                Ok(other) => panic!("{other:?}"),
                Err(refused) => refused,
            });
        }
        found.join(" ")
    }

    pub(super) fn instance(words: &[&str]) -> InstanceWish {
        InstanceWish {
            vcpus: number(words, "vcpus", 1),
            memory_mb: number(words, "memory", 128),
            disk_gb: number(words, "disk", 1),
            amount: number(words, "n", 1),
            affinity: flag(words, "affinity"),
            zone: option(words, "zone").map(text),
            pool: option(words, "pool").map(|pool| if pool == "shared" { PoolKind::Shared } else { PoolKind::Dedicated }),
            required_traits: set(words, "traits"),
            forbidden_traits: set(words, "without"),
            requirements: requirements(words),
            resource_properties: option(words, "properties").map(text).unwrap_or_default(),
            flavor: source_flavor(words),
        }
    }

    pub(super) fn wish(name: &str, words: &[&str]) -> LeaseWish {
        let (start, end) = words[0].split_once("..").unwrap();
        let staging = option(words, "staging").map(|window| {
            let (from, until) = window.split_once("..").unwrap();
            let bound = |text: &str| (!text.is_empty()).then(|| second(text));
            StagingWish { start: bound(from), end: bound(until), park_margin_s: number(words, "margin", 600) }
        });
        let on_end = if words.contains(&"shelve") { OnEnd::Shelve } else { OnEnd::Delete };
        let servers = (0..number(words, "servers", 0)).map(|number| Uuid::from_u128(u128::from(number))).collect();
        // What comes after a `+` is another reservation.
        let one = |words: &[&str]| ReservationWish {
            resource: ResourceWish::Instance(Self::instance(words).into()),
            staging,
            on_end,
            servers: std::collections::BTreeSet::clone(&servers),
        };
        let unlike: Vec<ReservationWish> = words.split(|word| *word == "+").map(one).collect();
        LeaseWish {
            name: text(option(words, "name").unwrap_or(name)),
            project_id: ProjectId(option(words, "project").unwrap_or("p").into()),
            user_id: UserId("u".into()),
            start: match (start, option(words, "latest").map(second)) {
                ("now", None) => StartWish::Now,
                ("now", Some(latest)) => StartWish::Earliest { from: None, latest },
                (start, Some(latest)) => StartWish::Earliest { from: Some(second(start)), latest },
                (start, None) => StartWish::At(second(start)),
            },
            end: second(end),
            before_end: before_end(words).unwrap_or(BeforeEndWish::Never),
            reservations: vec![unlike; number(words, "reservations", 1) as usize].concat(),
            offer: match (option(words, "offer"), option(words, "valid")) {
                (Some(until), _) => Some(OfferWish::Until(second(until))),
                (None, Some(seconds)) => Some(OfferWish::For(seconds.parse().unwrap())),
                (None, None) => None,
            },
            wait: option(words, "wait").map(|until| match until {
                "start" => WaitWish::UntilStart,
                until => WaitWish::Until(second(until)),
            }),
            precedence: Precedence {
                priority: number(words, "priority", 0) as u8,
                preemptible: words.contains(&"preemptible"),
                preempt: words.contains(&"preempt"),
            },
            expiry_s: option(words, "expiry").map(|seconds| seconds.parse().unwrap()),
            ignore_quota: words.contains(&"exempt"),
        }
    }

    /// `quota slots=4 vcpu_hours=unlimited unset=vcpus`; `for=p` of one project.
    pub(super) fn set_quota(&mut self, words: &[&str]) -> Result<String, String> {
        let of = |kind: LimitKind| {
            let limit = match option(words, kind.as_str())? {
                "unlimited" => Limit::Unlimited,
                max => Limit::Max(max.parse().unwrap()),
            };
            Some((kind, limit))
        };
        let set: Limits = LimitKind::ALL.into_iter().filter_map(of).collect();
        let unset =
            option(words, "unset").map(|kinds| kinds.split(',').filter_map(LimitKind::named).collect()).unwrap_or_default();
        let project_id = option(words, "for").map(|project| ProjectId(text(project).as_str().into()));
        self.tell(key(words), Command::SetQuota { project_id, set, unset })?;
        Ok(format!("{} rows", self.state.quotas_len()))
    }

    /// vCPU-hours of project p in the period of now.
    pub(super) fn spent(&self, words: &[&str]) -> String {
        let period = crate::state::usage::period_of(self.at.floor_to_second(), number(words, "period_s", PERIOD_DEFAULT_S));
        format!("{} vcpu_s", self.state.budget_used(&ProjectId("p".into()), period))
    }

    /// `lease A 12:00..14:00 n=2 affinity=true staging=.. key=1 + n=1 traits=T`; `plan=h1*2` instead of the planner's; `offer=11:00`, `valid=60`
    /// (seconds) for an offer.
    pub(super) fn create(&mut self, name: &str, words: &[&str]) -> Result<String, String> {
        let wish = Self::wish(name, words);
        let ids: Vec<ReservationId> = wish.reservations.iter().map(|_| ReservationId(self.uuid())).collect();
        // `of=A`: servers of the flavor that A has or had; `anchored`: as if it were made for those hosts.
        let anchor = if words.contains(&"anchored") { Anchor::Class } else { Anchor::Memory };
        let flavor = option(words, "of").map(|of| self.flavors[of]);
        let adoption =
            flavor.map(|flavor_of| Adoption { flavor_of, anchor, servers: wish.reservations[0].servers.clone(), opened: false });
        let adoptions: BTreeMap<_, _> = ids.iter().filter_map(|id| Some((*id, adoption.clone()?))).collect();
        let mut waits = words.contains(&"waits");
        let without = || ids.iter().map(|id| PlannedReservation { reservation_id: *id, bindings: Vec::new() }).collect();
        // `victims=A,B` of a plan by hand; `victims=A@7` as it was at another revision.
        let mut victims = self.victims(option(words, "victims").unwrap_or_default());
        let (plan, moved_to) = match option(words, "plan") {
            None if waits => (without(), None),
            Some(plan) => (ids.iter().map(|id| self.by_hand(*id, plan)).collect(), option(words, "moved").map(second)),
            None => match plan_adopting(&self.state, &Overlay::default(), &wish, &ids, &adoptions, self.at, Tell::WhatFits) {
                Ok(planned) => {
                    victims = planned.victims;
                    (planned.reservations, planned.moved_to)
                }
                Err(NoPlan::NoRoom(_) | NoPlan::Rejected(Rejection::QuotaExceeded(_))) if wish.wait.is_some() => {
                    waits = true;
                    (without(), None)
                }
                Err(refused) => return Err(self.no_plan(refused)),
            },
        };
        let create = CreateLease {
            lease_id: LeaseId(self.uuid()),
            event_ids: (0..6).map(|_| EventId(self.uuid())).collect(),
            resource_ids: wish.reservations.iter().map(|_| self.uuid()).collect(),
            plan,
            wish,
            planned_at: self.state.ledger_index(),
            moved_to,
            adoptions,
            caller_makes_groups: words.contains(&"callers"),
            waits,
            asked: None,
            victims: victims.clone(),
        };
        match self.tell(key(words), Command::CreateLease(Box::new(create)))? {
            Reply::LeaseCreated { lease_id, prepared } => {
                // A name is given again when its lease is gone.
                if self.lease(name).is_none() {
                    self.leases.insert(name.to_owned(), lease_id);
                }
                let lease = self.state.lease(lease_id).unwrap();
                if lease.reservations.len() == 1 {
                    self.flavors.entry(name.to_owned()).or_insert(lease.reservations[0].flavor());
                }
                let moved =
                    moved_to.map(|_| format!(" {}..{}", clock_text(lease.start), clock_text(lease.end))).unwrap_or_default();
                let text = format!("{}{moved}{}", lease.status.as_str(), self.bindings_text(lease));
                assert_eq!(prepared, lease.status != LeaseStatus::Creating);
                Ok(format!("{text}{}", self.gave_way(victims.iter().map(|one| one.lease_id))))
            }
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn by_hand(&self, reservation_id: ReservationId, plan: &str) -> PlannedReservation {
        let bindings = plan
            .split(',')
            .filter(|one| !one.is_empty())
            .map(|one| {
                let (phase, one) = one.strip_prefix("staging:").map_or((Phase::Main, one), |one| (Phase::Staging, one));
                let (host, slots) = one.split_once('*').unwrap();
                Binding { phase, host: self.hosts.get(host).copied().unwrap_or(HostId(99)), slots: slots.parse().unwrap() }
            })
            .collect();
        PlannedReservation { reservation_id, bindings }
    }

    pub(super) fn no_plan(&self, refused: NoPlan) -> String {
        match refused {
            NoPlan::Rejected(rejection) => rejection_text(&rejection),
            NoPlan::NoRoom(no_room) => {
                let what = match no_room.quota {
                    Some(excess) => {
                        let largest = no_room.largest_amount;
                        format!("{}, largest={largest}", rejection_text(&Rejection::QuotaExceeded(excess)))
                    }
                    None => format!(
                        "no room short={} largest={} tightest={}",
                        no_room.short_by,
                        no_room.largest_amount,
                        no_room.tightest.map_or("-", Class::name),
                    ),
                };
                format!(
                    "{what} next={}{}{}",
                    no_room.next_start.map_or("-".to_owned(), clock_text),
                    no_room.latest_end.map_or(String::new(), |end| format!(" until={}", clock_text(end))),
                    if no_room.staging { " staging" } else { "" },
                ) + &self.gave_way(no_room.preempts.leases.iter().copied())
            }
        }
    }

    fn victims(&self, names: &str) -> Vec<Victim> {
        let victim = |one: &str| {
            let (name, revision) = one.split_once('@').map_or((one, None), |(name, revision)| (name, revision.parse().ok()));
            let lease_id = self.leases[name];
            let now = self.state.lease(lease_id).map_or(1, |lease| lease.revision);
            Victim { lease_id, revision: revision.unwrap_or(now) }
        };
        names.split(',').filter(|name| !name.is_empty()).map(victim).collect()
    }

    fn gave_way(&self, leases: impl Iterator<Item = LeaseId>) -> String {
        let mut names: Vec<&str> = leases.map(|id| self.lease_name(id)).collect();
        names.sort_unstable();
        if names.is_empty() { String::new() } else { format!(" instead of {}", names.join(",")) }
    }

    /// `update A start=13:00 end=15:00 n=3 name=B before=30 on_end=shelve`
    pub(super) fn update(&mut self, name: &str, words: &[&str]) -> Result<String, String> {
        let lease_id = self.leases.get(name).copied().unwrap_or(LeaseId(Uuid::from_u128(9999)));
        let mut change = LeaseChange {
            ignore_quota: words.contains(&"exempt"),
            name: option(words, "name").map(text),
            start: option(words, "start").map(|start| if start == "now" { StartWish::Now } else { StartWish::At(second(start)) }),
            end: option(words, "end").map(|end| if end == "now" { EndWish::Now } else { EndWish::At(second(end)) }),
            before_end: before_end(words),
            reservations: Vec::new(),
        };
        let resized =
            ["n", "vcpus", "affinity", "zone", "traits", "memory", "flavor"].iter().any(|key| option(words, key).is_some());
        let on_end = option(words, "on_end").map(|on_end| if on_end == "shelve" { OnEnd::Shelve } else { OnEnd::Delete });
        if (resized || on_end.is_some())
            && let Some(one) = self.state.lease(lease_id).and_then(|lease| lease.reservations.first())
        {
            let mut resource = one.wish.clone();
            let instance = resource.instance_mut();
            instance.amount = number(words, "n", instance.amount);
            instance.vcpus = number(words, "vcpus", instance.vcpus);
            instance.memory_mb = number(words, "memory", instance.memory_mb);
            instance.affinity = match option(words, "affinity") {
                Some("none") => None,
                Some(_) => flag(words, "affinity"),
                None => instance.affinity,
            };
            instance.zone = option(words, "zone").map(text).or(instance.zone.take());
            instance.required_traits.extend(set(words, "traits"));
            instance.flavor = source_flavor(words).or(instance.flavor.take());
            let reservation_id = if words.contains(&"foreign") { ReservationId(Uuid::nil()) } else { one.id };
            change.reservations.push(ReservationChange { reservation_id, resource, on_end });
        }
        let plan = match option(words, "plan") {
            Some(plan) => {
                let id = self.state.lease(lease_id).unwrap().reservations[0].id;
                if plan.is_empty() { Vec::new() } else { vec![self.by_hand(id, plan)] }
            }
            None => match plan_update(&self.state, &Overlay::default(), lease_id, &change, self.at, Tell::WhatFits) {
                Ok(planned) => planned.map(|planned| planned.reservations).unwrap_or_default(),
                Err(refused) => return Err(self.no_plan(refused)),
            },
        };
        let planned_at = self.state.ledger_index();
        let update = UpdateLease { lease_id, change, plan, planned_at, caller_makes_groups: words.contains(&"callers") };
        match self.tell(key(words), Command::UpdateLease(Box::new(update)))? {
            Reply::LeaseUpdated { lease_id, prepared } => {
                let lease = self.state.lease(lease_id).unwrap();
                assert_eq!(prepared, lease.status != LeaseStatus::Updating);
                Ok(format!("{}{}", lease.status.as_str(), self.bindings_text(lease)))
            }
            other => panic!("{other:?}"),
        }
    }

    /// `rebind A h1 h2`: away from these hosts; `plan=h3*1` by hand.
    pub(super) fn rebind(&mut self, name: &str, words: &[&str]) -> Result<String, String> {
        let lease_id = self.leases.get(name).copied().unwrap_or(LeaseId(Uuid::from_u128(9999)));
        let avoid: Vec<HostId> = words.iter().filter_map(|word| self.hosts.get(*word).copied()).collect();
        let moves = match option(words, "plan") {
            Some(plan) => vec![
                self.by_hand(self.state.lease(lease_id).map_or(ReservationId(Uuid::nil()), |one| one.reservations[0].id), plan),
            ],
            None => match plan_rebind(&self.state, &Overlay::default(), lease_id, &avoid) {
                Ok(planned) => planned.reservations,
                Err(refused) => return Err(self.no_plan(refused)),
            },
        };
        self.tell(None, Command::Rebind { lease_id, moves })?;
        let lease = self.state.lease(lease_id).unwrap();
        Ok(format!("{}{}", lease.status.as_str(), self.bindings_text(lease)))
    }

    /// `scattered gain=600 lead=60`: who would set hosts free.
    pub(super) fn scattered(&self, words: &[&str]) -> String {
        let (mut from, mut found) = (Some(HostId(0)), Vec::new());
        // Two hosts at a time, so that it is gone on with.
        while let Some(next) = from {
            let (leases, rest) = crate::plan::scattered(&self.state, self.at, terms(words), next, 2);
            found.extend(leases.into_iter().map(|id| self.lease_name(id).to_owned()));
            from = rest;
        }
        found.sort_unstable();
        found.dedup();
        if found.is_empty() { "nobody".to_owned() } else { found.join(" ") }
    }

    /// `tighten A gain=600 lead=60`: moves it to where it is in nobody's way.
    pub(super) fn tighten(&mut self, words: &[&str]) -> Result<String, String> {
        let lease_id = self.leases[words[1]];
        let Some(tighter) = crate::plan::plan_tighter(&self.state, self.at, terms(words), lease_id) else {
            return Ok("stays".to_owned());
        };
        self.tell(None, Command::Rebind { lease_id, moves: tighter.planned.reservations })?;
        let lease = self.state.lease(lease_id).unwrap();
        Ok(format!("{}{} frees {} s", lease.status.as_str(), self.bindings_text(lease), tighter.freed_s))
    }

    pub(super) fn review(&mut self, name: &str) -> Result<String, String> {
        let lease_id = self.leases.get(name).copied().unwrap_or(LeaseId(Uuid::from_u128(9999)));
        self.tell(None, Command::ReviewLease { lease_id })?;
        let degraded = self.state.lease(lease_id).is_some_and(|lease| lease.degraded);
        Ok(if degraded { "degraded" } else { "well" }.to_owned())
    }

    /// `ailing before 13:00`: who is to be moved away from which hosts, of those that begin before then.
    pub(super) fn ailing(&self, words: &[&str]) -> String {
        let looked = crate::plan::Looked { until: second(words[2]), begun: true, downtimes: true };
        let looked_at = crate::plan::sick_hosts(&self.state).map(|host| (host, looked)).collect();
        self.ailing_text(&looked_at)
    }

    pub(super) fn ailing_text(&self, looked_at: &BTreeMap<HostId, crate::plan::Looked>) -> String {
        let all = crate::plan::ailing(&self.state, self.at, looked_at);
        let hosts = |one: &crate::plan::Ailing| one.avoid.iter().map(|host| self.host_name(*host)).collect::<Vec<_>>().join("+");
        let still = all.iter().filter(|one| crate::plan::still_ails(&self.state, self.at, one));
        let told: Vec<String> = still.map(|one| format!("{} {}", self.lease_name(one.lease_id), hosts(one))).collect();
        if told.is_empty() { "nobody".to_owned() } else { told.join(", ") }
    }

    pub(super) fn delete(&mut self, name: &str, words: &[&str]) -> Result<String, String> {
        let lease_id = self.leases.get(name).copied().unwrap_or(LeaseId(Uuid::from_u128(9999)));
        match self.tell(key(words), Command::DeleteLease { lease_id })? {
            Reply::LeaseDeleted { freed, .. } => {
                let row = if self.state.lease(lease_id).is_some() { "row stays" } else { "row gone" };
                Ok(format!("{}, {row}", if freed { "free" } else { "booked" }))
            }
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn claim(&mut self, name: &str, words: &[&str]) -> Result<String, String> {
        let lease_id = self.leases.get(name).copied().unwrap_or(LeaseId(Uuid::from_u128(9999)));
        assert_eq!(self.tell(key(words), Command::ClaimOffer { lease_id })?, Reply::OfferClaimed { lease_id });
        Ok(self.lease(name).map_or("gone".to_owned(), |lease| lease.status.as_str().to_owned()))
    }

    /// `promote A`: as the planner finds it by now; `plan=h1*2 moved=12:30` by hand.
    pub(super) fn promote(&mut self, name: &str, words: &[&str]) -> Result<String, String> {
        let lease_id = self.leases.get(name).copied().unwrap_or(LeaseId(Uuid::from_u128(9999)));
        let (plan, moved_to) = match option(words, "plan") {
            Some(plan) => {
                let ids = self.lease(name).map(|lease| lease.reservations.iter().map(|one| one.id).collect::<Vec<_>>());
                let plan = ids.unwrap_or_default().into_iter().map(|id| self.by_hand(id, plan)).collect();
                (plan, option(words, "moved").map(second))
            }
            None => match plan_promotion(&self.state, lease_id, self.at) {
                Ok(Some(planned)) => (planned.reservations, planned.moved_to),
                Ok(None) => return Err("no room".to_owned()),
                Err(rejection) => return Err(rejection_text(&rejection)),
            },
        };
        let promote = PromoteLease { lease_id, plan, moved_to, planned_at: self.state.ledger_index() };
        match self.tell(key(words), Command::PromoteLease(Box::new(promote)))? {
            Reply::LeasePromoted { lease_id, prepared } => {
                let lease = self.state.lease(lease_id).unwrap();
                assert_eq!(prepared, lease.status == LeaseStatus::Pending);
                assert_eq!(prepared, lease.wait.is_none());
                let (start, end) = (clock_text(lease.start), clock_text(lease.end));
                Ok(format!("{} {start}..{end}{}", lease.status.as_str(), self.bindings_text(lease)))
            }
            other => panic!("{other:?}"),
        }
    }

    /// Who waits for room, the longest waiting first.
    pub(super) fn waitlist(&self) -> String {
        let all: Vec<&str> = waiting(&self.state).map(|id| self.lease_name(id)).collect();
        if all.is_empty() { "nobody".to_owned() } else { all.join(" ") }
    }

    pub(super) fn offer_text(&self, name: &str) -> String {
        let Some(lease) = self.lease(name) else { return "gone".to_owned() };
        match lease.offer.as_deref() {
            None => "none".to_owned(),
            Some(Offer { claimed_at: Some(at), .. }) => format!("claimed at {}", clock_text(at.floor_to_second())),
            Some(Offer { expires_at, claimed_at: None }) => format!("until {}", clock_text(*expires_at)),
        }
    }

    /// Rows opened, in order.
    pub(super) fn clock(&mut self) -> String {
        let before = self.state.meta().last_actuation;
        self.tell(None, Command::AdvanceClock).unwrap();
        let opened: Vec<String> = self.state.actuations().filter(|row| row.id.0 > before).map(|row| self.row_text(row)).collect();
        if opened.is_empty() { "nothing".to_owned() } else { opened.join(", ") }
    }

    /// `archive 11:00`: the leases that leave memory.
    pub(super) fn archive(&mut self, ended_before: &str) -> String {
        let before: Vec<LeaseId> = self.leases.values().copied().filter(|id| self.state.archived(*id).is_some()).collect();
        self.tell(None, Command::ArchiveLeases { ended_before: instant(ended_before) }).unwrap();
        let left = |id: &LeaseId| self.state.archived(*id).is_some() && !before.contains(id);
        let left: Vec<&str> = self.leases.iter().filter(|(_, id)| left(id)).map(|(name, _)| name.as_str()).collect();
        if left.is_empty() { "none".to_owned() } else { left.join(" ") }
    }

    pub(super) fn row_text(&self, row: &Actuation) -> String {
        format!("{} {}", step_text(row.step), self.lease_name(row.lease_id))
    }

    pub(super) fn rows(&self) -> String {
        let rows: Vec<String> = self.state.actuations().map(|row| self.row_text(row)).collect();
        if rows.is_empty() { "none".to_owned() } else { rows.join(", ") }
    }

    pub(super) fn events(&self, name: &str) -> String {
        let Some(lease) = self.lease(name) else { return "gone".to_owned() };
        let text = |event: &Event| {
            let kind = match event.kind {
                EventKind::StartLease => "start",
                EventKind::EndLease => "end",
                EventKind::BeforeEndLease => "before_end",
                EventKind::Prepare => "prepare",
                EventKind::StagingOpen => "open",
                EventKind::StagingClose => "close",
                EventKind::Expiry => "expiry",
            };
            format!("{kind}={}:{}", clock_text(event.time), event.status.as_str())
        };
        lease.events.iter().map(text).collect::<Vec<_>>().join(" ")
    }

    /// `done start A`, `held A group`, `refused A`, `failed start A`, `delayed start A`; `old` for an old revision. The row
    /// is the oldest of the lease's rows of that step.
    pub(super) fn outcome(&mut self, words: &[&str]) -> Result<String, String> {
        let (step, name) = match words[0] {
            "held" | "refused" => (Step::Hold, words[1]),
            _ => (step_named(words[1]), words[2]),
        };
        let lease_id = self.leases[name];
        let row = self.state.actuations().find(|row| row.lease_id == lease_id && row.step == step);
        let (actuation_id, revision) = row.map_or((ActuationId(9999), 0), |row| (row.id, row.revision));
        let outcome = match words[0] {
            "done" => Outcome::Done,
            "held" => Outcome::Held { server_group_id: words.contains(&"group").then(|| Uuid::from_u128(5)) },
            "refused" => Outcome::HoldRefused { reason: reason("no room in placement") },
            "failed" => Outcome::Failed { reason: reason("broken") },
            "used" => self.used(words),
            _ => Outcome::Delayed { reason: Some(reason("slow")) },
        };
        let outcome = if words.contains(&"as-held") { Outcome::Held { server_group_id: None } } else { outcome };
        let revision = if words.contains(&"old") { revision.saturating_sub(1) } else { revision };
        match self.tell(None, Command::RecordOutcome { actuation_id, revision, outcome })? {
            Reply::OutcomeRecorded { changed: false } => Ok("unchanged".to_owned()),
            Reply::OutcomeRecorded { changed: true } => Ok(self.status_text(name)),
            other => panic!("{other:?}"),
        }
    }

    /// `used expire A h1*2 parked=1`
    fn used(&self, words: &[&str]) -> Outcome {
        let on = |word: &&str| word.split_once('*').map(|(host, used)| (self.hosts[host], used.parse().unwrap()));
        Outcome::Used { tokens: words.iter().filter_map(on).collect(), parked: number(words, "parked", 0) }
    }

    /// `made A 7`: a server group of that number was made for the lease's one reservation; `none`: it could not be; `foreign`:
    /// by the service user; `apart`: of anti-affinity.
    pub(super) fn made(&mut self, words: &[&str]) -> Result<String, String> {
        let lease_id = self.leases[words[1]];
        let id = self.flavors[words[1]];
        let server_group_id = words[2].parse().ok().map(Uuid::from_u128);
        let problem = match server_group_id {
            None => Some("no quota".to_owned()),
            Some(_) => words.contains(&"foreign").then(|| "of the service user".to_owned()),
        };
        let groups = [(id, FoundGroup { affinity: !words.contains(&"apart"), server_group_id, problem })].into();
        match self.tell(None, Command::RecordServerGroups { lease_id, groups })? {
            Reply::ServerGroupsRecorded { refused } if refused.is_empty() => Ok("taken".to_owned()),
            Reply::ServerGroupsRecorded { .. } => Ok("refused".to_owned()),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn group_text(&self, name: &str) -> String {
        let Some(lease) = self.lease(name) else { return "gone".to_owned() };
        let one = &lease.reservations[0];
        let group = one.server_group_id.map_or("none".to_owned(), |id| id.as_u128().to_string());
        match &one.server_group_problem {
            _ if one.group_awaited => "awaited".to_owned(),
            None => group,
            Some(problem) => format!("{group}: {problem}"),
        }
    }

    /// `observe h1 vcpus=8 firm=2 down traits=T`
    pub(super) fn observe(&mut self, words: &[&str]) -> Result<String, String> {
        let host_id = self.hosts.get(words[1]).copied().unwrap_or(HostId(99));
        let mut observation = self.state.host(host_id).map(|host| host.observation.clone()).unwrap_or_default();
        observation.capacity.vcpus = number(words, "vcpus", observation.capacity.vcpus);
        observation.firm.vcpus = number(words, "firm", observation.firm.vcpus);
        observation.up = !words.contains(&"down");
        if option(words, "traits").is_some() {
            observation.traits = set(words, "traits");
        }
        self.tell(None, Command::ReportHost { host_id, observation })?;
        let host = self.state.host(host_id).unwrap();
        Ok(if host.overcommitted {
            "overcommitted"
        } else if host.accepts_bookings() {
            "fine"
        } else {
            "closed"
        }
        .to_owned())
    }

    /// `sethost h1 prop=k:v reservable=false`
    pub(super) fn set_host(&mut self, words: &[&str]) -> Result<String, String> {
        let host_id = self.hosts.get(words[1]).copied().unwrap_or(HostId(99));
        let properties = properties(words);
        let reservable = flag(words, "reservable");
        self.tell(None, Command::UpdateHost { host_id, properties, reservable }).map(|_| "changed".to_owned())
    }

    pub(super) fn look_up(&self, key: &RequestKey) -> String {
        use crate::state::KeyLookup;
        match self.state.key(key) {
            KeyLookup::Answered { outcome: Ok(_), ledger_index } => format!("answered at {ledger_index}"),
            KeyLookup::Answered { outcome: Err(rejection), .. } => rejection_text(&rejection),
            KeyLookup::Pending { .. } => "pending".to_owned(),
            KeyLookup::Forgotten => "forgotten".to_owned(),
            KeyLookup::Unknown => "unknown".to_owned(),
            KeyLookup::Expired => "expired".to_owned(),
        }
    }
}

fn source_flavor(words: &[&str]) -> Option<Arc<SourceFlavor>> {
    option(words, "flavor").map(|id| SourceFlavor { id: text(id), ..SourceFlavor::default() }.into())
}
