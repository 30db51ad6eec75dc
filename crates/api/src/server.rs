//! The HTTP server of an agent: routes to `Operations`, with limits on time, size and number.
//! The agent runs it; it holds no state of its own and decides nothing but who is let in.

mod commands;
mod listen;
mod metrics;
mod reads;

pub use listen::serve;
pub use metrics::serve_metrics;

use crate::access::Access;
use crate::console;
use crate::error::{ApiError, ErrorBody, Kind};
use crate::health::Check;
use crate::operations::Operations;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use std::sync::Arc;

/// Longest body that is read, in bytes: a whole specification from an editor fits many times.
const BODY_BYTES_MAX: usize = 256 * 1024;

/// What every handler gets.
pub(crate) struct Shared<O> {
    pub(crate) operations: Arc<O>,
    pub(crate) access: Access,
}

/// The routes of an agent.
pub fn router<O: Operations>(operations: Arc<O>, access: Access) -> Router {
    let shared = Arc::new(Shared { operations, access });
    let mut router = Router::new()
        .route("/", get(reads::console::<O>))
        .route("/console/{file}", get(reads::console_file))
        .route("/metrics", get(reads::metrics::<O>))
        .route("/openapi.json", get(reads::openapi))
        .route("/v1/cluster", get(reads::cluster::<O>))
        .route("/v1/events", get(reads::events::<O>))
        .route("/v1/history", get(reads::history::<O>))
        .route("/v1/journal", get(reads::journal::<O>))
        .route("/v1/explain", get(reads::explain::<O>))
        .route("/v1/what-if", get(reads::what_if::<O>))
        .route("/v1/config", get(reads::config::<O>).post(commands::config_set::<O>))
        .route("/v1/config/history", get(reads::config_history::<O>))
        .route("/v1/config/undo", post(commands::config_undo::<O>))
        .route("/v1/store", get(reads::store_status::<O>))
        .route("/v1/store/add", post(commands::store_add::<O>))
        .route("/v1/store/remove", post(commands::store_remove::<O>))
        .route("/v1/store/snapshot", post(commands::store_snapshot::<O>))
        .route("/v1/proxies", get(reads::proxies::<O>))
        .route("/v1/alerts", get(reads::alerts::<O>))
        .route("/v1/alerts/test", post(commands::alerts_test::<O>))
        .route("/v1/alerts/silence", post(commands::alerts_silence::<O>))
        .route("/v1/alerts/unsilence", post(commands::alerts_unsilence::<O>))
        .route("/v1/alerts/ack", post(commands::alerts_ack::<O>))
        .route("/v1/switchover", post(commands::switchover::<O>))
        .route("/v1/failover", post(commands::failover::<O>))
        .route("/v1/restart", post(commands::restart::<O>))
        .route("/v1/reinit", post(commands::reinit::<O>))
        .route("/v1/pause", post(commands::pause::<O>))
        .route("/v1/resume", post(commands::resume::<O>));
    for (path, check) in Check::PATHS {
        let handler = move |State(shared): State<Arc<Shared<O>>>, request: Request| async move {
            reads::check(&shared, check, &request)
        };
        router = router.route(path, get(handler).options(handler));
    }
    router
        .fallback(nothing_here)
        .method_not_allowed_fallback(wrong_method)
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&shared), let_in::<O>))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(shared)
}

/// How long a browser may go by what it was told of another origin's rights.
const PREFLIGHT_LASTS_S: &str = "600";

/// Lets a request through, or answers why not, before its body is read; guards the answer.
async fn let_in<O: Operations>(State(shared): State<Arc<Shared<O>>>, request: Request, next: Next) -> Response {
    let page = page_of_a_member(&shared, request.headers());
    let mut response = match allowed(&shared, &request) {
        Ok(()) if page.is_some() && is_preflight(&request) => preflight(),
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    };
    console::guard(response.headers_mut());
    if let Some(page) = page {
        response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, page);
        response.headers_mut().append(header::VARY, HeaderValue::from_static("Origin"));
    }
    response
}

fn allowed<O: Operations>(shared: &Shared<O>, request: &Request) -> Result<(), ApiError> {
    let (headers, path) = (request.headers(), request.uri().path());
    let authorization = text(headers, header::AUTHORIZATION);
    let health_check = Check::PATHS.iter().any(|(known, _)| *known == path);
    // load balancers and scrapers come by any name, and a page that rebinds one to this host learns little from these
    if !health_check && path != "/metrics" {
        let member = |name: &str| {
            let members = shared.operations.cluster().members;
            members.iter().any(|m| m.host.as_deref().is_some_and(|host| host.eq_ignore_ascii_case(name)))
        };
        shared.access.host(text(headers, header::HOST), member)?;
    }
    // who has no token yet must be able to load the page that asks for it
    let page = path == "/" || path.starts_with("/console/");
    match *request.method() {
        _ if health_check => Ok(()),
        Method::GET | Method::HEAD if page => Ok(()),
        Method::OPTIONS if is_preflight(request) => Ok(()),
        Method::GET | Method::HEAD | Method::OPTIONS => shared.access.read(authorization),
        _ => shared.access.act(authorization),
    }
}

/// The origin of this request if it is a page that another member served: it may read our answers when its own agent is gone.
/// The token goes in a header that no browser adds by itself, so this lets nobody act who could not.
fn page_of_a_member<O: Operations>(shared: &Shared<O>, headers: &HeaderMap) -> Option<HeaderValue> {
    let given = headers.get(header::ORIGIN)?;
    let members = shared.operations.cluster().members;
    members
        .iter()
        .filter_map(console::origin)
        .any(|origin| origin.as_bytes() == given.as_bytes())
        .then(|| given.clone())
}

/// A browser asks whether it may ask.
fn is_preflight(request: &Request) -> bool {
    *request.method() == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

fn preflight() -> Response {
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type"),
        (header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_LASTS_S),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

async fn nothing_here(request: Request) -> Response {
    no_such_path(request.uri().path())
}

fn no_such_path(path: &str) -> Response {
    let path: String = path.chars().take(200).collect();
    ApiError::new(Kind::NotFound, "no_such_path", format!("there is nothing at {path}"), "see GET /openapi.json")
        .into_response()
}

async fn wrong_method(request: Request) -> Response {
    let text = format!("{} is not taken here", request.method());
    let body = ErrorBody { error: ApiError::usage("wrong_method", text, "see GET /openapi.json") };
    (StatusCode::METHOD_NOT_ALLOWED, axum::Json(body)).into_response()
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = axum::Json(ErrorBody { error: self });
        if status == StatusCode::UNAUTHORIZED {
            return (status, [(header::WWW_AUTHENTICATE, "Bearer")], body).into_response();
        }
        (status, body).into_response()
    }
}
