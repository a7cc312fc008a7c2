//! The end of a node: everything stops in the order of the data's flow, each step with a deadline, and what it all came to.

use crate::exit::Exit;
use crate::node::node::Node;
use crate::node::options::NodeOptions;
use crate::node::oracle::Verdict;
use crate::node::report::{Report, StepCosts, Sums};
use crate::node::session::{EndedBy, Session};
use crate::signals::StopSignal;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Requests under way may take so long.
const SERVER_LIMIT: Duration = Duration::from_secs(2);
/// The validators together may take so long.
const VALIDATORS_LIMIT: Duration = Duration::from_secs(5);
/// The shards may take so long, and a start of them that is under way.
const SHARDS_LIMIT: Duration = Duration::from_secs(2);
/// Tasks and blocking calls that are left may take so long; then they end with the process.
const RUNTIME_LIMIT: Duration = Duration::from_secs(1);

/// Runs of this length or more must end with level memory. Batches are kept for 25 s and commits for 35 s: the second third of such
/// a run has them.
const LEVEL_AFTER: Duration = Duration::from_secs(60);

/// Stops everything and tells what it came to.
pub fn finish(node: Node, options: &NodeOptions, session: &Session) -> Report {
    let mut report = Report::new(options.validators(), options.accounts, options.seed, options.load);
    node.health.stopping();
    node.intake.close();
    let (load, runtime) = (&node.load, &node.runtime);
    load.over.store(true, Ordering::Relaxed);
    if node.clients.is_some_and(|clients| clients.join().is_err()) {
        report.violations.push("the clients panicked".to_owned());
    }
    runtime.block_on(node.server.stop(SERVER_LIMIT));
    let standings = node.cluster.standings();
    let gave_up = node.cluster.gave_up();
    if !runtime.block_on(node.cluster.shutdown(VALIDATORS_LIMIT)) {
        tracing::warn!(limit_s = VALIDATORS_LIMIT.as_secs(), "a validator's disk did not close in time");
    }
    // What was committed last has its end when the feed was read to it.
    let counts = node.book.lock().counts();
    report.shards = node.family.shards();
    report.enter(&Sums {
        counts,
        casualties: node.family.casualties(),
        taken_for: session.taken_for,
        settled_for: session.settled_for,
        committed_in_time: session.committed_in_time,
    });
    report.submit_to_commit_ms = node.book.lock().latencies().told();
    report.resumed_after = node.resumed_after;
    report.held_back = load.held_back.load(Ordering::Relaxed);
    (report.component_kills, report.shard_kills) = (session.component_kills, session.shard_kills);
    report.memory_bytes = session.memory.report();
    if session.ended_by == EndedBy::Duration && session.taken_for >= LEVEL_AFTER {
        report.violations.extend(report.memory_bytes.growth());
    }
    report.refusals = node.cluster.refusals();
    report.stand(node.cluster.head(), standings);
    report.blocks = report.height.saturating_sub(node.first_head);
    let costs = node.executor.costs();
    report.blocks_with_transactions = costs.blocks;
    let mut steps = StepCosts::default();
    let (taken, intake) = node.intake.costs();
    steps.add("intake", taken, intake);
    steps.add("prepare", costs.transactions, costs.prepare);
    steps.add("execute", costs.transactions, costs.execute);
    steps.add("durable", costs.transactions, costs.durable);
    report.step_us_per_txn = steps;
    node.executor.close();
    if let Some(oracle) = node.oracle {
        judge(&mut report, &oracle.finish());
    }
    node.family.close(SHARDS_LIMIT);
    node.runtime.shutdown_timeout(RUNTIME_LIMIT);
    drop(node.home);
    report.ended_by = match &session.ended_by {
        EndedBy::Duration => "duration".to_owned(),
        EndedBy::Signal(signal) => signal.to_string(),
        EndedBy::GaveUp(_) => "gave up".to_owned(),
    };
    report.violations.extend(session.unsettled.clone());
    report.violations.extend(gave_up);
    report
}

fn judge(report: &mut Report, verdict: &Verdict) {
    report.verified_blocks = verdict.blocks;
    report.verified = Some(verdict.difference.is_none() && verdict.height >= report.height);
    report.violations.extend(verdict.difference.clone());
    if verdict.difference.is_none() && verdict.height < report.height {
        let (height, last) = (report.height, verdict.height);
        report.violations.push(format!("block {height} was committed, and only {last} was executed again"));
    }
}

/// How the command ends.
pub fn exit_of(report: &Report, session: &Session) -> Exit {
    match (&session.ended_by, report.verified, report.violations.is_empty()) {
        (_, Some(false), _) => Exit::Mismatch,
        (EndedBy::GaveUp(_), ..) => Exit::GaveUp,
        (_, _, false) => Exit::Violation,
        (EndedBy::Signal(StopSignal::Interrupt), ..) => Exit::Interrupted,
        (EndedBy::Signal(StopSignal::Terminate), ..) => Exit::Terminated,
        (EndedBy::Duration, ..) => Exit::Ok,
    }
}
