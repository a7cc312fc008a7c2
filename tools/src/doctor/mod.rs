//! `phalanx doctor`: whether this host is set up well for shards, and which command mends what is not.

mod check;
mod cpus;
mod kernel;
mod leftovers;
mod limits;
mod memory;
mod patient;
mod session_limit;
#[cfg(test)]
mod tests;

use crate::cli::{Format, Shards};
use crate::exit::Exit;
use crate::output::{print, print_error};
use crate::placement_options::PlacementOptions;
use check::{Check, Verdict};
use clap::Args;
use patient::Patient;
use phalanx::topology::LayoutOptions;
use std::fmt::Write;

/// Options of `phalanx doctor`.
#[derive(Clone, Debug, Args)]
pub struct DoctorOptions {
    /// Removes what earlier runs left behind: segments of dead owners, and supervisors and shards without a coordinator.
    /// Default: they are named only.
    #[arg(long)]
    pub clean: bool,

    /// Looks whether this many shards would do. Default: auto, a shard on every place.
    #[arg(long, value_name = "N|auto", default_value = "auto", hide_default_value = true)]
    pub shards: Shards,

    /// Where they would go.
    #[command(flatten)]
    pub placement: PlacementOptions,

    /// Prints a table (text) or exactly one JSON object (json). Default: text.
    #[arg(long, value_enum, default_value_t = Format::Text, hide_default_value = true)]
    pub format: Format,
}

/// Runs the command. Needs no privilege; a check that may not look says so.
pub fn command(options: &DoctorOptions) -> Exit {
    let shards = match options.shards {
        Shards::Auto => None,
        Shards::Count(count) => Some(count),
    };
    let wishes = LayoutOptions { shards, ..options.placement.config().layout };
    let patient = Patient::examine(&wishes);
    let mut checks = examine(&patient);
    checks.extend(leftovers::checks(options.clean));
    let text = match options.format {
        Format::Text => table(&checks),
        Format::Json => json(&checks),
    };
    if let Err(error) = print(&text) {
        print_error(format_args!(
            "cannot write the report: {error}; give standard output another place to go"
        ));
        return Exit::Failed;
    }
    match worst(&checks) {
        Verdict::Ok | Verdict::Warn => Exit::Ok,
        Verdict::Fail => Exit::Unfit,
    }
}

/// Everything but what earlier runs left behind.
fn examine(patient: &Patient) -> Vec<Check> {
    let mut checks = limits::checks(patient);
    checks.extend(memory::checks(patient));
    checks.extend(cpus::checks(patient));
    checks.extend(kernel::checks(patient));
    checks
}

fn worst(checks: &[Check]) -> Verdict {
    checks.iter().map(|check| check.verdict).max().unwrap_or(Verdict::Ok)
}

fn count(checks: &[Check], verdict: Verdict) -> usize {
    checks.iter().filter(|check| check.verdict == verdict).count()
}

fn table(checks: &[Check]) -> String {
    let mut text = String::new();
    let width = checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    for Check { name, verdict, value, reason, mend } in checks {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{verdict:<4}  {name:<width$}  {value}");
        if *verdict != Verdict::Ok {
            let _ = writeln!(text, "      {:<width$}  why:  {reason}", "");
            let _ = writeln!(text, "      {:<width$}  mend: {mend}", "");
        }
    }
    let _ = writeln!(
        text,
        "{} checks: {} OK, {} WARN, {} FAIL",
        checks.len(),
        count(checks, Verdict::Ok),
        count(checks, Verdict::Warn),
        count(checks, Verdict::Fail)
    );
    text
}

fn json(checks: &[Check]) -> String {
    let object = serde_json::json!({
        "schema_version": 1,
        "worst": worst(checks),
        "ok": count(checks, Verdict::Ok),
        "warn": count(checks, Verdict::Warn),
        "fail": count(checks, Verdict::Fail),
        "checks": checks,
    });
    format!("{object}\n")
}
