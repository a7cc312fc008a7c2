//! The intake over HTTP: transactions in, what became of them and how the node is out. JSON both ways.
//!
//! Nothing that a client does takes more than its connection: head, body and time of a request are bounded, and so are connections.

mod answer;
mod body;
mod routes;

use crate::node::error::NodeError;
use answer::{Answer, Problem};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::{TokioIo, TokioTimer};
use routes::route;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

pub use answer::is_passing;
pub use routes::Desk;

/// Clients at a time; one more is turned away at once.
const CONNECTIONS_MAX: usize = 256;
/// A client must have sent the head of a request within this time.
const HEAD_LIMIT: Duration = Duration::from_secs(10);
/// A request must be answered within this time, its body included.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);
/// Head of a request.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// After a failed accept (no descriptors are left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The server.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stopping: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Listens from now on.
    ///
    /// # Errors
    /// `Listen` when the address cannot be had.
    pub async fn start(address: SocketAddr, desk: Arc<Desk>) -> Result<Server, NodeError> {
        let failed = |cause| NodeError::Listen { address, cause };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (stopping, stop) = watch::channel(false);
        let task = tokio::spawn(serve(listener, desk, stop));
        Ok(Server { address, stopping, task })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more connections, lets requests under way end, and returns when all connections are closed, or after `limit`.
    pub async fn stop(self, limit: Duration) {
        // The task is gone only if it panicked.
        let _ = self.stopping.send(true);
        let abort = self.task.abort_handle();
        if tokio::time::timeout(limit, self.task).await.is_err() {
            abort.abort();
        }
    }
}

/// Accepts until told to stop; then waits for the connections.
async fn serve(listener: TcpListener, desk: Arc<Desk>, mut stop: watch::Receiver<bool>) {
    let seats = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.changed() => break,
        };
        while connections.try_join_next().is_some() {}
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be taken; see ulimit -n");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(seat) = Arc::clone(&seats).try_acquire_owned() else {
            desk.turned_away();
            continue;
        };
        let (desk, stop) = (Arc::clone(&desk), stop.clone());
        connections.spawn(async move {
            connection(stream, desk, stop).await;
            drop(seat);
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn connection(stream: TcpStream, desk: Arc<Desk>, mut stop: watch::Receiver<bool>) {
    let service = service_fn(|request| answer(request, Arc::clone(&desk)));
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_LIMIT).max_buf_size(HEAD_BYTES_MAX);
    let connection = server.serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        // What it gives back is a lock, which must not be held on.
        _ = async { stop.wait_for(|&stop| stop).await.map(|_| ()) } => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

async fn answer(request: Request<Incoming>, desk: Arc<Desk>) -> Result<Response<Answer>, Infallible> {
    let answered = tokio::time::timeout(REQUEST_LIMIT, route(request, &desk)).await;
    let answered = answered.unwrap_or_else(|_| Err(Problem::TooSlow { limit: REQUEST_LIMIT }));
    Ok(answered.unwrap_or_else(|problem| problem.response()))
}
