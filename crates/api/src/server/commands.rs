//! POSTs: the operator's commands. The answer comes when the thing is done; a caller that asks for
//! `application/x-ndjson` gets progress lines until then. A command goes on when its caller goes away.

use super::Shared;
use crate::dto::{self, Line, NoArguments};
use crate::error::{ApiError, ErrorBody};
use crate::operations::{Answer, Operations, Progress};
use crate::request;
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

type Ask<O> = State<Arc<Shared<O>>>;
type Sent = Result<Bytes, BytesRejection>;

macro_rules! command {
    ($name:ident, $request:ty, |$operations:ident, $body:ident, $progress:ident| $call:expr) => {
        pub(super) async fn $name<O: Operations>(State(shared): Ask<O>, headers: HeaderMap, bytes: Sent) -> Response {
            run::<$request, _, _, _>(&headers, bytes, move |$body, $progress| async move {
                let $operations = &shared.operations;
                $call.await
            })
            .await
        }
    };
}

command!(switchover, dto::SwitchoverRequest, |operations, body, progress| operations.switchover(body, progress));
command!(failover, dto::FailoverRequest, |operations, body, progress| operations.failover(body, progress));
command!(restart, dto::RestartRequest, |operations, body, progress| operations.restart(body, progress));
command!(reinit, dto::ReinitRequest, |operations, body, progress| operations.reinit(body, progress));
command!(pause, NoArguments, |operations, _body, _progress| operations.pause());
command!(resume, NoArguments, |operations, _body, _progress| operations.resume());
command!(config_set, dto::ConfigSetRequest, |operations, body, progress| operations.config_set(body, progress));
command!(config_undo, NoArguments, |operations, _body, progress| operations.config_undo(progress));
command!(store_add, dto::StoreMemberRequest, |operations, body, _progress| operations.store_add(body));
command!(store_remove, dto::StoreMemberRequest, |operations, body, _progress| operations.store_remove(body));
command!(store_snapshot, NoArguments, |operations, _body, _progress| operations.store_snapshot());
command!(alerts_test, NoArguments, |operations, _body, _progress| operations.alerts_test());
command!(alerts_silence, dto::SilenceRequest, |operations, body, _progress| operations.alerts_silence(body));
command!(alerts_unsilence, dto::UnsilenceRequest, |operations, body, _progress| operations.alerts_unsilence(body));
command!(alerts_ack, dto::AcknowledgeRequest, |operations, body, _progress| operations.alerts_ack(body));

async fn run<R, T, F, Fut>(headers: &HeaderMap, bytes: Sent, command: F) -> Response
where
    R: DeserializeOwned + Send + 'static,
    T: Serialize + Send + 'static,
    F: FnOnce(R, Progress) -> Fut,
    Fut: Future<Output = Answer<T>> + Send + 'static,
{
    let bytes = match bytes {
        Ok(bytes) => bytes,
        Err(rejection) => {
            let error = ApiError::usage("unreadable_body", rejection.body_text(), "see GET /openapi.json");
            return (rejection.status(), Json(ErrorBody { error })).into_response();
        }
    };
    let body = match request::body::<R>(&bytes) {
        Ok(body) => body,
        Err(error) => return error.into_response(),
    };
    let lines = headers.get(header::ACCEPT).is_some_and(|a| a.as_bytes().starts_with(b"application/x-ndjson"));
    if lines {
        let (progress, said) = Progress::channel();
        return stream_lines(said, tokio::spawn(command(body, progress)));
    }
    match finished(tokio::spawn(command(body, Progress::none()))).await {
        Ok(done) => Json(done).into_response(),
        Err(error) => error.into_response(),
    }
}

async fn finished<T>(task: JoinHandle<Answer<T>>) -> Answer<T> {
    task.await.unwrap_or_else(|_| {
        Err(ApiError::failed("interrupted", "the command was interrupted: its outcome is unknown", "dauphin status"))
    })
}

fn stream_lines<T>(said: mpsc::Receiver<String>, task: JoinHandle<Answer<T>>) -> Response
where
    T: Serialize + Send + 'static,
{
    let lines = stream::unfold((said, Some(task)), |(mut said, task)| async move {
        // progress ends when the command drops its end; then the result is there or about to be
        if let Some(text) = said.recv().await {
            return Some((as_line(&Line::Progress(text)), (said, task)));
        }
        let line = match finished(task?).await {
            Ok(done) => serde_json::to_value(done).map_or_else(|e| Line::Error(unwritable(&e)), Line::Done),
            Err(error) => Line::Error(error),
        };
        Some((as_line(&line), (said, None)))
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}

fn unwritable(error: &serde_json::Error) -> ApiError {
    ApiError::failed("unwritable", format!("done, but the answer cannot be written: {error}"), "dauphin status")
}

fn as_line(line: &Line) -> Result<String, Infallible> {
    let mut text = serde_json::to_string(line).unwrap_or_default();
    text.push('\n');
    Ok(text)
}
