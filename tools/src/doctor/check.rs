//! One check of the doctor's.

use serde::Serialize;
use std::fmt;

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works, but slower, or with a risk.
    Warn,
    /// Shards would not start, or be killed.
    Fail,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Verdict::Ok => "OK",
            Verdict::Warn => "WARN",
            Verdict::Fail => "FAIL",
        })
    }
}

/// One check: what was found, what that means, and what mends it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// How it came out.
    pub verdict: Verdict,
    /// What was found.
    pub value: String,
    /// Why it matters.
    pub reason: String,
    /// A command that mends it; empty if there is nothing to mend.
    pub mend: String,
}

impl Check {
    /// As it should be.
    pub fn ok(name: &'static str, value: impl Into<String>, reason: impl Into<String>) -> Check {
        Check { name, verdict: Verdict::Ok, value: value.into(), reason: reason.into(), mend: String::new() }
    }

    /// Not as it should be; it works all the same.
    pub fn warn(
        name: &'static str,
        value: impl Into<String>,
        reason: impl Into<String>,
        mend: impl Into<String>,
    ) -> Check {
        let (value, reason, mend) = (value.into(), reason.into(), mend.into());
        Check { name, verdict: Verdict::Warn, value, reason, mend }
    }

    /// Not as it must be.
    pub fn fail(
        name: &'static str,
        value: impl Into<String>,
        reason: impl Into<String>,
        mend: impl Into<String>,
    ) -> Check {
        Check { verdict: Verdict::Fail, ..Check::warn(name, value, reason, mend) }
    }

    /// What could not be looked at is no reason to worry.
    pub fn unknown(name: &'static str) -> Check {
        Check::ok(name, "unknown", "the kernel does not tell here")
    }
}
