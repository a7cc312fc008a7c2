mod encoding;
mod map_view;
mod signatures;
mod soundness;
mod statuses;

use crate::types::{BlockHeader, StatusCode};
use crate::vm::ledger::{
    Address, LedgerConfig, LedgerVm, Payload, RawTransaction, SignatureMode, SignedTransaction,
};
use crate::vm::{Outcome, Vm};
use map_view::{MapView, State};

const CHAIN: u32 = 7;
const NOW_S: u64 = 1_000;

fn address(tag: u8) -> Address {
    Address([tag; 32])
}

fn header(beneficiary: Address) -> BlockHeader {
    BlockHeader { height: 1, timestamp_s: NOW_S, beneficiary: beneficiary.0, extra: Vec::new() }
}

fn machine(signatures: SignatureMode, beneficiary: Address) -> LedgerVm {
    let mut vm = LedgerVm::new(LedgerConfig { chain_id: CHAIN, signatures, commutative: true });
    vm.begin_block(&header(beneficiary));
    vm
}

fn raw(sender: Address, payload: Payload) -> RawTransaction {
    RawTransaction {
        chain_id: CHAIN,
        sender,
        sequence_number: 0,
        max_gas: 5_000,
        gas_price: 1,
        expiration_s: NOW_S,
        payload,
    }
}

fn transfer(sender: Address, to: Address, amount: u64) -> RawTransaction {
    raw(sender, Payload::Transfer { to, amount })
}

fn encode(raw: RawTransaction) -> Vec<u8> {
    raw.unsigned().encode().unwrap()
}

/// Everything that one execution left, for comparing two of them.
#[derive(Clone, Debug, PartialEq)]
struct Trace {
    outcome: (StatusCode, u64),
    view: map_view::Record,
}

fn run(vm: &mut LedgerVm, state: &State, encoded: &[u8]) -> Trace {
    let mut view = MapView::new(state);
    let Outcome { status, gas_used } = vm.execute(encoded, &mut view);
    Trace { outcome: (status, gas_used), view: view.into_record() }
}

fn decoded(bytes: &[u8]) -> Option<SignedTransaction> {
    SignedTransaction::decode(bytes).ok()
}
