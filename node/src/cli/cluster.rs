//! `leasehold cluster …`

use clap::Subcommand;
use leasehold_client::Error;
use leasehold_client::wire::v1;
use serde_json::{Value, json};

use super::output::{fields, table};
use super::wait::with_progress;
use super::{Failure, Session};
use crate::seams::Clock;
use crate::seams::clock::SystemClock;

pub(super) const EXAMPLES: &str = "\
Set up three nodes (each runs `leasehold server`):
  leasehold cluster init --endpoint 10.0.0.1:1235
  leasehold cluster add 2 10.0.0.2:1236 --grpc 10.0.0.2:1235 --endpoint 10.0.0.1:1235
  leasehold cluster add 3 10.0.0.3:1236 --grpc 10.0.0.3:1235 --endpoint 10.0.0.1:1235
Replace a node whose disk is lost: remove it, and add the new one under an id that was never used.
  leasehold cluster remove 2
  leasehold cluster add 4 10.0.0.2:1236 --grpc 10.0.0.2:1235";

/// The cluster.
#[derive(Subcommand, Clone, Debug)]
pub enum ClusterCommand {
    /// Make the node at --endpoint the first member of a new cluster
    Init,
    /// Members, leader, and how far each of them is
    Status,
    /// Add a node; answers when it votes
    Add {
        /// Its id, never used before
        id: u64,
        /// Where the other nodes reach it
        #[arg(value_name = "HOST:PORT")]
        peer_address: String,
        /// Where clients reach it
        #[arg(long, value_name = "HOST:PORT")]
        grpc: Option<String>,
    },
    /// Remove a node
    Remove {
        /// Its id
        id: u64,
    },
    /// Hand leadership over
    Transfer {
        /// To this node; otherwise to the most up-to-date one
        #[arg(long, value_name = "ID")]
        to: Option<u64>,
    },
    /// The nodes' clocks
    #[command(subcommand)]
    Clock(ClockCommand),
    /// Commit a few bytes and read them back linearizably: does the cluster work, and how fast?
    Probe {
        /// So many times
        #[arg(long, default_value_t = 1)]
        count: u32,
        /// Bytes of each
        #[arg(long, default_value_t = 64)]
        bytes: usize,
    },
}

/// The nodes' clocks.
#[derive(Subcommand, Clone, Debug)]
pub enum ClockCommand {
    /// Accept that the nodes' clocks have jumped, so that time is stamped again: said to one node, it holds for all
    Accept,
}

pub(super) async fn run(command: ClusterCommand, session: &Session) -> Result<(), Failure> {
    let client = &session.client;
    match command {
        ClusterCommand::Init => show(session, with_progress("the first election", client.init_cluster()).await?),
        ClusterCommand::Status => status(session).await,
        ClusterCommand::Add { id, peer_address, grpc } => {
            let waiting = format!("node {id} to catch up and vote");
            show(session, with_progress(&waiting, client.add_node(id, peer_address, grpc)).await?)
        }
        ClusterCommand::Remove { id } => {
            let waiting = format!("node {id} to leave");
            show(session, with_progress(&waiting, client.remove_node(id)).await?)
        }
        ClusterCommand::Transfer { to } => show(session, with_progress("the new leader", client.transfer_leadership(to)).await?),
        ClusterCommand::Clock(ClockCommand::Accept) => show(session, client.accept_clock().await?),
        ClusterCommand::Probe { count, bytes } => probe(session, count, bytes).await,
    }
}

/// What a member says of itself, or why it does not.
type Probed = Result<v1::StateProbeResponse, Error>;

/// The view of one member, and each member's own word.
async fn status(session: &Session) -> Result<(), Failure> {
    let status = with_progress("a member that answers", session.client.cluster_status()).await?;
    let mut probed: Vec<Option<Probed>> = Vec::new();
    for member in &status.members {
        probed.push(match &member.grpc_address {
            Some(address) => {
                let waiting = format!("node {} at {address}", member.node_id);
                Some(with_progress(&waiting, session.member(address)?.state_probe_soon()).await)
            }
            None => None,
        });
    }
    let members: Vec<(v1::Member, Option<Probed>)> = status.members.iter().cloned().zip(probed).collect();
    let mut document = status_json(&status);
    document["members"] = members.iter().map(|(member, probed)| member_json(member, probed.as_ref())).collect();
    session.output.print(document, || {
        let rows = members.iter().map(|(member, probed)| member_row(&status, member, probed.as_ref())).collect();
        let head = ["node", "role", "votes", "peer address", "client address", "term", "applied", "ledger", "state hash"];
        format!("{}\n{}", overview(&status), table(&head, rows, "No members: run leasehold cluster init."))
    })?;
    Ok(())
}

fn show(session: &Session, status: v1::StatusResponse) -> Result<(), Failure> {
    session.output.print(status_json(&status), || {
        let rows = status.members.iter().map(|member| member_row(&status, member, None)).collect();
        let head = ["node", "role", "votes", "peer address", "client address", "term", "applied", "ledger", "state hash"];
        format!("{}\n{}", overview(&status), table(&head, rows, "No members: run leasehold cluster init."))
    })?;
    Ok(())
}

fn overview(status: &v1::StatusResponse) -> String {
    let leader = match status.leader {
        Some(leader) => format!("node {leader}, term {}", status.term),
        None => "none: a majority does not answer, or an election is under way".to_owned(),
    };
    let mut told = vec![
        ("cluster", status.cluster_id.clone().unwrap_or_else(|| "not initialised: leasehold cluster init".to_owned())),
        ("leader", leader),
        ("ledger index", status.ledger_index.to_string()),
        ("clock", status.clock_problem.clone().unwrap_or_else(|| "agreed".to_owned())),
        ("answered by", format!("node {}, build {}", status.node_id, status.build)),
    ];
    if status.members_changing {
        told.push(("members", "changing: majorities of the voters before and after it are needed".to_owned()));
    }
    fields(told)
}

fn member_row(status: &v1::StatusResponse, member: &v1::Member, probed: Option<&Probed>) -> Vec<String> {
    let number = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
    let (role, term, applied, ledger, hash) = match probed {
        Some(Ok(probe)) => (
            probe.role.clone(),
            probe.term.to_string(),
            number(probe.applied_index),
            probe.ledger_index.to_string(),
            probe.state_hash.chars().take(12).collect(),
        ),
        Some(Err(error)) => {
            (format!("no answer: {error}").chars().take(60).collect(), String::new(), String::new(), String::new(), String::new())
        }
        None => {
            let role = if status.leader == Some(member.node_id) { "leader" } else { "" };
            (role.to_owned(), String::new(), number(member.matched_index), String::new(), String::new())
        }
    };
    let votes = if member.voter { "yes" } else { "learns" }.to_owned();
    let client = member.grpc_address.clone().unwrap_or_default();
    vec![member.node_id.to_string(), role, votes, member.peer_address.clone(), client, term, applied, ledger, hash]
}

fn status_json(status: &v1::StatusResponse) -> Value {
    json!({
        "cluster_id": status.cluster_id, "node_id": status.node_id, "role": status.role, "term": status.term,
        "leader": status.leader, "committed_index": status.committed_index, "applied_index": status.applied_index,
        "ledger_index": status.ledger_index, "clock_problem": status.clock_problem, "build": status.build,
        "members_changing": status.members_changing,
        "members": status.members.iter().map(|member| member_json(member, None)).collect::<Vec<_>>(),
    })
}

fn member_json(member: &v1::Member, probed: Option<&Probed>) -> Value {
    let state = match probed {
        Some(Ok(probe)) => json!({
            "role": probe.role, "term": probe.term, "vote": probe.vote, "last_log_index": probe.last_log_index,
            "committed_index": probe.committed_index, "applied_index": probe.applied_index,
            "snapshot_index": probe.snapshot_index, "ledger_index": probe.ledger_index, "state_hash": probe.state_hash,
            "open_actuations": probe.open_actuations, "resident_bytes": probe.resident_bytes,
            "open_files": probe.open_files, "build": probe.build,
        }),
        Some(Err(error)) => json!({ "error": error.to_string() }),
        None => Value::Null,
    };
    json!({
        "node_id": member.node_id, "peer_address": member.peer_address, "grpc_address": member.grpc_address,
        "voter": member.voter, "matched_index": member.matched_index, "state": state,
    })
}

async fn probe(session: &Session, count: u32, bytes: usize) -> Result<(), Failure> {
    let clock = SystemClock::new();
    for _ in 0..count {
        let began = clock.mono();
        let written = with_progress("the write to be committed", session.client.probe(vec![0; bytes])).await?;
        let wrote = clock.mono();
        let read = with_progress("the read to be confirmed", session.client.probe_read()).await?;
        let (write_us, read_us) = (wrote.since(began).as_micros(), clock.mono().since(wrote).as_micros());
        if read < written {
            return Err(Failure::Name(format!("the read saw index {read}, below the write's {written}: this is a bug")));
        }
        let line = json!({
            "written": written, "read": read,
            "write_us": u64::try_from(write_us).unwrap_or(u64::MAX), "read_us": u64::try_from(read_us).unwrap_or(u64::MAX),
        });
        session.output.line(line, || format!("committed at {written} in {write_us} µs, read at {read} in {read_us} µs"))?;
    }
    Ok(())
}
