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
        ReceiptTotals::with_roots(receipts, &[])
    }

    /// The same before Byzantium, where receipts hold the root of the state after each transaction instead of its
    /// success. A receipt without a root is one of Byzantium.
    #[must_use]
    pub fn with_roots(receipts: &[Receipt], roots: &[B256]) -> ReceiptTotals {
        let (mut gas_used, mut bloom) = (0_u64, Bloom::ZERO);
        let rows: Vec<Row<'_>> = receipts
            .iter()
            .enumerate()
            .map(|(txn, receipt)| {
                gas_used = gas_used.saturating_add(receipt.gas_used);
                let mut own = Bloom::ZERO;
                own.accrue_logs(&receipt.logs);
                bloom.accrue_bloom(&own);
                Row { receipt, state_root: roots.get(txn).copied(), gas: gas_used, bloom: own }
            })
            .collect();
        let root = ordered_trie_root_with_encoder(&rows, |row, out| row.encode(out));
        ReceiptTotals { gas_used, root, bloom }
    }
}

/// A receipt with what depends on its place in the block.
struct Row<'a> {
    receipt: &'a Receipt,
    state_root: Option<B256>,
    gas: u64,
    bloom: Bloom,
}

impl Row<'_> {
    /// Encodes the receipt (EIP-2718): the type unless it is a legacy one, then status or state root, gas so far, bloom and
    /// logs.
    fn encode(&self, out: &mut Vec<u8>) {
        let Row { receipt, gas, bloom, .. } = self;
        if receipt.tx_type != 0 {
            out.put_u8(receipt.tx_type);
        }
        let mut logs = Vec::new();
        receipt.logs.iter().for_each(|log| log.encode(&mut logs));
        let logs_head = Header { list: true, payload_length: logs.len() };
        let ending: &dyn Encodable = match &self.state_root {
            Some(root) => root,
            None => &receipt.success,
        };
        let payload_length =
            ending.length() + gas.length() + bloom.length() + logs_head.length() + logs.len();
        Header { list: true, payload_length }.encode(out);
        ending.encode(out);
        gas.encode(out);
        bloom.encode(out);
        logs_head.encode(out);
        out.put_slice(&logs);
    }
}
