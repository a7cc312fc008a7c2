//! Drives the proof coordinator.

use super::{Driver, catch_up};
use crate::quorum_store::effect::{Outbox, ProofNews};
use crate::quorum_store::runtime::commons::Commons;
use crate::quorum_store::runtime::mailbox::Mailbox;
use crate::quorum_store::runtime::tallies::Tally;
use crate::quorum_store::{Component, ProofCoordinator, ProofSeat, ValidatorId};
use std::sync::Arc;
use std::sync::atomic::Ordering;

#[derive(Debug)]
pub struct Proving {
    proofs: ProofCoordinator,
    validators: u16,
}

impl Driver for Proving {
    type Mail = ProofNews;

    const COMPONENT: Component = Component::ProofCoordinator;

    fn mailbox(commons: &Commons) -> Option<&Mailbox<ProofNews>> {
        Some(&commons.mailboxes.proofs)
    }

    fn rebuild(commons: &Commons, out: &mut Outbox) -> Proving {
        let seat = ProofSeat {
            validator: commons.seat.validator,
            keys: Arc::clone(&commons.seat.keys),
            store: Arc::clone(&commons.store),
            config: Arc::clone(&commons.limits),
        };
        let validators = u16::try_from(commons.seat.keys.validators()).unwrap_or(u16::MAX);
        Proving { proofs: ProofCoordinator::rebuild(seat, commons.now(), out), validators }
    }

    fn turn(&mut self, commons: &Commons, mail: Vec<ProofNews>, out: &mut Outbox) {
        let applied = catch_up(commons, &mut self.proofs, ProofCoordinator::cursor, |proofs, step| {
            proofs.apply(step);
        });
        commons.set_cursor(Self::COMPONENT, applied);
        for ProofNews::Signatures(from, signed) in mail {
            self.proofs.receive(commons.now(), from, &signed, out);
        }
        self.proofs.tick(commons.now(), out);
        commons.tallies.collections.store(self.proofs.entries(), Ordering::Relaxed);
    }

    fn tally(&self) -> Tally {
        let (proofs, proof_timeouts) = self.proofs.counts();
        let validators = (0..self.validators).map(ValidatorId);
        Tally {
            refusals: self.proofs.refusals().clone(),
            proofs,
            proof_timeouts,
            bad_signatures: validators.map(|one| self.proofs.bad_signatures_of(one)).sum(),
            ..Tally::default()
        }
    }
}
