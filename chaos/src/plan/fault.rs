//! What can be done to a simulated run, and to whom.

use serde::{Deserialize, Serialize};

/// A fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Fault {
    /// `kill -9` of a node, started again after `down_ms`.
    Kill {
        /// Which.
        target: Target,
        /// Milliseconds until it is started again.
        down_ms: u64,
    },
    /// `SIGSTOP`, and `SIGCONT` after `for_ms`; or the machine is suspended, and its clocks stand still with it.
    Pause {
        /// Which.
        target: Target,
        /// Milliseconds it stands still.
        for_ms: u64,
        /// With its clocks: so many milliseconds after it goes on its wall clock is set right, until then it is behind. `None`: the
        /// process alone, whose clocks go on meanwhile.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        behind_ms: Option<u64>,
        /// Once it goes on it hears nobody for so long, and goes by what it knew.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deaf_ms: Option<u64>,
    },
    /// The power of a node goes: what was not synced is lost in part. Started again after `down_ms`.
    PowerCut {
        /// Which.
        target: Target,
        /// Milliseconds until it is started again.
        down_ms: u64,
    },
    /// A node is cut off from the others.
    Isolate {
        /// Which.
        target: Target,
        /// Which directions.
        way: Way,
        /// Milliseconds.
        for_ms: u64,
    },
    /// Directed links between nodes (indices from 0) are cut; with a period they are cut and whole in turn.
    Cut {
        /// From and to.
        links: Vec<(u32, u32)>,
        /// Milliseconds cut, and then whole; 0: cut all the time.
        period_ms: u64,
        /// Milliseconds.
        for_ms: u64,
    },
    /// A node does not reach the cloud, or does not hear it.
    CloudCut {
        /// Which.
        target: Target,
        /// Which directions, seen from the node.
        way: Way,
        /// Milliseconds.
        for_ms: u64,
    },
    /// Every message suffers.
    Weather {
        /// Lost and sent again, of a thousand.
        loss_permille: u64,
        /// Longest extra delay, milliseconds.
        delay_ms: u64,
        /// Repeatable calls delivered twice, of a thousand.
        twice_permille: u64,
        /// Milliseconds.
        for_ms: u64,
    },
    /// A node's wall clock jumps, and jumps back.
    ClockStep {
        /// Which.
        target: Target,
        /// How far, milliseconds.
        step_ms: i64,
        /// Milliseconds until it is set right.
        for_ms: u64,
    },
    /// A node's wall clock runs fast or slow.
    ClockDrift {
        /// Which.
        target: Target,
        /// Millionths.
        ppm: i64,
        /// Milliseconds until it is set right.
        for_ms: u64,
    },
    /// The next synced write of a node fails.
    SyncError {
        /// Which.
        target: Target,
    },
    /// Every write of a node fails: no space.
    DiskFull {
        /// Which.
        target: Target,
        /// Milliseconds.
        for_ms: u64,
    },
    /// The next synced write of a node hangs.
    DiskHang {
        /// Which.
        target: Target,
        /// Milliseconds.
        for_ms: u64,
    },
    /// A node's disks are slow.
    DiskSlow {
        /// Which.
        target: Target,
        /// So many times.
        times: u32,
        /// Milliseconds.
        for_ms: u64,
    },
    /// The cloud misbehaves towards the nodes.
    Cloud {
        /// How.
        how: CloudFault,
        /// Only calls with this in their body; empty: all.
        body: String,
        /// Only calls to this service, as `identity`; empty: to all.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        service: String,
        /// Struck calls, of a thousand.
        permille: u32,
        /// Milliseconds.
        for_ms: u64,
    },
    /// A service of the cloud, or all of them, is started again: connections are refused meanwhile, and whoever waits for an
    /// answer of it gets none.
    CloudRestart {
        /// As `compute`; empty: all.
        service: String,
        /// Milliseconds.
        for_ms: u64,
    },
    /// The service user has no rights in the cloud for a while.
    RoleRevoked {
        /// Milliseconds.
        for_ms: u64,
    },
    /// A compute host dies and comes back.
    HostDown {
        /// Its index, from 0.
        host: u32,
        /// Milliseconds.
        for_ms: u64,
    },
    /// No token is valid any more.
    ExpireTokens,
    /// Leadership is handed over.
    Transfer,
    /// A tenant does with one of his servers what he likes.
    Meddle {
        /// What.
        how: Meddling,
        /// Chooses tenant and server.
        pick: u64,
    },
    /// Somebody else writes to Placement's providers of all hosts, again and again: what nodes read is old when they write.
    Storm {
        /// Milliseconds between two rounds.
        every_ms: u64,
        /// Milliseconds.
        for_ms: u64,
    },
    /// An operator has Placement's audit remove allocations that belong to no server: our holds.
    Audit {
        /// Chooses the hosts.
        pick: u64,
    },
    /// An operator takes a compute host in.
    HostAdd {
        /// Ordinary servers may use what is not reserved.
        shared: bool,
    },
    /// An operator closes a compute host to new bookings, and opens it again.
    HostDrain {
        /// Chooses the host.
        pick: u64,
        /// Milliseconds.
        for_ms: u64,
    },
    /// An operator declares that a compute host, or some of it, is not to be had for a while.
    HostDowntime {
        /// Chooses the host.
        pick: u64,
        /// So many of its vCPUs; `None`: all of the host.
        vcpus: Option<u32>,
        /// From so many milliseconds from now on.
        after_ms: u64,
        /// Milliseconds.
        for_ms: u64,
        /// He takes it back after so many milliseconds.
        drop_after_ms: Option<u64>,
    },
    /// An operator declares that a compute host is to have more vCPUs from a time on.
    HostUpgrade {
        /// Chooses the host.
        pick: u64,
        /// So many more.
        more: u32,
        /// From so many milliseconds from now on.
        after_ms: u64,
        /// It has them so many milliseconds from now; `None`: when everything is healed.
        comes_ms: Option<u64>,
        /// He takes it back after so many milliseconds.
        drop_after_ms: Option<u64>,
    },
    /// An operator lets a compute host go.
    HostRemove {
        /// Chooses the host.
        pick: u64,
        /// He closes it first, and waits until nothing is bound to it any more.
        drain: bool,
        /// For so long at most, milliseconds.
        wait_ms: u64,
    },
    /// A new node joins: it learns, and votes once it has caught up.
    Join {
        /// The leader is killed as soon as the node learns: it stays a learner until somebody adds it again.
        #[serde(default)]
        abandon: bool,
    },
    /// Every learner is added again, so that it votes.
    Promote,
    /// A voter is removed, and switched off a little later.
    Leave {
        /// Which.
        target: Target,
    },
    /// A node is removed, and a new one joins in its place.
    Replace {
        /// Which.
        target: Target,
        /// The new one joins before the old one is removed.
        join_first: bool,
    },
    /// A node loses its whole disk and comes back under its old id; it is replaced later.
    Wipe {
        /// Which.
        target: Target,
        /// Milliseconds until it is started again.
        down_ms: u64,
        /// Milliseconds from then until it is replaced by a new node.
        replace_ms: u64,
    },
    /// A node's log is damaged while it is down; it is replaced later.
    LogDamage {
        /// Which.
        target: Target,
        /// How.
        how: Damage,
        /// Milliseconds until it is started again.
        down_ms: u64,
        /// Milliseconds from then until it is replaced by a new node.
        replace_ms: u64,
        /// Though it may be more than the cluster is promised to survive.
        #[serde(default)]
        beyond: bool,
    },
    /// A node's state is damaged while it is down.
    StateDamage {
        /// Which.
        target: Target,
        /// How.
        how: Damage,
        /// Milliseconds until it is started again.
        down_ms: u64,
    },
    /// The power of several nodes goes in the same instant.
    PowerMany {
        /// Of all that run; else of a majority.
        all: bool,
        /// The majority begins with the node of this index.
        #[serde(default)]
        first: u32,
        /// Milliseconds until they are started again.
        down_ms: u64,
    },
    /// A node ends at a `fault_point!`, if it gets there in time.
    CrashAt {
        /// Which.
        target: Target,
        /// The point's name.
        point: String,
        /// At so many visits from now on, from 1.
        nth: u32,
        /// It loses its power there; else it is killed.
        #[serde(default)]
        power: bool,
        /// All others lose their power with it.
        #[serde(default)]
        all: bool,
        /// Milliseconds in which it is waited for.
        for_ms: u64,
        /// Milliseconds until it is started again.
        down_ms: u64,
    },
    /// Far more small writes than there is room for are asked for at once.
    Burst {
        /// How many.
        many: u32,
        /// All disks are so many times slower meanwhile.
        times: u32,
        /// Milliseconds.
        for_ms: u64,
    },
}

impl Fault {
    /// Its kind as a plan's file names it.
    pub fn kind(&self) -> String {
        let value = serde_json::to_value(self).unwrap_or_default();
        value["kind"].as_str().unwrap_or_default().to_owned()
    }

    /// How long it goes on, milliseconds; what it leaves behind for the cluster to mend not counted. A fault without a length
    /// of its own counts for a second.
    pub fn lasts_ms(&self) -> u64 {
        match self {
            Fault::Kill { down_ms, .. } | Fault::PowerCut { down_ms, .. } | Fault::PowerMany { down_ms, .. } => 1_000 + down_ms,
            Fault::Pause { for_ms, behind_ms, deaf_ms, .. } => for_ms + behind_ms.unwrap_or(0).max(deaf_ms.unwrap_or(0)),
            Fault::Isolate { for_ms, .. }
            | Fault::Cut { for_ms, .. }
            | Fault::CloudCut { for_ms, .. }
            | Fault::Weather { for_ms, .. }
            | Fault::ClockStep { for_ms, .. }
            | Fault::ClockDrift { for_ms, .. }
            | Fault::DiskFull { for_ms, .. }
            | Fault::DiskHang { for_ms, .. }
            | Fault::DiskSlow { for_ms, .. }
            | Fault::Cloud { for_ms, .. }
            | Fault::HostDown { for_ms, .. }
            | Fault::CloudRestart { for_ms, .. }
            | Fault::RoleRevoked { for_ms }
            | Fault::HostDrain { for_ms, .. }
            | Fault::Storm { for_ms, .. }
            | Fault::Burst { for_ms, .. } => *for_ms,
            // How long it is waited for at most.
            Fault::CrashAt { for_ms, down_ms, .. } => for_ms + down_ms,
            Fault::Wipe { down_ms, replace_ms, .. } | Fault::LogDamage { down_ms, replace_ms, .. } => down_ms + replace_ms,
            Fault::StateDamage { down_ms, .. } => 5_000 + down_ms,
            Fault::Meddle { .. } | Fault::Audit { .. } | Fault::HostAdd { .. } => 10_000,
            Fault::HostDowntime { after_ms, for_ms, .. } => 10_000 + after_ms + for_ms,
            Fault::HostUpgrade { after_ms, comes_ms, .. } => 10_000 + (*after_ms).max(comes_ms.unwrap_or(0)),
            // How long it is drained at most.
            Fault::HostRemove { drain, wait_ms, .. } => 10_000 + if *drain { *wait_ms } else { 0 },
            Fault::Join { .. } | Fault::Promote | Fault::Leave { .. } | Fault::Replace { .. } => 5_000,
            Fault::SyncError { .. } | Fault::ExpireTokens | Fault::Transfer => 1_000,
        }
    }
}

/// How what a node keeps is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "damage")]
pub enum Damage {
    /// It is gone.
    Missing,
    /// A bit of a row flipped, and the disk's own checksum tells when the row is read.
    Checksum {
        /// Chooses the row.
        pick: u64,
    },
    /// A bit of a row flipped before the disk checksummed it, so that only the product can tell.
    Value {
        /// Chooses the row.
        pick: u64,
    },
}

/// Directions of a node's links.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// Both.
    Both,
    /// What comes to it.
    In,
    /// What goes from it.
    Out,
}

/// How the cloud misbehaves (chaos-design §5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CloudFault {
    /// An error before anything is done.
    Error {
        /// Its status.
        status: u16,
        /// `Retry-After`, seconds.
        retry_after_s: Option<u64>,
    },
    /// 409.
    Conflict,
    /// Done, but the answer is lost.
    LostAnswer {
        /// Milliseconds until the connection ends.
        after_ms: u64,
    },
    /// Accepted, and done later.
    Late {
        /// Milliseconds.
        after_ms: u64,
    },
    /// Answered late.
    Slow {
        /// Milliseconds.
        after_ms: u64,
    },
    /// Never answered.
    Hang {
        /// Whether it is done.
        applied: bool,
    },
    /// Delivered twice.
    Duplicate,
    /// The answer is no JSON.
    Garbage,
    /// The answer breaks off in its middle.
    Truncated,
    /// Accepted, and then it fails.
    AsyncFailure,
    /// A cell is down: lists of servers lack those it has.
    Partial,
}

impl CloudFault {
    /// Its kind as a plan's file names it.
    pub fn kind(&self) -> String {
        let value = serde_json::to_value(self).unwrap_or_default();
        let named = value.as_object().and_then(|fields| fields.keys().next()).map(String::as_str);
        named.or(value.as_str()).unwrap_or_default().to_owned()
    }
}

/// What a tenant does with a server of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Meddling {
    /// It goes.
    Delete,
    /// It is stopped.
    Stop,
    /// It is shelved.
    Shelve,
    /// It is to be woken, whether or not there is room.
    Unshelve,
    /// It is locked, and stays so.
    Lock,
    /// It gets another name.
    Rename,
}

impl Meddling {
    /// Its kind as a plan's file names it.
    pub fn kind(self) -> String {
        serde_json::to_value(self).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
    }
}

/// Whom a fault hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Whoever leads at that moment.
    Leader,
    /// The node with this index, from 0.
    Node(u32),
    /// The one with this index among those that do not lead at that moment.
    Follower(u32),
}
