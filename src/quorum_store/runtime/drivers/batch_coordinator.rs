//! Drives the batch coordinator.

use super::Driver;
use crate::quorum_store::effect::Outbox;
use crate::quorum_store::runtime::commons::Commons;
use crate::quorum_store::runtime::mailbox::Mailbox;
use crate::quorum_store::runtime::tallies::Tally;
use crate::quorum_store::{Batch, BatchCoordinator, Component, TxnFilter, ValidatorId};
use std::sync::Arc;

#[derive(Debug)]
pub struct Coordinating(BatchCoordinator);

impl Driver for Coordinating {
    type Mail = (ValidatorId, Vec<Batch>);

    const COMPONENT: Component = Component::BatchCoordinator;

    fn mailbox(commons: &Commons) -> Option<&Mailbox<Self::Mail>> {
        Some(&commons.mailboxes.batches)
    }

    fn rebuild(commons: &Commons, _out: &mut Outbox) -> Coordinating {
        Coordinating(BatchCoordinator::new(
            commons.seat.validator,
            commons.config.epoch,
            Arc::clone(&commons.seat.keys),
            Arc::clone(&commons.store),
            Arc::clone(&commons.limits),
            TxnFilter::Off,
        ))
    }

    fn turn(&mut self, commons: &Commons, mail: Vec<Self::Mail>, out: &mut Outbox) {
        for (from, batches) in mail {
            self.0.receive(commons.now(), from, batches, out);
        }
    }

    fn tally(&self) -> Tally {
        Tally { refusals: self.0.refusals().clone(), ..Tally::default() }
    }
}
