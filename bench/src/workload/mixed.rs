//! Blocks in which everything happens that can happen to a ledger transaction, on few accounts, so that conflicts are
//! frequent.

use crate::workload::accounts::{Stream, dedicated_beneficiary, random};
use crate::workload::generator::{MAX_GAS, VALID_FOR_S, WORKLOAD_CHAIN_ID, block_header, ledger_config};
use crate::workload::mixed_kind::MixedKind;
use crate::workload::model::Model;
use crate::workload::{Accounts, WorkloadError};
use phalanx::types::{Block, BlockHeader};
use phalanx::vm::Vm;
use phalanx::vm::ledger::{
    Address, GAS_BASE, GAS_PER_BYTE, GAS_PER_RECIPIENT, GenesisEntry, LedgerConfig, LedgerVm, MAX_RECIPIENTS,
    Payload, RawTransaction, SignedTransaction, genesis,
};
use rand::{Rng, RngExt};
use rand_chacha::ChaCha8Rng;

/// Account that holds nearly the whole supply; with it balances come close to overflow.
const WHALE: usize = 0;
/// Account that many transfers go to.
const HOT: usize = 1;
/// Gas that a transfer uses.
const TRANSFER_GAS: u64 = GAS_BASE + GAS_PER_RECIPIENT + GAS_PER_BYTE * 176;
/// Gas limit that is enough for an ordinary batch, and for one with a recipient too many.
const BATCH_MAX_GAS: u64 = 10_000;
const LARGE_BATCH_MAX_GAS: u64 = 200_000;
/// Balance below which an account is drawn again as a sender: most transactions should get past the gas check.
const POOR: u64 = 2 * BATCH_MAX_GAS;
/// Most recipients of an ordinary batch.
const BATCH_RECIPIENTS_MAX: usize = 8;
/// Fewest accounts that are kept for being created.
const SPARES_MIN: usize = 32;

/// Random blocks for comparing executors: all payloads, all failures, hot keys, accounts used in the block that
/// creates them. Keeps a ledger of its own, so that sequence numbers and near-limit amounts are right.
#[derive(Debug)]
pub struct MixedWorkload {
    accounts: Accounts,
    /// Accounts below this number exist from the start; the others can be created.
    founders: usize,
    genesis: Vec<GenesisEntry>,
    model: Model,
    vm: LedgerVm,
    random: ChaCha8Rng,
    beneficiary: Address,
    newest: Option<usize>,
    height: u64,
}

impl MixedWorkload {
    /// A workload in which `accounts` exist from the start, and as many (at least 32) may be created.
    ///
    /// # Errors
    /// [`WorkloadError::TooFewAccounts`] below 2 accounts.
    pub fn new(seed: u64, accounts: usize, signed: bool) -> Result<MixedWorkload, WorkloadError> {
        if accounts < 2 {
            return Err(WorkloadError::TooFewAccounts { accounts });
        }
        let all = Accounts::derive(seed, accounts + accounts.max(SPARES_MIN), signed);
        let mut random = random(seed, Stream::Mixed);
        let mut balances: Vec<u64> = (0..accounts).map(|_| first_balance(&mut random)).collect();
        let others: u64 = balances.iter().skip(1).sum();
        balances[WHALE] = u64::MAX - others;
        let genesis: Vec<GenesisEntry> = genesis(all.addresses().iter().copied().zip(balances))?.collect();
        Ok(MixedWorkload {
            accounts: all,
            founders: accounts,
            model: Model::new(genesis.clone()),
            genesis,
            vm: LedgerVm::new(ledger_config(signed)),
            random,
            beneficiary: dedicated_beneficiary(seed),
            newest: None,
            height: 0,
        })
    }

    /// Set-up of the ledger that the blocks are for.
    #[must_use]
    pub fn ledger_config(&self) -> LedgerConfig {
        self.vm.config()
    }

    /// The first state of the ledger.
    #[must_use]
    pub fn genesis(&self) -> Vec<GenesisEntry> {
        self.genesis.clone()
    }

    /// The next block, for the state that the blocks before it leave.
    pub fn next_block(&mut self, transactions: usize) -> Block {
        self.height += 1;
        let beneficiary = match self.random.random_range(0..10_u32) {
            0 => self.address(WHALE),
            1 | 2 => {
                let account = self.existing();
                self.address(account)
            }
            _ => self.beneficiary,
        };
        let header = block_header(self.height, beneficiary);
        self.vm.begin_block(&header);
        let transactions = (0..transactions)
            .map(|_| {
                let kind = MixedKind::draw(&mut self.random);
                let encoded = self.encoded(kind, &header);
                self.vm.execute(&encoded, &mut self.model);
                encoded
            })
            .collect();
        Block { header, transactions }
    }

    fn encoded(&mut self, kind: MixedKind, header: &BlockHeader) -> Vec<u8> {
        let sender = self.sender(kind, header);
        let mut raw = RawTransaction {
            chain_id: WORKLOAD_CHAIN_ID,
            sender: self.address(sender),
            sequence_number: self.model.sequence_number(&self.address(sender)),
            max_gas: MAX_GAS,
            gas_price: self.random.random_range(0..=2),
            expiration_s: header.timestamp_s + self.random.random_range(0..VALID_FOR_S),
            payload: self.payload(kind, sender, header),
        };
        self.spoil(kind, &mut raw, header);
        let signer =
            if kind == MixedKind::BadSignature { (sender + 1) % self.accounts.len() } else { sender };
        let alter = kind == MixedKind::BadSignature && self.random.random_bool(0.5);
        let mut encoded = self.accounts.encode(raw, if alter { sender } else { signer });
        if alter {
            encoded = altered_after_signing(&encoded).unwrap_or(encoded);
        }
        if kind == MixedKind::Malformed {
            self.malform(&mut encoded);
        }
        encoded
    }

    fn sender(&mut self, kind: MixedKind, header: &BlockHeader) -> usize {
        match kind {
            MixedKind::MissingSender => self.missing(),
            MixedKind::Overflow => WHALE,
            // The largest account keeps what it has: overflows depend on it.
            MixedKind::WholeBalance => match self.existing() {
                WHALE => HOT,
                other => other,
            },
            MixedKind::BeneficiaryTransfer if self.random.random_bool(0.5) => {
                self.number_of(header.beneficiary).unwrap_or(WHALE)
            }
            MixedKind::Transfer
            | MixedKind::HotTransfer
            | MixedKind::BeneficiaryTransfer
            | MixedKind::SelfTransfer
            | MixedKind::Batch
            | MixedKind::Create
            | MixedKind::CreateExisting
            | MixedKind::MissingRecipient
            | MixedKind::PoorSender
            | MixedKind::OutOfGas
            | MixedKind::WrongSequence
            | MixedKind::LastSequence
            | MixedKind::BadSignature
            | MixedKind::Expired
            | MixedKind::WrongChain
            | MixedKind::FeeOverflow
            | MixedKind::EmptyBatch
            | MixedKind::LargeBatch
            | MixedKind::AmountOverflow
            | MixedKind::Malformed => self.solvent(),
        }
    }

    fn payload(&mut self, kind: MixedKind, sender: usize, header: &BlockHeader) -> Payload {
        match kind {
            MixedKind::SelfTransfer => self.transfer(sender, sender),
            MixedKind::HotTransfer => self.transfer(sender, HOT),
            MixedKind::BeneficiaryTransfer => {
                Payload::Transfer { to: Address(header.beneficiary), amount: self.amount(sender) }
            }
            MixedKind::WholeBalance => self.whole_balance(sender),
            MixedKind::Overflow => self.overflow(header),
            MixedKind::MissingRecipient if self.random.random_bool(0.5) => {
                let missing = self.missing();
                let mut recipients = self.recipients(sender);
                recipients.push((self.address(missing), 1));
                Payload::BatchTransfer { recipients }
            }
            MixedKind::MissingRecipient => {
                let missing = self.missing();
                self.transfer(sender, missing)
            }
            MixedKind::Create => {
                let account = self.missing();
                self.newest = Some(account);
                Payload::CreateAccount { account: self.address(account), balance: 20 * self.amount(sender) }
            }
            MixedKind::CreateExisting => {
                let account = self.existing();
                Payload::CreateAccount { account: self.address(account), balance: self.amount(sender) }
            }
            MixedKind::Batch | MixedKind::EmptyBatch | MixedKind::LargeBatch | MixedKind::AmountOverflow => {
                self.batch(kind, sender)
            }
            MixedKind::Transfer
            | MixedKind::MissingSender
            | MixedKind::PoorSender
            | MixedKind::OutOfGas
            | MixedKind::WrongSequence
            | MixedKind::LastSequence
            | MixedKind::BadSignature
            | MixedKind::Expired
            | MixedKind::WrongChain
            | MixedKind::FeeOverflow
            | MixedKind::Malformed => {
                let to = self.existing();
                self.transfer(sender, to)
            }
        }
    }

    /// What the sender has, with or without the gas of a transfer, give or take one unit.
    fn whole_balance(&mut self, sender: usize) -> Payload {
        let to = self.existing();
        let gas = self.random.random_range(0..2) * TRANSFER_GAS;
        let whole = self.model.balance(&self.address(sender)).saturating_sub(gas);
        let amount = whole.saturating_add(1).saturating_sub(self.random.random_range(0..3));
        Payload::Transfer { to: self.address(to), amount }
    }

    /// Nearly all that the largest account has. Paying itself overflows the account; paying anyone while it is the
    /// beneficiary overflows that.
    fn overflow(&mut self, header: &BlockHeader) -> Payload {
        let whale = self.address(WHALE);
        let to = if header.beneficiary == whale.0 { self.existing() } else { WHALE };
        let amount = self.model.balance(&whale).saturating_sub(2 * MAX_GAS);
        Payload::Transfer { to: self.address(to), amount }
    }

    fn batch(&mut self, kind: MixedKind, sender: usize) -> Payload {
        let hot = self.address(HOT);
        let mut recipients = self.recipients(sender);
        if kind == MixedKind::EmptyBatch {
            recipients.clear();
        } else if kind == MixedKind::LargeBatch {
            recipients = vec![(hot, 1); MAX_RECIPIENTS + 1];
        } else if kind == MixedKind::AmountOverflow {
            recipients.extend([(hot, 1), (hot, u64::MAX)]);
        }
        Payload::BatchTransfer { recipients }
    }

    /// Makes a sound transaction fail in the way of its kind.
    fn spoil(&mut self, kind: MixedKind, raw: &mut RawTransaction, header: &BlockHeader) {
        match kind {
            MixedKind::LargeBatch => raw.max_gas = LARGE_BATCH_MAX_GAS,
            MixedKind::Batch | MixedKind::AmountOverflow | MixedKind::MissingRecipient => {
                raw.max_gas = BATCH_MAX_GAS;
            }
            MixedKind::PoorSender => {
                raw.gas_price = 1;
                raw.max_gas = self.model.balance(&raw.sender).saturating_add(self.random.random_range(0..2));
            }
            MixedKind::OutOfGas => raw.max_gas = self.random.random_range(0..2_000),
            MixedKind::WrongSequence => {
                let off = self.random.random_range(1..4);
                let old = self.random.random_bool(0.5) && raw.sequence_number >= off;
                let new = raw.sequence_number + off;
                raw.sequence_number = if old { raw.sequence_number - off } else { new };
            }
            MixedKind::LastSequence => raw.sequence_number = u64::MAX,
            MixedKind::Expired => raw.expiration_s = header.timestamp_s - self.random.random_range(1..10),
            MixedKind::WrongChain => raw.chain_id += 1,
            MixedKind::FeeOverflow => (raw.max_gas, raw.gas_price) = (u64::MAX, 2),
            MixedKind::Transfer
            | MixedKind::HotTransfer
            | MixedKind::BeneficiaryTransfer
            | MixedKind::SelfTransfer
            | MixedKind::WholeBalance
            | MixedKind::Create
            | MixedKind::CreateExisting
            | MixedKind::MissingSender
            | MixedKind::BadSignature
            | MixedKind::EmptyBatch
            | MixedKind::Overflow
            | MixedKind::Malformed => {}
        }
    }

    fn malform(&mut self, encoded: &mut Vec<u8>) {
        match self.random.random_range(0..4_u32) {
            0 => encoded.truncate(self.random.random_range(0..encoded.len().max(1))),
            1 => encoded.push(0),
            2 => {
                let at = self.random.random_range(0..encoded.len().max(1));
                if let Some(byte) = encoded.get_mut(at) {
                    *byte ^= 1 << self.random.random_range(0..8_u32);
                }
            }
            _ => {
                let bytes = if self.random.random_bool(0.2) { 0 } else { self.random.random_range(0..300) };
                *encoded = vec![0; bytes];
                self.random.fill_bytes(encoded);
            }
        }
    }

    fn transfer(&mut self, sender: usize, to: usize) -> Payload {
        Payload::Transfer { to: self.address(to), amount: self.amount(sender) }
    }

    fn recipients(&mut self, sender: usize) -> Vec<(Address, u64)> {
        let count = self.random.random_range(1..=BATCH_RECIPIENTS_MAX);
        (0..count)
            .map(|_| {
                let to = self.existing();
                (self.address(to), self.amount(sender))
            })
            .collect()
    }

    /// The largest account pays so much that the others can go on paying.
    fn amount(&mut self, sender: usize) -> u64 {
        match self.random.random_range(0..10_u32) {
            0 => 0,
            _ if sender == WHALE => self.random.random_range(100_000..10_000_000),
            _ => self.random.random_range(1..5_000),
        }
    }

    fn address(&self, account: usize) -> Address {
        self.accounts.addresses()[account]
    }

    fn number_of(&self, address: [u8; 32]) -> Option<usize> {
        self.accounts.addresses().iter().position(|known| known.0 == address)
    }

    /// An account that exists: often the newest, sometimes the largest, otherwise any.
    fn existing(&mut self) -> usize {
        if let Some(newest) = self.newest.filter(|_| self.random.random_bool(0.15))
            && self.model.exists(&self.address(newest))
        {
            return newest;
        }
        if self.random.random_bool(0.1) {
            return WHALE;
        }
        let drawn = self.random.random_range(0..self.accounts.len());
        if self.model.exists(&self.address(drawn)) { drawn } else { drawn % self.founders }
    }

    /// An account that exists and, as far as a few draws find one, can pay.
    fn solvent(&mut self) -> usize {
        let mut drawn = self.existing();
        for _ in 0..3 {
            if self.model.balance(&self.address(drawn)) >= POOR {
                break;
            }
            drawn = self.existing();
        }
        drawn
    }

    /// An account that does not exist, as long as there is one.
    fn missing(&mut self) -> usize {
        let spares = self.accounts.len() - self.founders;
        let start = self.random.random_range(0..spares);
        (0..spares)
            .map(|step| self.founders + (start + step) % spares)
            .find(|&account| !self.model.exists(&self.address(account)))
            .unwrap_or(self.founders + start)
    }
}

/// Most accounts can pay for many transactions, some for few, some for none.
fn first_balance(random: &mut ChaCha8Rng) -> u64 {
    match random.random_range(0..10_u32) {
        0 => random.random_range(0..5_000),
        1 | 2 => random.random_range(5_000..50_000),
        _ => random.random_range(1_000_000..1_000_000_000),
    }
}

/// The transaction with another gas price than the signed one.
fn altered_after_signing(encoded: &[u8]) -> Option<Vec<u8>> {
    let mut signed = SignedTransaction::decode(encoded).ok()?;
    signed.raw.gas_price += 1;
    signed.encode().ok()
}
