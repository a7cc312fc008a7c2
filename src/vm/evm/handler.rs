//! How a transaction runs: as on mainnet, but the beneficiary's fee is handed out instead of being credited, and what is
//! decided outside of instructions is noted too.

use crate::vm::evm::account_note::NonceUse;
use crate::vm::evm::database::StateFault;
use crate::vm::evm::instructions::{EvmContext, NotingInstructions, note_emptiness};
use crate::vm::evm::interpretation::interpret;
use revm::context::Evm;
use revm::context::result::{EVMError, HaltReason, InvalidTransaction};
use revm::context::transaction::AuthorizationTr;
use revm::context_interface::{Cfg, LocalContextTr, Transaction};
use revm::handler::instructions::InstructionProvider;
use revm::handler::{
    EthFrame, EthPrecompiles, EvmTr, FrameInitOrResult, FrameResult, Handler, ItemOrResult, execution,
    pre_execution,
};
use revm::interpreter::interpreter::EthInterpreter;
use revm::interpreter::interpreter_action::FrameInit;
use revm::interpreter::{CallValue, FrameInput, GasTracker, InitialAndFloorGas, SharedMemory};
use revm::primitives::hardfork::SpecId;
use revm::primitives::{Address, TxKind, U256};

/// An EVM for one transaction, put together from kept parts.
pub(super) type NotingEvm<'a> =
    Evm<EvmContext<'a>, (), NotingInstructions<'a>, EthPrecompiles, EthFrame<EthInterpreter>>;

/// Why a transaction has no result.
pub(super) type RunError = EVMError<StateFault, InvalidTransaction>;

/// Runs transactions.
#[derive(Debug, Default)]
pub(super) struct NotingHandler<'a> {
    evm: std::marker::PhantomData<&'a ()>,
    /// What the beneficiary earned.
    pub(super) reward: std::cell::Cell<Option<U256>>,
}

impl<'a> Handler for NotingHandler<'a> {
    type Evm = NotingEvm<'a>;
    type Error = RunError;
    type HaltReason = HaltReason;

    fn validate_against_state_and_deduct_caller(
        &self,
        evm: &mut Self::Evm,
        _: &mut InitialAndFloorGas,
    ) -> Result<(), RunError> {
        let result = pre_execution::validate_against_state_and_deduct_caller(&mut evm.ctx);
        let sender = evm.ctx.tx.caller();
        let needed = evm.ctx.tx.max_balance_spending().unwrap_or(U256::MAX);
        if let Some(note) = evm.ctx.journaled_state.database.notes.of(sender) {
            match &result {
                Ok(()) => {
                    note.note_nonce(NonceUse::Sender);
                    note.note_needed(needed);
                }
                Err(_) => {
                    note.note_nonce(NonceUse::Exact);
                    note.balance_exact = true;
                }
            }
        }
        result
    }

    fn apply_eip7702_auth_list(
        &self,
        evm: &mut Self::Evm,
        gas: &mut GasTracker,
    ) -> Result<Option<u64>, RunError> {
        let result = pre_execution::apply_eip7702_auth_list(&mut evm.ctx, gas);
        let transaction = evm.ctx.tx;
        for authority in transaction.authorization_list().filter_map(|one| one.authority()) {
            let Some(note) = evm.ctx.journaled_state.database.notes.of(authority) else { continue };
            note.note_nonce(NonceUse::Exact);
            // Whether the account existed before is decided by its balance only if nothing else tells.
            note.balance_exact |= note.nonce == 0 && !note.code.has_code();
        }
        result
    }

    fn first_frame_input(
        &mut self,
        evm: &mut Self::Evm,
        gas: &mut GasTracker,
    ) -> Result<Option<FrameInit>, RunError> {
        let context = &mut evm.ctx;
        let mut memory = SharedMemory::new_with_buffer(context.local.shared_memory_buffer().clone());
        memory.set_memory_limit(context.cfg.memory_limit());
        let input = execution::create_init_frame(context, gas)?;
        note_recipient(context);
        Ok(input.map(|frame_input| FrameInit { depth: 0, memory, frame_input }))
    }

    fn run_exec_loop(&mut self, evm: &mut Self::Evm, first: FrameInit) -> Result<FrameResult, RunError> {
        if let Some(result) = begin_frame(evm, first)? {
            return Ok(result);
        }
        loop {
            let result = match run_frame(evm)? {
                ItemOrResult::Item(next) => match begin_frame(evm, next)? {
                    Some(result) => result,
                    None => continue,
                },
                ItemOrResult::Result(result) => result,
            };
            if let Some(result) = evm.frame_return_result(result)? {
                return Ok(result);
            }
        }
    }

    /// Works out what the beneficiary earns. It is not looked at here, so that not every transaction of a block rests
    /// on the one before.
    fn reward_beneficiary(&self, evm: &mut Self::Evm, result: &mut FrameResult) -> Result<(), RunError> {
        let base_fee = u128::from(evm.ctx.block.basefee);
        let price = evm.ctx.tx.effective_gas_price(base_fee);
        let earned = if evm.ctx.cfg.spec().is_enabled_in(SpecId::LONDON) {
            price.saturating_sub(base_fee)
        } else {
            price
        };
        let gas = result.gas();
        let used = gas.used().saturating_sub(gas.reservoir());
        self.reward.set(Some(U256::from(earned).saturating_mul(U256::from(used))));
        Ok(())
    }
}

/// Runs the frame on top until it ends or calls.
fn run_frame(evm: &mut NotingEvm<'_>) -> Result<FrameInitOrResult<EthFrame<EthInterpreter>>, RunError> {
    let frame = evm.frame_stack.get();
    let (table, gas) = (evm.instruction.instruction_table(), evm.instruction.gas_table());
    let action = interpret(&mut frame.interpreter, table, gas, &mut evm.ctx);
    let next = frame.process_next_action::<_, RunError>(&mut evm.ctx, action)?;
    if next.is_result() {
        frame.set_finished(true);
    }
    Ok(next)
}

/// From Amsterdam on a transaction pays for an account that its own call or creation brings into being, and may fail for
/// it.
fn note_recipient(context: &mut EvmContext<'_>) {
    if !context.cfg.spec().is_enabled_in(SpecId::AMSTERDAM) {
        return;
    }
    match context.tx.kind {
        TxKind::Call(to) => note_emptiness(context, Some(to)),
        TxKind::Create => note_created(context, context.tx.caller.create(context.tx.nonce), U256::ZERO),
    }
}

/// Begins a call or a creation and notes what that decides; its result if it ends at once.
fn begin_frame(evm: &mut NotingEvm<'_>, frame: FrameInit) -> Result<Option<FrameResult>, RunError> {
    let created = note_frame(&mut evm.ctx, &frame.frame_input);
    let ended = match evm.frame_init(frame)? {
        ItemOrResult::Item(_) => None,
        ItemOrResult::Result(result) => Some(result),
    };
    if let Some((created, value)) = created {
        note_created(&mut evm.ctx, created, value);
    }
    Ok(ended)
}

/// Notes whether the value is there that a call or creation brings, and returns the address of a creation.
fn note_frame(context: &mut EvmContext<'_>, input: &FrameInput) -> Option<(Address, U256)> {
    match input {
        FrameInput::Call(inputs) => {
            if let CallValue::Transfer(value) = inputs.value
                && !value.is_zero()
            {
                note_transfer(context, inputs.caller, value, Some(inputs.target_address));
            }
            None
        }
        FrameInput::Create(inputs) => {
            let creator = inputs.caller();
            note_transfer(context, creator, inputs.value(), None);
            let journal = &mut context.journaled_state;
            let nonce = journal.inner.state.get(&creator)?.info.nonce;
            if let Some(note) = journal.database.notes.of(creator) {
                note.note_nonce(NonceUse::Exact);
            }
            Some((inputs.created_address(nonce), inputs.value()))
        }
        FrameInput::Empty => None,
    }
}

/// A creation looks whether its address is free.
fn note_created(context: &mut EvmContext<'_>, created: Address, value: U256) {
    let amsterdam = context.cfg.spec().is_enabled_in(SpecId::AMSTERDAM);
    let Some(note) = context.journaled_state.database.notes.of(created) else { return };
    note.note_nonce(NonceUse::Exact);
    note.note_credit(value);
    // From Amsterdam on an account that is not empty makes the creation cheaper.
    note.balance_exact |= amsterdam;
}

fn note_transfer(context: &mut EvmContext<'_>, from: Address, value: U256, to: Option<Address>) {
    let journal = &mut context.journaled_state;
    let Some(now) = journal.inner.state.get(&from).map(|shown| shown.info.balance) else { return };
    if let Some(note) = journal.database.notes.of(from) {
        note.note_debit(now, value);
    }
    if let Some(note) = to.and_then(|to| journal.database.notes.of(to)) {
        note.note_credit(value);
    }
}
