//! Receipts: what a header says of an execution, worked out from its outputs.

use alloy_primitives::Bloom;
use alloy_rlp::{BufMut, Encodable, Header};
use alloy_trie::root::ordered_trie_root_with_encoder;
use phalanx::vm::evm::revm::primitives::{B256, Log};

/// What one transaction leaves in the receipts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Type of the transaction.
    pub tx_type: u8,
    /// Whether it did what it was asked to do.
    pub success: bool,
    /// Gas that it used.
    pub gas_used: u64,
    /// Its logs.
    pub logs: Vec<Log>,
}

/// What receipts come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiptTotals {
    /// Sum of the gas used.
    pub gas_used: u64,
    /// Root of their trie, as it is since Byzantium.
    pub root: B256,
    /// Union of the blooms of their logs.
    pub bloom: Bloom,
}

impl ReceiptTotals {
    /// Of the receipts of a block, in order.
    #[must_use]
    pub fn of(receipts: &[Receipt]) -> ReceiptTotals {
        let (mut gas_used, mut bloom) = (0_u64, Bloom::ZERO);
        let rows: Vec<(&Receipt, u64, Bloom)> = receipts
            .iter()
            .map(|receipt| {
                gas_used = gas_used.saturating_add(receipt.gas_used);
                let mut own = Bloom::ZERO;
                own.accrue_logs(&receipt.logs);
                bloom.accrue_bloom(&own);
                (receipt, gas_used, own)
            })
            .collect();
        let root = ordered_trie_root_with_encoder(&rows, |(receipt, gas, bloom), out| {
            encode(receipt, *gas, bloom, out);
        });
        ReceiptTotals { gas_used, root, bloom }
    }
}

/// Encodes a receipt (EIP-2718): the type unless it is a legacy one, then status, gas so far, bloom and logs.
fn encode(receipt: &Receipt, gas: u64, bloom: &Bloom, out: &mut Vec<u8>) {
    if receipt.tx_type != 0 {
        out.put_u8(receipt.tx_type);
    }
    let mut logs = Vec::new();
    receipt.logs.iter().for_each(|log| log.encode(&mut logs));
    let logs_head = Header { list: true, payload_length: logs.len() };
    let payload_length =
        receipt.success.length() + gas.length() + bloom.length() + logs_head.length() + logs.len();
    Header { list: true, payload_length }.encode(out);
    receipt.success.encode(out);
    gas.encode(out);
    bloom.encode(out);
    logs_head.encode(out);
    out.put_slice(&logs);
}
