//! What an audit finds: whose place is not the planned one, and what was done about it.

use crate::topology::{RegionKind, format_list};
use crate::types::{CpuId, ShardId};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What an audit found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditFinding {
    /// Whose place is not the planned one, or is again.
    pub subject: AuditSubject,
    /// What came of it.
    pub remedy: Remedy,
    /// Which audit of this supervisor it was, from 1.
    pub audit: u64,
    /// When it was found, by the monotonic clock.
    pub at: Duration,
}

/// Whose place an audit found changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AuditSubject {
    /// A shard may run elsewhere than on its CPU.
    Pin {
        /// The shard.
        shard: ShardId,
        /// Its process.
        pid: i32,
        /// The CPU that it was planned for.
        planned: CpuId,
        /// The first CPUs of those that it was found allowed to use.
        allowed: Vec<CpuId>,
        /// The CPU that it had run on last then.
        last: Option<CpuId>,
    },
    /// A shard ran on another CPU than the only one that it may run on.
    Stray {
        /// The shard.
        shard: ShardId,
        /// Its process.
        pid: i32,
        /// The CPU that it belongs on.
        seat: CpuId,
        /// The CPU that it had run on last.
        last: CpuId,
    },
    /// Pages of a region are on other nodes.
    Pages {
        /// What it is.
        region: RegionKind,
        /// Whose it is, if it is one shard's.
        shard: Option<ShardId>,
        /// Pages that were looked at.
        looked_at: u32,
        /// Pages of those that were elsewhere.
        misplaced: u32,
    },
}

/// What came of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Remedy {
    /// It is as planned: put right by the audit, or by whoever undid the cause.
    Restored,
    /// The shard is pinned to a spare core, and goes back to its own as soon as the kernel allows it.
    Moved {
        /// The first CPU of that core.
        to: CpuId,
    },
    /// Nothing could be done now. Tried again with every audit.
    Nothing,
}

/// An audit that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditMark {
    /// Which of this supervisor, from 1.
    pub audit: u64,
    /// When it began, by the monotonic clock.
    pub at: Duration,
}

impl std::fmt::Display for AuditFinding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.subject {
            AuditSubject::Pin { shard, pid, planned, allowed, last } => {
                let allowed = format_list(allowed.iter().map(|cpu| cpu.0));
                write!(f, "shard {shard} (pid {pid}) belongs on CPU {planned}, was allowed {allowed}")?;
                if let Some(last) = last {
                    write!(f, " and ran on {last}")?;
                }
            }
            AuditSubject::Stray { shard, pid, seat, last } => {
                write!(f, "shard {shard} (pid {pid}) may run on CPU {seat} only and ran on {last}")?;
            }
            AuditSubject::Pages { region, shard, looked_at, misplaced } => {
                let whose = shard.map(|shard| format!(" of shard {shard}")).unwrap_or_default();
                write!(f, "{misplaced} of {looked_at} pages of the {region}{whose} are on another node")?;
            }
        }
        match self.remedy {
            Remedy::Restored => f.write_str("; it is put right"),
            Remedy::Moved { to } => write!(f, "; it has the spare CPU {to} until its own can be had"),
            Remedy::Nothing => f.write_str("; it cannot be put right now"),
        }
    }
}
