//! `leasehold quota …`: what a project may have in time.

use std::collections::BTreeSet;

use clap::{Args, Subcommand};
use leasehold_client::wire::convert::{DEFAULT_PROJECT, encode_limits};
use leasehold_client::{Quota, QuotaListing};
use leasehold_ledger::model::{Limit, LimitKind, Limits, ProjectId};
use serde_json::{Value, json};

use super::listing::{Page, more};
use super::output::{fields, table};
use super::time::utc;
use super::wait::with_progress;
use super::{Failure, Session};

pub(super) const EXAMPLES: &str = "\
Limits: slots and vcpus (reserved at one instant), vcpu_hours (per period of period_s seconds), start_ahead_s and end_ahead_s
(seconds from now to a lease's start and end), duration_s (of one lease). What is not set has no limit. A limit refuses new
use only: leases that are there stay.

Examples:
  What my project may have, and what it has:
    leasehold quota show
  Nobody has more than 200 vCPUs at once, or books more than 90 days ahead (admins):
    leasehold quota set --project default vcpus=200 start_ahead_s=7776000
  But this project has 1,000, and 50,000 vCPU-hours in 30 days:
    leasehold quota set --project 4f1c vcpus=1000 vcpu_hours=50000 period_s=2592000
  Which projects have limits of their own (admins), and which of them for vCPUs or vCPU-hours:
    leasehold quota list --limit 100
    leasehold quota list --set vcpus,vcpu_hours
  And is asked again like the others:
    leasehold quota unset --project 4f1c vcpus vcpu_hours period_s";

/// Quotas.
#[derive(Subcommand, Clone, Debug)]
pub enum QuotaCommand {
    /// Show limits and what is used of them
    Show {
        /// Of this project (admins), or `default`; your own unless named
        #[arg(long, value_name = "ID")]
        project: Option<String>,
    },
    /// List the projects that have limits of their own (admins) by their ids, filtered, page by page
    List(List),
    /// Set limits (admins); others stay as they are
    Set(Set),
    /// Leave limits to the default again (admins)
    Unset(Unset),
}

/// `quota list`
#[derive(Args, Clone, Debug)]
pub struct List {
    /// Only those with a limit of their own of at least one of these kinds, separated by commas
    #[arg(long, value_name = "LIMIT", value_delimiter = ',', value_parser = kind)]
    set: Vec<LimitKind>,
    #[command(flatten)]
    page: Page,
    /// Only projects behind this one in the order: the last of the page before
    #[arg(long, value_name = "ID")]
    after: Option<String>,
}

impl List {
    /// What is asked for.
    pub(super) fn listing(self) -> QuotaListing {
        let List { set, page, after } = self;
        let (set, after) = (BTreeSet::from_iter(set), after.map(|id| ProjectId(id.into())));
        QuotaListing { set, descending: page.reverse, after, limit: page.limit }
    }
}

/// `quota set`
#[derive(Args, Clone, Debug)]
pub struct Set {
    /// Of this project; `default`: of all that have none of their own
    #[arg(long, value_name = "ID")]
    project: String,
    /// As vcpus=200, or vcpus=unlimited for none whatever the default says
    #[arg(required = true, value_name = "LIMIT=NUMBER", value_parser = limit)]
    limits: Vec<(LimitKind, Limit)>,
}

/// `quota unset`
#[derive(Args, Clone, Debug)]
pub struct Unset {
    /// Of this project; `default`: of all that have none of their own
    #[arg(long, value_name = "ID")]
    project: String,
    /// As vcpus
    #[arg(required = true, value_name = "LIMIT", value_parser = kind)]
    limits: Vec<LimitKind>,
}

fn kind(text: &str) -> Result<LimitKind, String> {
    LimitKind::named(text).ok_or_else(|| format!("it must be one of {}", LimitKind::ALL.map(LimitKind::as_str).join(", ")))
}

fn limit(text: &str) -> Result<(LimitKind, Limit), String> {
    let (name, number) = text.split_once('=').ok_or("write it as vcpus=200")?;
    let limit = match number {
        "unlimited" => Limit::Unlimited,
        number => Limit::Max(number.parse().map_err(|_| "the limit must be a number from 0 to 4294967295, or unlimited")?),
    };
    Ok((kind(name)?, limit))
}

pub(super) async fn run(command: QuotaCommand, session: &Session) -> Result<(), Failure> {
    let client = &session.client;
    let quota = match command {
        QuotaCommand::List(asked) => {
            let listing = asked.listing();
            let limit = listing.limit;
            let found = with_progress("the list", client.list_quotas(listing)).await?.value;
            let more = || more(limit, found.len(), found.last().map(project_of));
            session.output.print(found.iter().map(quota_json).collect(), || quotas_table(&found) + &more())?;
            return Ok(());
        }
        QuotaCommand::Show { project } => with_progress("the quota", client.quota(project)).await?.value,
        QuotaCommand::Set(Set { project, limits }) => {
            let mut set = Limits::new();
            for (kind, limit) in limits {
                if set.insert(kind, limit).is_some() {
                    return Err(Failure::Usage(format!("{}: name each limit once", kind.as_str())));
                }
            }
            with_progress("the quota", client.set_quota(session.key(), project, set, BTreeSet::new())).await?.value
        }
        QuotaCommand::Unset(Unset { project, limits }) => {
            let unset = limits.into_iter().collect();
            with_progress("the quota", client.set_quota(session.key(), project, Limits::new(), unset)).await?.value
        }
    };
    session.output.print(quota_json(&quota), || quota_text(&quota))?;
    Ok(())
}

fn project_of(quota: &Quota) -> String {
    quota.project_id.as_ref().map_or(DEFAULT_PROJECT.to_owned(), ToString::to_string)
}

pub(super) fn quota_json(quota: &Quota) -> Value {
    let set = encode_limits(&quota.set);
    let used = quota.used.map(|used| {
        json!({
            "slots_now": used.now.0, "vcpus_now": used.now.1,
            "slots_peak": used.slots_peak.0, "slots_peak_at": utc(used.slots_peak.1),
            "vcpus_peak": used.vcpus_peak.0, "vcpus_peak_at": utc(used.vcpus_peak.1),
            "period_start": utc(used.period.start), "period_end": utc(used.period.end), "period_vcpu_s": used.period_vcpu_s,
        })
    });
    let in_force: std::collections::BTreeMap<_, _> = quota.in_force.iter().map(|(kind, max)| (kind.as_str(), *max)).collect();
    json!({ "project_id": project_of(quota), "set": set, "in_force": in_force, "used": used })
}

/// What is set for each project; what is not is the default's.
pub(super) fn quotas_table(quotas: &[Quota]) -> String {
    let limit = |quota: &Quota, kind| match quota.set.get(&kind) {
        Some(Limit::Max(max)) => max.to_string(),
        Some(Limit::Unlimited) => "unlimited".to_owned(),
        None => String::new(),
    };
    let row = |quota: &Quota| {
        let limits = LimitKind::ALL.map(|kind| limit(quota, kind));
        [project_of(quota)].into_iter().chain(limits).collect::<Vec<String>>()
    };
    let head: Vec<&str> = ["project"].into_iter().chain(LimitKind::ALL.map(LimitKind::as_str)).collect();
    let empty = "No project has limits of its own. What holds for all: leasehold quota show --project default";
    table(&head, quotas.iter().map(row).collect(), empty)
}

pub(super) fn quota_text(quota: &Quota) -> String {
    let rows = LimitKind::ALL.map(|kind| {
        let holds = quota.in_force.get(&kind).map_or("-".to_owned(), u32::to_string);
        let own = match quota.set.get(&kind) {
            None => "",
            Some(_) if quota.project_id.is_none() => "",
            Some(_) => "own",
        };
        let (now, peak) = match (kind, quota.used) {
            (LimitKind::Slots, Some(used)) => {
                (used.now.0.to_string(), format!("{} at {}", used.slots_peak.0, utc(used.slots_peak.1)))
            }
            (LimitKind::Vcpus, Some(used)) => {
                (used.now.1.to_string(), format!("{} at {}", used.vcpus_peak.0, utc(used.vcpus_peak.1)))
            }
            (LimitKind::VcpuHours, Some(used)) => {
                // Rounded up, as it is where it is refused.
                (
                    String::new(),
                    format!(
                        "{} until {}",
                        used.period_vcpu_s.max(0).div_euclid(3600) + i64::from(used.period_vcpu_s.rem_euclid(3600) > 0),
                        utc(used.period.end)
                    ),
                )
            }
            _ => (String::new(), String::new()),
        };
        vec![kind.as_str().to_owned(), holds, own.to_owned(), now, peak]
    });
    format!(
        "{}\n{}",
        fields(vec![("project", project_of(quota))]),
        table(&["limit", "at most", "set", "now", "peak"], rows.to_vec(), "")
    )
}
