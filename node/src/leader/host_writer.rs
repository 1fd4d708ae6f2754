//! Brings the providers of one host to what the ledger wants: reads, asks [`super::host_plan`] for the next
//! write, sends it, until nothing is left. One run at a time per host, and one run for all who asked before it began:
//! a thousand starts due in one second are one write per host, and generations are not fought over.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use leasehold_ledger::model::HostId;
use parking_lot::Mutex;
use uuid::Uuid;

use super::desired::{self, Gate, HostWish};
use super::host_plan::{self, HostRead, Write};
use super::names::{HOLD_TYPE, Names, reservation_of_class};
use super::pause::{Pause, RefusedHold};
use super::permits::Provided;
use super::work::Work;
use crate::openstack::placement::{Inventories, ProviderAllocations};
use crate::openstack::{Cloud, CloudError, CloudUser, Errand, Withheld};
use crate::seams::Mono;

/// How long before something is due on a host it is read.
pub const AHEAD: Duration = Duration::from_secs(2);
/// How old what was read ahead may be when it is written upon. The generation refutes it if tokens were touched since; what was
/// read before we wrote to the host is not used; a hold that an operator removed meanwhile shows in the reading after the write.
const AHEAD_FRESH: Duration = Duration::from_secs(4);
/// Reads and writes of one run. Each concurrent boot on the host can cost one.
const ROUNDS_MAX: usize = 24;

/// How a host stands after a run.
#[derive(Clone, Debug)]
pub struct HostView {
    /// What was wanted.
    pub wish: HostWish,
    /// What was there at last.
    pub read: HostRead,
    /// Placement's text, if it had no room for the hold.
    pub hold_refused: Option<String>,
}

impl HostView {
    /// Whether the tokens of a class can be used, all of them.
    #[must_use]
    pub fn opened(&self, class: &str) -> bool {
        let total = self.wish.tokens.get(class).map_or(0, |token| u64::from(token.total));
        self.read.inventories.inventories.get(class).is_some_and(|is| is.reserved == 0 && is.total >= total)
    }

    /// Whether the tokens of a class are there and cannot be used.
    #[must_use]
    pub fn closed(&self, class: &str) -> bool {
        self.read.inventories.inventories.contains_key(class) && !self.read.is_open(class)
    }

    /// Ended classes that are still used here.
    #[must_use]
    pub fn lingering(&self) -> Vec<String> {
        self.read.lingering(&self.wish).map(str::to_owned).collect()
    }
}

/// A failed or finished run, as told to all who waited for it.
type RunResult = Result<Arc<HostView>, CloudError>;

/// One host's queue.
#[derive(Default)]
struct Lane {
    asked: Mutex<u64>,
    ended: Mutex<Option<(u64, RunResult)>>,
    running: tokio::sync::Mutex<()>,
    /// Read before it was asked for.
    ahead: Mutex<Option<Ahead>>,
    /// Writes, counted as they are sent and as they have ended: what was read at another count may show the host before one.
    moved: AtomicU64,
    /// See [`HostRead::settled`].
    settled: AtomicBool,
    /// After runs that failed.
    pause: Mutex<Pause>,
    refused: RefusedHold,
}

/// A host as it was read for a run to come.
struct Ahead {
    at: Mono,
    /// [`Lane::moved`] before the reading.
    moved: u64,
    read: HostRead,
}

impl Lane {
    /// Whether a reading still shows the host as we left it. The generation tells only of tokens that are written upon it: the hold
    /// is another provider's, and of a consumer that a write of tokens does not name; nor does a write of the hold name the tokens, so
    /// that it would be lowered below what was opened since (seed 1146).
    fn is_current(&self, ahead: &Ahead) -> bool {
        ahead.moved == self.moved.load(Ordering::Relaxed)
    }

    /// A write is sent from here on.
    fn sending(&self, write: &Write) -> Sending<'_> {
        self.moved.fetch_add(1, Ordering::Relaxed);
        let tokens = matches!(write, Write::Inventories(_));
        let was_settled = if tokens { self.settled.swap(false, Ordering::Relaxed) } else { false };
        Sending { lane: self, tokens, was_settled }
    }
}

/// A write that is under way, until it is dropped: it may also be given up.
struct Sending<'a> {
    lane: &'a Lane,
    tokens: bool,
    was_settled: bool,
}

impl Sending<'_> {
    /// With an answer it is known whether it was carried out; without one it may still be.
    fn has_answered<T>(self, sent: &Result<T, CloudError>) {
        let settled = match sent {
            Ok(_) => true,
            Err(error) if error.is_ambiguous() => false,
            Err(_) => self.was_settled,
        };
        if self.tokens {
            self.lane.settled.store(settled, Ordering::Relaxed);
        }
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        self.lane.moved.fetch_add(1, Ordering::Relaxed);
    }
}

/// All hosts' queues.
#[derive(Default)]
pub struct HostWriter {
    lanes: Mutex<BTreeMap<HostId, Arc<Lane>>>,
}

impl HostWriter {
    /// Brings a host to what the ledger wants of it now, or of whatever it wants by the time the run begins.
    ///
    /// # Errors
    /// What stopped the run. A hold without room is not an error but told in the view.
    pub async fn converge(&self, work: &Work, host: HostId) -> RunResult {
        let lane = self.lane(host);
        let ticket = {
            let mut asked = lane.asked.lock();
            *asked += 1;
            *asked
        };
        let _run = lane.running.lock().await;
        if let Some((covers, result)) = &*lane.ended.lock()
            && *covers >= ticket
        {
            return result.clone();
        }
        let left = lane.pause.lock().left(work.clock.mono());
        if !left.is_zero() {
            work.clock.sleep(left).await;
        }
        // Everyone who asked up to here is served by this run: it looks at the state after this.
        let covers = *lane.asked.lock();
        let ahead = lane.ahead.lock().take();
        let ahead = ahead.filter(|ahead| work.clock.mono().since(ahead.at) < AHEAD_FRESH && lane.is_current(ahead));
        let result = run(work, host, &lane, ahead.map(|ahead| ahead.read)).await;
        match &result {
            Ok(_) => *lane.pause.lock() = Pause::default(),
            // Not the cloud's failure.
            Err(CloudError::Withheld(_)) => {}
            Err(_) => lane.pause.lock().lengthen(work.clock.mono()),
        }
        *lane.ended.lock() = Some((covers, result.clone()));
        result
    }

    /// Holds what is sought of a host beyond what must be held, as far as it was not held at the end of a run. No run waits for it but one
    /// that begins meanwhile, and it fails none: Placement may have given that room to others.
    pub async fn seek(&self, work: &Work, view: &HostView) {
        let host = view.wish.host;
        let Some(write) = host_plan::more_write(&work.names, &view.wish, &view.read) else { return };
        let lane = self.lane(host);
        let _run = lane.running.lock().await;
        // Where somebody changed a hold since, the write names a generation that is gone, and is refused. A wish that shrank meanwhile and
        // left nothing to write shows with the next read-back.
        let sending = lane.sending(&write);
        let sent = send(work, host, &view.read, &write).await;
        sending.has_answered(&sent);
        if let Err(error) = sent {
            tracing::debug!(%host, %error, "no more of a host is held than must be");
        }
    }

    /// Reads a host for the next run, unless that was done lately.
    pub async fn read_ahead(&self, work: &Work, host: HostId) {
        let lane = self.lane(host);
        let lately = |ahead: &Ahead| work.clock.mono().since(ahead.at) < AHEAD && lane.is_current(ahead);
        if lane.ahead.lock().as_ref().is_some_and(lately) {
            return;
        }
        let (at, moved) = (work.clock.mono(), lane.moved.load(Ordering::Relaxed));
        // Nobody waits for it: not among the calls of those that somebody waits for.
        match read(work, &work.cloud, host).await {
            Ok(read) => *lane.ahead.lock() = Some(Ahead { at, moved, read }),
            // Whoever needs it reads again, and has a row to tell it on.
            Err(error) => tracing::debug!(%host, %error, "a host could not be read ahead"),
        }
    }

    fn lane(&self, host: HostId) -> Arc<Lane> {
        self.lanes.lock().entry(host).or_default().clone()
    }
}

/// What a round of a run begins with.
enum Known {
    /// Read before the run: good for a write, which names its generations, and for nothing else.
    Ahead(HostRead),
    /// As our own write has left it.
    Written(HostRead),
    /// Nothing: it is read now.
    Nothing,
}

/// One run.
async fn run(work: &Work, host: HostId, lane: &Lane, ahead: Option<HostRead>) -> RunResult {
    let refused = &lane.refused;
    let gone = || CloudError::from(Withheld::Superseded);
    let mut hold_refused = None;
    let mut raced: Option<Write> = None;
    let mut known = ahead.map_or(Known::Nothing, Known::Ahead);
    for _ in 0..ROUNDS_MAX {
        let wish = work.ledger.look(|state| desired::host_wish(state, host)).ok_or_else(gone)?;
        let (mut read, proven) = match std::mem::replace(&mut known, Known::Nothing) {
            Known::Ahead(read) => (read, false),
            Known::Written(read) => (read, true),
            Known::Nothing => (read(work, &work.cloud.urgent(), host).await?, true),
        };
        read.settled = lane.settled.load(Ordering::Relaxed);
        let Some(write) = host_plan::next_write(&work.names, &wish, &read, hold_refused.is_some()) else {
            if proven {
                return Ok(Arc::new(HostView { wish, read, hold_refused }));
            }
            continue;
        };
        if let Write::Hold(hold) = &write
            && let Some(text) = refused.lately(hold, work.clock.mono())
        {
            hold_refused = Some(text);
            known = if proven { Known::Written(read) } else { Known::Nothing };
            continue;
        }
        let sending = lane.sending(&write);
        let sent = send(work, host, &read, &write).await;
        sending.has_answered(&sent);
        match sent {
            // The generation was the one that was read, so the tokens' use is still what was read with it. Not so the
            // hold, which is on another provider: after a write upon an old reading it is looked at.
            Ok(Some(inventories)) if proven => known = Known::Written(HostRead { inventories, ..read }),
            Ok(_) => {}
            // The state moved under us, or somebody wrote first: look again.
            Err(error) if error.withheld() == Some(Withheld::Superseded) => {}
            Err(error) if error.is_concurrent_update() || error.code() == "placement.inventory.inuse" => {
                // With what was read since it would be another write, had anybody been first: nothing has moved, and asking
                // at once would be asking in vain.
                if raced.as_ref() == Some(&write) {
                    return Err(error);
                }
                raced = Some(write);
            }
            Err(error) if error.is_conflict() && matches!(write, Write::Hold(_)) => {
                let text = error.to_string();
                if let Write::Hold(hold) = write {
                    refused.note(hold, text.clone(), work.clock.mono());
                }
                hold_refused = Some(text);
            }
            // A class that nobody has made yet: make those that are wanted, once more from the top.
            Err(error) if error.status() == Some(400) && matches!(write, Write::Inventories(_)) => {
                make_classes(work, host, &write, &error).await?;
            }
            Err(error) => return Err(error),
        }
    }
    let service = "placement";
    Err(CloudError::NoAnswer { service, text: format!("host {host} changes faster than it can be written") })
}

/// Sends one write, if in the very poll it is still what the state wants. Answers the inventories if those were written.
async fn send(work: &Work, host: HostId, read: &HostRead, write: &Write) -> Result<Option<Inventories>, CloudError> {
    let still = || match write {
        Write::Hold(_) => true,
        Write::Inventories(next) => {
            work.ledger.look(|state| desired::host_wish(state, host)).is_some_and(|wish| opens_only_wanted(&wish, next))
        }
    };
    let permit = Provided { inner: &work.leader, condition: still };
    let errand = Errand::new(format!("host/{host}/{}", work.number()), work.term, &permit);
    // One run serves a start as well as an end, so every run goes the fast way.
    let cloud = work.cloud.urgent();
    let placement = cloud.placement();
    match write {
        Write::Inventories(next) => {
            let child = work.names.reservation_provider(read.root);
            let generation = placement.put_inventories(&errand, child, next).await?;
            Ok(Some(Inventories { generation, ..next.clone() }))
        }
        Write::Hold(writes) => {
            let owner = CloudUser { project_id: work.names.holds_project(), ..cloud.user().await? };
            placement.write_consumers(&errand, &owner, HOLD_TYPE, writes).await.map(|()| None)
        }
    }
}

/// Every class that a write opens is wanted open: a cancel accepted meanwhile is final.
fn opens_only_wanted(wish: &HostWish, next: &Inventories) -> bool {
    next.inventories
        .iter()
        .filter(|(_, inventory)| inventory.reserved < inventory.total)
        .all(|(class, _)| wish.tokens.get(class).is_some_and(|token| token.gate == Gate::Open))
}

/// Makes the classes of a write that Placement did not know.
async fn make_classes(work: &Work, host: HostId, write: &Write, refused: &CloudError) -> Result<(), CloudError> {
    let Write::Inventories(next) = write else { return Err(refused.clone()) };
    let known = work.cloud.urgent().placement().classes().await?;
    let missing: Vec<&String> = next.inventories.keys().filter(|class| !known.contains(*class)).collect();
    // It was not for want of a class: no repetition will help.
    if missing.is_empty() {
        return Err(refused.clone());
    }
    for class in missing {
        let wanted = || work.ledger.look(|state| desired::host_wish(state, host)).is_some_and(|w| w.tokens.contains_key(class));
        let permit = Provided { inner: &work.leader, condition: wanted };
        let errand = Errand::new(format!("host/{host}/{}", work.number()), work.term, &permit);
        work.cloud.urgent().placement().ensure_class(&errand, class).await?;
    }
    Ok(())
}

/// Reads a host's providers.
pub(super) async fn read(work: &Work, cloud: &Cloud, host: HostId) -> Result<HostRead, CloudError> {
    let root = work.ledger.look(|state| state.host(host).map(|host| host.description.root_provider));
    let root = root.ok_or(CloudError::Withheld(Withheld::Superseded))?;
    read_root(cloud, &work.names, host, root).await
}

/// Reads the providers of a host with this root provider.
///
/// # Errors
/// 404 when one of them is gone, and whatever stops the reading.
pub async fn read_root(cloud: &Cloud, names: &Names, host: HostId, root: Uuid) -> Result<HostRead, CloudError> {
    let child = names.reservation_provider(root);
    let placement = cloud.placement();
    let missing = |what: &str| CloudError::Status {
        service: "placement",
        call: format!("GET {what}"),
        status: 404,
        code: String::new(),
        text: format!("{what} of host {host} is gone; register the host again"),
        retry_after: None,
    };
    let (inventories, tokens, holds) =
        futures::try_join!(placement.inventories(child), placement.allocations_on(child), placement.allocations_on(root),)?;
    let inventories = inventories.ok_or_else(|| missing("the reservation provider"))?;
    let tokens = tokens.ok_or_else(|| missing("the reservation provider"))?;
    let holds = holds.ok_or_else(|| missing("the root provider"))?;
    // A boot between the reads shows as two generations. The older one makes the write fail if it matters.
    let generation = inventories.generation.min(tokens.generation);
    let inventories = Inventories { generation, ..inventories };
    Ok(HostRead { root, inventories, usage: usage(&tokens), shards: host_plan::shards_read(names, root, &holds), settled: true })
}

/// Tokens in use by class.
fn usage(tokens: &ProviderAllocations) -> BTreeMap<String, u64> {
    let mut usage = BTreeMap::new();
    for consumer in tokens.allocations.values() {
        for (class, amount) in consumer.resources.iter().filter(|(class, _)| reservation_of_class(class).is_some()) {
            *usage.entry(class.clone()).or_insert(0) += amount;
        }
    }
    usage
}
