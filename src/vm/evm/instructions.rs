//! The instructions of mainnet, of which some note what they decide by a balance, a nonce, or an account being empty.

use crate::vm::evm::account_note::NonceUse;
use crate::vm::evm::database::ViewDatabase;
use crate::vm::evm::hash_memo::HASHED_BYTES;
use revm::bytecode::opcode;
use revm::context::{BlockEnv, CfgEnv, Context, Journal, LocalContext, TxEnv};
use revm::handler::instructions::InstructionProvider;
use revm::interpreter::instructions::{GasTable, InstructionTable, gas_table_spec, instruction_table};
use revm::interpreter::interpreter::EthInterpreter;
use revm::interpreter::interpreter_types::InputsTr;
use revm::interpreter::{Host, Instruction, InstructionContext, InstructionExecResult, InstructionResult};
use revm::primitives::hardfork::SpecId;
use revm::primitives::{Address, B256, U256};
use std::marker::PhantomData;

/// What an instruction sees beside its interpreter.
pub(super) type EvmContext<'a> = Context<
    &'a BlockEnv,
    &'a TxEnv,
    &'a CfgEnv,
    ViewDatabase<'a>,
    Journal<ViewDatabase<'a>>,
    (),
    LocalContext,
>;

type Table<'a> = InstructionTable<EthInterpreter, EvmContext<'a>>;
type OwnInstruction<'a> = fn(Step<'_, 'a>) -> InstructionExecResult;
type Step<'c, 'a> = InstructionContext<'c, EvmContext<'a>, EthInterpreter>;

/// The instructions of one spec.
#[derive(Debug)]
pub(super) struct NotingInstructions<'a> {
    gas: &'a GasTable,
    context: PhantomData<EvmContext<'a>>,
}

impl<'a> NotingInstructions<'a> {
    /// Instructions that are not revm's. None of them is plain: the loop would not ask here.
    pub(super) const OWN: [(u8, OwnInstruction<'a>); 8] = [
        (opcode::KECCAK256, keccak256),
        (opcode::BALANCE, balance),
        (opcode::SELFBALANCE, self_balance),
        (opcode::EXTCODEHASH, code_hash),
        (opcode::CALL, call),
        (opcode::CREATE, create::<{ opcode::CREATE }>),
        (opcode::CREATE2, create::<{ opcode::CREATE2 }>),
        (opcode::SELFDESTRUCT, self_destruct),
    ];
    const REVMS: Table<'a> = instruction_table();
    const NOTING: Table<'a> = Self::noting();

    pub(super) fn new(gas: &'a GasTable) -> NotingInstructions<'a> {
        NotingInstructions { gas, context: PhantomData }
    }

    const fn noting() -> Table<'a> {
        let mut table: Table<'a> = instruction_table();
        let mut place = 0;
        while place < Self::OWN.len() {
            let (opcode, own) = Self::OWN[place];
            table[opcode as usize] = Instruction::new(own);
            place += 1;
        }
        table
    }
}

/// Costs of the instructions that do not depend on what they do.
pub(super) fn gas_table(spec: SpecId) -> GasTable {
    gas_table_spec(spec)
}

impl<'a> InstructionProvider for NotingInstructions<'a> {
    type Context = EvmContext<'a>;
    type InterpreterTypes = EthInterpreter;

    fn instruction_table(&self) -> &Table<'a> {
        &Self::NOTING
    }

    fn gas_table(&self) -> &GasTable {
        self.gas
    }
}

/// The address that stands so many places below the top of the stack.
fn address_at(step: &Step<'_, '_>, below_top: usize) -> Option<Address> {
    let word = step.interpreter.stack.peek(below_top).ok()?;
    Some(Address::from_word(B256::from(word)))
}

fn by_revm(step: Step<'_, '_>, instruction: u8) -> InstructionExecResult {
    NotingInstructions::REVMS[usize::from(instruction)].execute(step)
}

fn again<'c, 'a>(step: &'c mut Step<'_, 'a>) -> Step<'c, 'a> {
    InstructionContext { interpreter: step.interpreter, host: step.host }
}

/// The account's balance itself was looked at.
pub(super) fn note_balance(host: &mut EvmContext<'_>, account: Option<Address>) {
    let note = account.and_then(|account| host.journaled_state.database.notes.of(account));
    if let Some(note) = note {
        note.balance_exact = true;
    }
}

/// Whether the account is empty was decided on, by what the journal shows of it now.
pub(super) fn note_emptiness(host: &mut EvmContext<'_>, account: Option<Address>) {
    let Some(account) = account else { return };
    let spec = host.cfg.spec();
    let journal = &mut host.journaled_state;
    let Some(shown) = journal.inner.state.get(&account) else { return };
    if !shown.info.is_code_hash_empty_or_zero() {
        return;
    }
    let (nonce, balance) = (shown.info.nonce, shown.info.balance);
    let Some(note) = journal.database.notes.of(account) else { return };
    if spec.is_enabled_in(SpecId::SPURIOUS_DRAGON) {
        note.note_emptiness(nonce, balance);
    } else if !shown.is_touched() {
        // An account that exists may be empty: its mark was looked at when it was loaded.
        note.note_emptiness(nonce, balance);
    }
}

/// A hash of as many bytes as find an entry of a mapping, in memory that is there already, is looked for among those of
/// the block.
fn keccak256(step: Step<'_, '_>) -> InstructionExecResult {
    let asks = step.host.journaled_state.database.hashes.is_worth_asking();
    let Some(bytes) = asks.then(|| hashed_bytes(&step)).flatten() else {
        return by_revm(step, opcode::KECCAK256);
    };
    let cost = step.host.gas_params().keccak256_cost(HASHED_BYTES);
    if !step.interpreter.gas.record_regular_cost(cost) {
        return Err(InstructionResult::OutOfGas);
    }
    let hash = step.host.journaled_state.database.hashes.keccak256(&bytes);
    let Some((_, top)) = step.interpreter.stack.popn_top::<1>() else {
        return Err(InstructionResult::StackUnderflow);
    };
    *top = hash.into();
    Ok(())
}

fn hashed_bytes(step: &Step<'_, '_>) -> Option<[u8; HASHED_BYTES]> {
    let (stack, memory) = (&step.interpreter.stack, &step.interpreter.memory);
    if stack.peek(1).ok()? != U256::from(HASHED_BYTES) {
        return None;
    }
    let from = usize::try_from(stack.peek(0).ok()?).ok()?;
    if from.checked_add(HASHED_BYTES)? > memory.len() {
        return None;
    }
    <[u8; HASHED_BYTES]>::try_from(&*memory.slice_len(from, HASHED_BYTES)).ok()
}

fn balance(mut step: Step<'_, '_>) -> InstructionExecResult {
    let account = address_at(&step, 0);
    let result = by_revm(again(&mut step), opcode::BALANCE);
    note_balance(step.host, account);
    result
}

fn self_balance(mut step: Step<'_, '_>) -> InstructionExecResult {
    let account = step.interpreter.input.target_address();
    let result = by_revm(again(&mut step), opcode::SELFBALANCE);
    note_balance(step.host, Some(account));
    result
}

fn code_hash(mut step: Step<'_, '_>) -> InstructionExecResult {
    let account = address_at(&step, 0);
    let result = by_revm(again(&mut step), opcode::EXTCODEHASH);
    note_emptiness(step.host, account);
    result
}

/// A call pays for an account that it brings into being: from Spurious Dragon on only if it brings value.
fn call(mut step: Step<'_, '_>) -> InstructionExecResult {
    let account = address_at(&step, 1);
    let spec = step.host.cfg.spec();
    let pays = !spec.is_enabled_in(SpecId::SPURIOUS_DRAGON)
        || step.interpreter.stack.peek(2).is_ok_and(|value| !value.is_zero());
    let result = by_revm(again(&mut step), opcode::CALL);
    if pays {
        note_emptiness(step.host, account);
    }
    result
}

/// What a creation decides is noted when it begins. From Amsterdam on it may fail before, for the cost of an account that it
/// would bring into being: all that was loaded by then counts as looked at.
fn create<const INSTRUCTION: u8>(mut step: Step<'_, '_>) -> InstructionExecResult {
    let result = by_revm(again(&mut step), INSTRUCTION);
    if step.host.cfg.spec().is_enabled_in(SpecId::AMSTERDAM) {
        step.host.journaled_state.database.notes.look_at_all();
    }
    result
}

fn self_destruct(mut step: Step<'_, '_>) -> InstructionExecResult {
    let (account, heir) = (step.interpreter.input.target_address(), address_at(&step, 0));
    let result = by_revm(again(&mut step), opcode::SELFDESTRUCT);
    for account in [Some(account), heir] {
        note_balance(step.host, account);
        let note = account.and_then(|account| step.host.journaled_state.database.notes.of(account));
        if let Some(note) = note {
            note.note_nonce(NonceUse::Exact);
        }
    }
    result
}
