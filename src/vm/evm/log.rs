//! Logs, and what calls of the protocol return, as events.

use crate::types::{Event, LimitExceeded};
use crate::vm::StateView;
use crate::vm::evm::wire::{WireError, WireReader};
use revm::primitives::{Bytes, Log, LogData};

/// Kind of the event that holds a log: address 20, number of topics 1, topics 32 each, data.
pub const EVENT_LOG: u32 = 1;

/// Kind of the event that holds what a call of the protocol returned, if it returned anything.
pub const EVENT_RETURNED: u32 = 2;

/// Most topics that a log has.
const TOPICS_MAX: u8 = 4;

/// Emits a log; `buffer` is kept from log to log.
pub(super) fn emit_log(
    view: &mut dyn StateView,
    log: &Log,
    buffer: &mut Vec<u8>,
) -> Result<(), LimitExceeded> {
    buffer.clear();
    buffer.extend_from_slice(log.address.as_slice());
    let topics = log.topics();
    // There are four at most.
    buffer.push(u8::try_from(topics.len()).unwrap_or(u8::MAX));
    topics.iter().for_each(|topic| buffer.extend_from_slice(topic.as_slice()));
    buffer.extend_from_slice(&log.data.data);
    view.event(EVENT_LOG, buffer)
}

/// The log that an event of kind [`EVENT_LOG`] holds.
///
/// # Errors
/// [`WireError`] for an event that holds none.
pub fn log_of_event(event: &Event<'_>) -> Result<Log, WireError> {
    if event.kind != EVENT_LOG {
        return Err(WireError::BadValue { field: "kind of log event", value: event.kind.into() });
    }
    let mut reader = WireReader::new(event.data);
    let address = reader.address("address of a log")?;
    let count = reader.byte("topics")?;
    if count > TOPICS_MAX {
        return Err(WireError::BadValue { field: "number of topics", value: count.into() });
    }
    let topics = (0..count).map(|_| reader.hash("topic")).collect::<Result<Vec<_>, _>>()?;
    let data = Bytes::copy_from_slice(reader.rest());
    Ok(Log { address, data: LogData::new_unchecked(topics, data) })
}
