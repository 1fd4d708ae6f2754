//! The simulated cloud behind the HTTP seam, in simulated time, with its faults and a network in between.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use leasehold_cloudsim::{Answer, Cloud, CloudConfig, HostSpec, Request, Response};
use leasehold_node::seams::{Http, HttpError, HttpRequest, HttpResponse};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::calls::Calls;
use super::network::{CLOUD, Network};
use super::trace::{EPOCH_MS, Trace};

/// Where the cloud is.
pub const BASE_URL: &str = "http://cloud.sim";
/// Where every other host is.
pub const ZONE: &str = "east";
/// What half of the hosts have.
pub const TRAIT: &str = "CUSTOM_FAST";
/// Everybody's password.
pub const PASSWORD: &str = "oslab";

/// The one cloud of a run.
pub struct SimCloud {
    cloud: Mutex<Cloud>,
    trace: Arc<Trace>,
    /// Of the nodes.
    pub calls: Arc<Calls>,
}

impl SimCloud {
    /// With hosts `cmp1`, `cmp2`, …
    pub fn new(seed: u64, hosts: u32, trace: Arc<Trace>) -> SimCloud {
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
            created_at_ms: EPOCH_MS,
            base_url: BASE_URL.to_owned(),
            password: PASSWORD.to_owned(),
            record_reads: false,
            ..CloudConfig::default()
        };
        let calls = Calls::new(trace.clone());
        SimCloud { cloud: Mutex::new(Cloud::new(config)), trace, calls }
    }

    /// The cloud as it is now.
    pub fn with<T>(&self, look: impl FnOnce(&mut Cloud) -> T) -> T {
        let mut cloud = self.cloud.lock();
        cloud.advance(self.trace.now_ms());
        look(&mut cloud)
    }

    fn handle(&self, request: Request) -> Response {
        self.cloud.lock().handle(self.trace.now_ms(), request)
    }

    /// Does due work while nobody calls, so that nothing waits for the next call. What becomes due by a call in the meantime is
    /// done at its own instant all the same ([`Cloud::advance`]), only later in the run.
    pub async fn run(&self) {
        loop {
            let (now, due) = (self.trace.now_ms(), self.with(|cloud| cloud.next_due()));
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
    let (after_ms, answer) = match cloud.handle(asked) {
        Response::Answer { after_ms, answer } => (after_ms, Some(answer)),
        Response::Lost { after_ms } => (after_ms, None),
        Response::Hang => std::future::pending().await,
    };
    if after_ms > 0 {
        tokio::time::sleep(Duration::from_millis(after_ms)).await;
    }
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
