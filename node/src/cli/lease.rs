//! `leasehold lease …`: the arguments; `lease_args.rs` turns them into wishes.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use leasehold_client::{Error, HostCount, KeyState, LeaseFilter, Preempts, RefusalKind, WhatIf};
use leasehold_ledger::model::{Class, Lease, LeaseId, LeaseStatus, SeriesId};
use leasehold_ledger::state::{Change, ChangeSubject};
use serde_json::{Value, json};
use uuid::Uuid;

use super::output::{counted, host_json, lease_details, lease_json, lease_table};
use super::time::{self, When};
use super::wait::with_progress;
use super::{Failure, Session, what_to_try};
use super::{listing, series, whole_hosts};

#[path = "lease_args.rs"]
pub(super) mod args;
#[cfg(test)]
pub(super) use args::wish as wish_of;
use args::{AtEnd, Servers, Staged};

pub(super) const EXAMPLES: &str = "\
Examples:
  Two servers on different hosts, from now, for an hour:
    leasehold lease create build --vcpus 2 --memory-mb 4096 --disk-gb 10 --amount 2 --affinity different-hosts --end +1h
  Twenty servers like a flavor of the cloud, on Friday morning:
    leasehold lease create class --flavor m1.large --amount 20 --start '2026-11-27 08:00' --end +4h
  Booted and parked the evening before, woken at eight, kept (shelved) afterwards:
    leasehold lease create exam --start '2026-11-23 08:00' --end +4h --staging='2026-11-22 20:00..2026-11-22 21:00' \\
      --on-end shelve --vcpus 4 --memory-mb 8192 --amount 30
  Would 40 of them fit on Friday? Nothing is booked:
    leasehold lease create exam --start '2026-11-27 08:00' --end +4h --vcpus 4 --memory-mb 8192 --amount 40 --what-if
  Would two to four whole hosts with a GPU be free on Friday? They cannot be booked yet:
    leasehold lease create lab --start '2026-11-27 08:00' --end +4h --hosts 2-4 --property gpu=a100 --what-if
  Every Monday and Wednesday at nine in Berlin, ten times; what does not fit is left out:
    leasehold lease create course --start '2026-11-23 08:00' --end +2h --vcpus 2 --memory-mb 4096 \\
      --repeat 'FREQ=WEEKLY;BYDAY=MO,WE;COUNT=10' --time-zone Europe/Berlin --best-effort
  Whoever does not come has 15 minutes; what no server uses then is free for others:
    leasehold lease create seat --start '2026-11-27 08:00' --end +4h --vcpus 4 --memory-mb 8192 --amount 10 --expiry 15m
  An hour longer, counted from now:
    leasehold lease update build --end +1h
  Follow what happens:
    leasehold lease watch";

/// Leases.
#[derive(Subcommand, Clone, Debug)]
pub enum LeaseCommand {
    /// Reserve servers for a time; the answer is final
    Create(Box<Create>),
    /// Show one lease
    Show {
        /// UUID or name
        lease: String,
    },
    /// List the project's leases (an admin sees those of all projects), filtered, sorted, page by page
    #[command(after_help = listing::EXAMPLES)]
    List(Box<listing::Leases>),
    /// Show what such leases reserve over time, also in the past
    #[command(after_help = listing::HOW_TO_READ)]
    Utilisation(Box<listing::Used>),
    /// Change a lease; all of it or nothing
    Update(Box<Update>),
    /// End a lease and forget it; answers when its capacity is free
    Delete {
        /// UUID or name
        #[arg(required_unless_present = "series", conflicts_with = "series")]
        lease: Option<String>,
        /// All leases of this series that have not started, instead of one lease
        #[arg(long, value_name = "UUID")]
        series: Option<SeriesId>,
    },
    /// Print every change as it happens, until interrupted; survives the loss of any node
    Watch {
        /// From this ledger index on, instead of from now
        #[arg(long, value_name = "INDEX")]
        from: Option<u64>,
        /// Only changes of this lease
        #[arg(long, value_name = "UUID")]
        lease: Option<LeaseId>,
    },
    /// What became of a request whose answer was lost (--key as printed). If nothing did, nothing will
    Outcome,
}

/// `lease create`
#[derive(Args, Clone, Debug)]
#[command(mut_arg("vcpus", |vcpus| vcpus.required_unless_present("hosts")))]
#[command(mut_arg("memory_mb", |memory| memory.required_unless_present("hosts")))]
pub struct Create {
    /// Need not be unique
    name: String,
    /// now, +30m, or a UTC date as '2026-11-22 14:00'
    #[arg(long, default_value = "now", value_parser = time::parse)]
    start: When,
    /// +2h (after the start), a UTC date, or never
    #[arg(long, value_parser = time::parse)]
    end: When,
    /// Start as soon as all of it has room, from --start on and not after this: +6h (from now) or a UTC date. The whole lease moves
    #[arg(long, value_name = "LATEST", value_parser = time::parse)]
    earliest: Option<When>,
    /// How long before the end the lease announces it (never: not at all)
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = args::parse_before_end)]
    before_end: args::Before,
    #[command(flatten)]
    servers: Servers,
    /// Whole hosts instead of servers: so many, or at least so many and as many more as there are, as in 2-4. Only with --what-if
    #[arg(
        long,
        value_name = "MIN-MAX",
        value_parser = args::parse_hosts,
        conflicts_with_all = [
            "flavor", "vcpus", "memory_mb", "disk_gb", "amount", "affinity", "staging", "on_end", "adopted", "wait", "wait_until",
            "expiry",
        ]
    )]
    pub(super) hosts: Option<args::Hosts>,
    /// Book time before the start to boot servers, which are then parked: from now for 30 minutes, or a window
    #[arg(
        long,
        value_name = "START..END",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "..",
        value_parser = args::parse_staging
    )]
    staging: Option<Staged>,
    /// What happens to the servers at the end
    #[arg(long, value_enum, default_value_t = AtEnd::Delete)]
    on_end: AtEnd,
    /// A parked server of an earlier lease that this one takes over and wakes at its start; name all that are left
    #[arg(long = "server", value_name = "UUID")]
    adopted: Vec<Uuid>,
    /// Without room, wait for some until the lease's latest start; it is shown by: leasehold lease list --status waiting
    #[arg(long, conflicts_with = "wait_until")]
    wait: bool,
    /// As --wait, and no longer than until then: +2h (from now) or a UTC date, by the latest start
    #[arg(long, value_name = "UNTIL", value_parser = time::parse)]
    wait_until: Option<When>,
    #[command(flatten)]
    rank: args::Rank,
    /// Give back what nobody uses so long after the lease became active, as in 15m; never: whatever the operator says of others.
    /// Servers that are there are never touched
    #[arg(long, value_name = "DURATION", value_parser = args::parse_expiry)]
    expiry: Option<u32>,
    #[command(flatten)]
    pub(super) repeat: args::Repeat,
    /// Whatever the quota of the project says (admins and those with the role that the configuration names)
    #[arg(long)]
    ignore_quota: bool,
    /// Only say whether it fits, and what would fit instead; nothing is booked. Exit code 1: it does not fit
    #[arg(long)]
    pub(super) what_if: bool,
}

impl Create {
    /// On which hosts.
    pub(super) fn place(&self) -> args::Where {
        self.servers.clone().place()
    }
}

/// `lease update`
#[derive(Args, Clone, Debug)]
pub struct Update {
    /// UUID or name
    lease: String,
    /// New name
    #[arg(long)]
    name: Option<String>,
    /// New start, while it has not started
    #[arg(long, value_parser = time::parse)]
    start: Option<When>,
    /// New end: now, a UTC date, +1h (from now), or never
    #[arg(long, value_parser = time::parse)]
    end: Option<When>,
    /// How long before the end the lease announces it
    #[arg(long, value_name = "DURATION", value_parser = args::parse_before_end)]
    before_end: Option<args::Before>,
    /// How many servers, up or down (leases with one reservation)
    #[arg(long)]
    amount: Option<u32>,
    /// What happens to the servers at the end (leases with one reservation)
    #[arg(long, value_enum)]
    on_end: Option<AtEnd>,
    /// Whatever the quota of the project says (admins and those with the role that the configuration names)
    #[arg(long)]
    ignore_quota: bool,
}

pub(super) async fn run(command: LeaseCommand, session: &Session) -> Result<ExitCode, Failure> {
    let (client, output) = (&session.client, session.output);
    match command {
        LeaseCommand::Create(create) => {
            let (key, now) = session.key_and_now();
            let asked = create.what_if;
            if let Some(hosts) = create.hosts {
                return whole_hosts::run(*create, hosts, now, session).await;
            }
            let recurrence = create.repeat.recurrence();
            let wish = args::wish(*create, now)?;
            if asked {
                let answer = match recurrence {
                    Some(recurrence) => with_progress("the answer", client.what_if_series(wish, recurrence)).await?,
                    None => with_progress("the answer", client.what_if(wish)).await?,
                };
                output.print(what_if_json(&answer.value, answer.ledger_index), || what_if_text(&answer.value))?;
                let fits = !matches!(answer.value, WhatIf::NoRoom(_));
                return Ok(if fits { ExitCode::SUCCESS } else { ExitCode::FAILURE });
            }
            if let Some(recurrence) = recurrence {
                let booking = client.create_series(key, wish, recurrence);
                let booked = with_progress("the series to be booked", booking).await?.value;
                output.print(series::booked_json(&booked), || series::booked_text(&booked))?;
                return Ok(ExitCode::SUCCESS);
            }
            let lease = with_progress("the lease to be booked", client.create_lease(key, wish)).await?.value;
            output.print(lease_json(&lease), || lease_details(&lease))?;
        }
        LeaseCommand::Show { lease } => {
            let lease = find(session, &lease).await?;
            output.print(lease_json(&lease), || lease_details(&lease))?;
        }
        LeaseCommand::List(asked) => {
            let filter = asked.filter(session.key_and_now().1)?;
            let limit = filter.limit;
            let leases = with_progress("the list", client.list_leases(filter)).await?.value;
            let more = || listing::more(limit, leases.len(), leases.last().map(|lease| lease.id.to_string()));
            output.print(leases.iter().map(lease_json).collect(), || lease_table(&leases) + &more())?;
        }
        LeaseCommand::Utilisation(asked) => {
            let wish = asked.wish(session.key_and_now().1)?;
            let answer = with_progress("the answer", client.utilisation(wish)).await?;
            let used = &answer.value;
            output.print(listing::utilisation_json(used, answer.ledger_index), || listing::utilisation_text(used))?;
        }
        LeaseCommand::Update(update) => {
            let (key, now) = session.key_and_now();
            let lease = match repeated(session, find(session, &update.lease).await).await? {
                Found::Lease(lease) => *lease,
                Found::Id(id) => client.get_lease(id).await?.value,
            };
            let change = args::change(*update, &lease, now)?;
            let waiting = "the change to be booked";
            let lease = with_progress(waiting, client.update_lease(key, lease.id, change)).await?.value;
            output.print(lease_json(&lease), || lease_details(&lease))?;
        }
        LeaseCommand::Delete { lease: _, series: Some(id) } => {
            let gone = with_progress("the series to be deleted", client.delete_series(session.key(), id)).await?;
            let json = series::deleted_json(id, &gone.value, gone.ledger_index);
            output.print(json, || series::deleted_text(id, &gone.value))?;
        }
        LeaseCommand::Delete { lease, series: None } => {
            let lease = lease.ok_or_else(|| Failure::Usage("which lease? Give its UUID or name, or --series".to_owned()))?;
            let id = match lease.parse() {
                Ok(id) => id,
                Err(_) => repeated(session, find(session, &lease).await).await?.id(),
            };
            let waiting = format!("the capacity of lease {id} to be free");
            let answer = with_progress(&waiting, client.delete_lease(session.key(), id)).await?;
            let deleted = json!({ "deleted": id.to_string(), "ledger_index": answer.ledger_index });
            output.print(deleted, || format!("Lease {id} is deleted."))?;
        }
        LeaseCommand::Watch { from, lease } => watch(session, from, lease).await?,
        LeaseCommand::Outcome => {
            let key = session.globals.key.ok_or_else(|| Failure::Usage("which request? Give its --key".to_owned()))?;
            let answer = client.look_up_key(key).await?;
            let (json, text) = outcome(&answer.value);
            output.print(json, || text)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What a lease would come to, for programs; what is missing is spelled as in a refusal.
fn what_if_json(what_if: &WhatIf, ledger_index: u64) -> Value {
    match what_if {
        WhatIf::Fits { moved_to, preempts, reservations } => {
            let count = |one: &HostCount| json!({ "hosts": one.main, "staging_hosts": one.staging });
            let reservations: Vec<Value> = reservations.iter().map(count).collect();
            let start = moved_to.and_then(time::rfc3339);
            json!({
                "fits": true, "reservations": reservations, "start": start, "preempts": preempts_json(preempts), "no_room": null,
                "ledger_index": ledger_index,
            })
        }
        WhatIf::SeriesFits { occurrences, left_out } => {
            let series = series::parts_json(occurrences, left_out);
            let (none, index) = (Value::Null, ledger_index);
            json!({ "fits": true, "reservations": none, "start": none, "no_room": none, "series": series, "ledger_index": index })
        }
        WhatIf::NoRoom(no_room) => {
            let missing = json!({
                "reservation": no_room.reservation, "short_by": no_room.short_by,
                "tightest": no_room.tightest.map(Class::name), "largest_amount": no_room.largest_amount,
                "next_start": no_room.next_start.and_then(time::rfc3339), "next_end": no_room.next_end.and_then(time::rfc3339),
                "staging": no_room.staging, "occurrence": no_room.occurrence, "preempts": preempts_json(&no_room.preempts),
            });
            json!({ "fits": false, "reservations": null, "start": null, "no_room": missing, "ledger_index": ledger_index })
        }
    }
}

/// The same for people.
pub(super) fn what_if_text(what_if: &WhatIf) -> String {
    match what_if {
        WhatIf::Fits { moved_to, preempts, reservations } => {
            let on = |one: &HostCount| match (counted(one.main, "host"), one.staging) {
                (hosts, 0) => format!("\nIt would lie on {hosts}."),
                (hosts, staging) => format!("\nIt would lie on {hosts}, and on {staging} for staging."),
            };
            let from = moved_to.map(|start| format!(" from {} (UTC) on", time::utc(start))).unwrap_or_default();
            let hosts: String = reservations.iter().map(on).collect();
            format!("It fits{from}. Nothing was booked.{hosts}{}", preempts_text(preempts))
        }
        WhatIf::SeriesFits { occurrences, left_out } => {
            format!("It fits. Nothing was booked.\n{}", series::parts_text(occurrences, left_out))
        }
        WhatIf::NoRoom(no_room) => {
            let of = no_room.occurrence.map(|number| format!("occurrence {number} is ")).unwrap_or_default();
            let whose = if no_room.staging { "for the staging window" } else { "in the window" };
            let tightest = no_room.tightest.map(|class| format!("; {} is the tightest", class.name())).unwrap_or_default();
            let text = format!("It does not fit: {of}short by {} {whose}{tightest}. Nothing was booked.", no_room.short_by);
            let ways = what_to_try("--amount", no_room);
            text + &ways.map(|ways| format!("\n{ways}")).unwrap_or_default()
        }
    }
}

fn preempts_json(preempts: &Preempts) -> Value {
    json!({ "count": preempts.count, "leases": preempts.leases.iter().map(ToString::to_string).collect::<Vec<_>>() })
}

fn preempts_text(preempts: &Preempts) -> String {
    if preempts.count == 0 {
        return String::new();
    }
    let leases: String = preempts.leases.iter().map(|id| format!("\n  {id}")).collect();
    format!("\n{} of a lower priority would give way.{leases}", counted(preempts.count, "lease"))
}

fn outcome(state: &KeyState) -> (Value, String) {
    match state {
        KeyState::Applied { lease_id, rejection: Some(rejection), ledger_index } => (
            json!({ "state": "refused", "lease_id": lease_id.map(|id| id.to_string()), "rejection": rejection, "ledger_index": ledger_index }),
            format!("It was refused: {rejection}"),
        ),
        KeyState::Applied { lease_id, rejection: None, ledger_index } => {
            let about = lease_id.map(|id| format!(" (lease {id})")).unwrap_or_default();
            (
                json!({ "state": "applied", "lease_id": lease_id.map(|id| id.to_string()), "ledger_index": ledger_index }),
                format!("It was done at index {ledger_index}{about}."),
            )
        }
        KeyState::Pending { lease_id } => (
            json!({ "state": "pending", "lease_id": lease_id.to_string() }),
            format!("Lease {lease_id} is being prepared; ask again."),
        ),
        KeyState::Never => {
            (json!({ "state": "never" }), "It was not done, and never will be. Send it with a new key.".to_owned())
        }
        KeyState::Expired => {
            (json!({ "state": "expired" }), "Its time has passed; what it did is not kept. See: leasehold lease list".to_owned())
        }
    }
}

async fn watch(session: &Session, from: Option<u64>, only: Option<LeaseId>) -> Result<(), Failure> {
    let from = match from {
        Some(index) => index,
        None => {
            let newest = LeaseFilter { limit: Some(1), ..LeaseFilter::default() };
            session.client.list_leases(newest).await?.ledger_index
        }
    };
    let mut watch = session.client.watch(from);
    loop {
        let change = watch.next().await?;
        let about = match &change.subject {
            ChangeSubject::Lease(lease) => Some(lease.id),
            ChangeSubject::LeaseRemoved { lease_id, .. } => Some(*lease_id),
            ChangeSubject::Host(_) | ChangeSubject::HostRemoved(_) => None,
        };
        if only.is_none() || only == about {
            let (json, text) = change_line(&change);
            session.output.line(json, || text)?;
        }
    }
}

fn change_line(change: &Change) -> (Value, String) {
    let at = time::rfc3339_ms(change.at).unwrap_or_default();
    let (what, value, text) = match &change.subject {
        ChangeSubject::Lease(lease) => {
            let reason = lease.reason.as_ref().map(|reason| format!(" ({})", reason.text)).unwrap_or_default();
            let what = if lease.unclaimed_until().is_some() { "offer" } else { "lease" };
            ("lease", lease_json(lease), format!("{what} {} {} {}{reason}", lease.id, lease.status.as_str(), lease.name))
        }
        ChangeSubject::LeaseRemoved { lease_id, .. } => {
            ("lease_removed", json!(lease_id.to_string()), format!("lease {lease_id} removed"))
        }
        ChangeSubject::Host(host) => {
            ("host", host_json(host), format!("host {} {}", host.id, host.description.hypervisor_hostname))
        }
        ChangeSubject::HostRemoved(host_id) => ("host_removed", json!(host_id.0), format!("host {host_id} removed")),
    };
    (json!({ "ledger_index": change.ledger_index, "at": at, what: value }), format!("{at}  {:>8}  {text}", change.ledger_index))
}

/// A lease that was named.
#[derive(Debug)]
pub(super) enum Found {
    /// It is there.
    Lease(Box<Lease>),
    /// It was there when the request was carried out that this one repeats.
    Id(LeaseId),
}

impl Found {
    pub(super) fn id(&self) -> LeaseId {
        match self {
            Found::Lease(lease) => lease.id,
            Found::Id(id) => *id,
        }
    }
}

/// Whom a name means in a repeated command, which may itself have removed or renamed the lease: the key knows.
pub(super) async fn repeated(session: &Session, found: Result<Lease, Failure>) -> Result<Found, Failure> {
    let (error, key) = match (found, session.globals.key) {
        (Ok(lease), _) => return Ok(Found::Lease(Box::new(lease))),
        (Err(error @ Failure::Name(_)), Some(key)) => (error, key),
        (Err(error), _) => return Err(error),
    };
    // Only looked at: the name may be mistyped, and the key is still good for the command as it was meant.
    meant(error, session.client.peek_key(key).await.map(|answer| answer.value))
}

/// The lease of a key that was peeked at, or else the name's error.
pub(super) fn meant(error: Failure, peeked: Result<Option<KeyState>, Error>) -> Result<Found, Failure> {
    let known = match peeked {
        Ok(known) => known,
        // An older member cannot tell without stating that the key will never apply, which nobody asked for.
        Err(Error::Refused(refusal)) if refusal.kind == RefusalKind::Unimplemented => return Err(error),
        Err(other) => return Err(other.into()),
    };
    match known {
        // Whether it was this very request, the server says when it gets it.
        Some(KeyState::Applied { lease_id: Some(id), .. } | KeyState::Pending { lease_id: id }) => Ok(Found::Id(id)),
        Some(KeyState::Applied { lease_id: None, .. } | KeyState::Never | KeyState::Expired) | None => Err(error),
    }
}

/// A member of an older release does not know the status, and has nothing that waits.
fn none_if_unknown(waiting: Result<Vec<Lease>, Error>) -> Result<Vec<Lease>, Error> {
    match waiting {
        Err(Error::Refused(refusal)) if refusal.kind == RefusalKind::Invalid => Ok(Vec::new()),
        other => other,
    }
}

/// What is in one list or in both, as the later one has it.
pub(super) fn either<T, K: PartialEq>(earlier: Vec<T>, later: Vec<T>, id: impl Fn(&T) -> K) -> Vec<T> {
    let gone = |one: &T| later.iter().all(|known| id(known) != id(one));
    let mut all: Vec<T> = earlier.into_iter().filter(gone).collect();
    all.extend(later);
    all
}

/// Leases that are asked for at a time.
const PAGE: u32 = 1_000;

/// The leases of a name that have ended, page by page: of one page the nodes read no more than they show.
async fn ended_called(session: &Session, name: &str) -> Result<Vec<Lease>, Error> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let statuses = [LeaseStatus::Terminated].into();
        let page = LeaseFilter { statuses, after, limit: Some(PAGE), ..LeaseFilter::default() };
        let page = session.client.list_leases(page).await?.value;
        let is_last = page.len() < PAGE as usize;
        after = page.last().map(|lease| lease.id);
        found.extend(page.into_iter().filter(|lease| lease.name == name));
        if is_last {
            return Ok(found);
        }
    }
}

/// By UUID, or by name through the list: among leases that have not ended, and only if there is none among those that have.
async fn find(session: &Session, lease: &str) -> Result<Lease, Failure> {
    if let Ok(id) = lease.parse() {
        return Ok(session.client.get_lease(id).await?.value);
    }
    // A list of leases has none of those that wait for room. They come first: one that is promoted in between is then in both
    // lists, and not in none.
    let named = LeaseFilter { name: Some(lease.to_owned()), ..LeaseFilter::default() };
    let waiting = LeaseFilter { statuses: [LeaseStatus::Waiting].into(), ..named.clone() };
    let waiting = none_if_unknown(session.client.list_leases(waiting).await.map(|answer| answer.value))?;
    // Those that are not over come next: of those that are, there may be very many, and who names one seldom means them.
    let statuses = LeaseStatus::ALL.into_iter().filter(|one| !matches!(one, LeaseStatus::Terminated | LeaseStatus::Waiting));
    let lives = LeaseFilter { statuses: statuses.collect(), ..named };
    let lives = session.client.list_leases(lives).await?.value;
    let mut found = either(waiting, lives, |lease| lease.id);
    if found.is_empty() {
        found = with_progress("the leases that have ended", ended_called(session, lease)).await?;
    }
    match found.len() {
        0 => Err(Failure::Name(format!(
            "no lease is called '{lease}'; see: leasehold lease list (offers that were not claimed: leasehold offer list)"
        ))),
        1 => Ok(found.swap_remove(0)),
        _ => {
            let ids: Vec<String> = found.iter().map(|lease| lease.id.to_string()).collect();
            Err(Failure::Name(format!("several leases are called '{lease}'; name one by its id: {}", ids.join(", "))))
        }
    }
}
