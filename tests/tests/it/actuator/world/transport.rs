//! The way from a node to the simulated cloud, on which a leader may die.

use super::*;

/// The way to the cloud and back.
const WAY: Duration = Duration::from_millis(2);

/// At which mutating call of a leader its process dies, and whether the cloud has carried the call out.
#[derive(Clone, Copy, Debug)]
pub struct Crash {
    pub at: u64,
    pub applied: bool,
}

/// The way from one node to the cloud.
pub struct SimHttp {
    pub(super) sim: Arc<Mutex<Sim>>,
    pub(super) clock: Arc<TestClock>,
    pub(super) crash: Arc<Mutex<Option<Crash>>>,
    pub(super) writes: Arc<AtomicU64>,
    pub(super) crashed: Arc<Notify>,
}

impl Http for SimHttp {
    fn send(&self, request: HttpRequest) -> BoxFuture<'static, Result<HttpResponse, HttpError>> {
        let (sim, clock, crashed) = (self.sim.clone(), self.clock.clone(), self.crashed.clone());
        let is_write = request.method != Method::GET && !request.url.ends_with("/auth/tokens");
        let number = if is_write { self.writes.fetch_add(1, Ordering::SeqCst) } else { u64::MAX };
        let crash = self.crash.lock().filter(|crash| crash.at == number);
        Box::pin(async move {
            tokio::time::sleep(WAY).await;
            if crash.is_some_and(|crash| !crash.applied) {
                crashed.notify_one();
                return std::future::pending().await;
            }
            let response = sim.lock().handle(clock.wall_ms(), to_sim(&request));
            if crash.is_some() {
                crashed.notify_one();
                return std::future::pending().await;
            }
            tokio::time::sleep(WAY).await;
            match response {
                Response::Answer { after_ms, answer } => {
                    tokio::time::sleep(Duration::from_millis(after_ms)).await;
                    let mut headers = HeaderMap::new();
                    for (name, value) in &answer.headers {
                        headers.insert(HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(value).unwrap());
                    }
                    Ok(HttpResponse { status: StatusCode::from_u16(answer.status).unwrap(), headers, body: answer.body })
                }
                Response::Lost { after_ms } => {
                    tokio::time::sleep(Duration::from_millis(after_ms)).await;
                    Err(HttpError::Reset("the connection ended".into()))
                }
                Response::Hang => {
                    tokio::time::sleep(request.timeout).await;
                    Err(HttpError::Timeout)
                }
            }
        })
    }
}

fn to_sim(request: &HttpRequest) -> Request {
    let target = request.url.strip_prefix("http://cloud.sim").expect("every endpoint is in the simulated cloud");
    let mut to = Request::new(request.method.clone(), target);
    to.headers = request.headers.clone();
    to.body = request.body.clone();
    to
}
