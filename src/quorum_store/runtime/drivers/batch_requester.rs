//! Drives the batch requester.

use super::Driver;
use crate::quorum_store::effect::Outbox;
use crate::quorum_store::runtime::commons::{Commons, RequesterMail};
use crate::quorum_store::runtime::mailbox::Mailbox;
use crate::quorum_store::runtime::tallies::{Tallies, Tally};
use crate::quorum_store::{BatchRequester, Component, SignerSet, ValidatorId};
use std::sync::Arc;

#[derive(Debug)]
pub struct Requesting(BatchRequester);

impl Driver for Requesting {
    type Mail = RequesterMail;

    const COMPONENT: Component = Component::BatchRequester;

    fn mailbox(commons: &Commons) -> Option<&Mailbox<RequesterMail>> {
        Some(&commons.mailboxes.requester)
    }

    fn rebuild(commons: &Commons, _out: &mut Outbox) -> Requesting {
        let (store, limits) = (Arc::clone(&commons.store), Arc::clone(&commons.limits));
        Requesting(BatchRequester::new(commons.seat.validator, commons.config.epoch, store, limits))
    }

    fn turn(&mut self, commons: &Commons, mail: Vec<RequesterMail>, out: &mut Outbox) {
        let now = commons.now();
        for one in mail {
            match one {
                RequesterMail::Want(info) => {
                    Tallies::count(&commons.tallies.fetches);
                    // Whoever signed it has it; who that is, a block does not say.
                    let all: SignerSet =
                        (0_u16..).map(ValidatorId).take(commons.seat.keys.validators()).collect();
                    self.0.request(now, info, all, out);
                }
                RequesterMail::Fetch(from, digest, epoch) => self.0.serve(from, digest, epoch, out),
                RequesterMail::Fetched(from, batch) => self.0.fetched(now, from, *batch, out),
                RequesterMail::NotFound(from, digest, epoch, time) => {
                    self.0.not_found(from, digest, epoch, time, out);
                }
            }
        }
        self.0.tick(now, out);
    }

    fn tally(&self) -> Tally {
        Tally { refusals: self.0.refusals().clone(), served: self.0.served(), ..Tally::default() }
    }
}
