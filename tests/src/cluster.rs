//! A cluster of real `leasehold server` processes on loopback: formed, killed, paused, restarted, looked into.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use leasehold_client::wire::v1;
use leasehold_client::wire::v1::capacity_service_client::CapacityServiceClient;
use leasehold_client::wire::v1::cluster_service_client::ClusterServiceClient;
use leasehold_client::wire::v1::host_service_client::HostServiceClient;
use leasehold_client::wire::v1::lease_service_client::LeaseServiceClient;
use leasehold_client::wire::v1::watch_service_client::WatchServiceClient;
use tempfile::TempDir;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::binaries;
use crate::process::Process;
use crate::settings::{Addresses, Settings};
use crate::wait::wait_for;

/// How long one look into a node may take before it counts as not answering.
const LOOK: Duration = Duration::from_millis(700);
/// How long forming a cluster, or a node's return, may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Puts the caller's token into every call.
#[derive(Clone, Debug, Default)]
pub struct WithToken(Option<MetadataValue<Ascii>>);

impl WithToken {
    /// With this token, or without any.
    pub fn new(token: Option<&str>) -> Result<WithToken> {
        Ok(WithToken(token.map(MetadataValue::try_from).transpose().context("a token that metadata can carry")?))
    }
}

impl Interceptor for WithToken {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("x-auth-token", token.clone());
        }
        Ok(request)
    }
}

/// A connection that carries a token.
pub type Connection = InterceptedService<Channel, WithToken>;

/// One node: where it is, and its process while it runs.
#[derive(Debug)]
pub struct Node {
    /// Its number.
    pub id: u64,
    /// Where it listens; kept over restarts.
    pub at: Addresses,
    folder: PathBuf,
    process: Option<Process>,
    channel: Channel,
}

impl Node {
    /// REST, ending in `/v1`.
    pub fn rest_url(&self) -> String {
        format!("http://{}/v1", self.at.rest)
    }

    /// gRPC.
    pub fn grpc_url(&self) -> String {
        format!("http://{}", self.at.grpc)
    }

    /// `/metrics`, `/healthz` and `/readyz` are below.
    pub fn metrics_url(&self) -> String {
        format!("http://{}", self.at.metrics)
    }

    /// Where it keeps log, state and snapshots.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Its configuration file.
    pub fn config(&self) -> PathBuf {
        self.folder.join("leasehold.toml")
    }

    /// Its log.
    pub fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// Its process, while the harness keeps it started (it may have ended by itself).
    pub fn process(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }

    fn start(&mut self, files_max_kb: Option<u32>) -> Result<()> {
        let mut command = match files_max_kb {
            None => Command::new(binaries::leasehold()?),
            // Beyond the limit a write fails, as on a full disk; the signal that would come with it is ignored.
            Some(kb) => {
                let mut limited = Command::new("bash");
                limited.args(["-c", "trap '' XFSZ; ulimit -f \"$0\"; exec \"$@\"", &kb.to_string()]).arg(binaries::leasehold()?);
                limited
            }
        };
        command.arg("server").arg("--config").arg(self.config());
        self.process = Some(Process::start(&format!("node {}", self.id), command, &self.log())?);
        Ok(())
    }
}

/// Nodes that were started together. Everything ends with it.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Node>,
    settings: Settings,
    admin: WithToken,
    folder: PathBuf,
    // Removed with the cluster, unless it is to be kept.
    temporary: TempDir,
}

impl Cluster {
    /// Starts the nodes, makes node 1 a cluster and adds the others; answers when all vote. `admin_token` is sent with
    /// every call of the harness itself.
    pub async fn start(settings: Settings, admin_token: Option<&str>) -> Result<Cluster> {
        let mut cluster = Cluster::prepare(settings, admin_token)?;
        for index in 0..cluster.nodes.len() {
            cluster.nodes[index].start(None)?;
        }
        let formed = cluster.form().await;
        cluster.explain(formed)
    }

    /// Configures the nodes and starts none.
    pub fn prepare(settings: Settings, admin_token: Option<&str>) -> Result<Cluster> {
        let temporary = tempfile::Builder::new().prefix("leasehold-").tempdir()?;
        let mut cluster = Cluster {
            nodes: Vec::new(),
            settings,
            admin: WithToken::new(admin_token)?,
            folder: temporary.path().to_owned(),
            temporary,
        };
        for id in 1..=cluster.settings.nodes {
            cluster.configure(id)?;
        }
        Ok(cluster)
    }

    /// Configures one more node with a fresh data directory; returns its index. It is neither started nor a member yet.
    pub fn configure(&mut self, id: u64) -> Result<usize> {
        let folder = self.folder.join(format!("node-{id}"));
        std::fs::create_dir_all(&folder)?;
        let at = Addresses::free()?;
        let channel =
            Endpoint::from_shared(format!("http://{}", at.grpc))?.connect_timeout(LOOK).tcp_nodelay(true).connect_lazy();
        let node = Node { id, at, folder, process: None, channel };
        std::fs::write(node.config(), self.settings.file(id, &node.data_dir(), &at))?;
        self.nodes.push(node);
        Ok(self.nodes.len() - 1)
    }

    async fn form(&mut self) -> Result<()> {
        for index in 0..self.nodes.len() {
            self.wait_answers(index).await?;
        }
        self.cluster_service(0).init(v1::InitRequest {}).await.context("init of node 1")?;
        for index in 1..self.nodes.len() {
            self.add(index).await?;
        }
        self.wait_healthy(PATIENCE).await?;
        Ok(())
    }

    /// Adds a started node: learner first, voter once it has caught up. Asks every member until one does it.
    pub async fn add(&self, index: usize) -> Result<()> {
        let node = &self.nodes[index];
        let request = v1::AddRequest {
            node_id: node.id,
            peer_address: node.at.peer.to_string(),
            grpc_address: Some(node.at.grpc.to_string()),
        };
        wait_for(&format!("node {} to be added", node.id), PATIENCE, || async {
            let by = self.leader().await.ok_or("no leader")?;
            self.cluster_service(by).add(request.clone()).await.map(|_| ()).map_err(|status| status.to_string())
        })
        .await
    }

    /// The nodes, in order of their start.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// One node.
    pub fn node(&mut self, index: usize) -> &mut Node {
        &mut self.nodes[index]
    }

    /// Where logs and data are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Keeps logs and data when the cluster ends; answers where they are.
    pub fn keep(&mut self) -> PathBuf {
        self.temporary.disable_cleanup(true);
        self.folder.clone()
    }

    /// gRPC addresses of all nodes, for clients.
    pub fn endpoints(&self) -> Vec<String> {
        self.nodes.iter().map(Node::grpc_url).collect()
    }

    fn connection(&self, index: usize) -> Connection {
        InterceptedService::new(self.nodes[index].channel.clone(), self.admin.clone())
    }

    /// Calls to one node about the cluster, as the admin.
    pub fn cluster_service(&self, index: usize) -> ClusterServiceClient<Connection> {
        ClusterServiceClient::new(self.connection(index))
    }

    /// Questions to one node about capacity, as the admin.
    pub fn capacity_service(&self, index: usize) -> CapacityServiceClient<Connection> {
        CapacityServiceClient::new(self.connection(index))
    }

    /// Calls to one node about hosts, as the admin.
    pub fn host_service(&self, index: usize) -> HostServiceClient<Connection> {
        HostServiceClient::new(self.connection(index)).max_decoding_message_size(usize::MAX)
    }

    /// Calls to one node about leases, as the admin.
    pub fn lease_service(&self, index: usize) -> LeaseServiceClient<Connection> {
        LeaseServiceClient::new(self.connection(index)).max_decoding_message_size(usize::MAX)
    }

    /// Watches one node, as the admin.
    pub fn watch_service(&self, index: usize) -> WatchServiceClient<Connection> {
        WatchServiceClient::new(self.connection(index))
    }

    /// As [`restart`](Self::restart), with a disk on which no file grows beyond so many KiB.
    pub fn restart_on_small_disk(&mut self, index: usize, files_max_kb: u32) -> Result<()> {
        self.nodes[index].start(Some(files_max_kb))
    }

    /// Starts a node that was configured or killed.
    pub fn restart(&mut self, index: usize) -> Result<()> {
        self.nodes[index].start(None)
    }

    /// `kill -9`.
    pub fn kill9(&mut self, index: usize) {
        if let Some(mut process) = self.nodes[index].process.take() {
            process.kill9();
        }
    }

    /// `SIGSTOP`: the node stands still and keeps its connections.
    pub fn pause(&self, index: usize) -> Result<()> {
        self.nodes[index].process.as_ref().context("the node runs")?.pause()
    }

    /// `SIGCONT`.
    pub fn resume(&self, index: usize) -> Result<()> {
        self.nodes[index].process.as_ref().context("the node runs")?.resume()
    }

    /// Whether the node's process is there.
    pub fn is_running(&mut self, index: usize) -> bool {
        self.nodes[index].process.as_mut().is_some_and(Process::is_running)
    }

    /// The inside of one node.
    pub async fn state_probe(&self, index: usize) -> Result<v1::StateProbeResponse> {
        let mut request = Request::new(v1::StateProbeRequest {});
        request.set_timeout(LOOK);
        let answer = self.cluster_service(index).state_probe(request).await;
        Ok(answer
            .map_err(|status| anyhow!("node {}: {}: {}", self.nodes[index].id, status.code(), status.message()))?
            .into_inner())
    }

    /// The cluster as one node sees it.
    pub async fn status(&self, index: usize) -> Result<v1::StatusResponse> {
        let mut request = Request::new(v1::StatusRequest {});
        request.set_timeout(LOOK);
        let answer = self.cluster_service(index).status(request).await;
        Ok(answer
            .map_err(|status| anyhow!("node {}: {}: {}", self.nodes[index].id, status.code(), status.message()))?
            .into_inner())
    }

    /// The node that leads in the highest term, if any says so. All are asked at once.
    pub async fn leader(&self) -> Option<usize> {
        let mut looks = tokio::task::JoinSet::new();
        for (index, node) in self.nodes.iter().enumerate().filter(|(_, node)| node.process.is_some()) {
            let mut service = ClusterServiceClient::new(InterceptedService::new(node.channel.clone(), self.admin.clone()));
            looks.spawn(async move {
                let mut request = Request::new(v1::StateProbeRequest {});
                request.set_timeout(LOOK);
                let probe = service.state_probe(request).await.ok()?.into_inner();
                (probe.role == "leader").then_some((probe.term, index))
            });
        }
        looks.join_all().await.into_iter().flatten().max().map(|(_, index)| index)
    }

    /// Waits until a node leads.
    pub async fn wait_leader(&self, within: Duration) -> Result<usize> {
        wait_for("a leader", within, || async { self.leader().await.ok_or_else(|| "nobody leads".to_owned()) }).await
    }

    /// Waits until a node answers at all.
    pub async fn wait_answers(&self, index: usize) -> Result<v1::StateProbeResponse> {
        let what = format!("node {} to answer", self.nodes[index].id);
        wait_for(&what, PATIENCE, || async { self.state_probe(index).await.map_err(|error| format!("{error:#}")) }).await
    }

    /// Waits until a started node follows or leads, and has applied what its leader had committed when asked.
    pub async fn wait_caught_up(&self, index: usize, within: Duration) -> Result<()> {
        let what = format!("node {} to catch up", self.nodes[index].id);
        let leader = self.wait_leader(within).await?;
        let goal = self.state_probe(leader).await?.committed_index;
        wait_for(&what, within, || async {
            let probe = self.state_probe(index).await.map_err(|error| format!("{error:#}"))?;
            let there = probe.applied_index >= goal && matches!(probe.role.as_str(), "leader" | "follower");
            there.then_some(()).ok_or(format!("{} at {:?} of {goal:?}", probe.role, probe.applied_index))
        })
        .await
    }

    /// Waits until one leads, all configured nodes vote, and every running one has caught up.
    pub async fn wait_healthy(&self, within: Duration) -> Result<usize> {
        let leader = wait_for("a healthy cluster", within, || async {
            let leader = self.leader().await.ok_or("nobody leads")?;
            let status = self.status(leader).await.map_err(|error| format!("{error:#}"))?;
            let voters = status.members.iter().filter(|member| member.voter).count();
            (voters >= self.nodes.len()).then_some(leader).ok_or(format!("{voters} of {} vote", self.nodes.len()))
        })
        .await?;
        for index in (0..self.nodes.len()).filter(|index| self.nodes[*index].process.is_some()) {
            self.wait_caught_up(index, within).await?;
        }
        Ok(leader)
    }

    /// Waits until all running nodes show the same ledger index, and answers it with each node's state hash.
    pub async fn hashes_at_rest(&self, within: Duration) -> Result<(u64, Vec<String>)> {
        wait_for("the same ledger index on all nodes", within, || async {
            let mut seen = Vec::new();
            for index in (0..self.nodes.len()).filter(|index| self.nodes[*index].process.is_some()) {
                let probe = self.state_probe(index).await.map_err(|error| format!("{error:#}"))?;
                seen.push((probe.ledger_index, probe.state_hash));
            }
            let first = seen.first().map(|(index, _)| *index).unwrap_or_default();
            if seen.iter().all(|(index, _)| *index == first) {
                Ok((first, seen.into_iter().map(|(_, hash)| hash).collect()))
            } else {
                Err(format!("{:?}", seen.iter().map(|(index, _)| *index).collect::<Vec<_>>()))
            }
        })
        .await
    }

    /// The last lines of every node's log.
    pub fn tails(&self, lines: usize) -> String {
        self.nodes.iter().filter_map(|node| node.process.as_ref()).map(|process| process.tail(lines)).collect()
    }

    /// Adds the nodes' logs to an error, keeps them, and says where they are.
    fn explain(mut self, result: Result<()>) -> Result<Cluster> {
        match result {
            Ok(()) => Ok(self),
            Err(error) => {
                let folder = self.keep();
                Err(error.context(format!("{}logs are kept in {}", self.tails(15), folder.display())))
            }
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let folder = self.keep();
            eprintln!("{}logs are kept in {}", self.tails(25), folder.display());
        }
        for node in &mut self.nodes {
            node.process = None;
        }
    }
}
