//! What a transaction was seen to touch, as a hint for the next time.

use crate::types::{AccessMode, OutputError, Write, number_of};
use crate::vm::evm::{EvmField, EvmKey};
use std::collections::HashMap;

/// Keys in the order in which a transaction touched them, and how long it took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessSet {
    /// Keys and modes; no key comes twice.
    pub accesses: Vec<(Vec<u8>, AccessMode)>,
    /// Execution time in nanoseconds; 0 if nobody measured it.
    pub cost_ns: u32,
}

impl AccessSet {
    /// What an output shows: the keys that it read, in order, and its writes. `before` tells what a key held before the block.
    ///
    /// # Errors
    /// [`OutputError`] for an output that cannot be read.
    pub fn seen<'a>(
        reads: impl Iterator<Item = Result<&'a [u8], OutputError>>,
        writes: impl Iterator<Item = Result<(&'a [u8], Write<'a>), OutputError>>,
        before: impl Fn(&[u8]) -> Option<&'a [u8]>,
    ) -> Result<AccessSet, OutputError> {
        let mut accesses: Vec<(Vec<u8>, AccessMode)> = Vec::new();
        let mut places: HashMap<&[u8], usize> = HashMap::new();
        for key in reads {
            let key = key?;
            places.entry(key).or_insert_with(|| {
                accesses.push((key.to_vec(), AccessMode::Read));
                accesses.len() - 1
            });
        }
        for write in writes {
            let (key, write) = write?;
            let mode = mode_of(&write, || number_of(before(key)));
            match places.get(key) {
                Some(_) if matches!(mode, AccessMode::Check | AccessMode::Read) => {}
                Some(&place) => accesses[place].1 = AccessMode::ReadWrite,
                None => accesses.push((key.to_vec(), mode)),
            }
        }
        Ok(AccessSet { accesses: as_loaded(accesses), cost_ns: 0 })
    }
}

/// Puts balance and nonce of an account beside its code, which is read in between when it is loaded: outputs have them at the
/// end. Keys are found fastest in the order in which they are asked for.
fn as_loaded(accesses: Vec<(Vec<u8>, AccessMode)>) -> Vec<(Vec<u8>, AccessMode)> {
    let places: HashMap<Vec<u8>, usize> =
        accesses.iter().enumerate().map(|(place, (key, _))| (key.clone(), place)).collect();
    let mut left: Vec<Option<(Vec<u8>, AccessMode)>> = accesses.into_iter().map(Some).collect();
    let mut ordered = Vec::with_capacity(left.len());
    for place in 0..left.len() {
        let Some(access) = left[place].take() else { continue };
        let beside = match EvmField::of_key(&access.0) {
            Some(EvmField::CodeOf(account)) => [Some(EvmKey::balance(account)), Some(EvmKey::nonce(account))],
            _ => [None, None],
        };
        let [before, after] = beside.map(|key| {
            let place = *places.get(key?.as_slice())?;
            left[place].take()
        });
        ordered.extend(before);
        ordered.push(access);
        ordered.extend(after);
    }
    ordered
}

/// How a write is planned. A bare check of an interval hardly ever fails: nobody need wait for it. But one that would have failed on
/// what was there before the block rests on those before it in the block, and so does a sum.
fn mode_of(write: &Write<'_>, before: impl FnOnce() -> Option<u128>) -> AccessMode {
    let Write::Add(delta) = write else { return AccessMode::Write };
    let held = before().and_then(|before| delta.apply(before)).is_some();
    match (delta.amount, held) {
        (0, true) => AccessMode::Check,
        (0, false) => AccessMode::Read,
        (_, true) if delta.at_least < delta.at_most => AccessMode::Add,
        _ => AccessMode::ReadWrite,
    }
}

#[cfg(test)]
mod tests {
    //! What would break: a sidecar by which a transaction runs beside the one whose money it spends: right in the end, but executed
    //! twice. Negative control run: with `held` always true it fails.

    use super::*;
    use crate::types::{Delta, NumberWidth};

    fn mode(delta: Delta, before: u128) -> AccessMode {
        let (key, before) = (EvmKey::balance(revm::primitives::Address::ZERO), before.to_le_bytes());
        let writes = std::iter::once(Ok((key.as_slice(), Write::Add(delta))));
        let seen = AccessSet::seen(std::iter::empty(), writes, |_| Some(&before)).unwrap();
        seen.accesses[0].1
    }

    #[test]
    fn what_would_have_failed_before_the_block_waits_for_those_before_it() {
        let width = NumberWidth::Sixteen;
        assert_eq!(mode(Delta::debit(5, width), 5), AccessMode::Add);
        assert_eq!(mode(Delta::debit(5, width), 4), AccessMode::ReadWrite);
        assert_eq!(mode(Delta::check(width, 1, 9), 1), AccessMode::Check);
        assert_eq!(mode(Delta::check(width, 1, 9), 0), AccessMode::Read);
        assert_eq!(mode(Delta::credit(1, width).within(7, 7), 7), AccessMode::ReadWrite);
    }
}
