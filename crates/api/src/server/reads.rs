//! GETs: what the agent knows, as JSON, OpenMetrics, events or a page. None of them changes anything.

use super::Shared;
use crate::console;
use crate::dto::Event as Change;
use crate::error::ApiError;
use crate::health::Check;
use crate::operations::{Answer, Operations};
use crate::request::{byte_count, suppose};
use axum::Json;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream};
use serde::Serialize;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;

/// Longest wait for the store or another member behind a GET.
const READ_WAIT_MAX: Duration = Duration::from_secs(5);
/// Entries of the journal in one answer when the caller does not say.
const JOURNAL_PAGE: usize = 200;
/// Most entries of the journal in one answer.
const JOURNAL_PAGE_MAX: usize = 2_000;
/// How often a silent event stream says that it lives: pages take two missing signs for the agent's end.
const KEEP_ALIVE: Duration = Duration::from_secs(2);

type Ask<O> = State<Arc<Shared<O>>>;
type Parameters = Query<BTreeMap<String, String>>;

async fn answer<T: Serialize>(asked: impl Future<Output = Answer<T>> + Send) -> Response {
    match tokio::time::timeout(READ_WAIT_MAX, asked).await {
        Ok(Ok(document)) => Json(document).into_response(),
        Ok(Err(error)) => error.into_response(),
        Err(_) => {
            let text = format!("no answer from the cluster's store within {} s", READ_WAIT_MAX.as_secs());
            ApiError::unavailable("timeout", text, "dauphin status").into_response()
        }
    }
}

fn number(parameters: &BTreeMap<String, String>, name: &str) -> Result<Option<u64>, ApiError> {
    let Some(text) = parameters.get(name) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| {
        let shown: String = text.chars().take(40).collect();
        ApiError::usage("bad_parameter", format!("`{name}` is a whole number, not {shown:?}"), "see GET /openapi.json")
    })
}

/// The page; what it may ask is in its policy.
pub(super) async fn console<O: Operations>(State(shared): Ask<O>, headers: HeaderMap) -> Response {
    let policy = console::policy(&shared.operations.cluster().members);
    console::answer("/", &headers, Some(policy)).unwrap_or_else(|| super::no_such_path("/"))
}

/// What the page consists of.
pub(super) async fn console_file(uri: Uri, headers: HeaderMap) -> Response {
    console::answer(uri.path(), &headers, None).unwrap_or_else(|| super::no_such_path(uri.path()))
}

pub(super) async fn metrics<O: Operations>(State(shared): Ask<O>) -> Response {
    ([(header::CONTENT_TYPE, super::metrics::KIND)], shared.operations.metrics_text()).into_response()
}

pub(super) async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], crate::OPENAPI).into_response()
}

pub(super) async fn cluster<O: Operations>(State(shared): Ask<O>) -> Response {
    Json(shared.operations.cluster()).into_response()
}

pub(super) async fn history<O: Operations>(State(shared): Ask<O>) -> Response {
    answer(shared.operations.history()).await
}

pub(super) async fn journal<O: Operations>(State(shared): Ask<O>, Query(parameters): Parameters) -> Response {
    let asked = number(&parameters, "after").and_then(|after| Ok((after, number(&parameters, "limit")?)));
    match asked {
        Ok((after, limit)) => {
            let limit = limit.map_or(JOURNAL_PAGE, |n| usize::try_from(n).unwrap_or(usize::MAX)).min(JOURNAL_PAGE_MAX);
            answer(shared.operations.journal(after, limit)).await
        }
        Err(error) => error.into_response(),
    }
}

pub(super) async fn explain<O: Operations>(State(shared): Ask<O>, Query(parameters): Parameters) -> Response {
    match (number(&parameters, "id"), parameters.get("member")) {
        (Ok(None), Some(member)) => answer(shared.operations.explain_member(member.clone())).await,
        (Ok(Some(_)), Some(_)) => {
            let text = "`id` and `member` ask different things";
            ApiError::usage("two_questions", text, "ask for one of them").into_response()
        }
        (Ok(id), None) => answer(shared.operations.explain(id)).await,
        (Err(error), _) => error.into_response(),
    }
}

pub(super) async fn what_if<O: Operations>(State(shared): Ask<O>, Query(parameters): Parameters) -> Response {
    match suppose(&parameters) {
        Ok(suppose) => answer(shared.operations.what_if(suppose)).await,
        Err(error) => error.into_response(),
    }
}

pub(super) async fn config<O: Operations>(State(shared): Ask<O>) -> Response {
    answer(shared.operations.config()).await
}

pub(super) async fn config_history<O: Operations>(State(shared): Ask<O>) -> Response {
    answer(shared.operations.config_history()).await
}

pub(super) async fn store_status<O: Operations>(State(shared): Ask<O>) -> Response {
    answer(shared.operations.store_status()).await
}

pub(super) async fn proxies<O: Operations>(State(shared): Ask<O>) -> Response {
    answer(shared.operations.proxies()).await
}

pub(super) async fn alerts<O: Operations>(State(shared): Ask<O>) -> Response {
    answer(shared.operations.alerts()).await
}

pub(super) async fn events<O: Operations>(
    State(shared): Ask<O>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>> + Send> {
    let receiver = shared.operations.events();
    let first = as_event("cluster", &shared.operations.cluster());
    let rest = stream::unfold((receiver, shared), |(mut receiver, shared)| async move {
        let event = match receiver.recv().await {
            // as `GET /v1/cluster` says it: who tells of a change does not know of votes in the store
            Ok(Change { kind, .. }) if kind == "cluster" => as_event(&kind, &shared.operations.cluster()),
            Ok(Change { kind, data }) => as_event(&kind, &data),
            // the reader was too slow for single changes: it gets the whole again
            Err(RecvError::Lagged(_)) => as_event("cluster", &shared.operations.cluster()),
            Err(RecvError::Closed) => return None,
        };
        Some((Ok(event), (receiver, shared)))
    });
    let all = stream::StreamExt::chain(stream::once(async { Ok(first) }), rest);
    Sse::new(all).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

fn as_event<T: Serialize>(kind: &str, data: &T) -> Event {
    let text = serde_json::to_string(data).unwrap_or_else(|_| "null".to_owned());
    let kind: String = kind.chars().filter(|c| !c.is_control()).collect();
    Event::default().event(kind).data(text)
}

/// A load balancer's question. HEAD and OPTIONS get the status alone.
pub(super) fn check<O: Operations>(shared: &Shared<O>, check: Check, request: &Request) -> Response {
    let view = shared.operations.health();
    let lag = request.uri().query().and_then(|q| q.split('&').find_map(|p| p.strip_prefix("lag="))).map(byte_count);
    if lag == Some(None) {
        let text = "`lag` is a number of bytes, with or without kB, MB, GB";
        return ApiError::usage("bad_parameter", text, "see GET /openapi.json").into_response();
    }
    let status = if check.passes(&view, lag.flatten()) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    if *request.method() == Method::OPTIONS {
        return status.into_response();
    }
    (status, Json(view)).into_response()
}
