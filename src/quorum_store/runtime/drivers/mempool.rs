//! Drives the mempool: commits and time. Clients put transactions in without it.

use super::Driver;
use crate::quorum_store::effect::Outbox;
use crate::quorum_store::mempool::CommittedTxn;
use crate::quorum_store::runtime::commons::Commons;
use crate::quorum_store::runtime::mailbox::Mailbox;
use crate::quorum_store::{Component, Cursor};

#[derive(Debug)]
pub struct Pooling;

impl Driver for Pooling {
    type Mail = ();

    const COMPONENT: Component = Component::Mempool;

    fn mailbox(_commons: &Commons) -> Option<&Mailbox<()>> {
        None
    }

    /// Clients' transactions are nowhere else: they stay, in fresh tables.
    fn rebuild(commons: &Commons, _out: &mut Outbox) -> Pooling {
        let mut mempool = commons.mempool.lock();
        let rebuilt = mempool.rebuilt();
        *mempool = rebuilt;
        Pooling
    }

    fn turn(&mut self, commons: &Commons, _mail: Vec<()>, _out: &mut Outbox) {
        loop {
            let cursor: Cursor = commons.mempool.lock().cursor();
            let Some(step) = commons.commits.next(cursor) else { break };
            // Without the lock: clients do not wait for the disk.
            let txns = CommittedTxn::all_of(&step, &commons.store);
            let mut mempool = commons.mempool.lock();
            mempool.apply_txns(&step, &txns);
            commons.note_ends(&mut mempool);
            commons.set_cursor(Self::COMPONENT, mempool.cursor().applied());
        }
        let mut mempool = commons.mempool.lock();
        mempool.expire(commons.now());
        commons.note_ends(&mut mempool);
    }
}
