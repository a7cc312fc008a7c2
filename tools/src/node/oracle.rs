//! Every block again, one transaction after the other, on a state of its own: what the node's blocks must come to.

use crate::node::error::NodeError;
use parking_lot::Mutex;
use phalanx::executor::{BlockExecutor, BlockOutput, Sequential};
use phalanx::types::PreparedBlock;
use phalanx::vm::ledger::LedgerVm;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Blocks that may wait for the oracle; beyond that the next block waits for it, so that memory stays as it is.
const WAITING_MAX: usize = 16;
/// The oracle has all the time it needs.
const ORACLE_LIMIT: Duration = Duration::from_secs(86_400);

type Given = (Arc<PreparedBlock>, BlockOutput);

/// Where executed blocks are handed in.
#[derive(Debug)]
pub struct OracleInbox(Mutex<Option<SyncSender<Given>>>);

impl OracleInbox {
    /// Hands in a block with what it came to. Waits if the oracle is far behind.
    pub fn give(&self, block: Arc<PreparedBlock>, output: BlockOutput) {
        let sender = self.0.lock().clone();
        if let Some(sender) = sender {
            // An oracle that found a difference needs no more blocks.
            let _ = sender.send((block, output));
        }
    }

    /// No more blocks come.
    pub fn close(&self) {
        self.0.lock().take();
    }
}

/// What the oracle found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Blocks that it executed.
    pub blocks: u64,
    /// Height of the last one that was equal, or of the state it began with.
    pub height: u64,
    /// What is not as it must be, if anything.
    pub difference: Option<String>,
}

/// The oracle's thread.
#[derive(Debug)]
pub struct Oracle {
    thread: JoinHandle<Verdict>,
}

impl Oracle {
    /// Starts it with the state after the block at `height`.
    ///
    /// # Errors
    /// `Resource` when no thread can be had.
    pub fn start(state: Sequential<LedgerVm>, height: u64) -> Result<(Oracle, OracleInbox), NodeError> {
        let (sender, given) = sync_channel(WAITING_MAX);
        let thread = std::thread::Builder::new().name("phx-oracle".to_owned());
        let thread = thread.spawn(move || judge_all(state, height, &given))?;
        Ok((Oracle { thread }, OracleInbox(Mutex::new(Some(sender)))))
    }

    /// Waits until it has judged all that it was given, after its inbox was closed.
    pub fn finish(self) -> Verdict {
        let failed = || Verdict { difference: Some("the oracle panicked".to_owned()), ..Verdict::default() };
        self.thread.join().unwrap_or_else(|_| failed())
    }
}

fn judge_all(mut state: Sequential<LedgerVm>, height: u64, given: &Receiver<Given>) -> Verdict {
    let mut verdict = Verdict { height, ..Verdict::default() };
    for (block, output) in given {
        // A block that is given again was judged before, or is in the state that the oracle began with.
        if block.header().height <= verdict.height {
            continue;
        }
        if let Err(difference) = judge(&mut state, &block, &output) {
            verdict.difference = Some(difference);
            return verdict;
        }
        verdict.blocks += 1;
        verdict.height = block.header().height;
    }
    verdict
}

fn judge(
    state: &mut Sequential<LedgerVm>,
    block: &Arc<PreparedBlock>,
    output: &BlockOutput,
) -> Result<(), String> {
    let height = block.header().height;
    let expected = state.execute(block, Instant::now() + ORACLE_LIMIT);
    let expected = expected.map_err(|cause| format!("block {height} cannot be executed again: {cause}"))?;
    match output.first_difference(&expected) {
        Some(difference) => Err(format!("block {height} differs from sequential execution in {difference}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use phalanx::state::{BaseState, StateConfig};
    use phalanx_bench::{Workload, WorkloadConfig, WorkloadKind};

    const BLOCKS: u64 = 4;

    /// What `prepared` blocks come to, with those of `twice` given twice and the block at `forged` replaced by an empty one.
    fn verdict(twice: &[u64], forged: Option<u64>) -> Verdict {
        let config = WorkloadConfig {
            kind: WorkloadKind::Uniform,
            accounts: 10,
            block_size: 20,
            seed: 5,
            signed: false,
            blocks: BLOCKS,
        };
        let mut workload = Workload::new(config).unwrap();
        let genesis = workload.genesis().unwrap();
        let vm = LedgerVm::new(workload.ledger_config());
        let state = || {
            let config = StateConfig { max_entries: 1_000, heap_bytes: 0 };
            let state = BaseState::with_entries(config, genesis.iter().map(|(key, value)| (key, value)));
            Sequential::new(vm.clone(), state.unwrap())
        };
        let mut executor = state();
        let (oracle, inbox) = Oracle::start(state(), 0).unwrap();
        while let Some(block) = workload.next_block() {
            let height = block.header.height;
            let prepared = Arc::new(PreparedBlock::prepare(&vm, &block).unwrap());
            let output = executor.execute(&prepared, Instant::now() + ORACLE_LIMIT).unwrap();
            let empty = Arc::new(PreparedBlock::new(block.header.clone()));
            let given = if forged == Some(height) { empty } else { Arc::clone(&prepared) };
            inbox.give(given, output);
            if twice.contains(&height) {
                let output = executor.execute(&prepared, Instant::now() + ORACLE_LIMIT).unwrap();
                inbox.give(prepared, output);
            }
        }
        inbox.close();
        oracle.finish()
    }

    #[test]
    fn blocks_are_judged_once_and_a_wrong_one_is_found() {
        assert_eq!(verdict(&[], None), Verdict { blocks: BLOCKS, height: BLOCKS, difference: None });
        let wrong = verdict(&[], Some(3));
        assert_eq!((wrong.blocks, wrong.height), (2, 2));
        assert!(wrong.difference.unwrap().starts_with("block 3 differs from sequential execution"));
        // What is given again at the same height is not looked at: here it would be another block on another state.
        assert_eq!(verdict(&[BLOCKS], None).difference, None);
    }
}
