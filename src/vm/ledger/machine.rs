//! The ledger as a virtual machine: decoding, the checks that need no state, hints.

use crate::types::{AccessMode, BlockHeader, HintWriter, StatusCode, number_of};
use crate::vm::ledger::execution::Execution;
use crate::vm::ledger::keys::is_balance;
use crate::vm::ledger::signature::{BATCH, FORGED, GENUINE, SignatureBatch};
use crate::vm::ledger::{
    Address, LedgerConfig, LedgerStatus, Payload, SignatureMode, SignedTransaction, account_key, balance_key,
    gas_needed, sequence_key,
};
use crate::vm::{Finding, Outcome, ReadAndSet, StateView, Vm};

/// Expected cost of an execution with and without a signature check, and per recipient, in nanoseconds.
const COST_SIGNATURE_NS: u32 = 25_000;
const COST_ONCE_NS: u32 = 600;
const COST_PER_RECIPIENT_NS: u32 = 150;

/// Executes ledger transactions.
#[derive(Clone, Debug)]
pub struct LedgerVm {
    config: LedgerConfig,
    timestamp_s: u64,
    beneficiary: Address,
    /// Scratch space for the signed message, kept so that verifying allocates nothing.
    message: Vec<u8>,
}

impl LedgerVm {
    /// A machine for the ledger with this set-up.
    #[must_use]
    pub fn new(config: LedgerConfig) -> LedgerVm {
        LedgerVm { config, timestamp_s: 0, beneficiary: Address::default(), message: Vec::new() }
    }

    /// The set-up.
    #[must_use]
    pub fn config(&self) -> LedgerConfig {
        self.config
    }

    /// Everything that is decided without the state: the transaction and its highest fee, or why it ends here.
    fn admit(&mut self, encoded: &[u8], finding: Finding) -> Result<(SignedTransaction, u64), LedgerStatus> {
        let signed = SignedTransaction::decode(encoded).map_err(|_| LedgerStatus::Undecodable)?;
        let raw = &signed.raw;
        if raw.chain_id != self.config.chain_id {
            return Err(LedgerStatus::WrongChain);
        }
        if raw.expiration_s < self.timestamp_s {
            return Err(LedgerStatus::Expired);
        }
        let max_fee = raw.max_gas.checked_mul(raw.gas_price).ok_or(LedgerStatus::FeeOverflow)?;
        if raw.sequence_number == u64::MAX {
            return Err(LedgerStatus::SequenceExhausted);
        }
        let genuine = match self.config.signatures {
            SignatureMode::Skip => true,
            SignatureMode::Verify => match finding {
                GENUINE => true,
                FORGED => false,
                _ => signed
                    .signed_message(encoded, &mut self.message)
                    .is_some_and(|signed| signed.is_genuine()),
            },
        };
        if genuine { Ok((signed, max_fee)) } else { Err(LedgerStatus::BadSignature) }
    }
}

impl Vm for LedgerVm {
    fn begin_block(&mut self, header: &BlockHeader) {
        #[cfg(feature = "fault-transactions")]
        crate::vm::ledger::fault::strike_at_block(header);
        self.timestamp_s = header.timestamp_s;
        self.beneficiary = Address(header.beneficiary);
    }

    fn declare(&self, header: &BlockHeader, transaction: &[u8], hint: &mut HintWriter<'_>) {
        let Ok(SignedTransaction { raw, .. }) = SignedTransaction::decode(transaction) else {
            return;
        };
        let add = if self.config.commutative { AccessMode::Add } else { AccessMode::ReadWrite };
        hint.access(&account_key(&raw.sender), AccessMode::Read);
        hint.access(&sequence_key(&raw.sender), AccessMode::ReadWrite);
        hint.access(&balance_key(&raw.sender), add);
        let recipients = match &raw.payload {
            Payload::Transfer { to, .. } => {
                hint.access(&account_key(to), AccessMode::Read);
                hint.access(&balance_key(to), add);
                1
            }
            Payload::BatchTransfer { recipients } => {
                recipients.iter().for_each(|(to, _)| hint.access(&account_key(to), AccessMode::Read));
                recipients.iter().for_each(|(to, _)| hint.access(&balance_key(to), add));
                // Decoding keeps few enough.
                u32::try_from(recipients.len()).unwrap_or(u32::MAX)
            }
            Payload::CreateAccount { account, .. } => {
                hint.access(&account_key(account), AccessMode::ReadWrite);
                hint.access(&balance_key(account), add);
                1
            }
            #[cfg(feature = "fault-transactions")]
            Payload::Fault(order) => {
                hint.access(&account_key(&order.to), AccessMode::Read);
                hint.access(&balance_key(&order.to), AccessMode::Add);
                1
            }
        };
        hint.access(&balance_key(&Address(header.beneficiary)), add);
        let ahead = match self.config.signatures {
            SignatureMode::Verify => COST_SIGNATURE_NS,
            SignatureMode::Skip => 0,
        };
        let cost = (ahead + COST_ONCE_NS).saturating_add(COST_PER_RECIPIENT_NS.saturating_mul(recipients));
        #[cfg(feature = "fault-transactions")]
        let cost = match &raw.payload {
            Payload::Fault(order) => cost.saturating_add(order.cost_ns()),
            Payload::Transfer { .. } | Payload::BatchTransfer { .. } | Payload::CreateAccount { .. } => cost,
        };
        hint.cost_ns(cost);
        hint.ahead_ns(ahead);
    }

    fn examines_at_once(&self) -> usize {
        match self.config.signatures {
            SignatureMode::Verify => BATCH,
            SignatureMode::Skip => 0,
        }
    }

    fn examine(&mut self, transactions: &[&[u8]], findings: &mut [Finding]) {
        let mut batch = SignatureBatch::default();
        for (place, encoded) in transactions.iter().enumerate() {
            let signed = SignedTransaction::decode(encoded).ok();
            if let Some(signed) = signed.and_then(|it| it.signed_message(encoded, &mut self.message)) {
                batch.push(place, encoded, signed);
            }
        }
        batch.judge(findings);
    }

    fn execute(&mut self, transaction: &[u8], view: &mut dyn StateView) -> Outcome {
        self.execute_examined(transaction, Finding::NOTHING, view)
    }

    fn execute_examined(
        &mut self,
        transaction: &[u8],
        finding: Finding,
        view: &mut dyn StateView,
    ) -> Outcome {
        match self.admit(transaction, finding) {
            Ok((signed, max_fee)) => {
                #[cfg(feature = "fault-transactions")]
                if let Payload::Fault(order) = &signed.raw.payload {
                    order.strike(view);
                }
                let gas = gas_needed(&signed.raw.payload, transaction.len());
                let mut plain;
                let view = if self.config.commutative {
                    view
                } else {
                    plain = ReadAndSet::new(view);
                    &mut plain
                };
                Execution::new(&signed.raw, max_fee, gas, &self.beneficiary, view).run()
            }
            Err(status) => Outcome { status: status.code(), gas_used: 0 },
        }
    }

    fn conserved(&self, key: &[u8], value: Option<&[u8]>) -> i128 {
        if !is_balance(key) {
            return 0;
        }
        number_of(value).and_then(|balance| i128::try_from(balance).ok()).unwrap_or(0)
    }

    fn status_name(&self, status: StatusCode) -> &'static str {
        LedgerStatus::from_code(status).map_or("unknown status", LedgerStatus::name)
    }
}
