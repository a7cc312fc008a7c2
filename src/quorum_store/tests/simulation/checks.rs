//! What must hold: after every event, and when all is quiet. The reference is the one list of what was ordered.

use super::validator::Validator;
use super::world::{Delivery, World};
use crate::quorum_store::*;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// After each event, at the validator where it happened.
pub fn after_event(world: &mut World, place: usize) {
    let mut found = Vec::new();
    if let Some(validator) = &world.validators[place] {
        prefixes(validator, &mut found);
        exclusions(validator, &mut found);
        queue(validator, &mut found);
        quotas(validator, &mut found);
        if world.delivery == Delivery::Cursors {
            committed(world, validator, &mut found);
        }
    }
    world.violations.extend(found);
}

/// I1: everybody has applied a prefix of the log, and the generator never more than the mempool.
fn prefixes(validator: &Validator, found: &mut Vec<String>) {
    let (board, head) = (validator.board(), validator.log.head());
    for (component, applied) in board.iter() {
        if applied > head {
            found.push(format!("I1: {component} is at {applied}, the log at {head}"));
        }
    }
}

/// I3: a transaction is counted as often as batches in progress hold it, and is in no list otherwise.
fn exclusions(validator: &Validator, found: &mut Vec<String>) {
    let Some(generator) = &validator.generator else { return };
    let in_progress = generator.in_progress();
    let mut counts: HashMap<TxnHash, u32> = HashMap::new();
    for (_, txns, _) in in_progress.batches() {
        txns.iter().for_each(|txn| *counts.entry(txn.hash).or_default() += 1);
    }
    let right = counts.len() == in_progress.len()
        && counts.iter().all(|(hash, &count)| in_progress.count(hash) == count);
    if !right {
        found.push(format!(
            "I3: {} transactions are excluded, {} should be",
            in_progress.len(),
            counts.len()
        ));
    }
}

/// I2 and I8: what is committed up to a component's cursor is gone from it.
fn committed(world: &World, validator: &Validator, found: &mut Vec<String>) {
    let before = |key: &BatchKey, cursor: Cursor| {
        world.committed_at.get(key).is_some_and(|&at| at <= cursor.applied())
    };
    if let Some(generator) = &validator.generator {
        let own = generator.in_progress().batches().filter(|(key, _, _)| key.author == validator.id);
        for (key, _, _) in own.filter(|(key, _, _)| before(key, generator.cursor())) {
            found.push(format!("I2: {key} is committed and in progress at {}", validator.id));
        }
    }
    if let Some(manager) = &validator.manager {
        for key in world
            .committed_at
            .keys()
            .filter(|key| before(key, manager.cursor()) && manager.queue().is_open(**key))
        {
            found.push(format!("I2: {key} is committed and queued at {}", validator.id));
        }
    }
}

/// I5: counts and flags of the queue are what its items give.
fn queue(validator: &Validator, found: &mut Vec<String>) {
    let Some(manager) = &validator.manager else { return };
    let queue = manager.queue();
    let (counted, recounted) = ((queue.remaining_txns(), queue.remaining_proofs()), queue.recount());
    if counted != recounted {
        found.push(format!("I5: {counted:?} is counted, {recounted:?} is there"));
    }
    let limits = &validator.config.back_pressure;
    let proofs = recounted.1 > limits.backlog_proofs_per_validator * validator.count as u64;
    let expected = BackPressure { txns: recounted.0 > limits.backlog_txns, proofs };
    if manager.pressure() != expected {
        found.push(format!("I5: pressure {:?}, should be {expected:?}", manager.pressure()));
    }
}

/// I10: what is held and what is left of a quota is the quota.
fn quotas(validator: &Validator, found: &mut Vec<String>) {
    for author in (0..validator.count).map(|one| ValidatorId(u16::try_from(one).unwrap_or(0))) {
        let (left, (batches, memory)) = (validator.store.quota_left(author), validator.store.held(author));
        let whole = validator.config.quota;
        if left.batches + batches != whole.batches || left.memory_bytes + memory != whole.memory_bytes {
            found.push(format!("I10: of {author}: {left:?} and {batches} batches are not {whole:?}"));
        }
    }
}

/// I6: nothing that is committed, expired or excluded, within the limits, in order. What was ordered is known to be committed
/// to who proposes: it is at the same place in the log, or excluded.
pub fn payload(
    found: &mut Vec<String>,
    payload: &Payload,
    request: &PullRequest,
    ordered: &[Arc<CommitEntry>],
    delivery: Delivery,
) {
    let infos = payload.batches();
    let sum = |of: fn(&BatchInfo) -> u64| infos.iter().map(of).sum::<u64>();
    if sum(|info| info.txns) > request.max_txns || sum(|info| info.bytes) > request.max_bytes {
        found.push(format!("I6: {payload:?} is over its limits"));
    }
    if !infos.is_sorted_by_key(|info| std::cmp::Reverse(info.gas_bucket)) {
        found.push("I6: buckets are out of order".to_owned());
    }
    let committed: HashSet<BatchKey> = ordered
        .iter()
        .flat_map(|entry| CommitStep::Entry(Arc::clone(entry)).batches().to_vec())
        .map(|info| info.key())
        .collect();
    for info in &infos {
        let wrong = info.expiration <= request.block_time || request.exclude.contains(&info.key());
        // With the fan-out of the original it is for the end to find out.
        if wrong || delivery == Delivery::Cursors && committed.contains(&info.key()) {
            found.push(format!("I6: {info:?} is expired, excluded or committed"));
        }
    }
}

/// When there are no faults any more and everybody had time to read the log.
pub fn converged(world: &mut World) {
    let mut found = Vec::new();
    let committed: HashSet<BatchKey> = world
        .ordered
        .iter()
        .flat_map(|entry| CommitStep::Entry(Arc::clone(entry)).batches().to_vec())
        .map(|info| info.key())
        .collect();
    for validator in world.validators.iter().flatten() {
        let (id, head) = (validator.id, validator.log.head());
        if head != world.ordered.len() as u64 {
            found.push(format!("the log of {id} is at {head} of {}", world.ordered.len()));
        }
        for (component, applied) in validator.board().iter() {
            // The fan-out of the original counts nothing.
            if applied != head && world.delivery == Delivery::Cursors {
                found.push(format!("I1: {component} of {id} stays at {applied} of {head}"));
            }
        }
        if let Some(generator) = &validator.generator {
            let own = generator.in_progress().batches().map(|(key, _, _)| key).filter(|key| key.author == id);
            for key in own.filter(|key| committed.contains(key)) {
                found.push(format!("I2: {key} is committed and still in progress at {id}"));
            }
        }
        if let Some(manager) = &validator.manager {
            for key in committed.iter().filter(|&&key| manager.queue().is_open(key)) {
                found.push(format!("I2: {key} is committed and still queued at {id}"));
            }
        }
    }
    world.violations.extend(found);
}

/// When there was time to commit everything.
pub fn at_rest(world: &mut World) {
    let mut found = Vec::new();
    for (home, hash) in &world.submitted {
        let waits = world.validators[*home].as_ref().is_none_or(|one| one.mempool.contains(hash));
        let executed = world.executed.contains(hash);
        if waits || !executed {
            found.push(format!("I4: {hash} of {home} is executed: {executed}, waits: {waits}"));
        }
    }
    world.violations.extend(found);
}

/// I9: long after the last work nothing is left of it.
pub fn at_the_end(world: &mut World) {
    let mut found = Vec::new();
    for validator in world.validators.iter().flatten() {
        let excluded = validator.generator.as_ref().map_or(0, |one| one.in_progress().len());
        let queued = validator.manager.as_ref().map_or(0, |one| one.queue().len());
        let collected = validator.proofs.as_ref().map_or(0, ProofCoordinator::entries);
        let left = [excluded, queued, collected, validator.requester.pending()];
        if left != [0; 4] {
            found.push(format!(
                "I9: {left:?} excluded, queued, collected, fetched are left at {}",
                validator.id
            ));
        }
        if !validator.store.is_empty() {
            found.push(format!("I9: {} batches are left at {}", validator.store.len(), validator.id));
        }
    }
    world.violations.extend(found);
}
