//! The table of paths.

use axum::Router;
use axum::extract::State;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{MethodRouter, any, delete, get, post, put};
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, StatusCode, Uri, header};
use serde_json::json;
use tower::util::MapResponseLayer;

use super::answer::{self, Refused};
use super::gate::{self, Operation};
use super::microversion::Microversion;
use super::{Rest, capacity, downtimes, hosts, leases, quotas};
use crate::edge::error::Problem;
use crate::operations::Rule;

/// Blazar's texts, which are those of its framework.
const NOT_FOUND: &str =
    "The requested URL was not found on the server. If you entered the URL manually please check your spelling and try again.";
const METHOD_NOT_ALLOWED: &str = "The method is not allowed for the requested URL.";

/// Checks a rule before the handler reads the body.
macro_rules! may {
    ($rule:expr) => {
        from_fn_with_state($rule, gate::may)
    };
}

/// Everything that is served. Paths come without `.json` ([`without_json`]).
pub fn router(rest: Rest) -> Router {
    let served = Router::new()
        .route(
            "/v1/leases",
            get(leases::list)
                .route_layer(named("lease_list"))
                .merge(post(leases::create).route_layer(may!(Rule::LeasesPost)).route_layer(named("lease_create"))),
        )
        .route("/v1/leases/utilisation", get(leases::utilisation).route_layer(named("lease_utilisation")))
        .route(
            "/v1/leases/what-if",
            post(capacity::what_if).route_layer(may!(Rule::LeasesWhatIf)).route_layer(named("lease_what_if")),
        )
        .route("/v1/capacity", get(capacity::show).route_layer(may!(Rule::CapacityGet)).route_layer(named("capacity_get")))
        .route(
            "/v1/capacity/density",
            get(capacity::density).route_layer(may!(Rule::CapacityDensity)).route_layer(named("density_get")),
        )
        .route(
            "/v1/leases/{id}",
            get(leases::show)
                .route_layer(named("lease_get"))
                .merge(put(leases::update).route_layer(may!(Rule::LeasesPut)).route_layer(named("lease_update")))
                .merge(delete(leases::delete).route_layer(named("lease_delete"))),
        )
        .route("/v1/leases/{id}/claim", post(leases::claim).route_layer(may!(Rule::LeasesPut)).route_layer(named("offer_claim")))
        .route("/v1/series/{id}", delete(leases::delete_series).route_layer(named("series_delete")))
        .route("/v1/offers", get(leases::offers).route_layer(named("offer_list")))
        .route("/v1/quotas", get(quotas::list).route_layer(named("quota_list")))
        .route(
            "/v1/quotas/{project_id}",
            get(quotas::show)
                .route_layer(named("quota_get"))
                .merge(put(quotas::update).route_layer(may!(Rule::QuotasPut)).route_layer(named("quota_update"))),
        )
        .route("/v1/idempotency-keys/{id}", get(leases::key).route_layer(named("key_get")))
        .route(
            "/v1/os-hosts",
            get(hosts::list)
                .route_layer(named("host_list"))
                .merge(post(hosts::create).route_layer(may!(Rule::OshostsPost)).route_layer(named("host_create"))),
        )
        .route("/v1/os-hosts/allocations", get(hosts::allocations).route_layer(named("allocation_list")))
        .route("/v1/os-hosts/downtimes", get(downtimes::of_all).route_layer(named("downtime_list_all")))
        .route(
            "/v1/os-hosts/{id}",
            get(hosts::show)
                .route_layer(named("host_get"))
                .merge(put(hosts::update).route_layer(may!(Rule::OshostsPut)).route_layer(named("host_update")))
                .merge(delete(hosts::delete).route_layer(named("host_delete"))),
        )
        .route("/v1/os-hosts/{id}/downtimes", get(downtimes::list).route_layer(named("downtime_list")))
        .route(
            "/v1/os-hosts/{id}/downtimes/{downtime_id}",
            put(downtimes::update)
                .route_layer(may!(Rule::OshostsPut))
                .route_layer(named("downtime_set"))
                .merge(delete(downtimes::delete).route_layer(named("downtime_drop"))),
        )
        .route(
            "/v1/os-hosts/{id}/upgrade",
            put(downtimes::upgrade)
                .route_layer(may!(Rule::OshostsPut))
                .route_layer(named("upgrade_set"))
                .merge(delete(downtimes::drop_upgrade).route_layer(named("upgrade_drop"))),
        )
        .route("/v1/os-hosts/{id}/allocation", get(hosts::allocation).route_layer(named("allocation_get")))
        .merge(not_yet())
        .route_layer(from_fn(gate::versioned));
    served
        .route("/", get(versions))
        .route("/versions", get(versions))
        .fallback(|| async { Refused::Framework(StatusCode::NOT_FOUND, NOT_FOUND.to_owned()) })
        .method_not_allowed_fallback(|| async {
            Refused::Framework(StatusCode::METHOD_NOT_ALLOWED, METHOD_NOT_ALLOWED.to_owned())
        })
        .layer(from_fn_with_state(rest.clone(), gate::enter))
        .with_state(rest)
}

/// The rest of Blazar's API, so that nobody takes its absence for a typing error.
fn not_yet() -> Router<Rest> {
    let refuse = || -> MethodRouter<Rest> {
        any(|method: Method, uri: Uri| async move {
            let text = format!("{method} {} is not implemented by this version of Leasehold", uri.path());
            Refused::from(Problem::not_implemented(text))
        })
        // `any` has no route of its own, so a `route_layer` would find nothing to wrap.
        .layer(named("not_implemented"))
    };
    ["/v1/plugins", "/v1/floatingips", "/v1/floatingips/{id}", "/v1/os-hosts/properties", "/v1/os-hosts/properties/{name}"]
        .into_iter()
        .fold(Router::new(), |router, path| router.route(path, refuse()))
}

/// Names the operation on the answer, for the metrics.
fn named(operation: &'static str) -> MapResponseLayer<impl FnMut(Response) -> Response + Clone + Send + Sync + 'static> {
    MapResponseLayer::new(move |mut response: Response| {
        response.extensions_mut().insert(Operation(operation));
        response
    })
}

/// `GET /` and `GET /versions` (blazar-api §2). `/v2` is not served.
async fn versions(State(rest): State<Rest>, headers: HeaderMap) -> Response {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    let mut response = answer::json_response(
        StatusCode::MULTIPLE_CHOICES,
        &json!({"versions": [{
            "id": "v1.0",
            "status": "CURRENT",
            "links": [{"href": format!("{}://{host}/v1", rest.scheme), "rel": "self"}],
            "min_version": Microversion::MIN,
            "max_version": Microversion::MAX,
        }]}),
    );
    response.extensions_mut().insert(Operation("versions"));
    response.extensions_mut().insert(answer::Ending("ok"));
    response
}

/// The path without Blazar's optional `.json` suffix.
pub fn without_json(uri: &Uri) -> Option<Uri> {
    let stem = uri.path().strip_suffix(".json").filter(|stem| stem.starts_with("/v1/") && !stem.ends_with('/'))?;
    let text = match uri.query() {
        Some(query) => format!("{stem}?{query}"),
        None => stem.to_owned(),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(text).ok()?);
    Uri::from_parts(parts).ok()
}
