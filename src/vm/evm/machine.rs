//! The EVM as a virtual machine: decoding, running, settling.

use crate::types::{BlockHeader, HintWriter, PrepareError, PreparedBlock, StatusCode};
use crate::vm::evm::code_cache::CodeCache;
use crate::vm::evm::database::ViewDatabase;
use crate::vm::evm::handler::{NotingEvm, NotingHandler, RunError};
use crate::vm::evm::hash_memo::HashMemo;
use crate::vm::evm::hints::{declare_cold, foresee_nonces};
use crate::vm::evm::instructions::{EvmContext, NotingInstructions, gas_table};
use crate::vm::evm::log::{EVENT_RETURNED, emit_log};
use crate::vm::evm::parts::{Parts, RunningParts};
use crate::vm::evm::settle::Settlement;
use crate::vm::evm::{EvmBlockContext, EvmConfig, EvmStatus, EvmTransaction};
use crate::vm::{Outcome, StateView, Vm};
use revm::context::journal::JournalInner;
use revm::context::result::{EVMError, ExecutionResult, HaltReason};
use revm::context::{BlockEnv, CfgEnv, Context, Journal, JournalEntry, TxEnv};
use revm::handler::{EthPrecompiles, Handler, PrecompileProvider, SystemCallTx};
use revm::interpreter::instructions::GasTable;
use revm::primitives::hardfork::SpecId;
use revm::primitives::{Address, AddressSet, Bytes, U256};

/// What a call of the protocol may use until Amsterdam (EIP-4788, 2935, 7002, 7251); from then on revm's limit has room for state gas as well.
const SYSTEM_CALL_GAS: u64 = 30_000_000;

/// Executes Ethereum transactions.
#[derive(Clone, Debug)]
pub struct EvmVm {
    config: EvmConfig,
    kept: Kept,
    /// The present block; `None` if its header cannot be read.
    block: Option<BlockInForce>,
}

/// What outlasts a transaction.
#[derive(Clone, Debug, Default)]
struct Kept {
    codes: CodeCache,
    hashes: HashMemo,
}

/// What holds for all transactions of the present block.
#[derive(Clone, Debug)]
struct BlockInForce {
    context: EvmBlockContext,
    env: BlockEnv,
    cfg: CfgEnv,
    gas: GasTable,
    precompiles: EthPrecompiles,
}

impl EvmVm {
    /// A machine with this set-up.
    #[must_use]
    pub fn new(config: EvmConfig) -> EvmVm {
        EvmVm { config, kept: Kept::default(), block: None }
    }

    /// The set-up.
    #[must_use]
    pub fn config(&self) -> EvmConfig {
        self.config
    }
}

impl Vm for EvmVm {
    fn begin_block(&mut self, header: &BlockHeader) {
        self.kept.hashes.begin_block();
        self.block = EvmBlockContext::of_header(header)
            .inspect_err(|error| tracing::warn!(%error, "header is not that of an Ethereum block"))
            .ok()
            .map(|context| {
                let mut cfg = CfgEnv::new_with_spec(context.spec).with_chain_id(self.config.chain_id);
                cfg.blob_base_fee_update_fraction = context.blobs.map(|blobs| blobs.update_fraction);
                BlockInForce {
                    env: context.block_env(),
                    cfg,
                    gas: gas_table(context.spec),
                    precompiles: EthPrecompiles::new(context.spec),
                    context,
                }
            });
    }

    fn declare(&self, header: &BlockHeader, transaction: &[u8], hint: &mut HintWriter<'_>) {
        declare_cold(header, transaction, hint);
    }

    fn foresee(&self, block: &mut PreparedBlock) -> Result<(), PrepareError> {
        foresee_nonces(block)
    }

    fn execute(&mut self, transaction: &[u8], view: &mut dyn StateView) -> Outcome {
        let Some(block) = &self.block else { return nothing_done(EvmStatus::BadHeader) };
        let Ok(transaction) = EvmTransaction::decode(transaction) else {
            return nothing_done(EvmStatus::Undecodable);
        };
        let mut parts = Parts::take();
        let outcome = match &transaction {
            EvmTransaction::User(tx) => block.run(tx, false, &mut parts, &mut self.kept, view),
            EvmTransaction::System { contract, input } => {
                let tx = system_call(block.context.spec, *contract, input.clone());
                block.run(&tx, true, &mut parts, &mut self.kept, view)
            }
            EvmTransaction::Credit { account, amount } => {
                let mut database = ViewDatabase {
                    view,
                    notes: &mut parts.notes,
                    codes: &mut self.kept.codes,
                    hashes: &mut self.kept.hashes,
                    context: &block.context,
                };
                let spec = block.context.spec;
                let mut settlement = Settlement { database: &mut database, spec, slots: &mut parts.slots };
                let credited = settlement.credit(*account, U256::from(*amount));
                nothing_done(credited.map_or(EvmStatus::TooLarge, |()| EvmStatus::Success))
            }
        };
        parts.keep();
        outcome
    }

    fn status_name(&self, status: StatusCode) -> &'static str {
        EvmStatus::of(status).map_or("unknown", EvmStatus::name)
    }
}

impl BlockInForce {
    /// Runs a transaction and settles it.
    fn run(
        &self,
        tx: &TxEnv,
        system: bool,
        parts: &mut Parts,
        kept: &mut Kept,
        view: &mut dyn StateView,
    ) -> Outcome {
        let spec = self.context.spec;
        let Parts { running, notes, slots, log } = &mut *parts;
        let mut database = ViewDatabase {
            view,
            notes,
            codes: &mut kept.codes,
            hashes: &mut kept.hashes,
            context: &self.context,
        };
        if !system {
            let mut settlement = Settlement { database: &mut database, spec, slots };
            if let Some(done) = settlement.transfer(tx, &self.env, &self.cfg, &self.precompiles) {
                return done.unwrap_or_else(|_| nothing_done(EvmStatus::TooLarge));
            }
        }
        let started = running.take().unwrap_or_else(|| RunningParts::new(spec));
        let RunningParts { journal, local, frames, precompiles } = started;
        let mut evm: NotingEvm<'_> = NotingEvm {
            ctx: Context {
                block: &self.env,
                tx,
                cfg: &self.cfg,
                journaled_state: Journal::new_with_inner(database, journal),
                chain: (),
                local,
                error: Ok(()),
            },
            inspector: (),
            instruction: NotingInstructions::new(&self.gas),
            precompiles,
            frame_stack: frames,
        };
        evm.ctx.journaled_state.inner.set_spec_id(spec);
        if system {
            make_ready(&mut evm);
        }
        let mut handler = NotingHandler::default();
        let result = if system { handler.run_system_call(&mut evm) } else { handler.run(&mut evm) };
        let NotingEvm { ctx, precompiles, frame_stack: frames, .. } = evm;
        let Journal { mut database, inner: journal } = ctx.journaled_state;
        let settlement = Settlement { database: &mut database, spec, slots };
        let mut outcome =
            settle(settlement, &journal, &result, self.env.beneficiary, handler.reward.get(), log);
        if system && let Err(status) = tell_returned(&mut *database.view, &result) {
            outcome.status = status.code();
        }
        *running = Some(RunningParts { journal, local: ctx.local, frames, precompiles });
        outcome
    }
}

/// A call of the protocol for revm's `run_system_call`, with the limit that holds under these rules.
#[must_use]
pub fn system_call(spec: SpecId, contract: Address, input: Bytes) -> TxEnv {
    let mut call = TxEnv::new_system_tx(contract, input);
    if !spec.is_enabled_in(SpecId::AMSTERDAM) {
        call.gas_limit = SYSTEM_CALL_GAS;
    }
    call
}

/// Does for a call of the protocol what nothing else does, since it begins with its first frame: precompiles are those of the rules in
/// force and are not warm, whatever the thread executed before. The next transaction makes them warm again.
fn make_ready(evm: &mut NotingEvm<'_>) {
    PrecompileProvider::<EvmContext<'_>>::set_spec(&mut evm.precompiles, evm.ctx.cfg.spec);
    evm.ctx.journaled_state.inner.warm_addresses.set_precompile_addresses(&AddressSet::default());
}

/// Shows what a call of the protocol returned: nobody else's return value is of any use behind its transaction.
fn tell_returned(
    view: &mut dyn StateView,
    result: &Result<ExecutionResult<HaltReason>, RunError>,
) -> Result<(), EvmStatus> {
    let returned = result.as_ref().ok().and_then(ExecutionResult::output);
    match returned.filter(|returned| !returned.is_empty()) {
        Some(returned) => view.event(EVENT_RETURNED, returned).map_err(|_| EvmStatus::TooLarge),
        None => Ok(()),
    }
}

/// Turns the result of a transaction into its output.
fn settle(
    mut settlement: Settlement<'_, '_>,
    journal: &JournalInner<JournalEntry>,
    result: &Result<ExecutionResult<HaltReason>, RunError>,
    beneficiary: Address,
    reward: Option<U256>,
    log: &mut Vec<u8>,
) -> Outcome {
    let result = match result {
        Ok(result) => result,
        Err(error) => {
            let status = match error {
                EVMError::Transaction(_) | EVMError::Header(_) => EvmStatus::Invalid,
                EVMError::Database(_) | EVMError::Custom(_) | EVMError::CustomAny(_) => EvmStatus::StateFault,
            };
            let recorded = settlement.settle_refused();
            return nothing_done(recorded.map_or(EvmStatus::TooLarge, |()| status));
        }
    };
    let status = match result {
        ExecutionResult::Success { .. } => EvmStatus::Success,
        ExecutionResult::Revert { .. } => EvmStatus::Reverted,
        ExecutionResult::Halt { .. } => EvmStatus::Halted,
    };
    let view_ready = settlement.settle(journal, beneficiary, reward).and_then(|()| {
        let logs = result.logs();
        logs.iter().try_for_each(|one| emit_log(&mut *settlement.database.view, one, log))
    });
    let status = view_ready.map_or(EvmStatus::TooLarge, |()| status);
    Outcome { status: status.code(), gas_used: result.tx_gas_used() }
}

fn nothing_done(status: EvmStatus) -> Outcome {
    Outcome { status: status.code(), gas_used: 0 }
}
