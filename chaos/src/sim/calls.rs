//! The changing calls of the nodes as their senders see them: when they leave, how they end, and whether what became of the
//! last one for the same object was looked up in between.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::Method;
use leasehold_node::seams::{HttpError, HttpRequest, HttpResponse};
use parking_lot::Mutex;
use serde_json::Value;
use uuid::Uuid;

use super::cloud::BASE_URL;
use super::points;
use super::trace::Trace;
use crate::record::{Call, CallEnd, Reads};

/// A node in one of its lives.
type Caller = (u64, u32);

/// All of a run.
pub struct Calls {
    trace: Arc<Trace>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    calls: Vec<Call>,
    /// Servers of which a caller does not know what its last call did, and since when.
    unsure: BTreeMap<(Caller, String), u64>,
    /// By node: the last second in which it read, and what.
    reading: BTreeMap<u64, (u64, BTreeMap<String, u64>)>,
    reads: Vec<Reads>,
}

impl Inner {
    /// A node reads something.
    fn read(&mut self, node: u64, at_s: u64, path: &str) {
        let (second, paths) = self.reading.entry(node).or_insert_with(|| (at_s, BTreeMap::new()));
        if *second != at_s {
            let of_second = (std::mem::replace(second, at_s), std::mem::take(paths));
            self.reads.extend(summed(node, of_second));
        }
        *paths.entry(path.to_owned()).or_default() += 1;
    }
}

fn summed(node: u64, (at_s, paths): (u64, BTreeMap<String, u64>)) -> Option<Reads> {
    let reads = paths.values().sum();
    let most = paths.into_iter().max_by_key(|(_, times)| *times)?;
    Some(Reads { at_s, node, reads, most })
}

/// A call under way. Dropped, it ends as one whose sender does not wait for it any more.
pub struct UnderWay {
    calls: Arc<Calls>,
    caller: Caller,
    left_ns: u64,
    what: What,
}

enum What {
    /// Its place among the calls, and what it is for.
    Change {
        place: usize,
        object: Option<String>,
    },
    /// Below the cloud's address.
    Read {
        path: String,
    },
    Ended,
}

impl Calls {
    /// None so far.
    pub fn new(trace: Arc<Trace>) -> Arc<Calls> {
        Arc::new(Calls { trace, inner: Mutex::default() })
    }

    /// Those that changed something, or were to, as they left their nodes.
    pub fn all(&self) -> Vec<Call> {
        self.inner.lock().calls.clone()
    }

    /// What nodes read, by second and node.
    pub fn reads(&self) -> Vec<Reads> {
        let mut inner = self.inner.lock();
        let last: Vec<_> = std::mem::take(&mut inner.reading).into_iter().collect();
        inner.reads.extend(last.into_iter().filter_map(|(node, of_second)| summed(node, of_second)));
        inner.reads.sort_by_key(|reads| (reads.at_s, reads.node));
        inner.reads.clone()
    }

    /// A call leaves its node.
    pub fn leaves(self: &Arc<Self>, node: u64, life: u32, request: &HttpRequest) -> UnderWay {
        let (caller, left_ns) = ((node, life), self.trace.now_ns());
        let path = request.url.strip_prefix(BASE_URL).unwrap_or_default().to_owned();
        // Said in this very step, or not at all.
        let attempt = points::attempt();
        let mut inner = self.inner.lock();
        let what = if request.method == Method::GET {
            inner.read(node, left_ns / 1_000_000_000, &path);
            What::Read { path }
        } else {
            let id = request.headers.get("x-openstack-request-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
            let object = object(&path).map(str::to_owned);
            let known = object.as_ref().and_then(|object| inner.unsure.get(&(caller, object.clone())));
            let unsure_since_ns = known.copied();
            // Ids of requests are drawn, those of the leader's calls follow from what they are for.
            let drawn = id.strip_prefix("req-").and_then(|id| Uuid::parse_str(id).ok());
            // Nothing but server groups is made in a client's name.
            let for_client = drawn.is_some_and(|id| id.get_version_num() == 4) && path.contains("/os-server-groups");
            let group_since_ns = points::group_since_ns().filter(|_| points::whose_step() == node);
            inner.calls.push(Call {
                at_ns: left_ns,
                node,
                life,
                method: request.method.to_string(),
                path,
                group_since_ns,
                attempt,
                global_request_id: id.to_owned(),
                for_client,
                ended: None,
                unsure_since_ns,
            });
            What::Change { place: inner.calls.len() - 1, object }
        };
        drop(inner);
        UnderWay { calls: self.clone(), caller, left_ns, what }
    }
}

impl UnderWay {
    /// It ended for its sender.
    pub fn ends(mut self, answer: &Result<HttpResponse, HttpError>) {
        let now_ns = self.calls.trace.now_ns();
        let mut inner = self.calls.inner.lock();
        match std::mem::replace(&mut self.what, What::Ended) {
            What::Change { place, object } => {
                let status = answer.as_ref().ok().map(|answer| answer.status.as_u16());
                let header = |answer: &HttpResponse| answer.headers.get("retry-after")?.to_str().ok()?.parse().ok();
                let retry_after_s = answer.as_ref().ok().and_then(header);
                inner.calls[place].ended = Some(CallEnd { at_ns: now_ns, status, retry_after_s });
                // An error of the service's own may have come before its work, in it, or after.
                if let (true, Some(object)) = (status.is_none_or(|status| status >= 500), object) {
                    inner.unsure.insert((self.caller, object), now_ns);
                }
            }
            What::Read { path } => {
                if let Ok(answer) = answer {
                    self.shown(&mut inner, &path, answer);
                }
            }
            What::Ended => {}
        }
    }

    /// A read that was begun after something became unclear tells how it is.
    fn shown(&self, inner: &mut Inner, path: &str, answer: &HttpResponse) {
        let caller = self.caller;
        let unsure = |inner: &Inner| inner.unsure.iter().any(|((of, _), since)| *of == caller && *since <= self.left_ns);
        if !unsure(inner) {
            return;
        }
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let listed = body["servers"].as_array().into_iter().flatten().filter_map(|server| server["id"].as_str());
        for seen in object(path).into_iter().chain(listed) {
            let key = (caller, seen.to_owned());
            if inner.unsure.get(&key).is_some_and(|since| *since <= self.left_ns) {
                inner.unsure.remove(&key);
            }
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if let What::Change { object: Some(object), .. } = &self.what {
            let now_ns = self.calls.trace.now_ns();
            self.calls.inner.lock().unsure.insert((self.caller, object.clone()), now_ns);
        }
    }
}

/// The server of a path: its calls are fenced by what was read before, or by nothing. What is named by its caller (flavors,
/// classes) is made and removed without a look, and Placement refuses who does not know the generation (architecture D6).
fn object(path: &str) -> Option<&str> {
    let (path, _) = path.split_once('?').unwrap_or((path, ""));
    let mut parts = path.split('/').skip_while(|part| *part != "servers").skip(1);
    match (parts.next()?, parts.next()) {
        ("detail", _) => None,
        (id, None | Some("action")) => Some(id),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, StatusCode};

    use super::*;

    struct Made(Arc<Calls>);

    impl Made {
        fn leaves(&self, method: Method, path: &str) -> UnderWay {
            let headers =
                HeaderMap::from_iter([(http::HeaderName::from_static("x-openstack-request-id"), HeaderValue::from_static("g"))]);
            let url = format!("{BASE_URL}{path}");
            let request = HttpRequest { method, url, headers, body: Default::default(), timeout: Default::default() };
            self.0.leaves(1, 1, &request)
        }

        /// Whether the next call for server `s` knows what the last one did.
        fn is_sure(&self) -> bool {
            drop(self.leaves(Method::DELETE, "/compute/v2.1/servers/t"));
            let next = self.leaves(Method::POST, "/compute/v2.1/servers/s/action");
            next.ends(&answered(""));
            self.0.all().pop().is_some_and(|call| call.unsure_since_ns.is_none())
        }
    }

    fn answered(body: &str) -> Result<HttpResponse, HttpError> {
        Ok(HttpResponse { status: StatusCode::OK, headers: HeaderMap::new(), body: body.to_owned().into_bytes().into() })
    }

    #[tokio::test(start_paused = true)]
    async fn what_ended_unclear_is_so_until_a_later_read_shows_it() {
        let made = Made(Calls::new(Arc::new(Trace::new(None, 3))));
        assert!(made.is_sure());
        let before = made.leaves(Method::GET, "/compute/v2.1/servers/s");
        made.leaves(Method::POST, "/compute/v2.1/servers/s/action").ends(&Err(HttpError::Timeout));
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        assert!(!made.is_sure());
        // The calls in between are answered, and leave it unclear what the first one does yet.
        assert!(!made.is_sure());
        made.leaves(Method::GET, "/compute/v2.1/servers/detail?flavor=f").ends(&answered(r#"{"servers": [{"id": "u"}]}"#));
        assert!(!made.is_sure());
        made.leaves(Method::GET, "/compute/v2.1/servers/detail?flavor=f").ends(&answered(r#"{"servers": [{"id": "s"}]}"#));
        assert!(made.is_sure());
        drop(made.leaves(Method::POST, "/compute/v2.1/servers/s/action"));
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        drop(before);
        assert!(!made.is_sure());
    }

    #[test]
    fn objects_are_servers() {
        assert_eq!(object("/compute/v2.1/servers/s/action"), Some("s"));
        assert_eq!(object("/compute/v2.1/servers/s"), Some("s"));
        assert_eq!(object("/compute/v2.1/servers/detail?flavor=f"), None);
        assert_eq!(object("/placement/resource_providers/p/inventories"), None);
        assert_eq!(object("/compute/v2.1/flavors/f/action"), None);
    }
}
