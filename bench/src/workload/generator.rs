//! Blocks of transfers, all of which succeed.

use crate::workload::accounts::dedicated_beneficiary;
use crate::workload::pairs::Pairs;
use crate::workload::parallel::in_parallel;
use crate::workload::{Accounts, WorkloadConfig, WorkloadError};
use phalanx::types::{Block, BlockHeader};
use phalanx::vm::ledger::{
    Address, GenesisEntry, GenesisError, LedgerConfig, Payload, RawTransaction, SignatureMode, genesis,
};
use std::ops::Range;

/// Chain id of every workload's ledger.
pub const WORKLOAD_CHAIN_ID: u32 = 4_242;

/// Gas limit per recipient of a transfer; one needs half of that, several together less.
pub(super) const MAX_GAS: u64 = 5_000;

/// Time of height 0, in seconds since the Unix epoch; each block is a second later.
const FIRST_TIMESTAMP_S: u64 = 1_700_000_000;

/// How long transactions stay valid, in seconds.
pub(super) const VALID_FOR_S: u64 = 600;

/// Supply of a workload's ledger: half of what fits 64 bits, so that no balance can overflow.
const SUPPLY: u64 = u64::MAX / 2;

/// Blocks of transfers with right sequence numbers. The same configuration gives the same blocks on every host.
///
/// Every account starts with an equal share of 2^63 units, out of which it can pay some 10^15 / accounts
/// transfers; within that, every transfer succeeds.
#[derive(Debug)]
pub struct Workload {
    config: WorkloadConfig,
    accounts: Accounts,
    sequence_numbers: Vec<u64>,
    pairs: Pairs,
    beneficiary: Address,
    height: u64,
}

impl Workload {
    /// Derives the accounts (and reads the trace, whose amounts are capped so that each account could pay all of its
    /// transfers).
    ///
    /// # Errors
    /// [`WorkloadError`]: an impossible configuration, or a trace that cannot be read.
    pub fn new(config: WorkloadConfig) -> Result<Workload, WorkloadError> {
        if config.block_size == 0 {
            return Err(WorkloadError::EmptyBlocks);
        }
        let mut pairs = Pairs::new(&config.kind, config.accounts, config.seed)?;
        let mut count = config.accounts;
        if let Pairs::Trace { trace, looped, .. } = &mut pairs {
            count = trace.accounts;
            let once = trace.transfers.len() as u64;
            let all = config.blocks.saturating_mul(config.block_size as u64);
            let share = balance_of_each(count) / if *looped { all.max(once) } else { once };
            trace.cap(share.saturating_sub(MAX_GAS));
        }
        Ok(Workload {
            accounts: Accounts::derive(config.seed, count, config.signed),
            sequence_numbers: vec![0; count],
            pairs,
            beneficiary: dedicated_beneficiary(config.seed),
            height: 0,
            config,
        })
    }

    /// The accounts.
    #[must_use]
    pub fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &WorkloadConfig {
        &self.config
    }

    /// Set-up of the ledger that the blocks are for.
    #[must_use]
    pub fn ledger_config(&self) -> LedgerConfig {
        ledger_config(self.config.signed)
    }

    /// The first state of the ledger.
    ///
    /// # Errors
    /// [`GenesisError`], should two accounts have the same address.
    pub fn genesis(&self) -> Result<Vec<GenesisEntry>, GenesisError> {
        let balance = balance_of_each(self.accounts.len());
        Ok(genesis(self.accounts.addresses().iter().map(|&address| (address, balance)))?.collect())
    }

    /// The next block; `None` after the configured number, or at the end of a trace. Encoding (and signing) uses all
    /// available cores.
    pub fn next_block(&mut self) -> Option<Block> {
        let Orders { header, orders, recipients } = self.next_orders()?;
        let transactions = in_parallel(orders.len(), |part| {
            let orders = orders[part].iter();
            orders.map(|order| self.encode(&header, order, &recipients[order.recipients.clone()])).collect()
        });
        Some(Block { header, transactions })
    }

    /// Passes over the next `blocks` blocks, which were executed before, and allows for as many more.
    pub fn skip(&mut self, blocks: u64) {
        self.config.blocks = self.config.blocks.saturating_add(blocks);
        for _ in 0..blocks {
            if self.next_orders().is_none() {
                return;
            }
        }
    }

    /// What the next block consists of; `None` after the last one.
    fn next_orders(&mut self) -> Option<Orders> {
        if self.height >= self.config.blocks {
            return None;
        }
        let header = block_header(self.height + 1, self.beneficiary);
        let mut orders = Vec::with_capacity(self.config.block_size);
        let mut recipients = Vec::with_capacity(self.config.block_size);
        while orders.len() < self.config.block_size {
            let Some(transfer) = self.pairs.next() else { break };
            let start = recipients.len();
            self.pairs.extend(&transfer, &mut recipients);
            let sequence_number = &mut self.sequence_numbers[transfer.from as usize];
            let (from, number) = (transfer.from, *sequence_number);
            orders.push(Order { from, sequence_number: number, recipients: start..recipients.len() });
            *sequence_number += 1;
        }
        if orders.is_empty() {
            return None;
        }
        self.height += 1;
        Some(Orders { header, orders, recipients })
    }

    fn encode(&self, header: &BlockHeader, order: &Order, recipients: &[(u32, u64)]) -> Vec<u8> {
        let address = |account: u32| self.accounts.addresses()[account as usize];
        let payload = match (&self.pairs, recipients) {
            (
                Pairs::Uniform { .. } | Pairs::Zipf { .. } | Pairs::Hot { .. } | Pairs::Trace { .. },
                &[(to, amount), ..],
            ) => Payload::Transfer { to: address(to), amount },
            (_, many) => {
                let recipients = many.iter().map(|&(to, amount)| (address(to), amount)).collect();
                Payload::BatchTransfer { recipients }
            }
        };
        let raw = RawTransaction {
            chain_id: WORKLOAD_CHAIN_ID,
            sender: address(order.from),
            sequence_number: order.sequence_number,
            max_gas: MAX_GAS.saturating_mul(recipients.len() as u64),
            gas_price: 1,
            expiration_s: header.timestamp_s + VALID_FOR_S,
            payload,
        };
        self.accounts.encode(raw, order.from as usize)
    }
}

/// What a block consists of.
struct Orders {
    header: BlockHeader,
    orders: Vec<Order>,
    /// Recipients and amounts of all transactions.
    recipients: Vec<(u32, u64)>,
}

/// One transaction to be encoded.
struct Order {
    from: u32,
    sequence_number: u64,
    /// Where its recipients lie among those of the block.
    recipients: Range<usize>,
}

/// Set-up of the ledger of signed or unsigned blocks.
pub(super) fn ledger_config(signed: bool) -> LedgerConfig {
    let signatures = if signed { SignatureMode::Verify } else { SignatureMode::Skip };
    LedgerConfig { chain_id: WORKLOAD_CHAIN_ID, signatures, commutative: true }
}

/// Header of the block at `height`.
pub(super) fn block_header(height: u64, beneficiary: Address) -> BlockHeader {
    BlockHeader {
        height,
        timestamp_s: FIRST_TIMESTAMP_S + height,
        beneficiary: beneficiary.0,
        extra: Vec::new(),
    }
}

fn balance_of_each(accounts: usize) -> u64 {
    SUPPLY / (accounts as u64).max(1)
}
