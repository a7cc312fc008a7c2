//! gRPC by `tonic` over loopback TCP, between two threads.
//!
//! The service is written by hand, so that no protocol compiler is needed.

use crate::ring::clock::{Laps, nanos_between};
use crate::ring::patience::STALL_LIMIT;
use crate::ring::{Job, Measure, Payload, PeerError, Publication, Sample, Source, Tally, threads};
use prost::bytes::Bytes;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::{BoxFuture, Service, http, tokio_stream::iter};
use tonic::server::{ClientStreamingService, NamedService, UnaryService};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

/// Calls under way at once in the throughput of unary calls.
const IN_FLIGHT: usize = 256;
/// Messages of a stream between two looks at the clock.
const LOOK_EVERY: u64 = 64;
/// Bytes that a peer may send unasked, per stream and per connection.
const WINDOW_BYTES: u32 = 4 << 20;

const CALL: &str = "/phalanx.Bench/Call";
const STREAM: &str = "/phalanx.Bench/Stream";

/// A message; the answer to a call is the same message, that to a stream an empty one.
#[derive(Clone, PartialEq, prost::Message)]
struct Blob {
    #[prost(bytes = "bytes", tag = "1")]
    data: Bytes,
}

type Arrivals = Arc<Mutex<Tally>>;

/// Where messages come from, of any size: what follows is compiled once for all sizes.
type Blobs = Box<dyn FnMut() -> Blob + Send>;

/// Measures calls or streams.
///
/// # Errors
/// When the connection cannot be had or breaks, or takes too long.
pub fn run(job: &Job) -> Result<Sample, PeerError> {
    let blobs = match job.payload {
        Payload::B16 => blobs::<2>(),
        Payload::B64 => blobs::<8>(),
        Payload::B256 => blobs::<32>(),
        Payload::B4096 => blobs::<512>(),
    };
    let (address, addresses) = sync_channel(1);
    let (stop, stopped) = oneshot::channel();
    threads::both(
        job,
        move || bounded(job, ask(job, blobs, addresses, stop)).map(Some),
        move || bounded(job, serve(words(job), address, stopped)).map(|()| None),
    )
}

fn blobs<const W: usize>() -> Blobs {
    let mut source = Source::<W>::new();
    Box::new(move || {
        let data = Bytes::copy_from_slice(bytemuck::bytes_of(source.message()));
        source.advance();
        Blob { data }
    })
}

/// Words of a message.
fn words(job: &Job) -> usize {
    job.payload.bytes() / 8
}

/// Runs an end in a runtime of its own, for as long as it may take.
fn bounded<A>(job: &Job, end: impl Future<Output = Result<A, PeerError>>) -> Result<A, PeerError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(PeerError::refused("make a runtime"))?;
    let limit = job.duration() + STALL_LIMIT;
    let stalled = |_| PeerError::Stalled { what: "the end of the calls", limit_ms: limit.as_millis() };
    runtime.block_on(async { timeout(limit, end).await.map_err(stalled)? })
}

async fn serve(
    words: usize,
    address: SyncSender<SocketAddr>,
    stopped: oneshot::Receiver<()>,
) -> Result<(), PeerError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(PeerError::refused("listen"))?;
    let own = listener.local_addr().map_err(PeerError::refused("listen"))?;
    // The server's own switch has no effect on sockets that it is handed.
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    address.send(own).map_err(PeerError::refused("tell the address"))?;
    let arrivals = Arrivals::default();
    Server::builder()
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .add_service(Bench(Arc::clone(&arrivals)))
        .serve_with_incoming_shutdown(incoming, async { drop(stopped.await) })
        .await
        .map_err(PeerError::refused("serve"))?;
    let tally = arrivals.lock().unwrap_or_else(PoisonError::into_inner);
    tally.verify_unordered(words)
}

async fn ask(
    job: &Job,
    blobs: Blobs,
    addresses: Receiver<SocketAddr>,
    stop: oneshot::Sender<()>,
) -> Result<Sample, PeerError> {
    let address = addresses.recv_timeout(STALL_LIMIT).map_err(PeerError::refused("hear the address"))?;
    let endpoint =
        Endpoint::from_shared(format!("http://{address}")).map_err(PeerError::refused("name the server"))?;
    let channel = endpoint
        .tcp_nodelay(true)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .connect()
        .await
        .map_err(PeerError::refused("connect"))?;
    let client = Grpc::new(channel);
    let sample = match (job.measure, job.publication) {
        (Measure::Throughput, Publication::Single) => call_many(client, job, blobs).await,
        (Measure::Throughput, Publication::Batched) => stream(client, job.duration(), blobs).await,
        (Measure::RoundTrip, _) => call_in_turn(client, job, blobs).await,
        (Measure::Wake, _) => Err(PeerError::Unsupported("its receiver always sleeps; see its round trip")),
    };
    // Whoever waits for it may be gone already, with an error of its own.
    let _ = stop.send(());
    sample
}

async fn call(mut client: Grpc<Channel>, blob: Blob) -> Result<Blob, PeerError> {
    client.ready().await.map_err(PeerError::refused("call"))?;
    let answer = client.unary(
        Request::new(blob),
        PathAndQuery::from_static(CALL),
        ProstCodec::<Blob, Blob>::default(),
    );
    answer.await.map(Response::into_inner).map_err(PeerError::refused("call"))
}

/// Keeps so many calls under way; they start in order on one connection.
async fn call_many(client: Grpc<Channel>, job: &Job, mut blobs: Blobs) -> Result<Sample, PeerError> {
    let mut answers = Tally::default();
    let mut calls = VecDeque::with_capacity(IN_FLIGHT);
    let begun = Instant::now();
    loop {
        while calls.len() < IN_FLIGHT && begun.elapsed() < job.duration() {
            calls.push_back(tokio::spawn(call(client.clone(), blobs())));
        }
        let Some(oldest) = calls.pop_front() else { break };
        let answer = oldest.await.map_err(PeerError::refused("call"))??;
        answers.note_unordered(&answer.data);
    }
    let nanos = nanos_between(begun, Instant::now());
    answers.verify_unordered(words(job))?;
    Ok(Sample::Rate { messages: answers.messages(), nanos })
}

async fn call_in_turn(client: Grpc<Channel>, job: &Job, mut blobs: Blobs) -> Result<Sample, PeerError> {
    let mut answers = Tally::default();
    let mut laps = Laps::begin(job.duration());
    loop {
        let answer = call(client.clone(), blobs()).await?;
        answers.note_unordered(&answer.data);
        if !laps.lap() {
            break;
        }
    }
    answers.verify_unordered(words(job))?;
    laps.summary()
}

async fn stream(
    mut client: Grpc<Channel>,
    duration: Duration,
    mut blobs: Blobs,
) -> Result<Sample, PeerError> {
    let mut sent = 0_u64;
    let begun = Instant::now();
    let messages = std::iter::from_fn(move || {
        sent += 1;
        let go_on = !sent.is_multiple_of(LOOK_EVERY) || begun.elapsed() < duration;
        go_on.then(&mut blobs)
    });
    client.ready().await.map_err(PeerError::refused("stream"))?;
    let answer = client
        .client_streaming(
            Request::new(iter(messages)),
            PathAndQuery::from_static(STREAM),
            ProstCodec::<Blob, Blob>::default(),
        )
        .await
        .map_err(PeerError::refused("stream"))?;
    let nanos = nanos_between(begun, Instant::now());
    let count = answer.into_inner().data.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes));
    let messages = count.ok_or(PeerError::Unsupported("the server did not tell what it received"))?;
    Ok(Sample::Rate { messages, nanos })
}

/// The service.
#[derive(Clone, Debug)]
struct Bench(Arrivals);

impl Bench {
    fn note(&self, blob: &Blob) -> u64 {
        let mut tally = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tally.note_unordered(&blob.data);
        tally.messages()
    }
}

impl NamedService for Bench {
    const NAME: &'static str = "phalanx.Bench";
}

impl Service<http::Request<Body>> for Bench {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(ProstCodec::<Blob, Blob>::default());
            match request.uri().path() {
                CALL => Ok(grpc.unary(service, request).await),
                STREAM => Ok(grpc.client_streaming(service, request).await),
                _ => Ok(Status::unimplemented("no such method").into_http()),
            }
        })
    }
}

impl UnaryService<Blob> for Bench {
    type Response = Blob;
    type Future = std::future::Ready<Result<Response<Blob>, Status>>;

    fn call(&mut self, request: Request<Blob>) -> Self::Future {
        let blob = request.into_inner();
        self.note(&blob);
        std::future::ready(Ok(Response::new(blob)))
    }
}

impl ClientStreamingService<Blob> for Bench {
    type Response = Blob;
    type Future = BoxFuture<Response<Blob>, Status>;

    fn call(&mut self, request: Request<Streaming<Blob>>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            let mut blobs = request.into_inner();
            let mut received = 0;
            while let Some(blob) = blobs.message().await? {
                received = service.note(&blob);
            }
            Ok(Response::new(Blob { data: Bytes::copy_from_slice(&received.to_le_bytes()) }))
        })
    }
}
