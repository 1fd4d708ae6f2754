//! The transport over gRPC: calls peers, and serves this node to them. Mutual TLS when files are given; without them
//! only on loopback.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use parking_lot::{Mutex, RwLock};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataMap;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity, Server, ServerTlsConfig};
use tonic::{Code, Request, Response, Status, Streaming};
use tower::util::MapResponseLayer;

use super::codec::wire;
use super::codec::wire::peer_service_client::PeerServiceClient;
use super::codec::wire::peer_service_server::{PeerService, PeerServiceServer};
use super::dial::{self, Dial};
use super::peer::{CallError, Lane, Peer, PeerStream, Route, Transport};
use crate::listen::accept::{self, Listener};
use crate::listen::date;
use crate::seams::{Seams, Spawner};

/// Longest message. Requests for entries stay below (`log_store` reads at most 4 MiB and one entry).
const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// A connection that is silent this long is asked for a sign of life, and given up after as long again.
const KEEP_ALIVE: Duration = Duration::from_secs(2);
/// Time to connect, handshake included.
const CONNECT: Duration = Duration::from_secs(2);

/// Connections of peers: a few for each, one a purpose. More is somebody else, who must not use up the descriptors that the
/// disks need.
const CONNECTIONS_MAX: usize = 256;
/// A peer that does not finish its TLS handshake by then is let go.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

const CLUSTER: &str = "leasehold-cluster";
const SOURCE: &str = "leasehold-source";
const SOURCE_DISK: &str = "leasehold-source-disk";
const TARGET: &str = "leasehold-target";
const TARGET_DISK: &str = "leasehold-target-disk";

/// Files for mutual TLS between nodes, PEM. The certificate must name the host of the peer address and be good for both
/// server and client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Authority that signed every node's certificate.
    pub ca: PathBuf,
    /// This node's certificate, chain included.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// The transport cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A TLS file cannot be read.
    #[error("cannot read {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The TLS files do not fit together.
    #[error("the TLS files between nodes are not usable")]
    Tls(#[source] tonic::transport::Error),
    /// The address is taken or not of this machine.
    #[error("cannot listen on {address} for peers")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Peers would be spoken to in the clear over a network.
    #[error("{address} is not on loopback: peers are spoken to over TLS there, set the peer TLS files")]
    Insecure {
        /// Which.
        address: String,
    },
}

/// Contents of [`TlsFiles`].
#[derive(Clone)]
struct Tls {
    ca: Certificate,
    identity: Identity,
}

impl Tls {
    #[allow(clippy::disallowed_methods, reason = "certificates are the operator's files, read at start-up")]
    fn read(files: &TlsFiles) -> Result<Self, Error> {
        let read = |path: &PathBuf| std::fs::read(path).map_err(|source| Error::File { path: path.clone(), source });
        let identity = Identity::from_pem(read(&files.certificate)?, read(&files.key)?);
        Ok(Self { ca: Certificate::from_pem(read(&files.ca)?), identity })
    }
}

/// How connections to peers are made.
enum Way {
    /// By the system's TCP.
    Tcp,
    /// By somebody else, and served by tasks of this group.
    Dialled(Arc<dyn Dial>, Spawner),
}

/// Calls peers over gRPC. One connection for each address and purpose.
pub struct GrpcTransport {
    tls: Option<Tls>,
    way: Way,
    channels: Mutex<BTreeMap<(String, Lane), Arc<dyn Peer>>>,
}

impl GrpcTransport {
    /// Reads the TLS files, if any.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn new(files: Option<&TlsFiles>) -> Result<Self, Error> {
        Ok(Self { tls: files.map(Tls::read).transpose()?, way: Way::Tcp, channels: Mutex::default() })
    }

    /// Without TLS, over connections that `dial` makes; tasks of `group` keep them.
    pub fn over(dial: Arc<dyn Dial>, group: Spawner) -> Self {
        Self { tls: None, way: Way::Dialled(dial, group), channels: Mutex::default() }
    }

    /// Listens on `address` and serves `peer` until the node's tasks stop. Returns the address bound, for port 0.
    ///
    /// # Errors
    /// When the address is taken, the TLS files are no good, or there are none and the address is not on loopback.
    pub async fn serve(&self, address: SocketAddr, peer: Arc<dyn Peer>, seams: &Seams) -> Result<SocketAddr, Error> {
        let mut server = server();
        match &self.tls {
            Some(tls) => {
                let config =
                    ServerTlsConfig::new().identity(tls.identity.clone()).client_ca_root(tls.ca.clone()).timeout(HANDSHAKE_TIME);
                server = server.tls_config(config).map_err(Error::Tls)?;
            }
            None if address.ip().is_loopback() => {
                tracing::warn!(%address, "peers are spoken to in the clear, on loopback only");
            }
            None => return Err(Error::Insecure { address: address.to_string() }),
        }
        let listening = |source| Error::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listening)?;
        let bound = listener.local_addr().map_err(listening)?;
        serve_on(listener, server, peer, seams);
        Ok(bound)
    }

    /// Serves `peer` on what a simulation's listener accepts, until the node's tasks stop.
    pub fn serve_accepted(listener: impl Listener, peer: Arc<dyn Peer>, seams: &Seams) {
        serve_on(listener, server(), peer, seams);
    }

    fn connect(&self, address: &str, lane: Lane) -> Result<Channel, String> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let endpoint = Endpoint::from_shared(format!("{scheme}://{address}")).map_err(|error| error.to_string())?;
        let mut endpoint = endpoint
            .connect_timeout(CONNECT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(8 << 20)
            .initial_connection_window_size(16 << 20);
        if let Way::Dialled(dial, group) = &self.way {
            return Ok(dial::channel(endpoint, dial.clone(), address, lane, group));
        }
        match &self.tls {
            Some(tls) => {
                let config = ClientTlsConfig::new().ca_certificate(tls.ca.clone()).identity(tls.identity.clone());
                endpoint = endpoint.tls_config(config).map_err(|error| error.to_string())?;
            }
            None if is_loopback(address) => {}
            None => return Err(Error::Insecure { address: address.into() }.to_string()),
        }
        Ok(endpoint.connect_lazy())
    }
}

fn server() -> Server {
    Server::builder().http2_keepalive_interval(Some(KEEP_ALIVE)).http2_keepalive_timeout(Some(KEEP_ALIVE))
}

fn serve_on(listener: impl Listener, server: Server, peer: Arc<dyn Peer>, seams: &Seams) {
    // TLS is the server's here; that nothing is decrypted yet does not keep a silent connection from being let go. The task
    // that accepts ends with the node's others.
    let incoming = accept::connections(listener, None, CONNECTIONS_MAX, seams, CancellationToken::new());
    // Connections outlive the server a little; what they serve does not.
    let serving = Serving(Arc::new(RwLock::new(Some(peer))));
    let ending = Ending(serving.clone());
    let service =
        PeerServiceServer::new(serving).max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX);
    let clock = seams.clock.clone();
    let mut server = server.layer(MapResponseLayer::new(move |mut response: http::Response<tonic::body::Body>| {
        date::stamp(response.headers_mut(), &*clock);
        response
    }));
    let stopping = seams.spawner.clone();
    drop(seams.spawner.spawn("peer server", async move {
        let _ending = ending;
        let stopped = async move { stopping.stopping().await };
        let served = server.add_service(service).serve_with_incoming_shutdown(incoming, stopped).await;
        if let Err(error) = served {
            tracing::error!(%error, "peers are not served any more");
        }
    }));
}

/// Whether `host:port` is this machine for sure.
fn is_loopback(address: &str) -> bool {
    address.parse::<SocketAddr>().is_ok_and(|address| address.ip().is_loopback()) || address.starts_with("localhost:")
}

impl Transport for GrpcTransport {
    fn peer(&self, address: &str, lane: Lane) -> Arc<dyn Peer> {
        let mut channels = self.channels.lock();
        let made = channels.entry((address.to_owned(), lane)).or_insert_with(|| {
            let client = self.connect(address, lane).map(|channel| {
                PeerServiceClient::new(channel)
                    .max_decoding_message_size(MESSAGE_BYTES_MAX)
                    .max_encoding_message_size(MESSAGE_BYTES_MAX)
            });
            Arc::new(Calling(client))
        });
        made.clone()
    }

    fn keep_only(&self, addresses: &BTreeSet<&str>) {
        self.channels.lock().retain(|(address, _), _| addresses.contains(address.as_str()));
    }
}

/// A peer on the other side of a connection, or why there can be none.
struct Calling(Result<PeerServiceClient<Channel>, String>);

impl Calling {
    fn client(&self) -> Result<PeerServiceClient<Channel>, CallError> {
        self.0.clone().map_err(CallError::Unreachable)
    }
}

/// A message with its route in the metadata.
fn routed<T>(route: Route, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let mut put = |name: &'static str, value: String| {
        // Digits and hyphens are valid metadata.
        request.metadata_mut().insert(name, value.parse().expect("ids are ASCII"));
    };
    put(CLUSTER, route.cluster_id.to_string());
    put(SOURCE, route.source.to_string());
    put(SOURCE_DISK, route.source_disk.to_string());
    put(TARGET, route.target.to_string());
    if let Some(disk) = route.target_disk {
        put(TARGET_DISK, disk.to_string());
    }
    request
}

fn route(metadata: &MetadataMap) -> Result<Route, Status> {
    fn part<T: std::str::FromStr>(metadata: &MetadataMap, name: &'static str) -> Result<T, Status> {
        let value = metadata.get(name).and_then(|value| value.to_str().ok()?.parse().ok());
        value.ok_or_else(|| Status::invalid_argument(format!("{name} is missing or malformed")))
    }
    Ok(Route {
        cluster_id: part(metadata, CLUSTER)?,
        source: part(metadata, SOURCE)?,
        source_disk: part(metadata, SOURCE_DISK)?,
        target: part(metadata, TARGET)?,
        target_disk: metadata.contains_key(TARGET_DISK).then(|| part(metadata, TARGET_DISK)).transpose()?,
    })
}

fn to_status(error: CallError) -> Status {
    match error {
        CallError::Unreachable(text) => Status::unavailable(text),
        CallError::Refused(text) => Status::failed_precondition(text),
        CallError::Broken(text) => Status::internal(text),
        CallError::Timeout => Status::deadline_exceeded("no answer in time"),
    }
}

fn to_error(status: Status) -> CallError {
    let text = status.message().to_owned();
    match status.code() {
        Code::FailedPrecondition | Code::InvalidArgument => CallError::Refused(text),
        // tonic answers "unavailable" both for a connection that was never made and for one that broke; only a
        // connect error is told apart.
        Code::Unavailable if text.contains("tcp connect error") || text.contains("dns error") => CallError::Unreachable(text),
        Code::DeadlineExceeded => CallError::Timeout,
        _ => CallError::Broken(format!("{:?}: {text}", status.code())),
    }
}

/// Answers of a stream, ending after the first error.
fn received<T: Send + 'static>(stream: Streaming<T>) -> PeerStream<T> {
    let ending = stream.map(|message| message.map_err(to_error)).scan(false, |ended, message| {
        let now = std::mem::replace(ended, message.is_err());
        std::future::ready((!now).then_some(message))
    });
    ending.boxed()
}

/// Messages of a stream up to the first error: the other side then misses the end, which every stream's receiver
/// notices (no trailer, no further entries).
fn sent<T: Send + 'static>(stream: PeerStream<T>) -> impl futures::Stream<Item = T> + Send + 'static {
    stream.scan((), |(), message| {
        let told = message.map_err(|error| tracing::warn!(%error, "a stream to a peer ended early"));
        std::future::ready(told.ok())
    })
}

macro_rules! call {
    ($self:ident, $method:ident, $request:expr) => {
        Ok($self.client()?.$method($request).await.map_err(to_error)?.into_inner())
    };
}

#[async_trait]
impl Peer for Calling {
    async fn request_vote(&self, route: Route, request: wire::VoteRequest) -> Result<wire::VoteResponse, CallError> {
        call!(self, request_vote, routed(route, request))
    }

    async fn pre_vote(&self, route: Route, request: wire::VoteRequest) -> Result<wire::VoteResponse, CallError> {
        call!(self, pre_vote, routed(route, request))
    }

    async fn append(&self, route: Route, request: wire::AppendRequest) -> Result<wire::AppendResponse, CallError> {
        call!(self, append, routed(route, request))
    }

    async fn stream_append(
        &self,
        route: Route,
        requests: PeerStream<wire::AppendRequest>,
    ) -> Result<PeerStream<wire::AppendResponse>, CallError> {
        let answers = self.client()?.stream_append(routed(route, sent(requests))).await.map_err(to_error)?;
        Ok(received(answers.into_inner()))
    }

    async fn install_snapshot(
        &self,
        route: Route,
        parts: PeerStream<wire::SnapshotPart>,
    ) -> Result<wire::SnapshotResponse, CallError> {
        call!(self, install_snapshot, routed(route, sent(parts)))
    }

    async fn fetch_snapshot(&self, route: Route) -> Result<PeerStream<wire::SnapshotPart>, CallError> {
        let request = routed(route, wire::FetchSnapshotRequest {});
        let parts = self.client()?.fetch_snapshot(request).await.map_err(to_error)?;
        Ok(received(parts.into_inner()))
    }

    async fn transfer_leader(
        &self,
        route: Route,
        request: wire::TransferLeaderRequest,
    ) -> Result<wire::TransferLeaderResponse, CallError> {
        call!(self, transfer_leader, routed(route, request))
    }

    async fn read_index(&self, route: Route) -> Result<wire::ReadIndexResponse, CallError> {
        call!(self, read_index, routed(route, wire::ReadIndexRequest {}))
    }

    async fn forward(&self, route: Route, message: wire::ForwardMessage) -> Result<wire::ForwardMessage, CallError> {
        call!(self, forward, routed(route, message))
    }

    async fn clock(&self, route: Route, request: wire::ClockRequest) -> Result<wire::ClockResponse, CallError> {
        call!(self, clock, routed(route, request))
    }

    async fn health(&self, route: Route) -> Result<wire::HealthResponse, CallError> {
        call!(self, health, routed(route, wire::HealthRequest {}))
    }
}

/// A local peer, served until it ends.
#[derive(Clone)]
struct Serving(Arc<RwLock<Option<Arc<dyn Peer>>>>);

impl Serving {
    fn peer(&self) -> Result<Arc<dyn Peer>, Status> {
        self.0.read().clone().ok_or_else(|| Status::failed_precondition("this node is stopping"))
    }
}

/// Ends the serving when it is dropped.
struct Ending(Serving);

impl Drop for Ending {
    fn drop(&mut self) {
        *self.0.0.write() = None;
    }
}

type Served<T> = Result<Response<T>, Status>;
type ServedStream<T> = futures::stream::BoxStream<'static, Result<T, Status>>;

fn answered<T>(answer: Result<T, CallError>) -> Served<T> {
    answer.map(Response::new).map_err(to_status)
}

fn streamed<T: Send + 'static>(answer: Result<PeerStream<T>, CallError>) -> Served<ServedStream<T>> {
    let stream = answer.map_err(to_status)?;
    Ok(Response::new(stream.map(|message| message.map_err(to_status)).boxed()))
}

#[async_trait]
impl PeerService for Serving {
    type StreamAppendStream = ServedStream<wire::AppendResponse>;
    type FetchSnapshotStream = ServedStream<wire::SnapshotPart>;

    async fn request_vote(&self, request: Request<wire::VoteRequest>) -> Served<wire::VoteResponse> {
        let route = route(request.metadata())?;
        answered(self.peer()?.request_vote(route, request.into_inner()).await)
    }

    async fn pre_vote(&self, request: Request<wire::VoteRequest>) -> Served<wire::VoteResponse> {
        let route = route(request.metadata())?;
        answered(self.peer()?.pre_vote(route, request.into_inner()).await)
    }

    async fn append(&self, request: Request<wire::AppendRequest>) -> Served<wire::AppendResponse> {
        let route = route(request.metadata())?;
        answered(self.peer()?.append(route, request.into_inner()).await)
    }

    async fn stream_append(&self, request: Request<Streaming<wire::AppendRequest>>) -> Served<Self::StreamAppendStream> {
        let route = route(request.metadata())?;
        streamed(self.peer()?.stream_append(route, received(request.into_inner())).await)
    }

    async fn install_snapshot(&self, request: Request<Streaming<wire::SnapshotPart>>) -> Served<wire::SnapshotResponse> {
        let route = route(request.metadata())?;
        answered(self.peer()?.install_snapshot(route, received(request.into_inner())).await)
    }

    async fn fetch_snapshot(&self, request: Request<wire::FetchSnapshotRequest>) -> Served<Self::FetchSnapshotStream> {
        streamed(self.peer()?.fetch_snapshot(route(request.metadata())?).await)
    }

    async fn transfer_leader(&self, request: Request<wire::TransferLeaderRequest>) -> Served<wire::TransferLeaderResponse> {
        let route = route(request.metadata())?;
        answered(self.peer()?.transfer_leader(route, request.into_inner()).await)
    }

    async fn read_index(&self, request: Request<wire::ReadIndexRequest>) -> Served<wire::ReadIndexResponse> {
        answered(self.peer()?.read_index(route(request.metadata())?).await)
    }

    async fn forward(&self, request: Request<wire::ForwardMessage>) -> Served<wire::ForwardMessage> {
        let route = route(request.metadata())?;
        answered(self.peer()?.forward(route, request.into_inner()).await)
    }

    async fn clock(&self, request: Request<wire::ClockRequest>) -> Served<wire::ClockResponse> {
        let route = route(request.metadata())?;
        answered(self.peer()?.clock(route, request.into_inner()).await)
    }

    async fn health(&self, request: Request<wire::HealthRequest>) -> Served<wire::HealthResponse> {
        answered(self.peer()?.health(route(request.metadata())?).await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn connections_are_kept_for_those_that_are_named_and_for_no_others() {
        let transport = GrpcTransport::new(None).expect("no files are read");
        let (stays, goes) = ("127.0.0.1:1", "127.0.0.1:2");
        let made = |address: &str| [Lane::Log, Lane::Operations].map(|lane| transport.peer(address, lane));
        let before = [made(stays), made(goes)];
        transport.keep_only(&BTreeSet::from([stays]));
        let after = [made(stays), made(goes)];
        for lane in 0..2 {
            assert!(Arc::ptr_eq(&before[0][lane], &after[0][lane]));
            assert!(!Arc::ptr_eq(&before[1][lane], &after[1][lane]));
        }
    }
}
