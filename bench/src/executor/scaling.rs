//! The scaling model: from what was measured on this host to what a host with more shards and nodes should do.
//!
//! One function, [`predict`]. Per transaction, in nanoseconds, with `s` shards on `n` nodes:
//!
//! ```text
//! crossing  = edges_limit * (1 - 1/s)                       edges, if places were drawn; none on one shard
//! remote    = 1 - 1/n                                       share of edges and reads that go to another node
//! edge      = edge_ns * (1 + remote * (REMOTE_EDGE_FACTOR - 1))
//! work      = work_ns + crossing * edge + remote * reads * REMOTE_READ_NS
//! parallel  = work / s                                      Amdahl's parallel part
//! chain     = chain_share * (work_ns + remote * reads * REMOTE_READ_NS)     no shard can shorten the longest chain
//! execute   = max(parallel, chain) + (round_ns + (s - 1) * round_per_shard_ns) / block_size
//! total     = max(execute, plan_ns) + serial_ns             the next block is planned while one executes
//! ```
//!
//! What is assumed and not measured: an edge between nodes costs [`REMOTE_EDGE_FACTOR`] times one within a node, a read of the
//! state on another node [`REMOTE_READ_NS`] more; shards have a physical core each, the coordinator has one of its
//! own; the memory of a node keeps up with its cores. Chains stay on one shard, as the planner places them.

use crate::executor::{ScalingRow, SettingKey};
use crate::report::Spread;

/// A cache line takes two to three times as long from another socket as from another core of the same one.
const REMOTE_EDGE_FACTOR: f64 = 3.0;
/// A line of memory of another node takes some 60 to 100 ns longer; shards fetch the lines that they know of ahead, which
/// hides about half.
const REMOTE_READ_NS: f64 = 40.0;
/// At least so much of the measured execution is work, whatever the wake-ups cost by themselves.
const WORK_SHARE_MIN: f64 = 0.1;

/// Shards that are predicted for.
pub(super) const SHARDS: [usize; 10] = [4, 8, 12, 16, 32, 64, 96, 128, 256, 384];
/// Nodes that are predicted for.
pub(super) const NODES: [usize; 4] = [1, 2, 4, 8];

/// What the model knows: nanoseconds per transaction unless a field says otherwise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ModelCosts {
    /// Planning, done by the coordinator while another block executes.
    pub plan_ns: f64,
    /// Everything else that the coordinator does while no shard works: validation, commit, handing over.
    pub serial_ns: f64,
    /// Execution by one shard, without edges.
    pub work_ns: f64,
    /// Longest chain of dependent transactions, as a share of a block: 0 to 1.
    pub chain_share: f64,
    /// What an edge costs its writer's and its reader's shard together.
    pub edge_ns: f64,
    /// Cross-shard edges per transaction with very many shards.
    pub edges_limit: f64,
    /// Reads of the base state per transaction.
    pub reads: f64,
    /// What a round costs with one shard and nothing to execute, in nanoseconds per block.
    pub round_ns: f64,
    /// What each further shard adds to that.
    pub round_per_shard_ns: f64,
    /// Transactions per block.
    pub block_size: f64,
}

/// Where a ledger is to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelHost {
    /// Shards, at least 1, each on a core of its own.
    pub shards: usize,
    /// NUMA nodes that they are spread over evenly, at least 1.
    pub nodes: usize,
}

/// What bounds the throughput.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoundBy {
    /// The shards: more of them would help.
    Execution,
    /// The coordinator's work between and beside the rounds.
    Coordinator,
    /// The longest chain of dependent transactions.
    Chain,
}

impl BoundBy {
    pub(super) fn name(self) -> &'static str {
        match self {
            BoundBy::Execution => "execution",
            BoundBy::Coordinator => "coordinator",
            BoundBy::Chain => "chain",
        }
    }
}

/// What the model gives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prediction {
    /// Transactions per second.
    pub transactions_per_s: f64,
    /// The greatest part of it.
    pub bound_by: BoundBy,
}

/// Nanoseconds per transaction, by part.
struct Parts {
    parallel: f64,
    chain: f64,
    round: f64,
}

impl Parts {
    fn of(costs: &ModelCosts, host: ModelHost) -> Parts {
        let shards = host.shards.max(1) as f64;
        let remote = 1.0 - 1.0 / host.nodes.max(1) as f64;
        let own = costs.work_ns + remote * costs.reads * REMOTE_READ_NS;
        Parts {
            parallel: (own + crossing(costs, shards) * edge(costs, remote)) / shards,
            chain: costs.chain_share * own,
            round: (costs.round_ns + (shards - 1.0) * costs.round_per_shard_ns) / costs.block_size.max(1.0),
        }
    }

    fn execute(&self) -> f64 {
        self.parallel.max(self.chain) + self.round
    }
}

fn crossing(costs: &ModelCosts, shards: f64) -> f64 {
    costs.edges_limit * (1.0 - 1.0 / shards)
}

fn edge(costs: &ModelCosts, remote: f64) -> f64 {
    costs.edge_ns * (1.0 + remote * (REMOTE_EDGE_FACTOR - 1.0))
}

/// Transactions per second on `host`, and what bounds them: see the head of this file.
pub fn predict(costs: &ModelCosts, host: ModelHost) -> Prediction {
    let parts = Parts::of(costs, host);
    let overlapped = parts.execute().max(costs.plan_ns);
    let coordinator = costs.serial_ns + (costs.plan_ns - parts.execute()).max(0.0);
    let bound_by = if coordinator >= parts.execute() {
        BoundBy::Coordinator
    } else if parts.chain > parts.parallel {
        BoundBy::Chain
    } else {
        BoundBy::Execution
    };
    Prediction { transactions_per_s: 1e9 / (overlapped + costs.serial_ns).max(f64::MIN_POSITIVE), bound_by }
}

/// What was measured at one number of shards, on one node.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Calibration {
    /// Shards that it was measured with.
    pub shards: usize,
    /// Wall time per transaction, all told.
    pub total_ns: f64,
    /// Part of it in which shards worked.
    pub execute_ns: f64,
}

impl ModelCosts {
    /// The same costs with `work_ns` and `serial_ns` such that [`predict`] gives what was measured.
    #[must_use]
    pub fn calibrated(mut self, measured: Calibration) -> ModelCosts {
        let shards = measured.shards.max(1) as f64;
        // A round may have been dearer by itself than it is in a long block.
        let rounds = (self.round_ns + (shards - 1.0) * self.round_per_shard_ns) / self.block_size.max(1.0);
        let most = measured.execute_ns * (1.0 - WORK_SHARE_MIN);
        if rounds > most {
            let scale = most / rounds;
            self.round_ns *= scale;
            self.round_per_shard_ns *= scale;
        }
        let busy = measured.execute_ns - rounds.min(most);
        self.edge_ns = self.edge_ns.max(0.0);
        let edges = crossing(&self, shards) * self.edge_ns;
        if edges > busy * shards * (1.0 - WORK_SHARE_MIN) {
            // Likewise for an edge.
            self.edge_ns *= busy * shards * (1.0 - WORK_SHARE_MIN) / edges;
        }
        self.work_ns = busy * shards - crossing(&self, shards) * self.edge_ns;
        if self.chain_share * self.work_ns > busy {
            self.work_ns = busy / self.chain_share;
        }
        self.serial_ns = (measured.total_ns - measured.execute_ns.max(self.plan_ns)).max(0.0);
        // Planning took part of the time between the rounds, if it is longer than all of it.
        self.plan_ns = self.plan_ns.min(measured.total_ns);
        self
    }
}

/// One point of the report.
pub(super) fn row(
    key: SettingKey,
    costs: &ModelCosts,
    host: ModelHost,
    measured: Option<Spread>,
    predicted: bool,
) -> ScalingRow {
    let Prediction { transactions_per_s, bound_by } = predict(costs, host);
    let ModelHost { shards, nodes } = host;
    ScalingRow { key, shards, nodes, transactions_per_s, measured, predicted, bound_by: bound_by.name() }
}

#[cfg(test)]
mod tests {
    //! What would break: a prediction that grows where it cannot, or that does not even tell what was measured.

    use super::*;

    const COSTS: ModelCosts = ModelCosts {
        plan_ns: 150.0,
        serial_ns: 250.0,
        work_ns: 50_000.0,
        chain_share: 0.001,
        edge_ns: 400.0,
        edges_limit: 0.2,
        reads: 5.0,
        round_ns: 20_000.0,
        round_per_shard_ns: 1_500.0,
        block_size: 10_000.0,
    };

    fn rate(costs: &ModelCosts, shards: usize, nodes: usize) -> f64 {
        predict(costs, ModelHost { shards, nodes }).transactions_per_s
    }

    fn close(left: f64, right: f64) -> bool {
        (left / right - 1.0).abs() < 1e-9
    }

    #[test]
    fn without_a_price_per_shard_more_shards_are_never_slower() {
        let free = ModelCosts { edge_ns: 0.0, round_per_shard_ns: 0.0, ..COSTS };
        for nodes in NODES {
            let rates: Vec<f64> = (1..=384).map(|shards| rate(&free, shards, nodes)).collect();
            assert!(rates.windows(2).all(|pair| pair[0] <= pair[1]), "{nodes} nodes: {rates:?}");
        }
        // Edges cost less than what a shard more takes off, as long as an edge is cheaper than a transaction.
        let rates: Vec<f64> =
            (1..=384).map(|s| rate(&ModelCosts { round_per_shard_ns: 0.0, ..COSTS }, s, 1)).collect();
        assert!(rates.windows(2).all(|pair| pair[0] <= pair[1]), "{rates:?}");
    }

    #[test]
    fn every_cost_and_every_node_makes_it_slower_or_leaves_it() {
        type Dearer = fn(&mut ModelCosts);
        let dearer: [Dearer; 9] = [
            |it| it.plan_ns *= 2.0,
            |it| it.serial_ns *= 2.0,
            |it| it.work_ns *= 2.0,
            |it| it.chain_share *= 2.0,
            |it| it.edge_ns *= 2.0,
            |it| it.edges_limit *= 2.0,
            |it| it.reads *= 2.0,
            |it| it.round_ns *= 2.0,
            |it| it.round_per_shard_ns *= 2.0,
        ];
        for shards in [1, 2, 64, 384] {
            for nodes in NODES {
                for (place, change) in dearer.iter().enumerate() {
                    let mut costs = COSTS;
                    change(&mut costs);
                    let (before, after) = (rate(&COSTS, shards, nodes), rate(&costs, shards, nodes));
                    assert!(
                        after <= before,
                        "cost {place}, {shards} shards, {nodes} nodes: {before} {after}"
                    );
                }
                assert!(rate(&COSTS, shards, nodes) >= rate(&COSTS, shards, nodes + 1));
            }
        }
    }

    #[test]
    fn with_very_many_shards_the_serial_part_is_the_limit() {
        let costs = ModelCosts { chain_share: 0.0, round_ns: 0.0, round_per_shard_ns: 0.0, ..COSTS };
        let limit = 1e9 / (costs.plan_ns + costs.serial_ns);
        let far = predict(&costs, ModelHost { shards: 1_000_000, nodes: 1 });
        assert!(close(far.transactions_per_s, limit), "{far:?} {limit}");
        assert_eq!(far.bound_by, BoundBy::Coordinator);
        // Amdahl's law, where nothing but work and serial work counts.
        let plain = ModelCosts { plan_ns: 0.0, edges_limit: 0.0, ..costs };
        for shards in [1, 3, 17, 384] {
            let (serial, work) = (plain.serial_ns, plain.work_ns);
            let speed_up = rate(&plain, shards, 1) / rate(&plain, 1, 1);
            assert!(close(speed_up, (serial + work) / (serial + work / shards as f64)), "{shards}");
        }
    }

    #[test]
    fn a_chain_is_a_limit_that_no_shard_moves() {
        let costs = ModelCosts { chain_share: 1.0, round_per_shard_ns: 0.0, ..COSTS };
        assert!(close(rate(&costs, 2, 1), rate(&costs, 384, 1)));
        assert_eq!(predict(&costs, ModelHost { shards: 64, nodes: 1 }).bound_by, BoundBy::Chain);
        assert_eq!(predict(&COSTS, ModelHost { shards: 4, nodes: 1 }).bound_by, BoundBy::Execution);
    }

    #[test]
    fn at_the_calibrating_point_it_tells_what_was_measured() {
        for shards in [1, 2, 16] {
            for chain_share in [0.0, 0.01, 1.0] {
                for (total_ns, execute_ns) in
                    [(26_000.0, 25_500.0), (900.0, 500.0), (300.0, 100.0), (70.0, 1.0)]
                {
                    let costs = ModelCosts { chain_share, ..COSTS };
                    let costs = costs.calibrated(Calibration { shards, total_ns, execute_ns });
                    let got = rate(&costs, shards, 1);
                    assert!(close(got, 1e9 / total_ns), "{shards} {chain_share} {total_ns}: {got} {costs:?}");
                    assert!(costs.work_ns > 0.0 && costs.serial_ns >= 0.0, "{costs:?}");
                }
            }
        }
    }
}
