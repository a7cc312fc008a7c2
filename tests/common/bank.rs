//! A ledger of rich accounts with ordinary transfers, and one culprit whose transactions may bring their shard down.

use super::{Dice, Scene, deadline};
use phalanx::executor::{BlockExecutor, BlockOutput, Sequential};
use phalanx::types::{Block, BlockHeader, PreparedBlock};
use phalanx::vm::ledger::{Address, Fault, FaultOrder, LedgerVm, Payload, RawTransaction, When, genesis};
use phalanx_bench::{Accounts, WORKLOAD_CHAIN_ID};
use std::sync::Arc;

/// The account that sends fault transactions, and nothing else.
pub const CULPRIT: usize = 0;
/// The account that receives from fault transactions; others may send to it.
pub const RECIPIENT: usize = 1;
/// Unless more are wanted.
const ACCOUNTS: usize = 20;
const RICHES: u64 = 1 << 40;

/// Blocks for one ledger, with the balances and sequence numbers that they leave. Gas costs nothing here.
pub struct Bank {
    pub scene: Scene,
    pub dice: Dice,
    accounts: Accounts,
    oracle: Sequential<LedgerVm>,
    balances: Vec<u64>,
    sequences: Vec<u64>,
    height: u64,
    /// What the fault transactions encoded from now on count their executions in.
    pub tally: Option<String>,
}

impl Bank {
    pub fn new(seed: u64) -> Bank {
        Bank::with_accounts(seed, ACCOUNTS)
    }

    pub fn with_accounts(seed: u64, count: usize) -> Bank {
        let mut scene = Scene::new(seed, 2, false);
        let accounts = Accounts::derive(seed, count, false);
        let riches = accounts.addresses().iter().map(|&address| (address, RICHES));
        scene.genesis = genesis(riches).unwrap().collect();
        Bank {
            dice: Dice::new(seed),
            oracle: scene.oracle(),
            scene,
            accounts,
            balances: vec![RICHES; count],
            sequences: vec![0; count],
            height: 0,
            tally: None,
        }
    }

    pub fn address(&self, account: usize) -> Address {
        self.accounts.addresses()[account]
    }

    pub fn balance(&self, account: usize) -> u64 {
        self.balances[account]
    }

    /// Strikes only where `account` has not the balance that it has now, after what was encoded last.
    pub fn on_wrong_guess_of(&self, account: usize) -> When {
        When::BalanceIsNot { of: self.address(account), right: self.balance(account) }
    }

    pub fn transfer(&mut self, from: usize, to: usize, amount: u64) -> Vec<u8> {
        let payload = Payload::Transfer { to: self.address(to), amount };
        self.balances[from] -= amount;
        self.balances[to] += amount;
        self.sequences[from] += 1;
        self.encode(from, payload)
    }

    /// A transfer between two accounts that are neither culprit nor recipient.
    pub fn any_transfer(&mut self) -> Vec<u8> {
        let ordinary = self.balances.len() - 2;
        let from = 2 + self.dice.below(ordinary);
        let to = 2 + (from - 2 + 1 + self.dice.below(ordinary - 1)) % ordinary;
        let amount = 1 + self.dice.next() % 100;
        self.transfer(from, to, amount)
    }

    /// A transaction that moves one coin: with the fault, and as the transfer that it is otherwise.
    pub fn fault(&mut self, from: usize, to: usize, fault: Fault, when: When) -> (Vec<u8>, Vec<u8>) {
        let order = FaultOrder { fault, when, tally: self.tally.clone(), to: self.address(to), amount: 1 };
        let harmless = self.transfer(from, to, 1);
        (self.encode(from, Payload::Fault(order)), harmless)
    }

    /// A transaction with the sequence number that was used up last.
    fn encode(&self, from: usize, payload: Payload) -> Vec<u8> {
        let raw = RawTransaction {
            chain_id: WORKLOAD_CHAIN_ID,
            sender: self.address(from),
            sequence_number: self.sequences[from] - 1,
            max_gas: 100_000,
            gas_price: 0,
            expiration_s: u64::MAX,
            payload,
        };
        self.accounts.encode(raw, from)
    }

    /// A block of these transactions for the present height.
    pub fn block(&self, transactions: Vec<Vec<u8>>) -> Arc<PreparedBlock> {
        self.block_with(Vec::new(), transactions)
    }

    /// As [`block`](Self::block), with extra bytes in the header.
    pub fn block_with(&self, extra: Vec<u8>, transactions: Vec<Vec<u8>>) -> Arc<PreparedBlock> {
        let header = BlockHeader { height: self.height, timestamp_s: 1, beneficiary: [0xbe; 32], extra };
        self.scene.prepare(&Block { header, transactions })
    }

    /// What the oracle makes of the next block; every transaction must succeed.
    pub fn expect(&mut self, block: &Arc<PreparedBlock>) -> BlockOutput {
        self.height += 1;
        let output = self.oracle.execute(block, deadline()).unwrap();
        assert!(output.transactions().all(|output| output.status() == phalanx::types::StatusCode::SUCCESS));
        output
    }

    /// `size` transactions: ordinary transfers, and one of the culprit at `place`; with the fault, and without.
    pub fn pair(
        &mut self,
        size: usize,
        place: usize,
        fault: &Fault,
        when: &When,
    ) -> (Arc<PreparedBlock>, Arc<PreparedBlock>) {
        let transactions = (0..size).map(|index| {
            if index == place {
                return self.fault(CULPRIT, RECIPIENT, fault.clone(), when.clone());
            }
            let transfer = self.any_transfer();
            (transfer.clone(), transfer)
        });
        let (faulty, clean) = transactions.unzip();
        (self.block(faulty), self.block(clean))
    }
}
