//! What a trial asserts, and how each assertion came out.

use clap::ValueEnum;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;

/// An assertion of a trial. `--break-check` takes the same names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum)]
pub enum Check {
    /// Every block's output and state digest are those of sequential execution.
    Digest,
    /// No block is lost, none runs twice, and they come in order.
    LostBlock,
    /// Every block is executed before its deadline.
    Deadline,
    /// A death is reported with a cause that was injected.
    Cause,
    /// Nothing dies of which nobody knows why.
    Unexplained,
    /// Every lethal fault shows as a death.
    Missing,
    /// No shard is killed as stopped before the stall limit.
    Stall,
    /// Losses of the supervisor are those that were injected.
    Supervisor,
    /// All shards are back within the limit after the last fault.
    Recovery,
    /// No zombie is left.
    Zombie,
    /// No process of the family is left.
    Orphan,
    /// No segment is left.
    Segment,
    /// Coordinator and supervisor hold as many descriptors as at the beginning.
    Fd,
    /// Memory does not grow.
    Memory,
    /// Coordinator, supervisor and shards have as many threads as they should.
    Thread,
    /// Every shard sits on its core.
    Pins,
    /// No core file is left.
    Core,
    /// A fresh family starts afterwards and executes blocks rightly.
    Restart,
}

impl Check {
    /// All of them.
    pub const ALL: [Check; 18] = [
        Check::Digest,
        Check::LostBlock,
        Check::Deadline,
        Check::Cause,
        Check::Unexplained,
        Check::Missing,
        Check::Stall,
        Check::Supervisor,
        Check::Recovery,
        Check::Zombie,
        Check::Orphan,
        Check::Segment,
        Check::Fd,
        Check::Memory,
        Check::Thread,
        Check::Pins,
        Check::Core,
        Check::Restart,
    ];

    /// Its name on the command line and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Check::Digest => "digest",
            Check::LostBlock => "lost-block",
            Check::Deadline => "deadline",
            Check::Cause => "cause",
            Check::Unexplained => "unexplained",
            Check::Missing => "missing",
            Check::Stall => "stall",
            Check::Supervisor => "supervisor",
            Check::Recovery => "recovery",
            Check::Zombie => "zombie",
            Check::Orphan => "orphan",
            Check::Segment => "segment",
            Check::Fd => "fd",
            Check::Memory => "memory",
            Check::Thread => "thread",
            Check::Pins => "pins",
            Check::Core => "core",
            Check::Restart => "restart",
        }
    }

    /// Whether its failure means that something is left behind or grows.
    pub const fn is_leak(self) -> bool {
        match self {
            Check::Zombie
            | Check::Orphan
            | Check::Segment
            | Check::Fd
            | Check::Memory
            | Check::Thread
            | Check::Core => true,
            Check::Digest
            | Check::LostBlock
            | Check::Deadline
            | Check::Cause
            | Check::Unexplained
            | Check::Missing
            | Check::Stall
            | Check::Supervisor
            | Check::Recovery
            | Check::Pins
            | Check::Restart => false,
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for Check {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// How a check came out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "result", content = "detail", rename_all = "kebab-case")]
pub enum Finding {
    /// It holds; what was looked at.
    Ok(String),
    /// It does not; what was found first.
    Failed(String),
    /// It was not looked at; why.
    Skipped(String),
}

/// The findings so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Findings(BTreeMap<Check, Finding>);

impl Findings {
    /// Enters a result. The first failure of a check stays.
    pub fn enter(&mut self, check: Check, finding: Finding) {
        if !self.has_failed(check) {
            self.0.insert(check, finding);
        }
    }

    /// Enters what was looked at, or what was wrong with it.
    pub fn judge(&mut self, check: Check, result: Result<String, String>) {
        self.enter(check, result.map_or_else(Finding::Failed, Finding::Ok));
    }

    /// Enters a reason for every check that was not looked at.
    pub fn skip_rest(&mut self, why: &str) {
        for check in Check::ALL {
            self.0.entry(check).or_insert_with(|| Finding::Skipped(why.to_owned()));
        }
    }

    /// Whether a check has failed.
    pub fn has_failed(&self, check: Check) -> bool {
        matches!(self.0.get(&check), Some(Finding::Failed(_)))
    }

    /// The checks that failed, and with what.
    pub fn failures(&self) -> impl Iterator<Item = (Check, &str)> {
        self.0.iter().filter_map(|(check, finding)| match finding {
            Finding::Failed(detail) => Some((*check, detail.as_str())),
            Finding::Ok(_) | Finding::Skipped(_) => None,
        })
    }

    /// All of them, in the order of [`Check::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (Check, &Finding)> {
        self.0.iter().map(|(check, finding)| (*check, finding))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_on_the_command_line_are_those_of_reports() {
        for check in Check::ALL {
            assert_eq!(check.to_possible_value().unwrap().get_name(), check.name());
        }
        assert_eq!(Check::value_variants(), Check::ALL);
    }

    #[test]
    fn the_first_failure_stays_and_what_was_not_looked_at_is_said_to_be_skipped() {
        let mut findings = Findings::default();
        findings.judge(Check::Fd, Err("first".to_owned()));
        findings.judge(Check::Fd, Ok("later".to_owned()));
        findings.judge(Check::Fd, Err("second".to_owned()));
        findings.judge(Check::Pins, Ok("fine".to_owned()));
        findings.skip_rest("over");
        assert_eq!(findings.failures().collect::<Vec<_>>(), [(Check::Fd, "first")]);
        assert_eq!(findings.iter().count(), Check::ALL.len());
        assert_eq!(findings.iter().filter(|(_, it)| **it == Finding::Skipped("over".to_owned())).count(), 16);
    }
}
