//! The loop that interprets code. Plain instructions (stack, arithmetic, jumps, memory that is paid for) are executed here in runs,
//! with the counters of the interpreter at hand and pairs that compilers often leave taken together. Every other instruction, and every
//! one that would fail, is left to revm's own: nothing can fail here, and what an instruction costs is what revm says.
//!
//! Source of the instructions: Ethereum Yellow Paper, appendix H.

#[cfg(test)]
mod tests;

use revm::bytecode::JumpTable;
use revm::bytecode::opcode::*;
use revm::interpreter::instructions::{GasTable, InstructionTable};
use revm::interpreter::interpreter::EthInterpreter;
use revm::interpreter::interpreter_types::{Jumps, LoopControl};
use revm::interpreter::{CallInput, Host, Interpreter, InterpreterAction, STACK_LIMIT};
use revm::primitives::hardfork::SpecId;
use revm::primitives::{Address, U256};

/// Bits of a word.
const WORD_BITS: usize = 256;

/// Interprets the code of one frame until it ends or calls.
pub(super) fn interpret<H: Host>(
    interpreter: &mut Interpreter<EthInterpreter>,
    table: &InstructionTable<EthInterpreter, H>,
    gas: &GasTable,
    host: &mut H,
) -> InterpreterAction {
    let result = loop {
        run_plain(interpreter, gas);
        if let Err(result) = interpreter.step(table, gas, host) {
            break result;
        }
    };
    if interpreter.bytecode.action().is_none() {
        interpreter.halt(result);
    }
    interpreter.take_next_action()
}

/// Executes plain instructions up to the first one that is none, or that would fail.
fn run_plain(interpreter: &mut Interpreter<EthInterpreter>, gas: &GasTable) {
    let Interpreter { bytecode, stack: kept, memory, input, return_data, runtime_flag, .. } = interpreter;
    let Some(destinations) = bytecode.legacy_jump_table() else { return };
    let spec = runtime_flag.spec_id;
    let has_return_data = spec.is_enabled_in(SpecId::BYZANTIUM);
    let has_shifts = spec.is_enabled_in(SpecId::PETERSBURG);
    let has_push0 = spec.is_enabled_in(SpecId::SHANGHAI);
    let bytes = memory.len();
    let mut memory = memory.slice_mut(0, bytes);
    let code = bytecode.bytes_slice();
    let cost = |opcode: u8| u64::from(gas[usize::from(opcode)]);
    // By value: while they are looked at here they need not be anywhere else.
    let mut stack = std::mem::take(kept.data_mut());
    let (mut at, mut left) = (bytecode.pc(), interpreter.gas.remaining());

    macro_rules! push {
        ($value:expr) => {{
            let value: U256 = $value;
            // The second is never so before the first; it tells the compiler that nothing grows.
            if stack.len() >= STACK_LIMIT || stack.len() == stack.capacity() {
                break;
            }
            stack.push(value);
        }};
    }
    macro_rules! unary {
        ($top:ident, $result:expr) => {{
            let Some(place) = stack.last_mut() else { break };
            let $top = *place;
            *place = $result;
        }};
    }
    macro_rules! binary {
        ($top:ident, $below:ident, $result:expr) => {{
            let [.., place, top] = stack.as_mut_slice() else { break };
            let ($top, $below) = (*top, *place);
            *place = $result;
            stack.pop();
        }};
    }
    // A comparison, and the jump that it decides if that follows.
    macro_rules! compare {
        ($top:ident, $below:ident, $rest:ident, $holds:expr) => {{
            let [.., place, top] = stack.as_mut_slice() else { break };
            let ($top, $below) = (*top, *place);
            let holds: bool = $holds;
            if let Some(landed) = branch(code, at + 1, holds, destinations, gas, $rest) {
                stack.truncate(stack.len() - 2);
                (at, left) = landed;
                continue;
            }
            *place = U256::from(holds);
            stack.pop();
        }};
    }

    while let Some(&opcode) = code.get(at) {
        let Some(rest) = left.checked_sub(cost(opcode)) else { break };
        match opcode {
            ADD => binary!(a, b, a.wrapping_add(b)),
            MUL => binary!(a, b, a.wrapping_mul(b)),
            SUB => binary!(a, b, a.wrapping_sub(b)),
            DIV => binary!(a, b, if b.is_zero() { b } else { a.wrapping_div(b) }),
            LT => compare!(a, b, rest, a < b),
            GT => compare!(a, b, rest, a > b),
            SLT => compare!(a, b, rest, in_order(a) < in_order(b)),
            SGT => compare!(a, b, rest, in_order(a) > in_order(b)),
            EQ => compare!(a, b, rest, a == b),
            ISZERO => {
                let has_room = stack.len() < STACK_LIMIT;
                let Some(top) = stack.last_mut() else { break };
                let holds = top.is_zero();
                if has_room && let Some(landed) = branch(code, at + 1, holds, destinations, gas, rest) {
                    stack.pop();
                    (at, left) = landed;
                    continue;
                }
                *top = U256::from(holds);
            }
            AND => binary!(a, b, a & b),
            OR => binary!(a, b, a | b),
            XOR => binary!(a, b, a ^ b),
            NOT => unary!(a, !a),
            SHL if has_shifts => binary!(a, b, shift_of(a).map_or(U256::ZERO, |by| b << by)),
            SHR if has_shifts => binary!(a, b, shift_of(a).map_or(U256::ZERO, |by| b >> by)),
            ADDRESS => push!(input.target_address.into_word().into()),
            CALLER => push!(input.caller_address.into_word().into()),
            CALLVALUE => push!(input.call_value),
            CALLDATALOAD => {
                // What another frame's memory holds is left to revm.
                let CallInput::Bytes(data) = &input.input else { break };
                let Some(top) = stack.last_mut() else { break };
                let Some(word) = word_at(data, *top) else { break };
                *top = U256::from_be_bytes(*word);
            }
            CALLDATASIZE => push!(U256::from(input.input.len())),
            RETURNDATASIZE if has_return_data => push!(U256::from(return_data.0.len())),
            GAS => push!(U256::from(rest)),
            POP => {
                if stack.pop().is_none() {
                    break;
                }
                if code.get(at + 1) == Some(&POP)
                    && let Some(rest) = rest.checked_sub(cost(POP))
                    && stack.pop().is_some()
                {
                    (at, left) = (at + 2, rest);
                    continue;
                }
            }
            MLOAD => {
                let Some(top) = stack.last_mut() else { break };
                let Some(word) = word_at(&memory, *top) else { break };
                *top = U256::from_be_bytes(*word);
            }
            MSTORE => {
                let [.., value, offset] = stack.as_slice() else { break };
                let offset = usize::try_from(*offset).ok();
                let word = offset.and_then(|offset| memory.get_mut(offset..)?.first_chunk_mut::<32>());
                let Some(word) = word else { break };
                *word = value.to_be_bytes();
                stack.truncate(stack.len() - 2);
            }
            JUMP => {
                let Some(target) = stack.last().and_then(|&to| destination(to, destinations)) else { break };
                stack.pop();
                (at, left) = land(target, gas, rest);
                continue;
            }
            JUMPI => {
                let [.., condition, to] = stack.as_slice() else { break };
                if !condition.is_zero() {
                    let Some(target) = destination(*to, destinations) else { break };
                    stack.truncate(stack.len() - 2);
                    (at, left) = land(target, gas, rest);
                    continue;
                }
                stack.truncate(stack.len() - 2);
            }
            JUMPDEST => {}
            PUSH0 if has_push0 => push!(U256::ZERO),
            PUSH1 if stack.len() < STACK_LIMIT && code.get(at + 2) == Some(&ADD) => {
                let Some(rest) = rest.checked_sub(cost(ADD)) else { break };
                let (Some(&number), Some(top)) = (code.get(at + 1), stack.last_mut()) else { break };
                *top = top.wrapping_add(U256::from(number));
                (at, left) = (at + 3, rest);
                continue;
            }
            PUSH2 if stack.len() < STACK_LIMIT && code.get(at + 3) == Some(&JUMPI) => {
                let Some(condition) = stack.last() else { break };
                let holds = !condition.is_zero();
                let Some(landed) = branch(code, at, holds, destinations, gas, left) else { break };
                stack.pop();
                (at, left) = landed;
                continue;
            }
            PUSH2 if stack.len() < STACK_LIMIT && code.get(at + 3) == Some(&JUMP) => {
                let Some(rest) = rest.checked_sub(cost(JUMP)) else { break };
                let Some(target) = pushed_destination(code, at, destinations) else { break };
                (at, left) = land(target, gas, rest);
                continue;
            }
            PUSH1..=PUSH8 => {
                let count = usize::from(opcode - PUSH0);
                // So near to the end of the code that eight bytes are not there it is left to revm.
                let Some(bytes) = code.get(at + 1..).and_then(|code| code.first_chunk::<8>()) else { break };
                push!(U256::from(u64::from_be_bytes(*bytes) >> (64 - 8 * count)));
                at += count;
            }
            PUSH20 => {
                let Some(bytes) = code.get(at + 1..).and_then(|code| code.first_chunk::<20>()) else { break };
                push!(Address::from(*bytes).into_word().into());
                at += 20;
            }
            PUSH32 => {
                let Some(bytes) = code.get(at + 1..).and_then(|code| code.first_chunk::<32>()) else { break };
                push!(U256::from_be_bytes(*bytes));
                at += 32;
            }
            PUSH9..=PUSH31 => {
                let count = usize::from(opcode - PUSH0);
                let number = code.get(at + 1..at + 1 + count).and_then(U256::try_from_be_slice);
                let Some(number) = number else { break };
                push!(number);
                at += count;
            }
            DUP1..=DUP16 => {
                let depth = usize::from(opcode - DUP1) + 1;
                let place = stack.len().checked_sub(depth);
                let Some(&value) = place.and_then(|place| stack.get(place)) else { break };
                push!(value);
            }
            SWAP1..=SWAP16 => {
                let depth = usize::from(opcode - SWAP1) + 1;
                let Some((top, others)) = stack.split_last_mut() else { break };
                let place = others.len().checked_sub(depth);
                let Some(other) = place.and_then(|place| others.get_mut(place)) else { break };
                if code.get(at + 1) == Some(&POP)
                    && let Some(rest) = rest.checked_sub(cost(POP))
                {
                    *other = *top;
                    stack.pop();
                    (at, left) = (at + 2, rest);
                    continue;
                }
                std::mem::swap(top, other);
            }
            _ => break,
        }
        (at, left) = (at + 1, rest);
    }
    drop(memory);
    *kept.data_mut() = stack;
    bytecode.absolute_jump(at);
    interpreter.gas.set_remaining(left);
}

/// Where the jump leads that is decided already, and what gas is left there; `None` if there is none at `at`, if it cannot be paid, or if
/// it has no destination.
fn branch(
    code: &[u8],
    at: usize,
    holds: bool,
    destinations: &JumpTable,
    gas: &GasTable,
    left: u64,
) -> Option<(usize, u64)> {
    let &[PUSH2, _, _, JUMPI] = code.get(at..)?.first_chunk::<4>()? else { return None };
    let left = left.checked_sub(u64::from(gas[usize::from(PUSH2)]) + u64::from(gas[usize::from(JUMPI)]))?;
    if holds {
        Some(land(pushed_destination(code, at, destinations)?, gas, left))
    } else {
        Some((at + 4, left))
    }
}

/// The destination that the PUSH2 at `at` pushes, if it is one.
fn pushed_destination(code: &[u8], at: usize, destinations: &JumpTable) -> Option<usize> {
    let &[_, high, low] = code.get(at..)?.first_chunk::<3>()?;
    let target = usize::from(u16::from_be_bytes([high, low]));
    destinations.is_valid(target).then_some(target)
}

/// The destination that a word stands for, if it is one.
fn destination(word: U256, destinations: &JumpTable) -> Option<usize> {
    usize::try_from(word).ok().filter(|&target| destinations.is_valid(target))
}

/// Behind a destination, which does nothing but cost; in front of it if that cannot be paid.
fn land(target: usize, gas: &GasTable, left: u64) -> (usize, u64) {
    match left.checked_sub(u64::from(gas[usize::from(JUMPDEST)])) {
        Some(left) => (target + 1, left),
        None => (target, left),
    }
}

/// The word that begins at this offset, if all of it is there.
fn word_at(bytes: &[u8], offset: U256) -> Option<&[u8; 32]> {
    bytes.get(usize::try_from(offset).ok()?..)?.first_chunk()
}

/// A word such that the order of words is that of the signed numbers they stand for.
fn in_order(word: U256) -> U256 {
    word ^ (U256::ONE << (WORD_BITS - 1))
}

/// By how many bits to shift; `None` if none of them would be left.
fn shift_of(word: U256) -> Option<usize> {
    usize::try_from(word).ok().filter(|&bits| bits < WORD_BITS)
}
