//! `leasehold host upgrade …`: what a host is to have from a second on.

use clap::{Args, Subcommand};
use leasehold_ledger::model::{Seconds, Upgrade};

use super::host::find;
use super::output::{host_details, host_json};
use super::time::{self, When};
use super::wait::with_progress;
use super::{Failure, Session};

pub(super) const EXAMPLES: &str = "\
From the time of an upgrade on reservations get what the host is to have, and nothing of it before. Say all that it is to have
then, counted as `host show` counts it (after Nova's allocation ratios), not what is added: an upgrade that is done early is not
counted twice. Placement must have it by that time; from then on only what Placement says counts, and leases that were promised
what did not come, and have not begun, move to other hosts where there is room, or wait for it. When it is delayed, declare it
again with a later time before it is due. On a shared host, keep ordinary servers off the new part until the service holds it:
enable the compute service a minute after Placement has it. What is only borrowed goes again by a downtime: one that takes of
what did not come takes of what the host always had, so put that off, too.

Examples:
  Four more memory modules on Sunday:
    leasehold host upgrade set compute-1 --from '2026-12-06 06:00' --memory-mb 524288
  Twice the processors, for a month:
    leasehold host upgrade set compute-1 --from 2027-01-01 --vcpus 256
    leasehold host downtime add compute-1 --from 2027-02-01 --to never --vcpus 128
  What is to come is shown with the host, and not at all:
    leasehold host show compute-1
    leasehold host upgrade remove compute-1";

/// Upgrades.
#[derive(Subcommand, Clone, Debug)]
pub enum UpgradeCommand {
    /// Declare what a host is to have from a time on, instead of what was declared before
    Set(Set),
    /// Take it back: what was promised of it moves away where it can
    Remove {
        /// Number or hypervisor hostname
        host: String,
    },
}

/// `host upgrade set`
#[derive(Args, Clone, Debug)]
pub struct Set {
    /// Number or hypervisor hostname
    host: String,
    /// When Placement has it: +2d, or a UTC date as '2026-12-06 06:00'
    #[arg(long, value_parser = time::parse)]
    from: When,
    /// All vCPUs that it is to have (after Nova's allocation ratio)
    #[arg(long, value_name = "N")]
    vcpus: Option<u32>,
    /// All its memory
    #[arg(long, value_name = "MIB")]
    memory_mb: Option<u32>,
    /// All its disk
    #[arg(long, value_name = "GIB")]
    disk_gb: Option<u32>,
}

impl Set {
    /// As it is meant at `now`.
    pub(super) fn upgrade(&self, now: Seconds) -> Result<Upgrade, Failure> {
        let start = match self.from {
            When::At(start) => start,
            When::After(seconds) => now.plus(seconds),
            When::Now | When::Never => {
                let text = "--from must be a time to come, as in +2d: what a host has now is what Placement says";
                return Err(Failure::Usage(text.to_owned()));
            }
        };
        if [self.vcpus, self.memory_mb, self.disk_gb] == [None; 3] {
            let text = "say what the host is to have: --vcpus, --memory-mb or --disk-gb, all of it and not what is added";
            return Err(Failure::Usage(text.to_owned()));
        }
        Ok(Upgrade { start, vcpus: self.vcpus, memory_mb: self.memory_mb, disk_gb: self.disk_gb })
    }
}

pub(super) async fn run(command: UpgradeCommand, session: &Session) -> Result<(), Failure> {
    let client = &session.client;
    let host = match command {
        UpgradeCommand::Set(set) => {
            let (key, now) = session.key_and_now();
            let upgrade = set.upgrade(now)?;
            let id = find(session, &set.host).await?;
            with_progress("the upgrade", client.set_upgrade(key, id, upgrade)).await?.value
        }
        UpgradeCommand::Remove { host } => {
            let id = find(session, &host).await?;
            with_progress("the upgrade", client.drop_upgrade(session.key(), id)).await?.value
        }
    };
    session.output.print(host_json(&host), || host_details(&host))?;
    Ok(())
}
