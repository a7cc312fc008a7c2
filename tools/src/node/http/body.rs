//! Takes a transaction out of the body of a request.

use crate::node::http::answer::Problem;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap};
use phalanx::vm::ledger::MAX_TRANSACTION_BYTES;
use serde::Deserialize;

/// The longest body: the longest transaction in hexadecimal digits, with some room for JSON around it.
const BODY_BYTES_MAX: usize = 2 * MAX_TRANSACTION_BYTES + 1_024;

/// The JSON object with a transaction.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Submission {
    /// Hexadecimal digits of its BCS bytes, with or without 0x.
    transaction: String,
}

/// Reads the body and takes the transaction's bytes out of it.
///
/// # Errors
/// `MediaType`, `TooLong`, `Malformed`.
pub async fn transaction(headers: &HeaderMap, body: Incoming) -> Result<Vec<u8>, Problem> {
    let form = Form::of(headers)?;
    let collected = Limited::new(body, BODY_BYTES_MAX).collect().await.map_err(|cause| {
        if cause.is::<LengthLimitError>() {
            Problem::TooLong { limit: BODY_BYTES_MAX }
        } else {
            Problem::Malformed { what: format!("the body cannot be read: {cause}") }
        }
    })?;
    form.transaction(collected.to_bytes())
}

/// How a transaction comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Json,
    Octets,
}

impl Form {
    /// JSON if nothing else is said.
    fn of(headers: &HeaderMap) -> Result<Form, Problem> {
        let Some(given) = headers.get(CONTENT_TYPE) else { return Ok(Form::Json) };
        let given = given.to_str().unwrap_or("something unreadable");
        let essence = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match essence.as_str() {
            "application/json" => Ok(Form::Json),
            "application/octet-stream" => Ok(Form::Octets),
            _ => Err(Problem::MediaType { given: given.to_owned() }),
        }
    }

    fn transaction(self, body: Bytes) -> Result<Vec<u8>, Problem> {
        match self {
            Form::Octets => Ok(body.to_vec()),
            Form::Json => {
                let submission: Submission =
                    serde_json::from_slice(&body).map_err(|cause| Problem::Malformed {
                        what: format!("the body is no {{\"transaction\": \"<hex>\"}}: {cause}"),
                    })?;
                from_hex(&submission.transaction).ok_or_else(|| Problem::Malformed {
                    what: "the transaction is not in pairs of hexadecimal digits".to_owned(),
                })
            }
        }
    }
}

/// The bytes of hexadecimal digits, with or without 0x before them.
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("0x").unwrap_or(text).as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    digits.chunks_exact(2).map(|pair| Some(nibble(pair[0])? << 4 | nibble(pair[1])?)).collect()
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    #[test]
    fn hexadecimal_digits_are_bytes() {
        assert_eq!(from_hex("0x00fFa9"), Some(vec![0, 255, 0xa9]));
        assert_eq!(from_hex(""), Some(Vec::new()));
        for text in ["0", "0x0", "zz", "0x-1", "00 0", "é"] {
            assert_eq!(from_hex(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_media_type_says_how_a_transaction_comes() {
        let form = |given: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            given.map(|given| headers.insert(CONTENT_TYPE, HeaderValue::from_static(given)));
            Form::of(&headers)
        };
        assert_eq!(form(None), Ok(Form::Json));
        assert_eq!(form(Some("Application/JSON; charset=utf-8")), Ok(Form::Json));
        assert_eq!(form(Some("application/octet-stream")), Ok(Form::Octets));
        assert!(matches!(form(Some("text/plain")), Err(Problem::MediaType { .. })));
    }
}
