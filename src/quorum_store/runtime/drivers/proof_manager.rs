//! Drives the proof manager.

use super::{Driver, catch_up};
use crate::quorum_store::effect::Outbox;
use crate::quorum_store::runtime::commons::{Commons, ManagerMail};
use crate::quorum_store::runtime::mailbox::Mailbox;
use crate::quorum_store::runtime::tallies::Tally;
use crate::quorum_store::{Component, Gate, ManagerSeat, Payload, PayloadRequest, ProofManager, PullRequest};
use std::sync::Arc;
use std::sync::atomic::Ordering;

#[derive(Debug)]
pub struct Managing(ProofManager);

impl Driver for Managing {
    type Mail = ManagerMail;

    const COMPONENT: Component = Component::ProofManager;

    fn mailbox(commons: &Commons) -> Option<&Mailbox<ManagerMail>> {
        Some(&commons.mailboxes.manager)
    }

    fn rebuild(commons: &Commons, out: &mut Outbox) -> Managing {
        let seat = ManagerSeat {
            validator: commons.seat.validator,
            epoch: commons.config.epoch,
            keys: Arc::clone(&commons.seat.keys),
            store: Arc::clone(&commons.store),
            config: Arc::clone(&commons.limits),
        };
        let now = commons.now();
        Managing(ProofManager::rebuild(seat, now, now.0, out))
    }

    fn turn(&mut self, commons: &Commons, mail: Vec<ManagerMail>, out: &mut Outbox) {
        let applied = catch_up(commons, &mut self.0, ProofManager::cursor, |manager, step| {
            manager.apply(step, out);
        });
        commons.set_cursor(Self::COMPONENT, applied);
        for one in mail {
            match one {
                ManagerMail::News(news) => self.0.hear(commons.now(), news, out),
                // Who asked may have died meanwhile.
                ManagerMail::Pull(answer) => _ = answer.send(self.pull(commons)),
            }
        }
        self.0.tick(commons.now(), out);
        commons.tallies.queue.store(self.0.queue().len(), Ordering::Relaxed);
    }

    fn tally(&self) -> Tally {
        Tally { refusals: self.0.refusals().clone(), gated: self.0.gated(), ..Tally::default() }
    }
}

impl Managing {
    fn pull(&mut self, commons: &Commons) -> Result<Payload, Gate> {
        let (now, blocks) = (commons.now(), &commons.config.blocks);
        // What is ordered and not applied here yet must not be proposed again.
        let Some(exclude) = commons.seat.agreement.under_way(self.0.cursor().applied()) else {
            return Ok(Payload::default());
        };
        let pull = PullRequest {
            max_txns: blocks.max_txns,
            max_bytes: blocks.max_bytes,
            max_unique: blocks.max_txns,
            soft_max_unique: blocks.enough_txns,
            return_non_full: true,
            block_time: now,
            exclude,
            ..PullRequest::default()
        };
        self.0.pull(now, commons.gate(), &PayloadRequest { pull, ..PayloadRequest::default() })
    }
}
