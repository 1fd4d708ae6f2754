//! The simulated cloud behind the HTTP seam, in simulated time, with its faults and a network in between.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use leasehold_cloudsim::{Answer, Cloud, CloudConfig, HostSpec, Record, Request, Response};
use leasehold_node::seams::{Http, HttpError, HttpRequest, HttpResponse};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::calls::Calls;
use super::network::{CLOUD, Network};
use super::trace::{EPOCH_MS, Trace};

/// Where the cloud is.
pub const BASE_URL: &str = "http://cloud.sim";
/// Where every other host is.
pub const ZONE: &str = "east";
/// What half of the hosts have.
pub const TRAIT: &str = "CUSTOM_FAST";
/// Whom nodes log in as.
pub const SERVICE_USER: &str = "leasehold";
/// The role that he must have.
pub const SERVICE_ROLE: &str = "admin";
/// Everybody's password.
pub const PASSWORD: &str = "oslab";

/// The one cloud of a run.
pub struct SimCloud {
    cloud: Mutex<Cloud>,
    trace: Arc<Trace>,
    /// How far its clock is off.
    off_ms: i64,
    /// Services that are being started again, and how often any was stopped.
    stopped: watch::Sender<(BTreeSet<String>, u64)>,
    /// Of the nodes.
    pub calls: Arc<Calls>,
}

impl SimCloud {
    /// With hosts `cmp1`, `cmp2`, … and a clock that is off by so much.
    pub fn new(seed: u64, hosts: u32, off_ms: i64, trace: Arc<Trace>) -> SimCloud {
        // Zones and traits cut across the pools, so that hosts of every kind are there.
        let spec = |number: u32| HostSpec {
            vcpus: 16,
            memory_mb: 32_768,
            zone: if number.is_multiple_of(2) { ZONE.to_owned() } else { "nova".to_owned() },
            traits: if number % 4 < 2 { vec![TRAIT.to_owned()] } else { Vec::new() },
            ..HostSpec::new(&format!("cmp{number}"))
        };
        let config = CloudConfig {
            seed,
            hosts: (1..=hosts).map(spec).collect(),
            created_at_ms: EPOCH_MS.saturating_add_signed(off_ms),
            base_url: BASE_URL.to_owned(),
            password: PASSWORD.to_owned(),
            record_reads: false,
            ..CloudConfig::default()
        };
        let calls = Calls::new(trace.clone());
        SimCloud { cloud: Mutex::new(Cloud::new(config)), trace, off_ms, stopped: watch::Sender::default(), calls }
    }

    /// What its own clock shows.
    fn now_ms(&self) -> u64 {
        self.trace.now_ms().saturating_add_signed(self.off_ms)
    }

    /// Its record so far, in true time; what comes later is numbered on.
    pub fn take_record(&self) -> Vec<Record> {
        let mut lines = self.with(Cloud::take_record);
        let right = |at_ms: &mut u64| *at_ms = at_ms.saturating_add_signed(-self.off_ms);
        for line in &mut lines {
            right(&mut line.at_ms);
            [&mut line.received_at, &mut line.applied_at, &mut line.answered].into_iter().flatten().for_each(right);
        }
        lines
    }

    /// A service, or with an empty name every one, ends in the middle of what it does.
    pub fn stop_service(&self, service: &str) {
        self.stopped.send_modify(|(stopped, times)| {
            stopped.insert(service.to_owned());
            *times += 1;
        });
    }

    /// It takes connections again.
    pub fn start_service(&self, service: &str) {
        self.stopped.send_modify(|(stopped, _)| {
            stopped.remove(service);
        });
    }

    /// All do.
    pub fn start_all(&self) {
        self.stopped.send_modify(|(stopped, _)| stopped.clear());
    }

    fn is_stopped(&self, service: &str) -> bool {
        let stopped = &self.stopped.borrow().0;
        stopped.contains("") || stopped.contains(service)
    }

    /// Until a service is stopped; at once if it is.
    async fn until_stopped(&self, service: &str) {
        let mut stopped = self.stopped.subscribe();
        let is_it = |(stopped, _): &(BTreeSet<String>, u64)| stopped.contains("") || stopped.contains(service);
        // The sender lives as long as the cloud.
        drop(stopped.wait_for(is_it).await.map(drop));
    }

    /// The cloud as it is now.
    pub fn with<T>(&self, look: impl FnOnce(&mut Cloud) -> T) -> T {
        let mut cloud = self.cloud.lock();
        cloud.advance(self.now_ms());
        look(&mut cloud)
    }

    fn handle(&self, request: Request) -> Response {
        self.cloud.lock().handle(self.now_ms(), request)
    }

    /// Does due work while nobody calls, so that nothing waits for the next call. What becomes due by a call in the meantime is
    /// done at its own instant all the same ([`Cloud::advance`]), only later in the run.
    pub async fn run(&self) {
        loop {
            let (now, due) = (self.now_ms(), self.with(|cloud| cloud.next_due()));
            let wait = due.map_or(1_000, |due| due.saturating_sub(now).clamp(1, 1_000));
            tokio::time::sleep(Duration::from_millis(wait)).await;
        }
    }

    /// A tenant's call, on a network of its own that never fails. Faults meant for the nodes do not strike it.
    pub fn tenant(&self, method: Method, path: &str, token: &str, body: Option<&Value>) -> (u16, Value) {
        let mut request = Request::new(method, path)
            .token(token)
            .header("OpenStack-API-Version", "compute 2.96, placement 1.39")
            .caller("tenant");
        if let Some(body) = body {
            request = request.json(body);
        }
        match self.handle(request).answer() {
            Some(answer) => (answer.status, answer.json()),
            None => (0, Value::Null),
        }
    }

    /// The ids of a user and of the project that his tokens are for.
    pub fn login(&self, user: &str) -> Option<(String, String)> {
        let token = self.log_in(user)?.1.json();
        let id = |of: &str| token["token"][of]["id"].as_str().map(str::to_owned);
        Some((id("user")?, id("project")?))
    }

    /// A token.
    pub fn token(&self, user: &str) -> Option<String> {
        self.log_in(user).map(|(token, _)| token)
    }

    /// The id of a project, by one of its users.
    pub fn project_of(&self, user: &str, project: &str) -> Option<String> {
        let token = self.log_in_to(user, project)?.1.json();
        token["token"]["project"]["id"].as_str().map(str::to_owned)
    }

    /// An image is uploaded.
    pub fn whole(&self, path: &str, token: &str) {
        let request = Request::new(Method::PUT, &format!("{path}/file")).token(token).caller("tenant");
        drop(self.handle(request));
    }

    /// Acts so that what others draw stays as it is ([`Cloud::lay_aside`]).
    pub fn aside<T>(&self, stream: u64, act: impl FnOnce() -> T) -> T {
        let laid = self.cloud.lock().lay_aside(stream);
        let done = act();
        self.cloud.lock().take_back(laid);
        done
    }

    fn log_in(&self, user: &str) -> Option<(String, Answer)> {
        self.log_in_to(user, user)
    }

    fn log_in_to(&self, user: &str, project: &str) -> Option<(String, Answer)> {
        let body = json!({"auth": {
            "identity": {"methods": ["password"], "password": {
                "user": {"name": user, "domain": {"name": "Default"}, "password": PASSWORD}}},
            "scope": {"project": {"name": project, "domain": {"name": "Default"}}},
        }});
        let request = Request::new(Method::POST, "/identity/v3/auth/tokens").json(&body).caller("tenant");
        let answer = self.handle(request).answer()?;
        let token = answer.header("x-subject-token")?.to_owned();
        Some((token, answer))
    }
}

/// A node's way to the cloud.
pub struct SimHttp {
    cloud: Arc<SimCloud>,
    network: Arc<Network>,
    node: u64,
    life: u32,
}

impl SimHttp {
    /// Its calls stand in the record under `node-N`.
    pub fn new(cloud: Arc<SimCloud>, network: Arc<Network>, node: u64, life: u32) -> SimHttp {
        SimHttp { cloud, network, node, life }
    }
}

impl Http for SimHttp {
    fn send(&self, request: HttpRequest) -> BoxFuture<'static, Result<HttpResponse, HttpError>> {
        let (cloud, network, node) = (self.cloud.clone(), self.network.clone(), self.node);
        let (timeout, life) = (request.timeout, self.life);
        Box::pin(async move {
            let under_way = cloud.calls.leaves(node, life, &request);
            // What is under way arrives, whether or not its sender still lives.
            let wire = network.wire().clone();
            let answered = wire.spawn("http", async move { exchange(&cloud, &network, node, request).await });
            let answered = match tokio::time::timeout(timeout, answered).await {
                Ok(answered) => answered.unwrap_or_else(|_| Err(HttpError::Other("the run is over".into()))),
                Err(_) => Err(HttpError::Timeout),
            };
            under_way.ends(&answered);
            answered
        })
    }
}

async fn exchange(cloud: &SimCloud, network: &Network, node: u64, request: HttpRequest) -> Result<HttpResponse, HttpError> {
    let reset = || HttpError::Reset("the connection timed out".into());
    let path = request.url.strip_prefix(BASE_URL).ok_or_else(|| HttpError::Connect("unknown host".into()))?;
    let mut asked = Request::new(request.method, path).caller(&format!("node-{node}"));
    asked.headers = request.headers;
    asked.body = request.body;
    let call = cloud.trace.detail(|| format!("{} {path}", asked.method));
    if !network.pass_telling("http", node, CLOUD, &call).await {
        return Err(reset());
    }
    let service = asked.path.split('/').nth(1).unwrap_or_default().to_owned();
    if cloud.is_stopped(&service) {
        return Err(HttpError::Connect("connection refused".into()));
    }
    let answering = async {
        let (after_ms, answer) = match cloud.handle(asked) {
            Response::Answer { after_ms, answer } => (after_ms, Some(answer)),
            Response::Lost { after_ms } => (after_ms, None),
            Response::Hang => std::future::pending().await,
        };
        if after_ms > 0 {
            tokio::time::sleep(Duration::from_millis(after_ms)).await;
        }
        answer
    };
    let answer = tokio::select! {
        biased;
        answer = answering => answer,
        () = cloud.until_stopped(&service) => return Err(HttpError::Reset("the service was stopped".into())),
    };
    let told = cloud.trace.detail(|| match &answer {
        Some(answer) => format!("{call} -> {}", answer.status),
        None => format!("{call} -> nothing"),
    });
    if !network.pass_telling("http answer", CLOUD, node, &told).await {
        return Err(reset());
    }
    response(answer.ok_or_else(reset)?)
}

fn response(answer: Answer) -> Result<HttpResponse, HttpError> {
    let bad = |_| HttpError::Other("the answer is no HTTP".into());
    let status = StatusCode::from_u16(answer.status).map_err(|_| HttpError::Other("no status".into()))?;
    let mut headers = HeaderMap::with_capacity(answer.headers.len());
    for (name, value) in answer.headers {
        headers.append(HeaderName::from_static(name), HeaderValue::try_from(value).map_err(bad)?);
    }
    Ok(HttpResponse { status, headers, body: answer.body })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use leasehold_cloudsim::{Fault, FaultKind};

    use super::*;

    fn cloud(off_ms: i64) -> (Arc<SimCloud>, SimHttp) {
        let trace = Arc::new(Trace::new(None, 1));
        let network = Arc::new(Network::new(1, trace.clone(), 0));
        let cloud = Arc::new(SimCloud::new(1, 1, off_ms, trace));
        (cloud.clone(), SimHttp::new(cloud, network, 1, 1))
    }

    fn get(path: &str) -> HttpRequest {
        let (headers, body) = Default::default();
        HttpRequest { method: Method::GET, url: format!("{BASE_URL}{path}"), headers, body, timeout: Duration::from_secs(30) }
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_is_started_again_refuses_connections_and_leaves_who_waits_without_an_answer() {
        let (cloud, http) = cloud(0);
        let slow = Fault::on("GET", "/identity/v3", FaultKind::Slow { after_ms: 10_000 }).times(1);
        cloud.with(|cloud| cloud.add_fault(slow));
        let waits = tokio::spawn(http.send(get("/identity/v3")));
        tokio::time::sleep(Duration::from_secs(5)).await;
        cloud.stop_service("identity");
        assert!(matches!(waits.await.unwrap(), Err(HttpError::Reset(_))));
        let refused = http.send(get("/identity/v3")).await.unwrap_err();
        assert!(refused.surely_not_sent(), "{refused}");
        // Others are not concerned.
        assert!(http.send(get("/placement")).await.is_ok());
        cloud.start_service("identity");
        assert!(http.send(get("/identity/v3")).await.is_ok());
        cloud.stop_service("");
        assert!(http.send(get("/placement")).await.is_err());
        cloud.start_all();
        assert!(http.send(get("/placement")).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_cloud_whose_clock_is_off_says_so_and_its_record_is_in_true_time() {
        let off_ms = -3_600_000;
        let ((right, _), (off, _)) = (cloud(0), cloud(off_ms));
        let issued = |cloud: &SimCloud| cloud.log_in("demo").unwrap().1.json()["token"]["issued_at"].as_str().unwrap().to_owned();
        assert_eq!(
            (issued(&right).as_str(), issued(&off).as_str()),
            ("2026-01-01T00:00:00.000000Z", "2025-12-31T23:00:00.000000Z")
        );
        let at_ms = |cloud: &SimCloud| cloud.take_record().last().map(|line| (line.at_ms, line.applied_at));
        assert_eq!(at_ms(&off), at_ms(&right));
        assert_eq!(at_ms(&off), None, "it was handed over");
    }
}
