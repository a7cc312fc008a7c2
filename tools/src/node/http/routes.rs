//! What is where.

use crate::node::book::{End, Known};
use crate::node::health::HealthDesk;
use crate::node::http::answer::{Answer, Problem, json_response};
use crate::node::http::body;
use crate::node::intake::{Intake, Refused, Taken};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use phalanx::quorum_store::{TxnHash, TxnOutcome};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Whom requests are brought to.
#[derive(Debug)]
pub struct Desk {
    intake: Arc<Intake>,
    health: Arc<HealthDesk>,
    turned_away: AtomicU64,
}

impl Desk {
    /// Brings transactions to `intake` and questions to `health`.
    pub fn new(intake: Arc<Intake>, health: Arc<HealthDesk>) -> Desk {
        Desk { intake, health, turned_away: AtomicU64::new(0) }
    }

    /// A client found no seat.
    pub fn turned_away(&self) {
        self.turned_away.fetch_add(1, Ordering::Relaxed);
    }
}

/// Answers a request.
///
/// # Errors
/// [`Problem`].
pub async fn route(request: Request<Incoming>, desk: &Desk) -> Result<Response<Answer>, Problem> {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    let only = |allowed: Method, text: &'static str| {
        if head.method == allowed {
            Ok(())
        } else {
            Err(Problem::Method { method: head.method.to_string(), allowed: text })
        }
    };
    if path == "/transactions" {
        only(Method::POST, "POST")?;
        return submit(desk, body::transaction(&head.headers, body).await?);
    }
    if let Some(hash) = path.strip_prefix("/transactions/") {
        only(Method::GET, "GET")?;
        return status(desk, hash);
    }
    if path == "/health" {
        only(Method::GET, "GET")?;
        return Ok(health(desk));
    }
    Err(Problem::NoSuchPath { path: path.chars().take(100).collect() })
}

fn submit(desk: &Desk, bytes: Vec<u8>) -> Result<Response<Answer>, Problem> {
    let (hash, known) = match desk.intake.submit(bytes).map_err(problem)? {
        Taken::New(hash) => (hash, Known::Open),
        Taken::Before(hash, known) => (hash, known),
    };
    Ok(json_response(StatusCode::ACCEPTED, &status_object(&hash, known)))
}

fn problem(refused: Refused) -> Problem {
    match refused {
        Refused::NoTransaction(cause) => Problem::Malformed { what: cause.to_string() },
        Refused::WrongChain { given, own } => Problem::WrongChain { given, own },
        Refused::BadSignature => Problem::BadSignature,
        Refused::ByMempool(refusal) => Problem::Refused { refusal },
        Refused::Stopping => Problem::Stopping,
    }
}

fn status(desk: &Desk, text: &str) -> Result<Response<Answer>, Problem> {
    let no_hash = || Problem::NoHash { given: text.chars().take(100).collect() };
    let bytes = body::from_hex(text).ok_or_else(no_hash)?;
    let hash = TxnHash(bytes.try_into().map_err(|_| no_hash())?);
    match desk.intake.look_up(&hash) {
        Some(known) => Ok(json_response(StatusCode::OK, &status_object(&hash, known))),
        None => Err(Problem::Unknown { hash: hash.to_string() }),
    }
}

fn status_object(hash: &TxnHash, known: Known) -> Value {
    let hash = hash.to_string();
    match known {
        Known::Open => json!({"hash": hash, "status": "pending"}),
        Known::Ended(End::Committed { height, status }) => {
            json!({"hash": hash, "status": "committed", "height": height, "outcome": status.name()})
        }
        Known::Ended(End::Rejected { height, status }) => {
            json!({"hash": hash, "status": "rejected", "height": height, "outcome": status.name()})
        }
        Known::Ended(End::Refused { refusal }) => {
            json!({"hash": hash, "status": "rejected", "outcome": refusal.name()})
        }
        Known::Ended(End::Before { height, outcome }) => {
            let (status, outcome) = match outcome {
                TxnOutcome::Success => ("committed", "success"),
                TxnOutcome::Failed => ("committed", "failed"),
                TxnOutcome::WithoutEffect { .. } => ("rejected", "without_effect"),
            };
            json!({"hash": hash, "status": status, "height": height, "outcome": outcome})
        }
        Known::Ended(End::Expired) => json!({"hash": hash, "status": "expired"}),
    }
}

/// 200 if all is well, 503 if not: load balancers look at nothing else.
fn health(desk: &Desk) -> Response<Answer> {
    let mut health = desk.health.now();
    health.connections_turned_away = desk.turned_away.load(Ordering::Relaxed);
    let status = if health.is_well() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json_response(status, &health)
}
