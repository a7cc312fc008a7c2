//! The oracle: one transaction after the other, each on what the one before left. Right by inspection.

use crate::executor::block_output::{BlockOutput, BlockStats, KeyDirectory, OutputPlace};
use crate::executor::error::ExecuteError;
use crate::executor::examination::Examination;
use crate::executor::key_numbers::KeyNumbers;
use crate::executor::view::{LocalKey, ValueSource, ViewBuffers, begin_block, execute_transaction};
use crate::executor::{BlockExecutor, Conserved};
use crate::state::{BaseState, Room, StateDigest};
use crate::types::{Incarnation, KeyId, Origin, OutputView, PreparedBlock, TxnIndex, Write, number_of};
use crate::vm::Vm;
use std::sync::Arc;
use std::time::Instant;

/// Transactions between two looks at the clock.
const CLOCK_EVERY: u32 = 64;

/// Executes blocks in order on one thread: the calling one.
pub struct Sequential<V> {
    vm: V,
    state: BaseState,
    conserved: Conserved,
    buffers: ViewBuffers,
    /// Keys of the present transaction.
    keys: KeyNumbers,
    examination: Examination,
    /// Old values of everything the present block changed, to take it back.
    undo: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl<V> std::fmt::Debug for Sequential<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sequential").field("digest", &self.state.digest()).finish_non_exhaustive()
    }
}

struct Source<'a> {
    state: &'a BaseState,
    keys: &'a mut KeyNumbers,
}

impl ValueSource for Source<'_> {
    fn locate(&mut self, key: &[u8]) -> LocalKey {
        let hash = self.state.hasher().hash(key);
        let (number, _) = self.keys.number(hash, key);
        LocalKey(u32::try_from(number).unwrap_or(u32::MAX))
    }

    fn public_id(&self, _: LocalKey) -> KeyId {
        KeyId::UNKNOWN
    }

    fn value(&mut self, key: LocalKey) -> (Option<&[u8]>, Origin) {
        let known = self.keys.key(key.0 as usize);
        (known.and_then(|(hash, name)| self.state.get(hash, name)), Origin::BASE)
    }
}

impl<V: Vm> Sequential<V> {
    /// An executor on `state`.
    #[must_use]
    pub fn new(vm: V, state: BaseState) -> Sequential<V> {
        let watch = vm.clone();
        Sequential {
            vm,
            state,
            conserved: Box::new(move |key, value| watch.conserved(key, value)),
            buffers: ViewBuffers::default(),
            keys: KeyNumbers::default(),
            examination: Examination::default(),
            undo: Vec::new(),
        }
    }

    /// The state after the last committed block.
    #[must_use]
    pub fn state(&self) -> &BaseState {
        &self.state
    }

    fn run(&mut self, block: &PreparedBlock, deadline: Instant) -> Result<BlockOutput, ExecuteError> {
        let (mut places, mut bytes) = (Vec::with_capacity(block.len()), Vec::new());
        let mut difference = 0_i128;
        begin_block(&mut self.vm, block.header(), &mut self.buffers);
        self.examination.clear();
        for txn in (0_u32..).map(TxnIndex).take(block.len()) {
            if txn.0 % CLOCK_EVERY == 0 && Instant::now() >= deadline {
                let (accepted, transactions) = (txn.index(), block.len());
                return Err(ExecuteError::DeadlineExceeded { accepted, transactions, last_death: None });
            }
            let start = u32::try_from(bytes.len()).map_err(ExecuteError::system)?;
            self.execute_one(block, txn, &mut bytes)?;
            places.push(OutputPlace { buffer: 0, start });
            difference += self.apply(&bytes[start as usize..])?;
        }
        let height = block.header().height;
        if difference != 0 {
            return Err(ExecuteError::SupplyChanged { height, difference });
        }
        Ok(BlockOutput {
            height,
            places,
            buffers: vec![bytes],
            keys: KeyDirectory::default(),
            digest: self.state.digest(),
            stats: BlockStats { rounds: 1, shards_used: 1, ..BlockStats::default() },
        })
    }

    fn execute_one(
        &mut self,
        block: &PreparedBlock,
        txn: TxnIndex,
        bytes: &mut Vec<u8>,
    ) -> Result<(), ExecuteError> {
        self.keys.clear();
        let mut source = Source { state: &self.state, keys: &mut self.keys };
        let transaction = block.transaction(txn).unwrap_or(&[]);
        let upcoming = (txn.0..).map_while(|txn| block.transaction(TxnIndex(txn)));
        let examined = (transaction, self.examination.next(&mut self.vm, upcoming));
        let buffers = &mut self.buffers;
        let (encoded, panic) =
            execute_transaction(&mut self.vm, examined, &mut source, buffers, txn, Incarnation(1));
        if let Some(note) = panic {
            return Err(ExecuteError::PoisonTransaction { txn, what: format!("it {}", note.0) });
        }
        bytes.extend_from_slice(encoded);
        Ok(())
    }

    /// Applies the writes of one output and returns the change of the conserved quantity.
    fn apply(&mut self, output: &[u8]) -> Result<i128, ExecuteError> {
        let view = OutputView::parse(output).map_err(ExecuteError::system)?;
        let mut difference = 0;
        for record in view.writes() {
            let record = record.map_err(ExecuteError::system)?;
            let hash = self.state.hasher().hash(record.key);
            let old = self.state.get(hash, record.key);
            let mut sum = [0; 32];
            let new = match &record.write {
                Write::Set(value) => Some(*value),
                Write::Delete => None,
                Write::Add(delta) if delta.amount == 0 => continue,
                Write::Add(delta) => {
                    let before = number_of(old).and_then(|before| delta.apply(before));
                    let after =
                        before.ok_or_else(|| ExecuteError::system("a delta left its own interval"))?;
                    Some(delta.width.encode(after, &mut sum))
                }
            };
            difference += (self.conserved)(record.key, new) - (self.conserved)(record.key, old);
            self.undo.push((record.key.to_vec(), old.map(<[u8]>::to_vec)));
            let mut room = Room::default();
            room.count(record.key, old, new);
            self.state.reserve(room)?;
            self.state.put(hash, record.key, new)?;
        }
        Ok(difference)
    }

    /// Takes back everything that the present block changed.
    fn take_back(&mut self, height: u64) -> Result<(), ExecuteError> {
        while let Some((key, old)) = self.undo.pop() {
            let hash = self.state.hasher().hash(&key);
            let put = self.state.put(hash, &key, old.as_deref());
            put.map_err(|error| ExecuteError::StatePoisoned { height, cause: error.to_string() })?;
        }
        Ok(())
    }
}

impl<V: Vm> BlockExecutor for Sequential<V> {
    fn execute(
        &mut self,
        block: &Arc<PreparedBlock>,
        deadline: Instant,
    ) -> Result<BlockOutput, ExecuteError> {
        self.undo.clear();
        let begun = Instant::now();
        match self.run(block, deadline) {
            Ok(mut output) => {
                output.stats.execute = begun.elapsed();
                Ok(output)
            }
            Err(error) => {
                self.take_back(block.header().height)?;
                Err(error)
            }
        }
    }

    fn digest(&self) -> StateDigest {
        self.state.digest()
    }
}
