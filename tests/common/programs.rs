//! Random programs for the EVM, in blocks in which they meet: whatever a step reads, decides by, pays, makes or destroys is in reach
//! of other transactions of the block.

use super::Dice;
use super::contracts::{CHILD_INIT, DESTROYER, child, word};
use super::ethereum::{BENEFICIARY, anybody, block, sender, transaction};
use phalanx::vm::evm::EvmAccount;
use phalanx::vm::evm::revm::context::TxEnv;
use phalanx::vm::evm::revm::primitives::hardfork::SpecId;
use phalanx::vm::evm::revm::primitives::{Address, B256, Bytes, TxKind, U256, hex};
use phalanx_bench::ethereum::EthereumBlock;
use std::collections::HashMap;

/// Contracts that make what they are called with into a contract, and run its code as their own.
const HOSTS: usize = 3;
/// Where the protocol calls before the first transaction, from Cancun on.
const BEACON_ROOTS: &str = "000F3df6D732807Ef1319fB7B8bB8522d0Beac02";
/// Gas for what a host runs: less than a transaction has left, as calls before Tangerine Whistle must say.
const HOST_GAS: [u8; 3] = [0x05, 0x57, 0x30];
const TRANSACTION_GAS: u64 = 700_000;

const STOP: u8 = 0x00;
const ADD: u8 = 0x01;
const AND: u8 = 0x16;
const BALANCE: u8 = 0x31;
const CALLER: u8 = 0x33;
const COINBASE: u8 = 0x41;
const SELFBALANCE: u8 = 0x47;
const POP: u8 = 0x50;
const MSTORE: u8 = 0x52;
const SLOAD: u8 = 0x54;
const SSTORE: u8 = 0x55;
const JUMPI: u8 = 0x57;
const GAS: u8 = 0x5a;
const JUMPDEST: u8 = 0x5b;
const TLOAD: u8 = 0x5c;
const TSTORE: u8 = 0x5d;
const LOG1: u8 = 0xa1;
const CREATE: u8 = 0xf0;
const CALL: u8 = 0xf1;
const CALLCODE: u8 = 0xf2;
const DELEGATECALL: u8 = 0xf4;
const CREATE2: u8 = 0xf5;
const STATICCALL: u8 = 0xfa;
const INVALID: u8 = 0xfe;
const REVERT: u8 = 0xfd;
const SELFDESTRUCT: u8 = 0xff;

fn host(number: usize) -> Address {
    Address::repeat_byte(0xb0 + u8::try_from(number).unwrap())
}

fn host_code(spec: SpecId) -> Bytes {
    let mut code = hex::decode("3660006000373660006000f0").unwrap();
    code.extend(hex::decode("6000600060006000").unwrap());
    if spec >= SpecId::HOMESTEAD {
        code.extend([0x84, 0x62]);
    } else {
        // CALLCODE: the value as well.
        code.extend([0x60, 0, 0x85, 0x62]);
    }
    code.extend(HOST_GAS);
    code.extend([if spec >= SpecId::HOMESTEAD { DELEGATECALL } else { CALLCODE }, STOP]);
    code.into()
}

/// Code that is being made.
struct Program<'d> {
    dice: &'d mut Dice,
    spec: SpecId,
    code: Vec<u8>,
}

impl Program<'_> {
    fn push(&mut self, bytes: &[u8]) {
        self.code.push(0x5f + u8::try_from(bytes.len()).unwrap());
        self.code.extend_from_slice(bytes);
    }

    fn small(&mut self, end: usize) {
        let number = u8::try_from(self.dice.below(end)).unwrap();
        self.push(&[number]);
    }

    /// An account that others of the block use as well.
    fn account(&mut self) {
        match self.dice.below(12) {
            0 => self.code.push(CALLER),
            1 => self.code.push(COINBASE),
            _ => {
                let account = somebody(self.dice);
                self.push(account.as_slice());
            }
        }
    }

    /// Puts a value on the stack.
    fn value(&mut self) {
        match self.dice.below(13) {
            0..=2 => self.small(3),
            3..=5 => {
                self.small(4);
                self.code.push(SLOAD);
            }
            6 | 7 => {
                self.account();
                self.code.push(BALANCE);
            }
            8 => {
                self.account();
                // EXTCODESIZE, or EXTCODEHASH.
                let hash = self.spec >= SpecId::PETERSBURG && self.dice.chance(50);
                self.code.push(if hash { 0x3f } else { 0x3b });
            }
            9 if self.spec >= SpecId::ISTANBUL => self.code.push(SELFBALANCE),
            10 if self.spec >= SpecId::CANCUN => {
                self.small(2);
                self.code.push(TLOAD);
            }
            11 => self.code.push(GAS),
            _ => {
                self.value();
                self.value();
                self.code.push(ADD);
            }
        }
    }

    /// Puts what was left on the stack into a slot, or drops it.
    fn keep(&mut self) {
        if self.dice.chance(60) {
            self.small(4);
            self.code.push(SSTORE);
        } else {
            self.code.push(POP);
        }
    }

    fn call(&mut self) {
        let kinds: &[u8] = if self.spec >= SpecId::BYZANTIUM {
            &[CALL, CALL, CALL, CALLCODE, DELEGATECALL, STATICCALL]
        } else if self.spec >= SpecId::HOMESTEAD {
            &[CALL, CALL, CALLCODE, DELEGATECALL]
        } else {
            &[CALL, CALL, CALLCODE]
        };
        let kind = *self.dice.pick(kinds);
        self.account();
        self.push(&[0]);
        self.code.push(MSTORE);
        // Output: none. Input: nothing, or the word.
        let input = if self.dice.chance(70) { 32 } else { 0 };
        for number in [0, 0, input, 0] {
            self.push(&[number]);
        }
        if matches!(kind, CALL | CALLCODE) {
            self.small(3);
        }
        self.account();
        let gas: [u8; 2] = *self.dice.pick(&[[0x75, 0x30], [0xc3, 0x50], [0x09, 0x00]]);
        self.push(&gas);
        self.code.push(kind);
        self.keep();
    }

    /// A contract like others of the block, or one without code; with CREATE2 the same one.
    fn create(&mut self) {
        let init = if self.dice.chance(70) { hex::decode(CHILD_INIT).unwrap() } else { vec![STOP] };
        let length = u8::try_from(init.len()).unwrap();
        self.push(&init);
        self.push(&[0]);
        self.code.push(MSTORE);
        let second = self.spec >= SpecId::PETERSBURG && self.dice.chance(60);
        if second {
            self.small(2);
        }
        self.push(&[length]);
        self.push(&[32 - length]);
        self.small(3);
        self.code.push(if second { CREATE2 } else { CREATE });
        self.keep();
    }

    /// A step if some value is even.
    fn guarded(&mut self) {
        self.value();
        self.push(&[1]);
        self.code.push(AND);
        let place = self.code.len() + 1;
        self.push(&[0, 0]);
        self.code.push(JUMPI);
        self.step();
        let end = u16::try_from(self.code.len()).unwrap().to_be_bytes();
        self.code[place..place + 2].copy_from_slice(&end);
        self.code.push(JUMPDEST);
    }

    fn step(&mut self) {
        match self.dice.below(11) {
            0..=2 => {
                self.value();
                self.small(4);
                self.code.push(SSTORE);
            }
            3 => {
                self.push(&[0]);
                self.small(4);
                self.code.push(SSTORE);
            }
            4..=6 => self.call(),
            7 => self.create(),
            8 if self.spec >= SpecId::CANCUN => {
                self.value();
                self.small(2);
                self.code.push(TSTORE);
            }
            9 => {
                self.value();
                self.push(&[0]);
                self.push(&[0]);
                self.code.push(LOG1);
            }
            _ => self.guarded(),
        }
    }

    fn end(&mut self) {
        match self.dice.below(12) {
            0 | 1 => {
                self.account();
                self.code.push(SELFDESTRUCT);
            }
            2 => self.code.push(INVALID),
            3 if self.spec >= SpecId::BYZANTIUM => {
                self.push(&[0]);
                self.push(&[0]);
                self.code.push(REVERT);
            }
            _ => self.code.push(STOP),
        }
    }
}

fn program(dice: &mut Dice, spec: SpecId) -> Vec<u8> {
    let steps = 1 + dice.below(6);
    let mut program = Program { dice, spec, code: Vec::new() };
    for _ in 0..steps {
        program.step();
    }
    program.end();
    program.code
}

/// Code that returns `code`.
fn init_of(code: &[u8]) -> Bytes {
    let [high, low] = u16::try_from(code.len()).unwrap().to_be_bytes();
    // PUSH2 length, DUP1, PUSH1 12, PUSH1 0, CODECOPY, PUSH1 0, RETURN.
    let mut init = vec![0x61, high, low, 0x80, 0x60, 12, 0x60, 0, 0x39, 0x60, 0, 0xf3];
    init.extend_from_slice(code);
    init.into()
}

/// Anybody, and hosts, what hosts made, and what senders made.
fn somebody(dice: &mut Dice) -> Address {
    match dice.below(8) {
        0 | 1 => host(dice.below(HOSTS)),
        2 => host(dice.below(HOSTS)).create(1 + dice.below(3) as u64),
        3 => sender(dice.below(4)).create(dice.below(4) as u64),
        _ => anybody(dice),
    }
}

/// A block of random programs and of small contracts' calls, on a random part of the accounts, for some beneficiary.
pub fn program_block(seed: u64, spec: SpecId) -> EthereumBlock {
    let mut made = block(seed, spec);
    let mut dice = Dice::new(seed ^ 0x5eed ^ ((spec as u64) << 40));
    let coins = dice.below(3);
    let mut account = |code: Bytes| EvmAccount {
        balance: U256::from(coins),
        nonce: 1,
        code,
        storage: (0..2).map(|slot| (U256::from(slot), U256::from(dice.below(3)))).collect(),
    };
    made.accounts.extend((0..HOSTS).map(|number| (host(number), account(host_code(spec)))));
    // A beneficiary that is not there, or is somebody who does more.
    if dice.chance(50) {
        made.accounts.retain(|(account, _)| *account != BENEFICIARY);
    }
    let beneficiaries =
        [BENEFICIARY, BENEFICIARY, host(0), DESTROYER, sender(1), child(), Address::with_last_byte(2)];
    made.file.context.beneficiary = *dice.pick(&beneficiaries);
    if spec >= SpecId::CANCUN && dice.chance(50) {
        let code = program(&mut dice, spec).into();
        made.accounts
            .push((BEACON_ROOTS.parse().unwrap(), EvmAccount { nonce: 1, code, ..EvmAccount::default() }));
        made.file.parent_beacon_root = Some(B256::from(word(somebody(&mut dice)).to_be_bytes()));
    }
    let mut nonces = HashMap::new();
    let (free, count) = (dice.chance(30), 4 + dice.below(40));
    made.file.transactions = (0..count).map(|_| user(&mut dice, spec, free, &mut nonces)).collect();
    if free {
        made.file.context.base_fee = 0;
    }
    made
}

/// A transaction that runs a program, calls somebody, or is one of the common kind; `free` if it may pay nothing for gas.
fn user(dice: &mut Dice, spec: SpecId, free: bool, nonces: &mut HashMap<Address, u64>) -> TxEnv {
    let mut tx = transaction(dice, spec, nonces);
    if tx.tx_type != 4 {
        match dice.below(10) {
            0..=5 => {
                tx.kind = TxKind::Call(host(dice.below(HOSTS)));
                tx.data = init_of(&program(dice, spec));
            }
            6 => {
                tx.kind = TxKind::Create;
                tx.data = init_of(&program(dice, spec));
            }
            7 => {
                tx.kind = TxKind::Create;
                tx.data = program(dice, spec).into();
            }
            8 => tx.kind = TxKind::Call(somebody(dice)),
            _ => {}
        }
        tx.gas_limit = if dice.chance(90) { TRANSACTION_GAS } else { 150_000 + dice.below(150_000) as u64 };
    }
    if free && dice.chance(70) {
        tx.gas_price = 0;
        tx.gas_priority_fee = tx.gas_priority_fee.map(|_| 0);
    }
    tx
}
