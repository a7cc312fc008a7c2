//! Checks one output against what the keys hold: rules V2 and V3.

use crate::executor::block_output::OutputPlace;
use crate::executor::key_states::{Backing, KeyState};
use crate::types::{KeyId, OUTPUT_PANICKED, Origin, OutputError, OutputView, ReadRecord, Write, WriteRecord};

/// What checking one output came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    Holds,
    Fails,
    /// It names keys that have no id yet.
    NewKeys,
}

/// Checks every read and delta of an output against `state_of` (`None`: unknown, reads of it fail, sums pass) and
/// leaves the states after its writes in `pending`.
pub(super) fn check(
    backing: &Backing<'_>,
    view: &OutputView<'_>,
    origin: Origin,
    place: OutputPlace,
    pending: &mut Vec<(KeyId, KeyState)>,
    state_of: impl Fn(KeyId) -> Option<KeyState>,
    validation: bool,
) -> Result<Check, OutputError> {
    pending.clear();
    if view.header().flags & OUTPUT_PANICKED != 0 {
        return Ok(Check::Fails);
    }
    for read in view.reads() {
        let ReadRecord { key_id, key, origin, observed } = read?;
        let Some(key) = backing.key_of(key_id, key)? else { return Ok(Check::NewKeys) };
        let holds = state_of(key).is_some_and(|state| backing.read_holds(key, &state, origin, observed));
        if validation && !holds {
            return Ok(Check::Fails);
        }
    }
    for write in view.writes() {
        let WriteRecord { key_id, key, write } = write?;
        let Some(key) = backing.key_of(key_id, key)? else { return Ok(Check::NewKeys) };
        let after = match &write {
            Write::Set(_) | Write::Delete => backing.written(&write, origin, place.buffer),
            Write::Add(delta) => match state_of(key) {
                // What an open transaction leaves here is not known: the sum stays unknown.
                None => continue,
                Some(state) => match backing.sum(key, &state, delta, origin) {
                    None if validation => return Ok(Check::Fails),
                    None => Some(state),
                    Some(after) if after == state => continue,
                    after => after,
                },
            },
        };
        match after {
            Some(after) => pending.push((key, after)),
            None => return Ok(Check::Fails),
        }
    }
    Ok(Check::Holds)
}
