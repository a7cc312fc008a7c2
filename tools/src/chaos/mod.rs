//! `phalanx chaos`: real faults against a family that executes blocks, everything compared with everything.
//!
//! The trial (this process) is the coordinator's host: it launches the family, submits blocks and compares each with an
//! oracle. The monkey, a process of its own, sends the signals, by a schedule that is a pure function of the seed, and
//! reports each one. In the end what was sent is compared with what the family says befell it.

mod blocks;
mod book;
mod check;
mod error;
mod fault;
mod feed;
mod host;
mod judge;
mod mix;
mod monkey;
mod monkey_link;
mod observer;
mod options;
mod plants;
mod progress;
mod report;
mod schedule;
mod trial;
mod wire;

use crate::cli::Format;
use crate::exit::Exit;
use crate::output::{print, print_error};
use crate::signals::{self, StopSignal};
use error::ChaosError;
use parking_lot::Mutex;
use report::Report;
use schedule::Schedule;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub use options::ChaosOptions;

/// Plays the part that this process was started for, if it was started for one: injecting faults, or being a planted
/// violation. Then there is nothing else to do.
pub fn entry() -> Option<Exit> {
    if plants::entry() {
        return Some(Exit::Ok);
    }
    monkey::entry()
}

/// Runs the command.
pub fn command(options: &ChaosOptions) -> Exit {
    let filter = crate::logging::filter_of_chaos(options.verbose);
    phalanx::telemetry::log_to_stderr(&filter);
    let seed = options.seed.unwrap_or_else(own_seed);
    let schedule = Schedule::draw(seed, &options.mix, options.rate, options.duration);
    if options.dry_run {
        return publish(&schedule_text(options, seed, &schedule), Exit::Ok);
    }
    let (stop, signal) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(None)));
    let (asked, which) = (Arc::clone(&stop), Arc::clone(&signal));
    let watched = signals::watch(move |signal: StopSignal| {
        *which.lock() = Some(signal);
        asked.store(true, Ordering::Relaxed);
    });
    let outcome =
        match watched.map_err(ChaosError::from).and_then(|()| trial::run(options, seed, &filter, &stop)) {
            Ok(outcome) => outcome,
            Err(error) => {
                print_error(format_args!("{error}; the seed was {seed}"));
                return error.exit();
            }
        };
    for (check, what) in outcome.findings.failures() {
        print_error(format_args!("check {check} failed: {what}; repeat it with --seed {seed}"));
    }
    let exit = match (outcome.findings.failures().next(), *signal.lock()) {
        (Some(_), _) => Exit::Violation,
        (None, Some(signal)) => signal.exit(),
        (None, None) => Exit::Ok,
    };
    let report = Report::new(options, seed, &schedule, &outcome);
    let text = match options.format {
        Format::Text => report.table(),
        Format::Json => match report.json() {
            Ok(text) => text,
            Err(error) => {
                print_error(error);
                return Exit::Failed;
            }
        },
    };
    publish(&text, exit)
}

/// A seed that no other trial has: the standard library's hash keys are random.
fn own_seed() -> u64 {
    RandomState::new().hash_one(())
}

fn publish(text: &str, exit: Exit) -> Exit {
    match print(text) {
        Ok(()) => exit,
        Err(error) => {
            print_error(format_args!(
                "cannot write the report: {error}; give standard output another place to go"
            ));
            Exit::Failed
        }
    }
}

fn schedule_text(options: &ChaosOptions, seed: u64, schedule: &Schedule) -> String {
    match options.format {
        Format::Text => schedule.table(options.shards),
        Format::Json => {
            let object = serde_json::json!({
                "seed": seed,
                "schedule_hash": schedule.hash(),
                "faults": schedule.faults().iter().map(|fault| serde_json::json!({
                    "at_us": u64::try_from(fault.at.as_micros()).unwrap_or(u64::MAX),
                    "kind": fault.kind,
                    "draw": fault.draw,
                })).collect::<Vec<_>>(),
            });
            format!("{object}\n")
        }
    }
}
