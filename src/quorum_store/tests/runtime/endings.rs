//! How validators end: by themselves, when too much fails, and in order, whoever is dead or hangs at that moment.
//!
//! What would break: a node that restarts a broken component for ever, or stands still without an end; a shutdown that waits for the
//! dead; a write after it.
//!
//! Controls that were run: without closing the disk, without refusing clients of an ended validator, and without the limit of restarts
//! (which then waits for ever), the test of each fails.

use super::super::support::*;
use super::support::*;
use crate::quorum_store::*;
use std::sync::Arc;
use std::time::Instant;

#[test]
fn too_many_restarts_end_the_validator_with_an_error_that_names_the_component() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = config();
    config.supervision.restart_limit = 2;
    config.supervision.restart_window = secs(3_000);
    let town = Town::new(directory.path(), config, NetworkFaults::default(), 1);
    let validator = town.validator(2).clone();
    for restarts in 1..=3 {
        assert!(town.runtime.block_on(validator.kill(Component::ProofManager)));
        let counted = || validator.restarts().of(Component::ProofManager) == restarts;
        eventually("a restart", counted, || format!("{:?}", validator.restarts()));
    }
    let end = town.runtime.block_on(town.committee.ended());
    let ValidatorEnd::GaveUp { validator: which, component, restarts, .. } = &end else { panic!("{end}") };
    assert_eq!((*which, *component, *restarts), (ValidatorId(2), Component::ProofManager, 3));
    assert!(end.to_string().contains("proof_manager: it was killed"), "{end}");
    // All of it is stopped, and its disk closed.
    assert!(Component::ALL.into_iter().all(|component| !validator.is_alive(component)));
    let report = town.runtime.block_on(validator.shutdown(secs(10)));
    assert!(report.is_closed(), "{report:?}");
    assert_eq!(validator.submit(real_txn(1, 0, 1).bytes), Err(Refusal::MailboxClosed));
    town.runtime.block_on(town.committee.shutdown(secs(30)));
}

#[test]
fn an_executor_that_cannot_go_on_ends_its_validator_and_one_that_will_later_is_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let mut town = Town::new(directory.path(), config(), NetworkFaults::default(), 1);
    *town.ledger.refuses.lock() = Some(ExecutorError::Again { height: 1, reason: "not yet".to_owned() });
    town.submit(0, 1, 2);
    let waits = || town.validator(0).counters().executor_retries > 2;
    eventually("retries", waits, || format!("{:#?}", town.validator(0).counters()));
    *town.ledger.refuses.lock() = None;
    town.wait_for_commits("every commit");
    assert_eq!(town.validator(0).restarts().total(), 0);
    let fatal = ExecutorError::Fatal { height: 2, reason: "the ledger is broken".to_owned() };
    *town.ledger.refuses.lock() = Some(fatal.clone());
    town.submit(1, 2, 1);
    let end = town.runtime.block_on(town.committee.ended());
    assert_eq!(end, ValidatorEnd::Executor { validator: ValidatorId(0), error: fatal });
    town.runtime.block_on(town.committee.shutdown(secs(30)));
}

#[test]
fn a_shutdown_with_any_component_just_killed_is_in_order_and_closes_the_disk() {
    for component in Component::ALL {
        let directory = tempfile::tempdir().unwrap();
        let mut town =
            Town::of(1, directory.path(), config(), NetworkFaults::default(), 1, Arc::new(Ledger::default()));
        town.submit(0, 1, 3);
        let validator = town.validator(0).clone();
        let report = town.runtime.block_on(async {
            assert!(validator.kill(component).await);
            validator.shutdown(secs(30)).await
        });
        assert!(report.is_closed(), "{component}: {report:?}");
        assert_eq!(report.steps.len(), Component::ALL.len());
        for (one, end) in &report.steps {
            assert!(
                *end == StepEnd::Stopped || *one == component && *end == StepEnd::Dead,
                "{one}: {report:?}"
            );
        }
        assert!(!town.runtime.block_on(validator.kill(component)), "there is nobody to kill");
        assert_eq!(town.runtime.block_on(validator.ended()), None);
    }
}

/// Each hangs where it is; what it does when it wakes up finds the disk closed.
#[test]
fn a_shutdown_while_any_component_hangs_ends_in_time_and_nothing_is_written_after_it() {
    for (component, step) in [
        (Component::BatchGenerator, Step::PutBatches),
        (Component::BatchGenerator, Step::ReserveIds),
        (Component::BlockPipeline, Step::Stage),
        (Component::BlockPipeline, Step::AppendCommit),
        (Component::BlockPipeline, Step::Execute),
        (Component::ProofCoordinator, Step::Aggregate),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let mut town =
            Town::of(1, directory.path(), config(), NetworkFaults::default(), 1, Arc::new(Ledger::default()));
        let validator = town.validator(0).clone();
        town.traps[0].arm(step, When::Before, Act::Hang);
        if step == Step::ReserveIds {
            // A new life of the generator comes to it.
            town.runtime.block_on(validator.kill(component));
        }
        let begun = Instant::now();
        let mut sender = 0;
        while town.traps[0].sprung() == 0 {
            assert!(begun.elapsed() < secs(60), "nobody comes to {step:?}");
            sender += 1;
            town.submit(0, sender, 1);
            std::thread::sleep(millis(20));
        }
        let begun = Instant::now();
        let report = town.runtime.block_on(validator.shutdown(secs(3)));
        assert!(begun.elapsed() < secs(20), "{:?}", begun.elapsed());
        assert!(report.is_closed(), "{component} at {step:?}: {report:?}");
        let given_up = report.steps.iter().filter(|(_, end)| *end == StepEnd::GivenUp);
        assert!(given_up.clone().any(|(one, _)| *one == component), "{component} at {step:?}: {report:?}");
        let written = town.writes();
        town.traps[0].release();
        std::thread::sleep(millis(100));
        assert_eq!(town.writes(), written, "{component} at {step:?} writes after the shutdown");
    }
}

#[test]
fn a_validator_whose_handles_are_gone_ends_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let town = Town::new(directory.path(), config(), NetworkFaults::default(), 1);
    let Town { runtime, committee, .. } = town;
    let metrics = runtime.metrics();
    drop(committee);
    eventually(
        "no task",
        || metrics.num_alive_tasks() == 0,
        || format!("{} tasks", metrics.num_alive_tasks()),
    );
}
