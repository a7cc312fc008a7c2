//! What clients are answered: JSON, also when something is wrong.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use phalanx::quorum_store::Refusal;
use serde::Serialize;
use serde_json::json;
use std::time::Duration;
use thiserror::Error;

/// The body of an answer.
pub type Answer = Full<Bytes>;

/// Why a request was not done.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Problem {
    /// No such place.
    #[error(
        "there is nothing at {path}; POST /transactions, GET /transactions/<hash> and GET /health are there"
    )]
    NoSuchPath {
        /// Where.
        path: String,
    },
    /// The wrong verb.
    #[error("{method} is not possible here; {allowed} is")]
    Method {
        /// What was tried.
        method: String,
        /// What is possible.
        allowed: &'static str,
    },
    /// Neither JSON nor bytes.
    #[error("send a transaction as application/json or application/octet-stream, not as {given}")]
    MediaType {
        /// What it said.
        given: String,
    },
    /// The body is too long.
    #[error("the body is longer than {limit} bytes")]
    TooLong {
        /// The most.
        limit: usize,
    },
    /// The body does not come.
    #[error("the request was not complete within {} s", limit.as_secs())]
    TooSlow {
        /// The most time.
        limit: Duration,
    },
    /// The body is not what it says.
    #[error("{what}")]
    Malformed {
        /// What is wrong with it.
        what: String,
    },
    /// Not a hash.
    #[error("{given:?} is no hash of a transaction; give 64 hexadecimal digits")]
    NoHash {
        /// What was given.
        given: String,
    },
    /// Nothing is known of it.
    #[error("transaction {hash} was not submitted here, or so long ago that its end is forgotten")]
    Unknown {
        /// Which.
        hash: String,
    },
    /// Another ledger's transaction.
    #[error("the transaction is for chain {given}, this is chain {own}")]
    WrongChain {
        /// The transaction's.
        given: u32,
        /// The ledger's.
        own: u32,
    },
    /// A forged transaction.
    #[error("the signature is not the sender's")]
    BadSignature,
    /// The mempool does not take it.
    #[error("the mempool refuses the transaction: {}", sentence(*refusal))]
    Refused {
        /// Why.
        refusal: Refusal,
    },
    /// The node ends.
    #[error("the node is stopping and takes no more transactions")]
    Stopping,
}

/// What a client does about a refusal.
#[allow(
    clippy::wildcard_enum_match_arm,
    reason = "for all other refusals there is nothing to do, also those to come"
)]
fn sentence(refusal: Refusal) -> String {
    let name = refusal.name().replace('_', " ");
    let next = match refusal {
        Refusal::Underpriced => "; another one with its sequence number waits, offer a higher gas price",
        Refusal::Expired => "; sign it again with a later expiration",
        Refusal::SequenceTooOld => "; sign it again with the account's next sequence number",
        Refusal::SequenceTooFar | Refusal::SenderFull => {
            "; wait until earlier ones of the sender are committed"
        }
        _ if is_passing(refusal) => "; try again in a second",
        _ => "",
    };
    format!("{name}{next}")
}

/// Whether the same transaction may be taken a moment later. All other refusals are final.
pub fn is_passing(refusal: Refusal) -> bool {
    matches!(
        refusal,
        Refusal::MempoolFull
            | Refusal::SenderFull
            | Refusal::SequenceTooFar
            | Refusal::MailboxFull
            | Refusal::MailboxClosed
            | Refusal::Storage
    )
}

impl Problem {
    /// Status line and name in one word.
    fn kind(&self) -> (StatusCode, &'static str) {
        match self {
            Problem::NoSuchPath { .. } => (StatusCode::NOT_FOUND, "no_such_path"),
            Problem::Method { .. } => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Problem::MediaType { .. } => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type"),
            Problem::TooLong { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too_long"),
            Problem::TooSlow { .. } => (StatusCode::REQUEST_TIMEOUT, "too_slow"),
            Problem::Malformed { .. } => (StatusCode::BAD_REQUEST, "malformed"),
            Problem::NoHash { .. } => (StatusCode::BAD_REQUEST, "no_hash"),
            Problem::Unknown { .. } => (StatusCode::NOT_FOUND, "unknown_transaction"),
            Problem::WrongChain { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "wrong_chain"),
            Problem::BadSignature => (StatusCode::UNPROCESSABLE_ENTITY, "bad_signature"),
            Problem::Refused { refusal } if is_passing(*refusal) => {
                (StatusCode::SERVICE_UNAVAILABLE, refusal.name())
            }
            Problem::Refused { refusal } => (StatusCode::UNPROCESSABLE_ENTITY, refusal.name()),
            Problem::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
        }
    }

    /// What the client gets.
    pub fn response(&self) -> Response<Answer> {
        let (status, code) = self.kind();
        let mut response =
            json_response(status, &json!({"error": {"code": code, "message": self.to_string()}}));
        let headers = response.headers_mut();
        match self {
            Problem::Method { allowed, .. } => {
                headers.insert(ALLOW, HeaderValue::from_static(allowed));
            }
            // What is left of the body is not read.
            Problem::TooLong { .. } | Problem::TooSlow { .. } => {
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Problem::Refused { .. } | Problem::Stopping if status == StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            Problem::NoSuchPath { .. }
            | Problem::MediaType { .. }
            | Problem::Malformed { .. }
            | Problem::NoHash { .. }
            | Problem::Unknown { .. }
            | Problem::WrongChain { .. }
            | Problem::BadSignature
            | Problem::Refused { .. }
            | Problem::Stopping => {}
        }
        response
    }
}

/// An answer with this object.
pub fn json_response(status: StatusCode, object: &impl Serialize) -> Response<Answer> {
    // Objects made here have no keys that JSON lacks.
    let mut text = serde_json::to_vec(object).unwrap_or_default();
    text.push(b'\n');
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_a_status_line_and_a_sentence() {
        for &refusal in Refusal::ALL {
            let problem = Problem::Refused { refusal };
            let (status, code) = problem.kind();
            assert_eq!(status.is_server_error(), is_passing(refusal), "{refusal}");
            assert_eq!(code, refusal.name());
            assert!(!problem.to_string().contains('_'), "{problem}");
            assert_eq!(problem.response().headers().contains_key(RETRY_AFTER), is_passing(refusal));
        }
    }
}
