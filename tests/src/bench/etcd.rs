//! etcd beside us: three members on the same disk, spoken to with the same client library as Leasehold.
//! Only the few messages that are used, with etcd's own field numbers (`etcdserverpb/rpc.proto`).

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use tempfile::TempDir;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

use crate::process::Process;
use crate::wait::wait_for;

/// `PutRequest`
#[derive(Clone, PartialEq, prost::Message)]
pub struct PutRequest {
    /// Key.
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    /// Value.
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

/// `RangeRequest`; linearizable unless `serializable`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RangeRequest {
    /// Key.
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
}

/// `ResponseHeader`
#[derive(Clone, PartialEq, prost::Message)]
pub struct Header {
    /// Who answers.
    #[prost(uint64, tag = "2")]
    pub member_id: u64,
}

/// Any response, of which only the header is read.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Response {
    /// Who answers.
    #[prost(message, optional, tag = "1")]
    pub header: Option<Header>,
}

/// `StatusResponse`
#[derive(Clone, PartialEq, prost::Message)]
pub struct StatusResponse {
    /// Who answers.
    #[prost(message, optional, tag = "1")]
    pub header: Option<Header>,
    /// Who leads, as the answering member knows.
    #[prost(uint64, tag = "4")]
    pub leader: u64,
}

/// `StatusRequest`
#[derive(Clone, PartialEq, prost::Message)]
pub struct StatusRequest {}

/// One call to a member.
pub async fn call<Q, A>(channel: Channel, path: &'static str, request: Q) -> Result<A>
where
    Q: prost::Message + Send + Sync + 'static,
    A: prost::Message + Default + Send + Sync + 'static,
{
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await?;
    let codec = ProstCodec::<Q, A>::default();
    let answer = grpc.unary(tonic::Request::new(request), PathAndQuery::from_static(path), codec).await;
    Ok(answer.map_err(|status| anyhow!("{}: {}", status.code(), status.message()))?.into_inner())
}

/// `KV/Put`
pub async fn put(channel: Channel, key: Vec<u8>, value: Vec<u8>) -> Result<()> {
    call::<_, Response>(channel, "/etcdserverpb.KV/Put", PutRequest { key, value }).await.map(drop)
}

/// `KV/Range` of one key, linearizable.
pub async fn range(channel: Channel, key: Vec<u8>) -> Result<()> {
    call::<_, Response>(channel, "/etcdserverpb.KV/Range", RangeRequest { key }).await.map(drop)
}

/// Three members.
#[derive(Debug)]
pub struct Etcd {
    members: Vec<(Process, String)>,
    _folder: TempDir,
}

impl Etcd {
    /// Whether Debian's `etcd-server` is installed.
    pub fn is_installed() -> bool {
        Command::new("etcd").arg("--version").output().is_ok_and(|output| output.status.success())
    }

    /// Its version.
    pub fn version() -> Result<String> {
        let output = Command::new("etcd").arg("--version").output().context("etcd --version")?;
        Ok(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned())
    }

    /// Starts three members with etcd's defaults: synced writes.
    pub async fn start() -> Result<Etcd> {
        let folder = tempfile::Builder::new().prefix("leasehold-etcd-").tempdir()?;
        let mut urls = Vec::new();
        for _ in 0..3 {
            urls.push((format!("http://{}", crate::ports::free()?), format!("http://{}", crate::ports::free()?)));
        }
        let cluster: Vec<String> = urls.iter().enumerate().map(|(n, (_, peer))| format!("m{n}={peer}")).collect();
        let mut members = Vec::new();
        for (n, (client, peer)) in urls.into_iter().enumerate() {
            let mut command = Command::new("etcd");
            command.arg("--name").arg(format!("m{n}")).arg("--data-dir").arg(folder.path().join(format!("m{n}")));
            for (option, value) in [
                ("--listen-client-urls", client.as_str()),
                ("--advertise-client-urls", &client),
                ("--listen-peer-urls", &peer),
                ("--initial-advertise-peer-urls", &peer),
                ("--initial-cluster", &cluster.join(",")),
                ("--log-level", "error"),
            ] {
                command.arg(option).arg(value);
            }
            members.push((Process::start(&format!("etcd m{n}"), command, &folder.path().join(format!("m{n}.log")))?, client));
        }
        Ok(Etcd { members, _folder: folder })
    }

    /// The client URL of the member that leads.
    pub async fn leader(&self) -> Result<String> {
        wait_for("etcd to have a leader", Duration::from_secs(20), || async {
            for (_, url) in &self.members {
                let channel = Endpoint::from_shared(url.clone()).map_err(|error| error.to_string())?.connect_lazy();
                let status: StatusResponse = call(channel, "/etcdserverpb.Maintenance/Status", StatusRequest {})
                    .await
                    .map_err(|error| error.to_string())?;
                if status.header.is_some_and(|header| header.member_id == status.leader) {
                    return Ok(url.clone());
                }
            }
            Err("none leads".to_owned())
        })
        .await
    }
}
