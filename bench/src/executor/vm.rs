//! The ledger as it is measured: with commutative writes, or with reads and writes in their place.

use crate::supervisor::MachineKind;
use bcs::{from_bytes, to_bytes};
use phalanx::types::{
    AccessMode, BlockHeader, Delta, HintWriter, LimitExceeded, Outcome, PrepareError, PreparedBlock,
    StatusCode, TxnIndex, number_of,
};
use phalanx::vm::ledger::{LedgerConfig, LedgerVm};
use phalanx::vm::{Finding, StateView, Vm};

/// A ledger, and whether its sums commute. The switch is in the machine, so that every executor has it alike.
#[derive(Clone, Debug)]
pub(crate) struct BenchVm {
    ledger: LedgerVm,
    commutative: bool,
}

impl BenchVm {
    pub(super) fn new(config: LedgerConfig, commutative: bool) -> BenchVm {
        BenchVm { ledger: LedgerVm::new(config), commutative }
    }

    /// What the supervisor makes its copy from.
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>, bcs::Error> {
        Ok(MachineKind::Bench.mark(&to_bytes(&(self.ledger.config(), self.commutative))?))
    }

    /// From those bytes, without their mark.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<BenchVm, bcs::Error> {
        from_bytes(bytes).map(|(config, commutative)| BenchVm::new(config, commutative))
    }

    /// The block with the hints that fit: where sums do not commute, an addition is a read and a write.
    pub(super) fn adapt(&self, prepared: PreparedBlock) -> Result<PreparedBlock, PrepareError> {
        if self.commutative {
            return Ok(prepared);
        }
        let mut adapted = PreparedBlock::new(prepared.header().clone());
        for (index, entry) in (0_u32..).zip(prepared.transactions()) {
            let accesses = prepared.accesses_of(TxnIndex(index));
            adapted.push(prepared.transaction(TxnIndex(index)).unwrap_or_default(), |hint| {
                for access in accesses {
                    let key = prepared.key(access.key).map_or(&[][..], |(_, key)| key);
                    hint.access(
                        key,
                        match access.access_mode() {
                            AccessMode::Add => AccessMode::ReadWrite,
                            mode @ (AccessMode::Read
                            | AccessMode::Write
                            | AccessMode::ReadWrite
                            | AccessMode::Near) => mode,
                        },
                    );
                }
                hint.cost_ns(entry.cost_ns);
            })?;
        }
        Ok(adapted)
    }
}

impl Vm for BenchVm {
    fn begin_block(&mut self, header: &BlockHeader) {
        self.ledger.begin_block(header);
    }

    /// As the ledger declares it; see [`BenchVm::adapt`].
    fn declare(&self, header: &BlockHeader, transaction: &[u8], hint: &mut HintWriter<'_>) {
        self.ledger.declare(header, transaction, hint);
    }

    fn examines_at_once(&self) -> usize {
        self.ledger.examines_at_once()
    }

    fn examine(&mut self, transactions: &[&[u8]], findings: &mut [Finding]) {
        self.ledger.examine(transactions, findings);
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
        if self.commutative {
            self.ledger.execute_examined(transaction, finding, view)
        } else {
            self.ledger.execute_examined(transaction, finding, &mut PlainView(view))
        }
    }

    fn conserved(&self, key: &[u8], value: Option<&[u8]>) -> i128 {
        self.ledger.conserved(key, value)
    }

    fn status_name(&self, status: StatusCode) -> &'static str {
        self.ledger.status_name(status)
    }
}

/// A view in which numbers are read and set.
struct PlainView<'a>(&'a mut dyn StateView);

impl StateView for PlainView<'_> {
    fn read(&mut self, key: &[u8]) -> Option<&[u8]> {
        self.0.read(key)
    }

    fn number(&mut self, key: &[u8]) -> Option<u128> {
        number_of(self.0.read(key))
    }

    fn add(&mut self, key: &[u8], delta: Delta) -> Result<(), LimitExceeded> {
        let before = number_of(self.0.read(key)).ok_or(LimitExceeded::NotANumber)?;
        let after = delta.apply(before).ok_or(LimitExceeded::Interval { value: before })?;
        if delta.amount == 0 {
            return Ok(());
        }
        self.0.set(key, delta.width.encode(after, &mut [0; 32]))
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), LimitExceeded> {
        self.0.set(key, value)
    }

    fn delete(&mut self, key: &[u8]) -> Result<(), LimitExceeded> {
        self.0.delete(key)
    }

    fn event(&mut self, kind: u32, data: &[u8]) -> Result<(), LimitExceeded> {
        self.0.event(kind, data)
    }
}

#[cfg(test)]
mod tests {
    //! What would break: a switch that changes what a block does, or that does not switch anything.

    use super::*;
    use crate::{Workload, WorkloadConfig, WorkloadKind};
    use phalanx::executor::{BlockExecutor, Sequential};
    use phalanx::state::{BaseState, StateConfig};
    use phalanx::types::Write;
    use phalanx::vm::BuiltInVm;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    #[test]
    fn with_reads_and_writes_the_state_is_the_same_and_nothing_is_added() {
        let config = WorkloadConfig {
            kind: WorkloadKind::Hot,
            accounts: 20,
            block_size: 100,
            seed: 5,
            signed: false,
            blocks: 3,
        };
        let mut workload = Workload::new(config).unwrap();
        let ledger = workload.ledger_config();
        let genesis = workload.genesis().unwrap();
        let vms = [true, false].map(|commutative| BenchVm::new(ledger, commutative));
        let mut executors = vms.clone().map(|vm| {
            let entries = genesis.iter().map(|(key, value)| (key, value));
            Sequential::new(vm, BaseState::with_entries(StateConfig::default(), entries).unwrap())
        });
        while let Some(block) = workload.next_block() {
            let outputs = [0, 1].map(|place| {
                let prepared = PreparedBlock::prepare(&LedgerVm::new(ledger), &block).unwrap();
                let prepared = vms[place].adapt(prepared).unwrap();
                let mode = AccessMode::Add;
                let adds = prepared.accesses().iter().filter(|access| access.access_mode() == mode).count();
                assert_eq!(adds > 0, place == 0);
                let deadline = Instant::now() + Duration::from_secs(60);
                executors[place].execute(&Arc::new(prepared), deadline).unwrap()
            });
            assert_eq!(outputs[0].digest(), outputs[1].digest());
            let adds = outputs.each_ref().map(|output| {
                let writes = output.transactions().flat_map(|output| output.writes().collect::<Vec<_>>());
                writes.filter(|write| matches!(write, Ok((_, Write::Add(_))))).count()
            });
            // Sender, sequence number, recipient and fee.
            assert_eq!(adds, [400, 0]);
        }
    }

    #[test]
    fn the_supervisor_gets_the_same_machine() {
        let signatures = phalanx::vm::ledger::SignatureMode::Skip;
        let ledger = LedgerConfig { chain_id: 7, signatures, commutative: true };
        for commutative in [true, false] {
            let bytes = BenchVm::new(ledger, commutative).to_bytes().unwrap();
            let (kind, rest) = MachineKind::of(&bytes).unwrap();
            assert_eq!(kind, MachineKind::Bench);
            let copy = BenchVm::from_bytes(rest).unwrap();
            assert_eq!((copy.ledger.config(), copy.commutative), (ledger, commutative));
        }
        assert!(BenchVm::from_bytes(b"nonsense").is_err());
        assert!(MachineKind::of(&BuiltInVm::Ledger(ledger).to_bytes()).is_none());
    }
}
