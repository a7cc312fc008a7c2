//! The parts of an EVM that last: put together for each transaction by moving, never made anew.

use crate::vm::evm::database::Notes;
use revm::context::journal::JournalInner;
use revm::context::{FrameStack, JournalEntry, LocalContext};
use revm::handler::{EthFrame, EthPrecompiles};
use revm::interpreter::interpreter::EthInterpreter;
use revm::primitives::U256;
use revm::primitives::hardfork::SpecId;
use revm::state::{EvmState, TransactionId};
use std::cell::Cell;

/// What a thread keeps of its EVM between two transactions. A transaction that panics takes it along: the next one makes
/// new ones.
pub(super) struct Parts {
    /// `None` while a transaction runs.
    pub(super) running: Option<RunningParts>,
    pub(super) notes: Notes,
    pub(super) slots: Vec<(U256, U256)>,
    pub(super) log: Vec<u8>,
}

/// Parts that are moved into the EVM.
pub(super) struct RunningParts {
    pub(super) journal: JournalInner<JournalEntry>,
    pub(super) local: LocalContext,
    pub(super) frames: FrameStack<EthFrame<EthInterpreter>>,
    pub(super) precompiles: EthPrecompiles,
}

impl RunningParts {
    /// Parts as they are made, once per thread.
    pub(super) fn new(spec: SpecId) -> RunningParts {
        RunningParts {
            journal: JournalInner::new(),
            local: LocalContext::default(),
            frames: FrameStack::new_prealloc(8),
            precompiles: EthPrecompiles::new(spec),
        }
    }
}

/// Accounts for which a journal's table is kept large: clearing a table takes time with its size.
const ACCOUNTS_KEPT: usize = 1 << 12;

thread_local! {
    static PARTS: Cell<Option<Box<Parts>>> = const { Cell::new(None) };
}

impl Parts {
    /// Takes the present thread's parts.
    pub(super) fn take() -> Box<Parts> {
        PARTS.take().unwrap_or_else(|| {
            Box::new(Parts { running: None, notes: Notes::default(), slots: Vec::new(), log: Vec::new() })
        })
    }

    /// Gives the parts back for the thread's next transaction.
    pub(super) fn keep(mut self: Box<Parts>) {
        if let Some(RunningParts { journal, .. }) = &mut self.running {
            if journal.state.capacity() > ACCOUNTS_KEPT {
                journal.state = EvmState::default();
            }
            journal.state.clear();
            journal.transaction_id = TransactionId::ZERO;
        }
        self.notes.clear();
        PARTS.set(Some(self));
    }
}
