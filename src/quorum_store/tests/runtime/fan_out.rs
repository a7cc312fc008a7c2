//! One reader of commits that is dead, that hangs, or that does not read its mail, in each position; and a full mailbox.
//!
//! What would break: others that miss commits or wait, a lag that nobody sees, news of one component behind those of another.
//!
//! Control that was run: without a look at signs of life, nobody who hangs is replaced, and the test says so.

use super::super::support::*;
use super::support::*;
use crate::quorum_store::*;
use std::time::Instant;

/// The three receivers of the original's fan-out, each with a step that nobody else of its validator passes, if no client gives
/// that validator anything.
const HELD: [(Component, Step); 3] = [
    (Component::BatchGenerator, Step::ReserveIds),
    (Component::ProofManager, Step::VerifyAggregate),
    (Component::ProofCoordinator, Step::Aggregate),
];

/// Brings a component of validator 1 to the step where it hangs.
fn hold(town: &mut Town, component: Component, step: Step) {
    let trap = std::sync::Arc::clone(&town.traps[1]);
    trap.arm(step, When::Before, Act::Hang);
    let begun = Instant::now();
    let mut sender = 1_000;
    while trap.sprung() == 0 {
        assert!(begun.elapsed() < secs(60), "{component} does not come to {step:?}");
        match component {
            // Its own batches' signatures are what it aggregates.
            Component::ProofCoordinator => town.submit(1, sender, 1),
            // The first ids are taken at the first tick of a new life.
            Component::BatchGenerator => assert!(town.runtime.block_on(town.validator(1).kill(component))),
            // Others' proofs.
            _ => town.submit(2, sender, 1),
        }
        sender += 1;
        std::thread::sleep(millis(60));
    }
}

fn is_behind(town: &Town, component: Component) -> bool {
    let cursors = town.validator(1).cursors();
    let mut others = cursors.applied.iter().filter(|&(one, _)| one != component);
    let own = cursors.applied.of(component);
    // The generator goes behind the mempool, and never before it.
    cursors.head > own && others.all(|(_, applied)| applied > own)
}

/// Commits go on without it, its lag closes the gate of its validator and of no other, and when it is back it has everything.
#[test]
fn a_reader_of_commits_that_hangs_in_any_position_holds_up_nobody_and_has_all_of_them_when_it_is_back() {
    for (component, step) in HELD {
        println!("{component}");
        let directory = tempfile::tempdir().unwrap();
        let mut config = config();
        config.supervision.hang_limit = secs(3_000);
        config.quorum_store.lag_limit = 5;
        config.mailboxes.bulk = 2;
        let mut town = Town::new(directory.path(), config, NetworkFaults::default(), 1);
        hold(&mut town, component, step);
        let head = town.validator(1).cursors().head;
        let mut sender = 5_000;
        let begun = Instant::now();
        while town.validator(1).cursors().head < head + 10 {
            assert!(begun.elapsed() < secs(60), "{component} holds commits up: {:#?}", town.state());
            town.submit(2, sender, 1);
            sender += 1;
            std::thread::sleep(millis(30));
        }
        eventually(
            &format!("a lag of {component}"),
            || is_behind(&town, component),
            || format!("{:#?}", town.state()),
        );
        let is_closed = |place: usize| matches!(town.validator(place).cursors().gate, Gate::Closed { .. });
        eventually("a closed gate", || is_closed(1), || format!("{:#?}", town.state()));
        // A host that starves it may close its gate for a moment.
        eventually("an open gate of another validator", || !is_closed(2), || format!("{:#?}", town.state()));
        assert!(is_closed(1), "{:#?}", town.state());
        town.traps[1].release();
        town.wait_for_commits("every commit");
        town.check_rest(component.name());
        assert_eq!(town.validator(1).restarts().hung, 0);
        town.shut_down();
    }
}

/// What peers send to one that hangs fills its mailbox. What finds no room is dropped and counted, commits come all the same, and
/// when it is back it has all of them.
#[test]
fn a_reader_of_commits_whose_mailbox_is_full_in_any_position_misses_none_and_holds_up_nobody() {
    for (component, step) in HELD {
        println!("{component}");
        let directory = tempfile::tempdir().unwrap();
        let mut config = config();
        config.supervision.hang_limit = secs(3_000);
        config.mailboxes.bulk = 1;
        let mut town = Town::new(directory.path(), config, NetworkFaults::default(), 1);
        hold(&mut town, component, step);
        let full = |town: &Town| {
            let counters = town.validator(1).counters();
            let own = counters.mailboxes.iter().find(|(one, _)| *one == component);
            own.map_or(0, |(_, counts)| counts.bulk_full)
        };
        let (begun, mut sender) = (Instant::now(), 5_000);
        while full(&town) == 0 {
            assert!(begun.elapsed() < secs(60), "{component} has room: {:?}", town.validator(1).counters());
            // Signatures of peers come only for its own batches.
            let place = if component == Component::ProofCoordinator { 1 } else { 2 };
            town.submit(place, sender, 1);
            sender += 1;
            std::thread::sleep(millis(30));
        }
        let head = town.validator(1).cursors().head;
        let begun = Instant::now();
        while town.validator(1).cursors().head < head + 3 {
            assert!(begun.elapsed() < secs(60), "{component} holds commits up: {:#?}", town.state());
            town.submit(2, sender, 1);
            sender += 1;
            std::thread::sleep(millis(30));
        }
        town.traps[1].release();
        town.wait_for_commits("every commit");
        town.check_rest(component.name());
        town.shut_down();
    }
}

/// As above, and the supervision notices: what hangs stays where it is, another life takes its place.
#[test]
fn a_component_that_hangs_is_replaced_and_the_hung_one_changes_nothing_when_it_wakes_up() {
    for (component, step) in HELD {
        println!("{component}");
        let directory = tempfile::tempdir().unwrap();
        let mut config = config();
        config.supervision.hang_limit = secs(1);
        let mut town = Town::new(directory.path(), config, NetworkFaults::default(), 1);
        hold(&mut town, component, step);
        eventually(
            &format!("a replacement of {component}"),
            || town.validator(1).restarts().hung > 0,
            || format!("{:#?}", town.state()),
        );
        town.traps[1].release();
        town.submit(1, 7_000, 3);
        town.submit(3, 8_000, 3);
        town.wait_for_commits("every commit");
        town.check_rest(component.name());
        town.shut_down();
    }
}

/// A reader that is killed again and again is a closed receiver most of the time.
#[test]
fn a_reader_of_commits_that_is_dead_in_any_position_misses_none() {
    let directory = tempfile::tempdir().unwrap();
    let mut town = Town::new(directory.path(), config(), NetworkFaults::default(), 1);
    let readers = Component::ALL.into_iter().filter(|component| component.has_cursor());
    for (round, component) in (0..).zip(readers) {
        for turn in 0..20 {
            town.submit((turn % 4) as usize, 100 * (round + 1) + turn % 4, 1);
            assert!(town.runtime.block_on(town.validator(1).kill(component)));
            std::thread::sleep(millis(10));
        }
        town.wait_for_commits(component.name());
        assert!(town.validator(1).restarts().of(component) > 0);
    }
    town.check_rest("rest");
    town.shut_down();
}

/// Scenario 45: batches that the batch coordinator has no room for are dropped and counted, and the signatures behind them get
/// through.
#[test]
fn a_full_queue_of_batches_drops_them_and_holds_no_signature_up() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = config();
    config.mailboxes.bulk = 1;
    config.supervision.hang_limit = secs(3_000);
    config.quorum_store.proof_timeout = secs(60);
    let mut town = Town::new(directory.path(), config, NetworkFaults::default(), 1);
    // A batch of validator 1 that nobody else has heard of.
    town.committee.network().partition([ValidatorId(1)].into_iter().collect());
    town.submit(1, 10, 1);
    eventually(
        "a batch of validator 1",
        || town.validator(1).counters().batches > 0,
        || format!("{:#?}", town.state()),
    );
    let trap = std::sync::Arc::clone(&town.traps[1]);
    trap.arm(Step::PutBatches, When::Before, Act::Hang);
    // Two are no quorum: the batch gets no proof, however long this takes.
    town.committee.network().partition([ValidatorId(1), ValidatorId(2)].into_iter().collect());
    let dropped = |town: &Town| {
        let counters = town.validator(1).counters();
        let of_batches = counters.mailboxes.iter().find(|(one, _)| *one == Component::BatchCoordinator);
        of_batches.map_or(0, |(_, counts)| counts.bulk_full)
    };
    let (begun, mut sender) = (Instant::now(), 100);
    while trap.sprung() == 0 || dropped(&town) == 0 {
        assert!(begun.elapsed() < secs(60), "{:?}", town.validator(1).counters());
        town.submit(2, sender, 1);
        sender += 1;
        std::thread::sleep(millis(30));
    }
    assert_eq!(town.validator(1).counters().proofs, 0);
    town.committee.network().partition(SignerSet::default());
    // Tells its batch again; the peers' signatures come behind batches that find no room.
    assert!(town.runtime.block_on(town.validator(1).kill(Component::ProofCoordinator)));
    let proven = || town.validator(1).counters().proofs == 1;
    eventually("the proof", proven, || format!("{:#?}", town.validator(1).counters()));
    trap.release();
    town.wait_for_commits("every commit");
    town.check_rest("rest");
    town.shut_down();
}
