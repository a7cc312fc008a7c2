//! Drives the network listener.

use super::Driver;
use crate::quorum_store::effect::{Outbox, ProofNews, QueueNews};
use crate::quorum_store::runtime::commons::{Commons, RequesterMail};
use crate::quorum_store::runtime::mailbox::Mailbox;
use crate::quorum_store::runtime::tallies::Tally;
use crate::quorum_store::{Component, Incoming, NetworkListener, Refusal, RefusalCounts, ValidatorId};
use std::sync::Arc;

#[derive(Debug)]
pub struct Listening {
    listener: NetworkListener,
    refusals: RefusalCounts,
}

impl Driver for Listening {
    type Mail = (ValidatorId, Arc<[u8]>);

    const COMPONENT: Component = Component::NetworkListener;

    fn mailbox(commons: &Commons) -> Option<&Mailbox<Self::Mail>> {
        Some(&commons.mailboxes.listener)
    }

    fn rebuild(commons: &Commons, _out: &mut Outbox) -> Listening {
        let (validators, rate) = (commons.seat.keys.validators(), commons.limits.peer_frames_per_s);
        Listening { listener: NetworkListener::new(validators, rate), refusals: RefusalCounts::default() }
    }

    fn turn(&mut self, commons: &Commons, mail: Vec<Self::Mail>, _out: &mut Outbox) {
        for (from, frame) in mail {
            if from == commons.seat.validator {
                // Nobody else may speak as this validator.
                self.refusals.count(Refusal::NotSender);
                continue;
            }
            // The listener counts what it refuses.
            if let Ok(incoming) = self.listener.receive(commons.now(), from, &frame) {
                hand_over(commons, from, frame.len() as u64, incoming);
            }
        }
    }

    fn tally(&self) -> Tally {
        let mut refusals = self.refusals.clone();
        refusals.add(self.listener.refusals());
        Tally { refusals, ..Tally::default() }
    }
}

/// The mailboxes count what they have no room for: a full one holds up no other.
fn hand_over(commons: &Commons, from: ValidatorId, bytes: u64, incoming: Incoming) {
    let mailboxes = &commons.mailboxes;
    let requester = |mail| _ = mailboxes.requester.bulk(from, mail, bytes);
    match incoming {
        Incoming::Batches(batches) => _ = mailboxes.batches.bulk(from, (from, batches), bytes),
        Incoming::Signatures(signed) => commons.tell_proofs(from, ProofNews::Signatures(from, signed)),
        Incoming::Proofs(proofs) => commons.tell_manager(QueueNews::Proofs(from, proofs)),
        Incoming::Fetch(digest, epoch) => requester(RequesterMail::Fetch(from, digest, epoch)),
        Incoming::Fetched(batch) => requester(RequesterMail::Fetched(from, Box::new(batch))),
        Incoming::NotFound(digest, epoch, time) => {
            requester(RequesterMail::NotFound(from, digest, epoch, time))
        }
    }
}
