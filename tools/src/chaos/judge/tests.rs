use super::*;
use crate::chaos::wire::Release;
use phalanx::executor::Death;
use phalanx::supervisor::SupervisorIncident;
use phalanx::types::{Generation, ShardId};

const LIMIT: Duration = Duration::from_millis(50);

fn strike(kind: FaultKind, signal: i32, shard: u32, generation: u32, at_us: u64) -> Strike {
    let target = Target::Shard { shard, generation };
    Strike { fault: Some(0), kind, signal, target, pid: 100, at_ns: at_us * 1_000 }
}

fn death(shard: u32, generation: u32, cause: DeathCause, known_us: u64) -> ShardIncident {
    let death =
        Death { shard: ShardId(shard), pid: 100, generation: Generation(generation), txn: None, cause };
    let known = Duration::from_micros(known_us);
    ShardIncident { death, known_at: Some(known), ready_at: Some(known + Duration::from_micros(500)) }
}

fn supervisor_strike(pid: i32, generations: Vec<u32>) -> Strike {
    let kind = FaultKind::SupervisorKill;
    Strike { fault: Some(1), kind, signal: 9, target: Target::Supervisor { generations }, pid, at_ns: 0 }
}

fn checks(book: &Book) -> Vec<Check> {
    judge(book, LIMIT, Duration::MAX).violations.into_iter().map(|(check, _)| check).collect()
}

#[test]
fn a_death_of_the_injected_signal_is_right_and_timed() {
    let book = Book {
        strikes: vec![strike(FaultKind::Segv, 11, 0, 3, 1_000)],
        deaths: vec![death(0, 3, DeathCause::Signal(11), 1_200)],
        ..Book::default()
    };
    let verdict = judge(&book, LIMIT, Duration::MAX);
    assert_eq!((verdict.violations, verdict.known_us, verdict.ready_us), (vec![], vec![200], vec![700]));
}

#[test]
fn another_signal_another_life_or_no_fault_at_all_is_wrong() {
    let strikes = vec![strike(FaultKind::Kill, 9, 0, 3, 1_000)];
    let with = |deaths| Book { strikes: strikes.clone(), deaths, ..Book::default() };
    assert_eq!(checks(&with(vec![death(0, 3, DeathCause::Signal(11), 1_200)])), [Check::Cause]);
    assert_eq!(checks(&with(vec![death(0, 3, DeathCause::Exit(70), 1_200)])), [Check::Cause]);
    let other_life = with(vec![death(0, 4, DeathCause::Signal(9), 1_200)]);
    assert_eq!(checks(&other_life), [Check::Unexplained, Check::Missing]);
    let twice = with(vec![death(0, 3, DeathCause::Signal(9), 1_200); 2]);
    assert_eq!(checks(&twice), [Check::Unexplained]);
    assert_eq!(checks(&with(vec![])), [Check::Missing]);
}

#[test]
fn what_has_not_settled_is_not_judged_yet() {
    let book = Book { strikes: vec![strike(FaultKind::Kill, 9, 0, 3, 1_000)], ..Book::default() };
    assert!(judge(&book, LIMIT, Duration::from_micros(900)).violations.is_empty());
    let deaths = vec![death(0, 3, DeathCause::Signal(9), 1_000)];
    let book = Book { deaths, ..Book::default() };
    assert!(judge(&book, LIMIT, Duration::from_micros(900)).violations.is_empty());
    assert_eq!(judge(&book, LIMIT, Duration::from_micros(1_100)).violations.len(), 1);
}

#[test]
fn ignored_signals_explain_no_death() {
    let book = Book {
        strikes: vec![strike(FaultKind::Term, 15, 1, 1, 1_000)],
        deaths: vec![death(1, 1, DeathCause::Signal(15), 1_100)],
        ..Book::default()
    };
    assert_eq!(checks(&book), [Check::Unexplained]);
}

#[test]
fn a_stop_may_end_in_a_kill_at_the_stall_limit_and_not_before() {
    let stopped = |ms| Book {
        strikes: vec![strike(FaultKind::Pause, 19, 0, 1, 1_000)],
        deaths: vec![death(0, 1, DeathCause::Stopped { stalled: Duration::from_millis(ms) }, 60_000)],
        ..Book::default()
    };
    assert_eq!(checks(&stopped(50)), []);
    assert_eq!(checks(&stopped(49)), [Check::Stall]);
}

#[test]
fn a_lost_supervisor_explains_the_lives_of_its_time_only() {
    let lost = |pid| SupervisorIncident {
        pid,
        cause: String::new(),
        known_at: Duration::from_micros(10),
        ready_at: Some(Duration::from_micros(900)),
    };
    let with = |deaths, losses| Book {
        strikes: vec![supervisor_strike(7, vec![4, 5])],
        deaths,
        losses,
        ..Book::default()
    };
    let deaths =
        vec![death(0, 4, DeathCause::SupervisorLost, 10), death(1, 6, DeathCause::SupervisorLost, 10)];
    let book = with(deaths, vec![lost(7)]);
    assert_eq!(checks(&book), []);
    assert_eq!(judge(&book, LIMIT, Duration::MAX).full_strength_us, [900]);
    assert_eq!(
        checks(&with(vec![death(0, 3, DeathCause::SupervisorLost, 10)], vec![lost(7)])),
        [Check::Unexplained]
    );
    assert_eq!(checks(&with(vec![], vec![])), [Check::Supervisor]);
    assert_eq!(checks(&with(vec![], vec![lost(7), lost(8)])), [Check::Supervisor]);
}

#[test]
fn a_stopped_supervisor_that_is_not_replaced_is_wrong() {
    let target = Target::Supervisor { generations: vec![] };
    let kind = FaultKind::SupervisorStop;
    let held = |held_ns| Release { kind, target: target.clone(), pid: 7, held_ns, gone: false };
    let with = |held_ns| Book { releases: vec![held(held_ns)], ..Book::default() };
    assert_eq!(checks(&with(20_000_000_000)), [Check::Supervisor]);
    assert_eq!(checks(&with(1_000_000)), [], "let go early, since the trial was ended");
}
