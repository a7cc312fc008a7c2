//! What happened in a trial: what the monkey says it did, and what the family says befell it.

use crate::chaos::fault::FaultKind;
use crate::chaos::wire::{Event, Release, Strike};
use phalanx::supervisor::{Incidents, ShardIncident, SupervisorIncident};
use std::collections::{BTreeMap, BTreeSet};

/// Both sides of the story.
#[derive(Clone, Debug, Default)]
pub struct Book {
    /// Signals that went out.
    pub strikes: Vec<Strike>,
    /// Stops and pauses that are over.
    pub releases: Vec<Release>,
    /// Faults that found nobody.
    pub missed: BTreeMap<FaultKind, u64>,
    /// Deaths of shards.
    pub deaths: Vec<ShardIncident>,
    /// Losses of the supervisor.
    pub losses: Vec<SupervisorIncident>,
    /// Incidents that the family did not keep.
    pub dropped: u64,
    /// Whether the monkey is done.
    pub done: bool,
    /// Why the monkey could not go on.
    pub failed: Option<String>,
}

impl Book {
    /// Enters a report of the monkey.
    pub fn enter(&mut self, event: Event) {
        match event {
            Event::Strike(strike) => self.strikes.push(strike),
            Event::Release(release) => self.releases.push(release),
            Event::Missed { kind } => *self.missed.entry(kind).or_default() += 1,
            Event::Done => self.done = true,
            Event::Failed { why } => self.failed = Some(why),
        }
    }

    /// Enters what the family tells.
    pub fn enter_incidents(&mut self, incidents: Incidents) {
        self.deaths.extend(incidents.shards);
        self.losses.extend(incidents.supervisors);
        self.dropped += incidents.dropped;
    }

    /// Faults of the schedule that befell somebody, by kind.
    pub fn faults(&self) -> BTreeMap<FaultKind, u64> {
        let planned: BTreeSet<(usize, FaultKind)> =
            self.strikes.iter().filter_map(|strike| Some((strike.fault?, strike.kind))).collect();
        let mut counts = BTreeMap::new();
        for (_, kind) in planned {
            *counts.entry(kind).or_default() += 1;
        }
        counts
    }
}
