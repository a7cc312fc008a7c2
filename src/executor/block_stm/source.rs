//! Where a transaction finds its values: the multi-version memory, then the base state.

use crate::executor::block_output::OutputPlace;
use crate::executor::block_stm::job::{Job, KeyRef};
use crate::executor::block_stm::key_cell::Seen;
use crate::executor::block_stm::observation::telling_origin;
use crate::executor::block_stm::status::{Attempt, Stamp};
use crate::executor::block_stm::version::{Content, Version};
use crate::executor::view::{LocalKey, ValueSource, ViewBuffers};
use crate::types::{
    KeyId, Origin, OutputWriter, PendingWrite, PreparedBlock, TransactionAccess, TxnIndex, number_of,
};
use crate::vm::PanicNote;
use smallvec::SmallVec;
use std::sync::Arc;

/// A value as one transaction sees it, from its first look to its end.
#[derive(Clone, Debug)]
enum Held<'a> {
    /// Not looked at yet.
    Unknown,
    Absent,
    InBase(&'a [u8]),
    Short {
        length: u8,
        bytes: [u8; 32],
    },
    Long(Arc<[u8]>),
}

/// A key that the transaction has touched.
#[derive(Clone, Debug)]
struct Touched<'a> {
    key: KeyRef<'a>,
    held: Held<'a>,
    origin: Origin,
    /// Whether the origin tells the value.
    telling: bool,
    /// Whether the value itself was read.
    read: bool,
}

/// Buffers of a source, kept from transaction to transaction of one block.
#[derive(Debug, Default)]
pub(super) struct SourceBuffers<'a> {
    /// Key numbers of what was touched; a local key is a place here.
    numbers: Vec<u32>,
    touched: Vec<Touched<'a>>,
    /// The local key of each declared access, once it is known.
    of_access: Vec<u32>,
}

const NOT_YET: u32 = u32::MAX;
/// With more touched keys than this, one that is not declared is looked up by its hash.
const SCAN_MAX: usize = 12;

/// The values that one transaction sees.
pub(super) struct StmSource<'s, 'a, W> {
    pub(super) job: &'a Job,
    pub(super) block: &'a PreparedBlock,
    pub(super) buffers: &'s mut SourceBuffers<'a>,
    /// Declared accesses of the transaction.
    pub(super) declared: &'a [TransactionAccess],
    pub(super) cursor: usize,
    pub(super) txn: TxnIndex,
    /// The writer that this execution would have to wait for: what it sees from then on is made up.
    pub(super) blocked: Option<TxnIndex>,
    /// Waits a little for a writer; true if it is worth looking again.
    pub(super) wait: W,
}

impl<'s, 'a, W: FnMut(TxnIndex) -> bool> StmSource<'s, 'a, W> {
    pub(super) fn new(
        job: &'a Job,
        block: &'a PreparedBlock,
        txn: TxnIndex,
        buffers: &'s mut SourceBuffers<'a>,
        wait: W,
    ) -> StmSource<'s, 'a, W> {
        let declared = block.accesses_of(txn);
        buffers.numbers.clear();
        buffers.touched.clear();
        buffers.of_access.clear();
        buffers.of_access.resize(declared.len(), NOT_YET);
        StmSource { job, block, buffers, declared, cursor: 0, txn, blocked: None, wait }
    }

    fn is(&self, place: usize, key: &[u8]) -> bool {
        let name = self.declared.get(place).and_then(|access| self.block.key(access.key));
        name.is_some_and(|(_, name)| name == key)
    }

    fn local_of_access(&mut self, place: usize) -> LocalKey {
        self.cursor = place;
        let known = self.buffers.of_access[place];
        if known != NOT_YET {
            return LocalKey(known);
        }
        let local = self.touch(self.declared[place].key.0);
        self.buffers.of_access[place] = local.0;
        local
    }

    fn touch(&mut self, number: u32) -> LocalKey {
        let known = self.buffers.numbers.iter().position(|&touched| touched == number);
        let place = known.unwrap_or_else(|| {
            // Every number was given for this block.
            if let Some(key) = self.job.key(self.block, number) {
                self.buffers.numbers.push(number);
                self.buffers.touched.push(Touched {
                    key,
                    held: Held::Unknown,
                    origin: Origin::BASE,
                    telling: true,
                    read: false,
                });
            }
            self.buffers.numbers.len().saturating_sub(1)
        });
        LocalKey(u32::try_from(place).unwrap_or(u32::MAX))
    }

    fn look(&mut self, place: usize) {
        let Some(&Touched { key, .. }) = self.buffers.touched.get(place) else { return };
        let base = || self.job.base.get(key.hash, key.name);
        let seen = loop {
            let seen = key.cell.read(self.job.stamp, self.txn, || number_of(base()));
            let again = match &seen {
                Seen::Blocked(writer) => self.blocked.is_none() && (self.wait)(*writer),
                Seen::Base | Seen::Whole { .. } | Seen::Sum { .. } => false,
            };
            if !again {
                break seen;
            }
        };
        let telling = telling_origin(&seen).is_some();
        let (origin, held) = match seen {
            Seen::Base => (Origin::BASE, base().map_or(Held::Absent, Held::InBase)),
            Seen::Blocked(writer) => {
                self.blocked.get_or_insert(writer);
                (Origin::BASE, base().map_or(Held::Absent, Held::InBase))
            }
            Seen::Sum { origin, number, width, .. } => {
                let mut bytes = [0; 32];
                let length = u8::try_from(width.encode(number, &mut bytes).len()).unwrap_or(0);
                (origin, Held::Short { length, bytes })
            }
            Seen::Whole { origin, content } => (
                origin,
                match content {
                    Content::Short { length, bytes: short } => {
                        let mut bytes = [0; 32];
                        bytes[..short.len()].copy_from_slice(&short);
                        Held::Short { length, bytes }
                    }
                    Content::Long(bytes) => Held::Long(bytes),
                    Content::Absent | Content::Expected | Content::Sum { .. } => Held::Absent,
                },
            ),
        };
        if let Some(touched) = self.buffers.touched.get_mut(place) {
            (touched.held, touched.origin, touched.telling) = (held, origin, telling);
        }
    }

    /// Notes what the execution that just ended rests on, and publishes its versions. True if they may change what
    /// transactions above rest on in a way that origins do not tell. One that panicked rests on all that it saw.
    pub(super) fn publish(
        &self,
        view: &ViewBuffers,
        attempt: Attempt,
        place: OutputPlace,
        panic: Option<PanicNote>,
    ) -> bool {
        let Some(transaction) = self.job.transaction(self.txn) else { return false };
        let stamp = self.job.stamp;
        let mut record = transaction.record(stamp);
        record.observations.clear();
        for (touched, &number) in self.buffers.touched.iter().zip(&self.buffers.numbers) {
            if touched.read || (panic.is_some() && !matches!(touched.held, Held::Unknown)) {
                record.observations.note_exact(number, touched.told_by(), touched.value());
            }
        }
        let mut shifted = false;
        let mut written: SmallVec<[u32; 6]> = SmallVec::new();
        for (place, &LocalKey(local)) in view.written.iter().enumerate() {
            let (Some(touched), Some(&number), Some(write)) = (
                self.buffers.touched.get(local as usize),
                self.buffers.numbers.get(local as usize),
                view.output.write(place),
            ) else {
                continue;
            };
            let content = match write {
                PendingWrite::Set { start, bytes } => Content::of_value(view.output.value(start, bytes)),
                PendingWrite::Delete => Content::Absent,
                PendingWrite::Add(delta) => {
                    record.observations.note_within(number, touched.told_by(), &delta);
                    if delta.amount == 0 {
                        continue;
                    }
                    Content::of_delta(&delta)
                }
            };
            shifted |= touched.key.cell.publish(stamp, Version::new(self.txn, attempt, content));
            written.push(number);
        }
        for &number in record.written.iter().filter(|number| !written.contains(number)) {
            shifted |= self.unpublish(stamp, number);
        }
        record.written = written;
        record.place = place;
        record.panic = panic.map(|note| note.0.into_boxed_str());
        shifted
    }

    fn unpublish(&self, stamp: Stamp, number: u32) -> bool {
        self.job.key(self.block, number).is_some_and(|key| key.cell.unpublish(stamp, self.txn))
    }
}

impl Touched<'_> {
    fn value(&self) -> Option<&[u8]> {
        match &self.held {
            Held::Unknown | Held::Absent => None,
            Held::InBase(bytes) => Some(bytes),
            Held::Short { length, bytes } => bytes.get(..usize::from(*length)),
            Held::Long(bytes) => Some(bytes),
        }
    }

    fn told_by(&self) -> Option<Origin> {
        self.telling.then_some(self.origin)
    }
}

impl<W: FnMut(TxnIndex) -> bool> ValueSource for StmSource<'_, '_, W> {
    fn locate(&mut self, key: &[u8]) -> LocalKey {
        for place in [self.cursor, self.cursor + 1] {
            if self.is(place, key) {
                return self.local_of_access(place);
            }
        }
        if let Some(place) = (0..self.declared.len()).find(|&place| self.is(place, key)) {
            return self.local_of_access(place);
        }
        if self.buffers.touched.len() <= SCAN_MAX
            && let Some(place) = self.buffers.touched.iter().position(|touched| touched.key.name == key)
        {
            return LocalKey(u32::try_from(place).unwrap_or(u32::MAX));
        }
        self.touch(self.job.number_of(self.block, key))
    }

    /// The key's id, if somebody declared it.
    fn public_id(&self, key: LocalKey) -> KeyId {
        let number = self.buffers.numbers.get(key.0 as usize).copied();
        number.filter(|&number| (number as usize) < self.block.keys().len()).map_or(KeyId::UNKNOWN, KeyId)
    }

    fn value(&mut self, key: LocalKey) -> (Option<&[u8]>, Origin) {
        let place = key.0 as usize;
        if self.buffers.touched.get(place).is_some_and(|touched| matches!(touched.held, Held::Unknown)) {
            self.look(place);
        }
        self.buffers
            .touched
            .get(place)
            .map_or((None, Origin::BASE), |touched| (touched.value(), touched.origin))
    }

    /// Kept for validation, not put out.
    fn read(&mut self, key: LocalKey, _: &[u8], _: &mut OutputWriter) -> Option<&[u8]> {
        if let Some(touched) = self.buffers.touched.get_mut(key.0 as usize) {
            touched.read = true;
        }
        self.value(key).0
    }
}
