//! How the node is: for whoever asks, and for the service manager.

use crate::node::book::{Book, Counts};
use crate::node::cluster::Cluster;
use crate::node::memory::Memory;
use crate::node::report::Standing;
use crate::run::Family;
use parking_lot::Mutex;
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// How a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// It takes transactions and commits them.
    Ok,
    /// No shard is ready, or a validator has ended: blocks are not executed now.
    Degraded,
    /// It is ending.
    Stopping,
}

/// One shard.
#[derive(Clone, Debug, Serialize)]
pub struct ShardStanding {
    /// Its process; 0 between two lives.
    pub pid: i32,
    /// Which life it is in.
    pub generation: u32,
    /// Whether it can take part in a block.
    pub ready: bool,
    /// Processes of it that ended so far.
    pub deaths: u64,
}

/// The answer to `GET /health`. The keys of the JSON object are the names of the fields.
#[derive(Clone, Debug, Serialize)]
pub struct Health {
    /// In one word.
    pub status: Condition,
    /// Since the start.
    pub uptime_s: u64,
    /// The last committed block.
    pub height: u64,
    /// Transactions submitted so far.
    pub submitted: u64,
    /// Transactions committed so far.
    pub committed: u64,
    /// Transactions without an end.
    pub open: u64,
    /// Where the components of each validator stand.
    pub validators: Vec<Standing>,
    /// The shards.
    pub shards: Vec<ShardStanding>,
    /// Times that their supervisor was started again.
    pub supervisor_restarts: u64,
    /// Memory of this process.
    pub memory_bytes: Memory,
    /// Clients that found no seat.
    pub connections_turned_away: u64,
}

impl Health {
    /// Whether it takes transactions and commits them.
    pub fn is_well(&self) -> bool {
        self.status == Condition::Ok
    }
}

/// Where one asks.
#[derive(Debug)]
pub struct HealthDesk {
    begun: Instant,
    cluster: Arc<Cluster>,
    family: Arc<Family>,
    book: Arc<Mutex<Book>>,
    stopping: AtomicBool,
}

impl HealthDesk {
    /// For a node that runs.
    pub fn new(cluster: Arc<Cluster>, family: Arc<Family>, book: Arc<Mutex<Book>>) -> HealthDesk {
        HealthDesk { begun: Instant::now(), cluster, family, book, stopping: AtomicBool::new(false) }
    }

    /// The end has begun.
    pub fn stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// In one word.
    pub fn condition(&self) -> Condition {
        if self.stopping.load(Ordering::Relaxed) {
            Condition::Stopping
        } else if self.family.is_well() && self.cluster.gave_up().is_none() {
            Condition::Ok
        } else {
            Condition::Degraded
        }
    }

    /// Now.
    pub fn now(&self) -> Health {
        let counts: Counts = self.book.lock().counts();
        let shards = self.family.health().into_iter().map(|shard| ShardStanding {
            pid: shard.pid,
            generation: shard.generation,
            ready: shard.ready,
            deaths: shard.deaths,
        });
        Health {
            status: self.condition(),
            uptime_s: self.begun.elapsed().as_secs(),
            height: self.cluster.head(),
            submitted: counts.submitted,
            committed: counts.committed,
            open: counts.open(),
            validators: self.cluster.standings(),
            shards: shards.collect(),
            supervisor_restarts: self.family.casualties().supervisor_restarts,
            memory_bytes: Memory::now(),
            connections_turned_away: 0,
        }
    }
}
