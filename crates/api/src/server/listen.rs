//! Accepting connections: at most so many, each with a limit on how long its request head may take.
//! Only transport; what is answered is the router's.

use super::router;
use crate::access::Access;
use crate::operations::Operations;
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Most connections at once; further ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 256;
/// Longest time for a request's head to arrive; also how long an idle connection is kept.
const HEAD_WAIT_MAX: Duration = Duration::from_secs(10);
/// Rest after a failed accept (out of file descriptors), so that the loop does not spin.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// Serves the API on this listener until `shutdown` is over; then open connections are cut.
pub async fn serve<O: Operations>(
    listener: TcpListener,
    operations: Arc<O>,
    access: Access,
    shutdown: impl Future<Output = ()> + Send,
) {
    accept(listener, router(operations, access), shutdown).await;
}

/// Serves these routes on this listener until `shutdown` is over; then open connections are cut.
pub(super) async fn accept(listener: TcpListener, router: Router, shutdown: impl Future<Output = ()> + Send) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        while connections.try_join_next().is_some() {}
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (listener.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            () = &mut shutdown => return,
            next = next => next,
        };
        match accepted {
            Ok((stream, _)) => {
                let router = router.clone();
                connections.spawn(async move {
                    connection(stream, router).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the HTTP port could not accept a connection");
                tokio::time::sleep(ACCEPT_REST).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, router: Router) {
    let _ = stream.set_nodelay(true);
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WAIT_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "an HTTP connection ended early");
    }
}
