//! What a transaction was seen to touch, as a hint for the next time.

use crate::types::{AccessMode, HintWriter, OutputError, Write};
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
    /// What an output shows: the keys that it read, in order, and its writes.
    ///
    /// # Errors
    /// [`OutputError`] for an output that cannot be read.
    pub fn seen<'a>(
        reads: impl Iterator<Item = Result<&'a [u8], OutputError>>,
        writes: impl Iterator<Item = Result<(&'a [u8], Write<'a>), OutputError>>,
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
            let Some(mode) = mode_of(&write) else { continue };
            match places.get(key) {
                Some(&place) => accesses[place].1 = AccessMode::ReadWrite,
                None => accesses.push((key.to_vec(), mode)),
            }
        }
        Ok(AccessSet { accesses, cost_ns: 0 })
    }

    /// Declares the set.
    pub fn declare(&self, hint: &mut HintWriter<'_>) {
        self.accesses.iter().for_each(|(key, mode)| hint.access(key, *mode));
        if self.cost_ns > 0 {
            hint.cost_ns(self.cost_ns);
        }
    }
}

/// How a write is planned; `None` for a bare check of an interval, which hardly ever fails: nobody need wait for it.
fn mode_of(write: &Write<'_>) -> Option<AccessMode> {
    match write {
        Write::Set(_) | Write::Delete => Some(AccessMode::Write),
        Write::Add(delta) if delta.amount == 0 => None,
        Write::Add(delta) if delta.at_least == delta.at_most => Some(AccessMode::ReadWrite),
        Write::Add(_) => Some(AccessMode::Add),
    }
}
