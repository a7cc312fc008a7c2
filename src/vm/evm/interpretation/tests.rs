//! What would break: an instruction that does something else than revm's, or costs something else, alone or together with the one
//! behind it. The oracle is revm's own loop on the same code: result, gas, stack and memory are compared. And instructions that are
//! quietly no longer executed here: nothing would be wrong, only slow. Negative controls run: destinations that cost nothing, a decided
//! jump that is taken when it should not be, a word that is swapped and then not dropped, pushes of one byte too few, a word too many
//! on a full stack, and shifts before there were any: each fails. And CALLDATALOAD among the instructions that note something.

use super::{interpret, run_plain};
use crate::vm::evm::instructions::NotingInstructions;
use proptest::prelude::*;
use revm::bytecode::Bytecode;
use revm::bytecode::opcode::*;
use revm::context_interface::host::DummyHost;
use revm::interpreter::instructions::{Instruction, InstructionTable, gas_table_spec, instruction_table};
use revm::interpreter::interpreter::{EthInterpreter, ExtBytecode, InputsImpl, ReturnDataImpl};
use revm::interpreter::interpreter_types::Jumps;
use revm::interpreter::{CallInput, Interpreter, InterpreterAction, STACK_LIMIT, SharedMemory};
use revm::primitives::hardfork::SpecId;
use revm::primitives::{Address, Bytes, U256};

const SPECS: [SpecId; 7] = [
    SpecId::FRONTIER,
    SpecId::BYZANTIUM,
    SpecId::PETERSBURG,
    SpecId::LONDON,
    SpecId::SHANGHAI,
    SpecId::OSAKA,
    SpecId::AMSTERDAM,
];

/// What may decide a jump.
const DECISIONS: [u8; 7] = [ISZERO, EQ, LT, GT, SLT, SGT, DUP1];

/// A piece of code.
#[derive(Clone, Debug)]
enum Piece {
    One(u8),
    Push(Vec<u8>),
    /// Pushes the place of one of the destinations with two or three bytes, or a place near it.
    PushDestination {
        which: usize,
        is_long: bool,
        beside: usize,
    },
}

fn one_of(opcodes: &'static [u8]) -> impl Strategy<Value = Piece> {
    (0..opcodes.len()).prop_map(|which| Piece::One(opcodes[which]))
}

fn number() -> impl Strategy<Value = Piece> {
    prop_oneof![
        3 => prop::collection::vec(0_u8..70, 1..=1),
        1 => prop::collection::vec(any::<u8>(), 1..=32),
        1 => prop::collection::vec(prop_oneof![Just(0), Just(0xff)], 1..=32),
    ]
    .prop_map(Piece::Push)
}

/// A jump, perhaps behind what decides it.
fn jump() -> impl Strategy<Value = Vec<Piece>> {
    let decisions = prop::collection::vec(one_of(&DECISIONS), 0..=2);
    let beside = prop_oneof![9 => Just(0_usize), 1 => 1_usize..3];
    (decisions, any::<usize>(), any::<bool>(), beside, one_of(&[JUMP, JUMPI, JUMPI])).prop_map(
        |(mut pieces, which, is_long, beside, jump)| {
            pieces.extend([Piece::PushDestination { which, is_long, beside }, jump]);
            pieces
        },
    )
}

fn pieces() -> impl Strategy<Value = Vec<Piece>> {
    let few = prop_oneof![
        4 => number().prop_map(|piece| vec![piece]),
        2 => any::<u8>().prop_map(|opcode| vec![Piece::One(opcode)]),
        4 => (0x50_u8..0xa0).prop_map(|opcode| vec![Piece::One(opcode)]),
        2 => Just(vec![Piece::One(JUMPDEST)]),
        3 => jump(),
        1 => number().prop_map(|piece| vec![piece, Piece::One(ADD)]),
        1 => (SWAP1..=SWAP16).prop_map(|opcode| vec![Piece::One(opcode), Piece::One(POP)]),
        1 => Just(vec![Piece::One(POP), Piece::One(POP)]),
    ];
    prop::collection::vec(few, 1..60).prop_map(|pieces| pieces.concat())
}

fn width_of(piece: &Piece) -> usize {
    match piece {
        Piece::One(_) => 1,
        Piece::Push(bytes) => 1 + bytes.len(),
        Piece::PushDestination { is_long, .. } => 3 + usize::from(*is_long),
    }
}

fn assemble(pieces: &[Piece]) -> Vec<u8> {
    let mut destinations = Vec::new();
    let mut at = 0;
    for piece in pieces {
        if let Piece::One(JUMPDEST) = piece {
            destinations.push(at);
        }
        at += width_of(piece);
    }
    let mut code = Vec::with_capacity(at);
    for piece in pieces {
        match piece {
            Piece::One(opcode) => code.push(*opcode),
            Piece::Push(bytes) => {
                code.push(PUSH0 + u8::try_from(bytes.len()).unwrap());
                code.extend(bytes);
            }
            Piece::PushDestination { which, is_long, beside } => {
                let target = destinations.get(which % destinations.len().max(1)).copied().unwrap_or(at);
                let target = u32::try_from(target + beside).unwrap().to_be_bytes();
                code.push(if *is_long { PUSH3 } else { PUSH2 });
                code.extend(&target[if *is_long { 1 } else { 2 }..]);
            }
        }
    }
    code
}

/// What a frame begins with.
#[derive(Clone, Debug)]
struct Start {
    code: Vec<u8>,
    spec: SpecId,
    gas: u64,
    stack: Vec<U256>,
    data: Vec<u8>,
    /// Words of memory that are paid for.
    memory: usize,
    is_static: bool,
    /// Whether the data lie in the memory of the frame that calls.
    is_shared: bool,
}

impl Start {
    fn interpreter(&self) -> Interpreter<EthInterpreter> {
        let mut callers = SharedMemory::new();
        callers.resize(self.data.len());
        callers.set(0, &self.data);
        let mut memory = callers.new_child_context();
        memory.resize(32 * self.memory);
        let input = if self.is_shared {
            CallInput::SharedBuffer(0..self.data.len())
        } else {
            CallInput::Bytes(Bytes::from(self.data.clone()))
        };
        let inputs = InputsImpl {
            target_address: Address::repeat_byte(1),
            caller_address: Address::repeat_byte(2),
            call_value: U256::from(3),
            input,
            ..InputsImpl::default()
        };
        let code = ExtBytecode::new(Bytecode::new_legacy(Bytes::from(self.code.clone())));
        let mut interpreter = Interpreter::new(memory, code, inputs, self.is_static, self.spec, self.gas);
        interpreter.gas.memory_mut().set_words_num(self.memory, 3 * self.memory as u64);
        interpreter.return_data = ReturnDataImpl(Bytes::from_static(b"returned"));
        self.stack.iter().for_each(|&word| assert!(interpreter.stack.push(word)));
        interpreter
    }
}

/// What is left of a frame that ended or called.
fn left(interpreter: &Interpreter<EthInterpreter>, action: &InterpreterAction) -> String {
    let memory = interpreter.memory.slice_len(0, interpreter.memory.len());
    format!("{action:?} {:?} {:?} {:?}", interpreter.gas, interpreter.stack, memory)
}

/// revm's instructions, but for the random number: the host of these tests has none.
fn table() -> InstructionTable<EthInterpreter, DummyHost> {
    let mut table = instruction_table();
    table[usize::from(DIFFICULTY)] = Instruction::unknown();
    table
}

fn by_revm(start: &Start) -> String {
    let (mut interpreter, mut host) = (start.interpreter(), DummyHost::new(start.spec));
    let action = interpreter.run_plain(&table(), &gas_table_spec(start.spec), &mut host);
    left(&interpreter, &action)
}

fn here(start: &Start) -> String {
    let (mut interpreter, mut host) = (start.interpreter(), DummyHost::new(start.spec));
    let action = interpret(&mut interpreter, &table(), &gas_table_spec(start.spec), &mut host);
    left(&interpreter, &action)
}

fn word() -> impl Strategy<Value = U256> {
    prop_oneof![
        3 => (0_u64..70).prop_map(U256::from),
        1 => any::<[u8; 32]>().prop_map(U256::from_be_bytes),
        1 => Just(U256::MAX),
        1 => Just(U256::ONE << 255),
    ]
}

fn start() -> impl Strategy<Value = Start> {
    let words = prop_oneof![
        4 => prop::collection::vec(word(), 0..24),
        1 => prop::collection::vec(word(), STACK_LIMIT - 3..=STACK_LIMIT),
    ];
    let data = prop::collection::vec(any::<u8>(), 0..80);
    let gas = prop_oneof![Just(5_000_u64), 0_u64..600];
    let frame = (0_usize..4, any::<bool>(), any::<bool>());
    (pieces(), 0..SPECS.len(), gas, words, data, frame).prop_map(
        |(pieces, spec, gas, stack, data, (memory, is_static, is_shared))| {
            let (code, spec) = (assemble(&pieces), SPECS[spec]);
            Start { code, spec, gas, stack, data, memory, is_static, is_shared }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_comes_to_what_revms_own_loop_comes_to(start in start()) {
        prop_assert_eq!(here(&start), by_revm(&start), "{:?}", start);
    }
}

/// Whether an instruction is executed here, on a stack of threes and behind nothing.
fn is_plain(opcode: u8, spec: SpecId) -> bool {
    // Data of a push, or destinations.
    let code = [&[opcode][..], &[JUMPDEST; 40]].concat();
    let (stack, data) = (vec![U256::from(3); 17], vec![0; 40]);
    let start = Start { code, spec, gas: 100, stack, data, memory: 2, is_static: false, is_shared: false };
    let mut interpreter = start.interpreter();
    run_plain(&mut interpreter, &gas_table_spec(spec));
    interpreter.bytecode.pc() > 0
}

#[test]
fn plain_instructions_are_executed_here_once_there_are_any() {
    let plain = |spec| (0..=u8::MAX).filter(|&opcode| is_plain(opcode, spec)).collect::<Vec<u8>>();
    let mut expected = vec![
        ADD,
        MUL,
        SUB,
        DIV,
        LT,
        GT,
        SLT,
        SGT,
        EQ,
        ISZERO,
        AND,
        OR,
        XOR,
        NOT,
        ADDRESS,
        CALLER,
        CALLVALUE,
        CALLDATALOAD,
        CALLDATASIZE,
        POP,
        MLOAD,
        MSTORE,
        JUMP,
        JUMPI,
        GAS,
        JUMPDEST,
    ];
    expected.extend(PUSH1..=SWAP16);
    assert_eq!(plain(SpecId::FRONTIER), expected);
    expected.extend([RETURNDATASIZE, SHL, SHR, PUSH0]);
    expected.sort_unstable();
    assert_eq!(plain(SpecId::OSAKA), expected);
}

#[test]
fn no_instruction_that_notes_something_is_passed_by() {
    for (opcode, _) in NotingInstructions::OWN {
        assert!(SPECS.iter().all(|&spec| !is_plain(opcode, spec)), "{opcode:#x}");
    }
}
