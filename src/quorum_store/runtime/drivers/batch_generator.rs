//! Drives the batch generator.

use super::Driver;
use crate::quorum_store::effect::{GeneratorNews, Outbox};
use crate::quorum_store::runtime::commons::{Commons, GeneratorMail};
use crate::quorum_store::runtime::mailbox::Mailbox;
use crate::quorum_store::runtime::tallies::Tally;
use crate::quorum_store::{BatchGenerator, Component, Gate, GeneratorSeat, Payload, PayloadSource};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

#[derive(Debug)]
pub struct Generating(BatchGenerator);

impl Driver for Generating {
    type Mail = GeneratorMail;

    const COMPONENT: Component = Component::BatchGenerator;

    fn mailbox(commons: &Commons) -> Option<&Mailbox<GeneratorMail>> {
        Some(&commons.mailboxes.generator)
    }

    fn rebuild(commons: &Commons, out: &mut Outbox) -> Generating {
        let seat = GeneratorSeat {
            validator: commons.seat.validator,
            epoch: commons.config.epoch,
            keys: Arc::clone(&commons.seat.keys),
            store: Arc::clone(&commons.store),
            disk: Arc::clone(&commons.seat.disk),
            config: Arc::clone(&commons.limits),
        };
        match commons.config.source {
            PayloadSource::QuorumStore => Generating(BatchGenerator::rebuild(seat, commons.now(), out)),
            // Its batches are for one block each, and told to nobody.
            PayloadSource::DirectMempool => {
                Generating(BatchGenerator::rebuild(seat, commons.now(), &mut Outbox::new()))
            }
        }
    }

    fn turn(&mut self, commons: &Commons, mail: Vec<GeneratorMail>, out: &mut Outbox) {
        let generator = &mut self.0;
        // Never further than the mempool: what is released must not be pulled again.
        let pooled = commons.board().of(Component::Mempool);
        while let Some(step) =
            commons.commits.next(generator.cursor()).filter(|step| step.sequence() <= pooled)
        {
            generator.apply(&step);
        }
        commons.set_cursor(Self::COMPONENT, generator.cursor().applied());
        let now = commons.now();
        generator.hear(now, GeneratorNews::BackPressure(*commons.pressure.lock()));
        for one in mail {
            match one {
                GeneratorMail::News(news) => generator.hear(now, news),
                GeneratorMail::Pull(answer) => {
                    // Who asked may have gone meanwhile: then these are for no block.
                    if let Err(Ok(unused)) = answer.send(pull(generator, commons)) {
                        let keys = unused.inline.iter().map(|batch| batch.info.key()).collect();
                        generator.hear(now, GeneratorNews::ProofsTimedOut(keys));
                    }
                }
            }
        }
        match commons.config.source {
            PayloadSource::QuorumStore => generator.tick(now, commons.gate(), &commons.mempool, out),
            PayloadSource::DirectMempool => generator.expire(now),
        }
        commons.tallies.exclusion.store(generator.in_progress().len(), Ordering::Relaxed);
    }

    fn tally(&self) -> Tally {
        Tally { generator: self.0.counts(), ..Tally::default() }
    }

    fn pause(commons: &Commons) -> Duration {
        commons.limits.poll
    }
}

/// A block of the mempool's transactions, past the quorum store.
fn pull(generator: &mut BatchGenerator, commons: &Commons) -> Result<Payload, Gate> {
    let most = (commons.config.blocks.max_txns, commons.config.blocks.max_bytes);
    let inline = generator.pull_for_block(commons.now(), commons.gate(), &commons.mempool, most)?;
    Ok(Payload { inline, ..Payload::default() })
}
