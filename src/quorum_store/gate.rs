//! Who has come how far in the commit log, and whether anybody lags too far for new work to be safe.

use std::fmt;

/// A component of a quorum store that is a task, or has a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Component {
    /// Takes messages of peers apart.
    NetworkListener,
    /// Makes batches.
    BatchGenerator,
    /// Takes batches of peers.
    BatchCoordinator,
    /// Fetches batches from peers, and serves them.
    BatchRequester,
    /// Collects signatures under own batches.
    ProofCoordinator,
    /// Queues proofs for blocks.
    ProofManager,
    /// Holds transactions.
    Mempool,
    /// Brings commits to the store, and watches the others.
    Coordinator,
}

impl Component {
    /// Every component.
    pub const ALL: [Component; 8] = [
        Component::NetworkListener,
        Component::BatchGenerator,
        Component::BatchCoordinator,
        Component::BatchRequester,
        Component::ProofCoordinator,
        Component::ProofManager,
        Component::Mempool,
        Component::Coordinator,
    ];

    /// Its name for people and counters.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Component::NetworkListener => "network_listener",
            Component::BatchGenerator => "batch_generator",
            Component::BatchCoordinator => "batch_coordinator",
            Component::BatchRequester => "batch_requester",
            Component::ProofCoordinator => "proof_coordinator",
            Component::ProofManager => "proof_manager",
            Component::Mempool => "mempool",
            Component::Coordinator => "coordinator",
        }
    }

    /// Whether it reads the commit log. The coordinator's cursor is that of the batch store.
    #[must_use]
    pub const fn has_cursor(self) -> bool {
        match self {
            Component::BatchGenerator
            | Component::ProofCoordinator
            | Component::ProofManager
            | Component::Mempool
            | Component::Coordinator => true,
            Component::NetworkListener | Component::BatchCoordinator | Component::BatchRequester => false,
        }
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whether new work may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// It may.
    Open,
    /// This component lags by so many commits: nothing is pulled until it has caught up.
    Closed {
        /// Who lags.
        component: Component,
        /// By how many commits.
        lag: u64,
    },
}

/// How far every component with a cursor has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CursorBoard([u64; Component::ALL.len()]);

impl CursorBoard {
    /// A component has come so far; less than before after it was started again.
    pub fn set(&mut self, component: Component, applied: u64) {
        self.0[component as usize] = applied;
    }

    /// How far a component has come.
    #[must_use]
    pub fn of(&self, component: Component) -> u64 {
        self.0[component as usize]
    }

    /// All that have a cursor.
    pub fn iter(&self) -> impl Iterator<Item = (Component, u64)> {
        let with_cursor = Component::ALL.into_iter().filter(|component| component.has_cursor());
        with_cursor.map(|component| (component, self.of(component)))
    }

    /// Whether new work may begin with the log at `head`.
    #[must_use]
    pub fn gate(&self, head: u64, limit: u64) -> Gate {
        let slowest = self.iter().min_by_key(|&(_, applied)| applied);
        match slowest {
            Some((component, applied)) if head.saturating_sub(applied) > limit => {
                Gate::Closed { component, lag: head - applied }
            }
            Some(_) | None => Gate::Open,
        }
    }
}
