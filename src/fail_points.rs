//! The steps of the protocol at which tests have a process fail. Only with the feature `fail-points`.

pub use phalanx_ipc::{FailAction, FailPointError, FailSpec};

/// Who passes a fail point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passer {
    /// The coordinator. It does not fail itself: some shard does at that moment.
    Coordinator,
    /// The supervisor.
    Supervisor,
    /// A shard that starts.
    NewShard,
    /// A shard that executes a block.
    Shard,
}

/// Every fail point by name.
pub const FAIL_POINTS: [(&str, Passer); 32] = [
    ("plan sealed", Passer::Coordinator),
    ("round announced to one shard", Passer::Coordinator),
    ("round announced", Passer::Coordinator),
    ("round over", Passer::Coordinator),
    ("outputs validated", Passer::Coordinator),
    ("rest planned", Passer::Coordinator),
    ("round cut short", Passer::Coordinator),
    ("about to commit", Passer::Coordinator),
    ("block committed", Passer::Coordinator),
    ("order received", Passer::Supervisor),
    ("command received", Passer::Supervisor),
    ("death reaped", Passer::Supervisor),
    ("slot cleared", Passer::Supervisor),
    ("shard forked", Passer::Supervisor),
    ("shard noted", Passer::Supervisor),
    ("shard untied", Passer::NewShard),
    ("shard born", Passer::NewShard),
    ("lifeline held", Passer::NewShard),
    ("regions mapped", Passer::NewShard),
    ("store opened", Passer::NewShard),
    ("about to be ready", Passer::NewShard),
    ("ready", Passer::NewShard),
    ("round entered", Passer::Shard),
    ("edges awaited", Passer::Shard),
    ("transaction begun", Passer::Shard),
    ("output half written", Passer::Shard),
    ("output written", Passer::Shard),
    ("progress published", Passer::Shard),
    ("cells pushed", Passer::Shard),
    ("cells published", Passer::Shard),
    ("work taken over", Passer::Shard),
    ("parked", Passer::Shard),
];
