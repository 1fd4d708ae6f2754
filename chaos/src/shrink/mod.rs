//! Makes a failing plan smaller, as long as the same checker finds it (chaos-design §3, "Shrink").
//!
//! Everything drawn hangs on a name and a number, so that a fault or an operation that is left out moves no other. Fewer
//! faults first, by delta debugging; then weaker ones; then a shorter, smaller, calmer cluster; then fewer operations. A trial
//! is a process of its own ([`trials`]); one that breaks or fails otherwise shows nothing.

pub mod fewer;
pub mod trials;
pub mod weaker;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::plan::{Plan, Sim};
use crate::report::Report;
use fewer::fewer;

/// Rounds over everything at most; a round that changes nothing is the last.
const ROUNDS: u32 = 4;

/// Says which plans still fail.
pub trait Judge {
    /// The first of these, in their order, that fails as the first one did.
    ///
    /// # Errors
    /// When trials cannot be run at all.
    fn first_failing(&mut self, plans: &[Plan]) -> Result<Option<usize>>;

    /// The operations that clients carried out under a plan, by client.
    ///
    /// # Errors
    /// When the trial cannot be run or read.
    fn operations(&mut self, plan: &Plan) -> Result<BTreeMap<u32, BTreeSet<u32>>>;

    /// A smaller plan was found; `what` became smaller.
    ///
    /// # Errors
    /// When it cannot be kept.
    fn found(&mut self, what: &str, plan: &Plan) -> Result<()>;
}

/// How large a plan is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Size {
    faults: usize,
    /// `None`: as many as there is time for.
    operations: Option<usize>,
    safety_ms: u64,
    nodes: u32,
    hosts: u32,
    clients: u32,
}

impl Size {
    /// Of a plan.
    #[must_use]
    pub fn of(plan: &Plan) -> Size {
        let Sim { safety_ms, hosts, clients, operations, .. } = &plan.sim;
        let operations = operations.as_ref().map(|all| all.values().map(BTreeSet::len).sum());
        Size { faults: plan.faults.len(), operations, safety_ms: *safety_ms, nodes: plan.nodes, hosts: *hosts, clients: *clients }
    }

    /// With the number of operations that a run had.
    #[must_use]
    pub fn with_operations(self, report: &Report) -> Size {
        let ran = usize::try_from(report.operations.values().sum::<u64>()).unwrap_or(usize::MAX);
        Size { operations: self.operations.or(Some(ran)), ..self }
    }

    /// Faults and operations together.
    #[must_use]
    pub fn events(&self) -> usize {
        self.faults + self.operations.unwrap_or(0)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Size { faults, operations, safety_ms, nodes, hosts, clients } = self;
        let operations = operations.map_or_else(|| "all".to_owned(), |count| count.to_string());
        let seconds = *safety_ms as f64 / 1_000.0;
        write!(f, "{faults} faults, {operations} operations, {seconds:.1} s, {nodes} nodes, {hosts} hosts, {clients} clients")
    }
}

/// The smallest plan found that still fails. `seen_ms`: when, after the run's start, it failed in the first run, if known.
///
/// # Errors
/// When trials cannot be run or their results not be kept.
pub fn shrink(plan: Plan, seen_ms: Option<u64>, judge: &mut dyn Judge) -> Result<Plan> {
    let mut work = Work { plan, judge };
    if let Some(seen_ms) = seen_ms {
        work.end_at(seen_ms + 1)?;
    }
    for _ in 0..ROUNDS {
        let before = work.plan.clone();
        // A shorter run makes every later trial quicker.
        work.period()?;
        work.faults()?;
        work.intensities()?;
        work.name_operations()?;
        work.clients()?;
        work.operations()?;
        work.period()?;
        work.hosts()?;
        work.nodes()?;
        work.calm()?;
        if work.plan == before {
            break;
        }
    }
    Ok(work.plan)
}

struct Work<'a> {
    plan: Plan,
    judge: &'a mut dyn Judge,
}

impl Work<'_> {
    /// Goes on with the first of these that fails, if one does.
    fn take(&mut self, what: &str, candidates: &[Plan]) -> Result<bool> {
        let Some(at) = self.judge.first_failing(candidates)? else { return Ok(false) };
        self.plan = candidates[at].clone();
        self.judge.found(what, &self.plan)?;
        Ok(true)
    }

    /// Faults of which none can be left out.
    fn faults(&mut self) -> Result<()> {
        let faults = self.plan.faults.clone();
        fewer(faults, |kept| {
            let candidates: Vec<Plan> = kept.iter().map(|faults| Plan { faults: faults.clone(), ..self.plan.clone() }).collect();
            let at = self.judge.first_failing(&candidates)?;
            if let Some(at) = at {
                self.judge.found("fewer faults", &candidates[at])?;
            }
            Ok(at)
        })
        .map(|faults| self.plan.faults = faults)
    }

    /// Durations, rates and links of each fault.
    fn intensities(&mut self) -> Result<()> {
        loop {
            let mut candidates = Vec::new();
            for (at, planned) in self.plan.faults.iter().enumerate() {
                for fault in weaker::weaker(&planned.fault) {
                    let mut plan = self.plan.clone();
                    plan.faults[at].fault = fault;
                    candidates.push(plan);
                }
            }
            if !self.take("weaker faults", &candidates)? {
                return Ok(());
            }
        }
    }

    /// Faults that would come later never come.
    fn end_at(&mut self, safety_ms: u64) -> Result<bool> {
        if safety_ms >= self.plan.sim.safety_ms {
            return Ok(false);
        }
        let mut plan = self.plan.clone();
        plan.sim.safety_ms = safety_ms;
        plan.faults.retain(|planned| planned.at_ms < safety_ms);
        self.take("a shorter run", &[plan])
    }

    /// The shortest period of faults, to about a tenth.
    fn period(&mut self) -> Result<()> {
        for (part, of) in [(1, 2), (3, 4), (9, 10)] {
            while self.plan.sim.safety_ms > 1_000 && self.end_at(self.plan.sim.safety_ms * part / of)? {}
        }
        Ok(())
    }

    /// Names the operations there are, so that some can be left out.
    fn name_operations(&mut self) -> Result<()> {
        if self.plan.sim.operations.is_some() {
            return Ok(());
        }
        let mut plan = self.plan.clone();
        plan.sim.operations = Some(self.judge.operations(&plan)?);
        self.take("operations named", &[plan]).map(drop)
    }

    /// Whole clients with all they do; then as few as their highest number needs.
    fn clients(&mut self) -> Result<()> {
        let Some(operations) = self.plan.sim.operations.clone() else { return Ok(()) };
        self.keep("fewer clients", operations.into_iter().collect())?;
        let Some(operations) = &self.plan.sim.operations else { return Ok(()) };
        let busy = operations.iter().filter(|(_, own)| !own.is_empty());
        let needed = busy.map(|(client, _)| client + 1).max().unwrap_or(1);
        if needed < self.plan.sim.clients {
            let mut plan = self.plan.clone();
            plan.sim.clients = needed;
            self.take("fewer clients", &[plan])?;
        }
        Ok(())
    }

    /// Operations of which none can be left out.
    fn operations(&mut self) -> Result<()> {
        let Some(operations) = self.plan.sim.operations.clone() else { return Ok(()) };
        let each = operations.into_iter().flat_map(|(client, own)| own.into_iter().map(move |one| (client, [one].into())));
        self.keep("fewer operations", each.collect())
    }

    /// Those groups of operations, by client, of which none can be left out.
    fn keep(&mut self, what: &str, groups: Vec<(u32, BTreeSet<u32>)>) -> Result<()> {
        let with = |plan: &Plan, groups: &[(u32, BTreeSet<u32>)]| {
            let mut plan = plan.clone();
            let mut operations: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
            for (client, own) in groups {
                operations.entry(*client).or_default().extend(own);
            }
            plan.sim.operations = Some(operations);
            plan
        };
        let plan = self.plan.clone();
        let groups = fewer(groups, |kept| {
            let candidates: Vec<Plan> = kept.iter().map(|groups| with(&plan, groups)).collect();
            let at = self.judge.first_failing(&candidates)?;
            if let Some(at) = at {
                self.judge.found(what, &candidates[at])?;
            }
            Ok(at)
        })?;
        self.plan = with(&plan, &groups);
        Ok(())
    }

    fn hosts(&mut self) -> Result<()> {
        let fits = |hosts: u32| self.plan.faults.iter().all(|planned| weaker::highest_host(&planned.fault) < hosts);
        let with = |hosts: u32| Plan { sim: Sim { hosts, ..self.plan.sim.clone() }, ..self.plan.clone() };
        let candidates: Vec<Plan> = (1..self.plan.sim.hosts).filter(|hosts| fits(*hosts)).map(with).collect();
        self.take("fewer hosts", &candidates).map(drop)
    }

    /// 5, 3, 1, as long as every fault names nodes that are there.
    fn nodes(&mut self) -> Result<()> {
        let fits = |nodes: u32| self.plan.faults.iter().all(|planned| weaker::highest_node(&planned.fault) < nodes);
        let fewer = [1, 3].into_iter().filter(|nodes| *nodes < self.plan.nodes && fits(*nodes));
        let candidates: Vec<Plan> = fewer.map(|nodes| Plan { nodes, ..self.plan.clone() }).collect();
        self.take("fewer nodes", &candidates).map(drop)
    }

    /// Usual timeouts, and logs that are not cut short.
    fn calm(&mut self) -> Result<()> {
        let usual = Sim::default();
        let mut timing = self.plan.clone();
        timing.sim.heartbeat_ms = usual.heartbeat_ms;
        timing.sim.election_min_ms = usual.election_min_ms;
        timing.sim.election_max_ms = usual.election_max_ms;
        if timing != self.plan {
            self.take("usual timeouts", &[timing])?;
        }
        let mut logs = self.plan.clone();
        (logs.sim.snapshot_entries, logs.sim.keep_entries) = (usual.snapshot_entries, usual.keep_entries);
        if logs != self.plan {
            self.take("usual snapshots", &[logs])?;
        }
        Ok(())
    }
}

/// What a file tells to run: a plan, or the plan of a report.
///
/// # Errors
/// When the file cannot be read or holds neither.
pub fn read(file: &Path) -> Result<Plan> {
    let text = std::fs::read_to_string(file).with_context(|| format!("{}", file.display()))?;
    let value: serde_json::Value = serde_json::from_str(&text).with_context(|| format!("{}", file.display()))?;
    let plan: Plan = serde_json::from_value(value.get("plan").cloned().unwrap_or(value))
        .with_context(|| format!("{} holds no plan", file.display()))?;
    ensure!(plan.nodes > 0, "{}: a plan without nodes", file.display());
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Fault;

    /// Fails as long as a plan has what it needs.
    struct Needs {
        fails: fn(&Plan) -> bool,
        trials: usize,
        found: Vec<usize>,
    }

    impl Judge for Needs {
        fn first_failing(&mut self, plans: &[Plan]) -> Result<Option<usize>> {
            self.trials += plans.len();
            Ok(plans.iter().position(self.fails))
        }

        fn operations(&mut self, plan: &Plan) -> Result<BTreeMap<u32, BTreeSet<u32>>> {
            Ok((0..plan.sim.clients).map(|client| (client, (0..40).collect())).collect())
        }

        fn found(&mut self, _: &str, plan: &Plan) -> Result<()> {
            assert!((self.fails)(plan), "what is kept fails");
            self.found.push(Size::of(plan).events());
            Ok(())
        }
    }

    fn shrunk(plan: Plan, fails: fn(&Plan) -> bool) -> Plan {
        assert!(fails(&plan));
        let mut judge = Needs { fails, trials: 0, found: Vec::new() };
        let plan = shrink(plan, None, &mut judge).expect("trials run");
        assert!(fails(&plan) && judge.trials < 3_000, "{}", judge.trials);
        plan
    }

    #[test]
    fn two_faults_and_three_operations_are_all_that_is_left() {
        fn fails(plan: &Plan) -> bool {
            let cut = plan.faults.iter().any(|planned| matches!(planned.fault, Fault::Isolate { for_ms: 900.., .. }));
            let step = plan.faults.iter().any(|planned| matches!(planned.fault, Fault::ClockStep { step_ms: ..=-100, .. }));
            let has = |client: u32, number: u32| {
                plan.sim.operations.as_ref().is_none_or(|all| all.get(&client).is_some_and(|own| own.contains(&number)))
                    && client < plan.sim.clients
            };
            cut && step && has(1, 7) && has(1, 30) && has(2, 0)
        }
        let plan = (1..200).map(|seed| Plan::shaped(seed, 600, crate::plan::Profile::Swarm)).find(fails).expect("such a seed");
        let small = shrunk(plan.clone(), fails);
        assert_eq!(small.faults.len(), 2);
        assert_eq!(small.sim.operations, Some([(1, [7, 30].into()), (2, [0].into())].into()));
        assert_eq!((small.sim.clients, small.sim.hosts), (3, 1));
        assert!(small.nodes <= 3 && small.sim.safety_ms < plan.sim.safety_ms);
        for planned in &small.faults {
            match &planned.fault {
                Fault::Isolate { for_ms, .. } => assert!((900..1_800).contains(for_ms), "{for_ms}"),
                Fault::ClockStep { step_ms, .. } => assert!((-199..=-100).contains(step_ms), "{step_ms}"),
                other => panic!("{other:?} is not needed"),
            }
        }
    }

    #[test]
    fn a_plan_that_needs_nothing_loses_everything() {
        let small = shrunk(Plan::shaped(3, 300, crate::plan::Profile::Links), |_| true);
        assert_eq!(Size::of(&small).events(), 0);
        assert_eq!((small.nodes, small.sim.hosts, small.sim.clients), (1, 1, 1));
        assert!(small.sim.safety_ms <= 1_000);
    }

    #[test]
    fn what_faults_name_stays() {
        let mut plan = Plan::shaped(3, 300, crate::plan::Profile::Links);
        plan.nodes = 5;
        plan.faults.truncate(1);
        plan.faults[0].fault = Fault::Cut { links: vec![(0, 2), (2, 0)], period_ms: 0, for_ms: 1_000 };
        let small = shrunk(plan, |plan| {
            plan.faults.iter().any(|planned| matches!(&planned.fault, Fault::Cut { links, .. } if links.contains(&(0, 2))))
        });
        assert_eq!(small.nodes, 3);
        let Fault::Cut { links, .. } = &small.faults[0].fault else { panic!("{small:?}") };
        assert_eq!(links, &[(0, 2)]);
    }
}
