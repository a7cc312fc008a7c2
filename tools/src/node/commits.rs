//! Committed blocks, and what they mean for the transactions in them.

use crate::node::book::{Book, End};
use crate::node::phalanx_executor::PhalanxExecutor;
use parking_lot::Mutex;
use phalanx::quorum_store::{CommitFeed, CommittedBlock, Micros, TxnOutcome};
use phalanx::vm::ledger::LedgerStatus;
use std::sync::Arc;

/// Enters the end of every transaction of every block that is committed from now on.
pub async fn follow(mut feed: CommitFeed, executor: Arc<PhalanxExecutor>, book: Arc<Mutex<Book>>) {
    while let Some((height, timestamp)) = feed.next_head().await {
        enter_block(height, timestamp, &executor, &book);
    }
}

/// Enters what became of transactions in blocks that earlier lives of the node committed.
pub fn recall(blocks: Vec<CommittedBlock>, book: &Mutex<Book>) {
    let mut book = book.lock();
    for CommittedBlock { height, txns, .. } in blocks {
        for (hash, outcome) in txns {
            // That one may come again.
            if outcome != (TxnOutcome::WithoutEffect { again: true }) {
                book.end(hash, End::Before { height, outcome });
            }
        }
    }
}

/// Enters the end of every transaction of a committed block, and of those that no later block can have.
pub fn enter_block(height: u64, timestamp: Micros, executor: &PhalanxExecutor, book: &Mutex<Book>) {
    let settled = executor.take_settled(height);
    let mut book = book.lock();
    for (txn, status) in &settled {
        if let Some(end) = end_of(height, *status) {
            book.end(txn.hash, end);
        }
    }
    for (txn, _) in settled.iter().filter(|(_, status)| status.pays()) {
        book.pass(txn.sender, txn.sequence, height);
    }
    book.expire(timestamp);
}

/// How a transaction with this status ended; `None` if it may come again.
fn end_of(height: u64, status: LedgerStatus) -> Option<End> {
    if status == LedgerStatus::SequenceTooNew {
        None
    } else if status == LedgerStatus::Expired {
        Some(End::Expired)
    } else if status.pays() {
        Some(End::Committed { height, status })
    } else {
        Some(End::Rejected { height, status })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_but_one_is_an_end() {
        for &status in LedgerStatus::ALL {
            let end = end_of(3, status);
            match status.code().0 {
                9 => assert_eq!(end, None),
                3 => assert_eq!(end, Some(End::Expired)),
                0 | 13.. => assert_eq!(end, Some(End::Committed { height: 3, status })),
                _ => assert_eq!(end, Some(End::Rejected { height: 3, status })),
            }
        }
    }
}
