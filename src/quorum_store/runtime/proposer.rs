//! Proposes blocks when it is this validator's turn, and gives others' turns on that are not used.

use crate::quorum_store::effect::GeneratorNews;
use crate::quorum_store::runtime::agreement::Turn;
use crate::quorum_store::runtime::commons::{Commons, GeneratorMail, ManagerMail};
use crate::quorum_store::runtime::tallies::Tallies;
use crate::quorum_store::runtime::vital::{Life, TaskEnd};
use crate::quorum_store::{OrderedBlock, PayloadSource};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// Without news it is looked at everything again, and a sign of life given.
const LOOK: Duration = Duration::from_millis(100);
/// The proof manager is asked for so long.
const PULL_LIMIT: Duration = Duration::from_millis(400);

/// The task. Returns when it is asked to end.
pub async fn run(commons: &Arc<Commons>, life: &mut Life) -> Result<(), TaskEnd> {
    let (agreement, own) = (Arc::clone(&commons.seat.agreement), commons.seat.validator);
    let blocks = commons.config.blocks;
    let mut changes = agreement.watch();
    life.take_seat(commons.config.supervision.hang_limit).await;
    while !life.is_stopped() {
        changes.mark_unchanged();
        let wait = match agreement.turn() {
            None => LOOK,
            Some(turn) if turn.proposer == own && turn.waited >= blocks.interval => {
                propose(commons, turn).await;
                Duration::ZERO
            }
            Some(turn) if turn.proposer == own => blocks.interval - turn.waited,
            Some(turn) if turn.waited >= blocks.turn_limit => {
                agreement.pass(turn);
                Duration::ZERO
            }
            Some(turn) => blocks.turn_limit - turn.waited,
        };
        tokio::select! {
            () = life.stopped() => {}
            _ = changes.changed() => {}
            () = tokio::time::sleep(wait.min(LOOK)) => {}
        }
        life.beat();
    }
    Ok(())
}

/// Proposes what the proof manager has; with nothing, or no answer, the turn goes to the next one.
async fn propose(commons: &Arc<Commons>, turn: Turn) {
    let agreement = &commons.seat.agreement;
    let (answer, payload) = oneshot::channel();
    // Counted there; the answer then fails.
    let _ = match commons.config.source {
        PayloadSource::QuorumStore => commons.mailboxes.manager.control(ManagerMail::Pull(answer)),
        PayloadSource::DirectMempool => commons.mailboxes.generator.control(GeneratorMail::Pull(answer)),
    };
    let payload = match tokio::time::timeout(PULL_LIMIT, payload).await {
        Ok(Ok(Ok(payload))) if !payload.is_empty() => payload,
        Ok(Ok(Err(gate))) => {
            tracing::debug!(validator = %commons.seat.validator, ?gate, "nothing is proposed while a component lags");
            agreement.pass(turn);
            return;
        }
        Ok(Ok(Ok(_)) | Err(_)) | Err(_) => {
            agreement.pass(turn);
            return;
        }
    };
    let timestamp = commons.now();
    let block = OrderedBlock { height: turn.height, timestamp, batches: payload.batches() };
    if agreement.propose(turn, block) {
        Tallies::count(&commons.tallies.proposed);
    } else {
        // Too late: these are for no other block.
        let inline = payload.inline.iter().map(|batch| batch.info.key());
        commons.tell_generator(GeneratorNews::ProofsTimedOut(inline.collect()));
    }
}
