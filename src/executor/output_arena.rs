//! A shard's output arena: the encoded outputs of its present round one after the other, then room for values too
//! long for a cell. The shard writes, everyone reads copies.

use crate::types::{MAX_OUTPUT_BYTES, MAX_VALUE_BYTES, OutputHeader};
use phalanx_ipc::{PeerReader, Region, RegionError};
use std::os::fd::OwnedFd;

const OUTPUTS: usize = 0;
/// Zeros behind the last output: no output has a length of zero.
const END_BYTES: usize = 8;
/// Longest output, reads included. A transaction beyond it cannot be executed.
const TOTAL_BYTES_MAX: usize = MAX_OUTPUT_BYTES * 64;
/// How far ahead of the walk over headers lines are fetched, in bytes: they lie in the shard's cache.
const FETCH_AHEAD: usize = 2048;
/// Bytes copied between two looks at the clock.
const PIECE_BYTES: usize = 1 << 17;
/// How far pages that the hardware may have lost are looked for on a guess: so much may be touched beyond what the shard has touched.
const GUESSED_BYTES: usize = 1 << 16;

/// Sizes of an output arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutputArenaLayout {
    /// Room for outputs.
    pub(crate) outputs: usize,
    /// Room for long values.
    pub(crate) values: usize,
}

impl OutputArenaLayout {
    /// Splits an arena of `bytes`: three quarters for outputs.
    pub(crate) fn of(bytes: usize) -> OutputArenaLayout {
        let values = (bytes / 4).next_multiple_of(4096);
        OutputArenaLayout { outputs: values * 3, values }
    }

    fn values_start(&self) -> usize {
        OUTPUTS + self.outputs
    }

    /// Length of the region.
    pub(crate) fn bytes(&self) -> usize {
        self.values_start() + self.values
    }
}

/// The shard's end.
#[derive(Debug)]
pub(crate) struct OutputArenaWriter {
    region: Region,
    layout: OutputArenaLayout,
    used: usize,
    values_used: usize,
}

impl OutputArenaWriter {
    pub(crate) fn new(region: Region, layout: OutputArenaLayout) -> OutputArenaWriter {
        OutputArenaWriter { region, layout, used: 0, values_used: 0 }
    }

    /// Starts a round: everything before is given up.
    pub(crate) fn clear(&mut self) {
        (self.used, self.values_used) = (0, 0);
        // There is room for it, so it cannot fail.
        let _ = self.end_at(0);
    }

    /// Ends the walk over outputs at `end`, whatever a damaged counter says: what lies behind is of earlier rounds.
    fn end_at(&mut self, end: usize) -> Result<(), RegionError> {
        self.region.slice_mut::<u8>(OUTPUTS + end, END_BYTES).map(|word| word.fill(0))
    }

    /// Appends one encoded output; false when there is no room. Publish the progress counter afterwards.
    pub(crate) fn push(&mut self, output: &[u8]) -> bool {
        let end = self.used + output.len();
        if end + END_BYTES > self.layout.outputs || output.len() > TOTAL_BYTES_MAX {
            return false;
        }
        if self.end_at(end).is_err() {
            return false;
        }
        let Ok(target) = self.region.slice_mut::<u8>(OUTPUTS + self.used, output.len()) else { return false };
        #[cfg(feature = "fail-points")]
        {
            let half = output.len() / 2;
            target[..half].copy_from_slice(&output[..half]);
            phalanx_ipc::fail_point("output half written");
        }
        target.copy_from_slice(output);
        self.used = end;
        true
    }

    /// Keeps a long value for a peer to fetch; its offset in the arena, or `None` when there is no room.
    pub(crate) fn keep_value(&mut self, value: &[u8]) -> Option<u64> {
        let start = self.layout.values_start() + self.values_used;
        let end = self.values_used + value.len().next_multiple_of(8);
        if end > self.layout.values {
            return None;
        }
        self.region.slice_mut::<u8>(start, value.len()).ok()?.copy_from_slice(value);
        self.values_used = end;
        Some(start as u64)
    }
}

/// How far the outputs of one round were copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Copied {
    /// How many there were to copy.
    pub(super) outputs: u32,
    bytes: usize,
}

/// Everyone else's end.
#[derive(Debug)]
pub(crate) struct OutputArenaReader {
    region: PeerReader,
    layout: OutputArenaLayout,
}

impl OutputArenaReader {
    pub(crate) fn map(fd: OwnedFd, layout: OutputArenaLayout) -> Result<OutputArenaReader, RegionError> {
        Ok(OutputArenaReader { region: PeerReader::map(fd)?, layout })
    }

    /// Appends a copy of the outputs behind `done`, up to `count` of the round, of transactions below `transactions`, to `into`;
    /// returns how far it came. Stops at the first whose first words make no sense, so that damaged lengths copy nothing large. Load
    /// the progress counter first: all outputs that it counts are there. `look` is called now and then and may end it.
    ///
    /// # Errors
    /// [`RegionError::LostPage`] if the hardware has lost a page of them; nothing of the arena is to be believed then.
    pub(super) fn copy_outputs<E: From<RegionError>>(
        &self,
        done: Copied,
        count: u32,
        transactions: u32,
        into: &mut Vec<u8>,
        mut look: impl FnMut() -> Result<(), E>,
    ) -> Result<Copied, E> {
        let (mut copied, mut end, mut looked) = (done.bytes, done.bytes, done.bytes);
        let new = count.saturating_sub(done.outputs) as usize;
        for place in 0..new {
            if end + size_of::<OutputHeader>() > looked {
                // The others are taken to be as long as those before: a question to the kernel for each page takes longer than to
                // copy it.
                let usual = (end - done.bytes).checked_div(place).unwrap_or(0).max(size_of::<OutputHeader>());
                let left = usual.saturating_mul(new - place).min(GUESSED_BYTES);
                looked = self.look_over(looked, end + left)?;
            }
            let Some(total) = self.length_at(end, transactions)? else { break };
            for line in (end..end + total).step_by(64) {
                self.region.prefetch(OUTPUTS + line + FETCH_AHEAD);
            }
            end += total;
            if end - copied >= PIECE_BYTES {
                look()?;
                looked = self.look_over(looked, end)?;
                self.region.copy_out(OUTPUTS + copied, end - copied, into)?;
                copied = end;
            }
        }
        self.look_over(looked, end)?;
        self.region.copy_out(OUTPUTS + copied, end - copied, into)?;
        Ok(Copied { outputs: count, bytes: end })
    }

    /// Looks for lost pages from `looked` on, where an earlier look ended, up to `end`, as far as there is room for outputs; returns
    /// where this look ended.
    fn look_over(&self, looked: usize, end: usize) -> Result<usize, RegionError> {
        match end.min(self.layout.outputs).checked_sub(looked) {
            Some(bytes @ 1..) => Ok(self.region.look_over(OUTPUTS + looked, bytes)? - OUTPUTS),
            Some(0) | None => Ok(looked),
        }
    }

    /// Has the arena's present pages looked at from now on: some have been replaced.
    pub(crate) fn let_go(&self) -> Result<(), RegionError> {
        self.region.let_go()
    }

    /// Length of the output at `start` if it says that it is one of a transaction below `transactions`.
    fn length_at(&self, start: usize, transactions: u32) -> Result<Option<usize>, RegionError> {
        if start + 16 > self.layout.outputs {
            return Ok(None);
        }
        // Words 0 and 1 of an output's header: total and public length, txn index and incarnation.
        let (lengths, names) =
            (self.region.load_u64(OUTPUTS + start)?, self.region.load_u64(OUTPUTS + start + 8)?);
        let total = usize::try_from(lengths & 0xffff_ffff).unwrap_or(usize::MAX);
        let fits = total >= size_of::<OutputHeader>()
            && total.is_multiple_of(8)
            && total <= TOTAL_BYTES_MAX
            && start + total <= self.layout.outputs;
        Ok((fits && names & 0xffff_ffff < u64::from(transactions)).then_some(total))
    }

    /// Appends a copy of a long value; false if the range is none of the arena.
    pub(crate) fn fetch(&self, offset: u64, length: u32, into: &mut Vec<u8>) -> bool {
        let Ok(offset) = usize::try_from(offset) else { return false };
        offset >= self.layout.values_start()
            && length as usize <= MAX_VALUE_BYTES
            && self.region.copy_out(offset, length as usize, into).is_ok()
    }
}

#[cfg(test)]
mod tests {
    //! What would break: outputs of an earlier round that count again, since a damaged counter says that there are more than the shard
    //! has left. Negative control run: without the zeros behind the last output it fails. And outputs cut off or left out where
    //! a page or a piece ends; controls run: pieces copied from where they end, and lengths that are 8 bytes short: it fails.

    use super::*;
    use crate::types::{Incarnation, OutputWriter, StatusCode, TxnIndex};
    use crate::vm::Outcome;
    use proptest::prelude::*;

    fn arena(bytes: usize) -> (OutputArenaWriter, OutputArenaReader) {
        let layout = OutputArenaLayout::of(bytes);
        let region = Region::create("phalanx-test-outputs", layout.bytes()).unwrap();
        let reader = OutputArenaReader::map(region.reader_fd().unwrap(), layout).unwrap();
        (OutputArenaWriter::new(region, layout), reader)
    }

    fn output_of(txn: u32) -> Vec<u8> {
        output_with(txn, 0)
    }

    fn output_with(txn: u32, bytes: usize) -> Vec<u8> {
        let mut writer = OutputWriter::default();
        writer.push_event(0, &vec![7; bytes]).unwrap();
        let outcome = Outcome { status: StatusCode::SUCCESS, gas_used: 0 };
        writer.finish(TxnIndex(txn), Incarnation(1), outcome).to_vec()
    }

    fn copied(reader: &OutputArenaReader, count: u32) -> Vec<u8> {
        let mut into = Vec::new();
        let look = || Ok::<(), RegionError>(());
        let done = reader.copy_outputs(Copied::default(), count / 2, 10_000, &mut into, look).unwrap();
        reader.copy_outputs(done, count, 10_000, &mut into, look).unwrap();
        into
    }

    #[test]
    fn outputs_of_an_earlier_round_do_not_count_whatever_the_counter_says() {
        let (mut writer, reader) = arena(1 << 16);
        writer.clear();
        assert!((0..5).all(|txn| writer.push(&output_of(txn))));
        assert_eq!(copied(&reader, 5), (0..5).flat_map(output_of).collect::<Vec<u8>>());
        writer.clear();
        assert!(copied(&reader, 5).is_empty(), "nothing of this round yet");
        assert!(writer.push(&output_of(7)) && writer.push(&output_of(8)));
        assert_eq!(copied(&reader, 5), [output_of(7), output_of(8)].concat());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

        /// Short ones in front of long ones and the other way round, over pages and pieces, in two goes, with a counter that says
        /// more than there is.
        #[test]
        fn what_was_left_is_copied_whole_whatever_the_lengths(
            lengths in prop::collection::vec(prop_oneof![0..200_usize, 0..9_000_usize, 0..200_000_usize], 1..40),
            first in 0..40_u32,
            too_many in 0..3_u32,
        ) {
            let outputs: Vec<Vec<u8>> =
                (0..).zip(&lengths).map(|(txn, &bytes)| output_with(txn, bytes)).collect();
            let (mut writer, reader) = arena(1 << 24);
            writer.clear();
            prop_assert!(outputs.iter().all(|output| writer.push(output)));
            let (mut into, count) = (Vec::new(), u32::try_from(outputs.len()).unwrap());
            let look = || Ok::<(), RegionError>(());
            let done = reader.copy_outputs(Copied::default(), first.min(count), 100, &mut into, look).unwrap();
            reader.copy_outputs(done, count + too_many, 100, &mut into, look).unwrap();
            prop_assert_eq!(into, outputs.concat());
        }
    }
}
