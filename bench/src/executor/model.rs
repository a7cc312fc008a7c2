//! What the scaling model is calibrated with, and the points that it is asked for.

use crate::executor::cells::{execute_ns, plan_ns};
use crate::executor::contender::{Contender, Sample};
use crate::executor::scaling::{Calibration, ModelCosts, ModelHost, NODES, SHARDS, row};
use crate::executor::setting::Measured;
use crate::executor::{CrossingRow, ExecutorName, ExecutorOptions, ScalingRow, WakeupRow};
use crate::report::{Spread, median};
use std::collections::BTreeSet;

/// Reads of the base state of a transfer: three keys of the sender, two of the recipient.
const READS_PER_TRANSFER: f64 = 5.0;

/// The points of a setting, if its block size is the one that the model speaks of and planning ahead was measured.
///
/// It is calibrated with the greatest number of shards that leaves the coordinator a core, or with one shard.
pub(super) fn rows(
    options: &ExecutorOptions,
    measured: &Measured,
    crossings: &[CrossingRow],
    wakeups: &[WakeupRow],
    cores: usize,
) -> Vec<ScalingRow> {
    if options.reference_block_size() != Some(measured.key.block_size) {
        return Vec::new();
    }
    let ahead = |shards: usize| measured.find(ExecutorName::ProcessesAhead, shards);
    let own_core = options.shards.iter().copied().filter(|&shards| shards < cores.max(2));
    let calibrated_at = own_core.max().or(options.shards.first().copied());
    let Some((at, contender)) = calibrated_at.and_then(|shards| Some((shards, ahead(shards)?))) else {
        return Vec::new();
    };
    let Some(costs) = costs(options, measured, crossings, wakeups, at, contender) else { return Vec::new() };
    let measured_at =
        |shards| ahead(shards).and_then(|it| Spread::of(&it.values(Sample::transactions_per_s)));
    let one_node: BTreeSet<usize> =
        options.shards.iter().copied().filter(|&shards| shards <= cores).chain(SHARDS).collect();
    let points = NODES.into_iter().flat_map(|nodes| {
        let all = one_node.iter().copied().filter(move |&shards| nodes == 1 || shards >= 2 * nodes);
        all.filter(move |shards| nodes == 1 || SHARDS.contains(shards)).map(move |shards| (shards, nodes))
    });
    let point = |(shards, nodes)| {
        let here = if nodes == 1 { measured_at(shards) } else { None };
        let predicted = nodes != 1 || shards != at;
        row(measured.key, &costs, ModelHost { shards, nodes }, here, predicted)
    };
    points.map(point).collect()
}

fn costs(
    options: &ExecutorOptions,
    measured: &Measured,
    crossings: &[CrossingRow],
    wakeups: &[WakeupRow],
    shards: usize,
    contender: &Contender,
) -> Option<ModelCosts> {
    let of = |value: fn(&Sample) -> f64| median(&contender.values(value));
    // The pairs with work in between: waiting is no cost of an edge, it is a plan without slack.
    let edge = crossings.iter().filter(|row| row.lag > 0);
    let edge_ns = edge.filter_map(|row| Some(row.writer_ns?.median + row.reader_ns?.median)).next();
    let (round_ns, round_per_shard_ns) = rounds(wakeups);
    let costs = ModelCosts {
        plan_ns: of(plan_ns)?,
        serial_ns: 0.0,
        work_ns: 0.0,
        chain_share: measured.chain_share.unwrap_or(0.0),
        edge_ns: edge_ns.unwrap_or(0.0).max(0.0),
        edges_limit: edges_limit(options, measured),
        reads: READS_PER_TRANSFER,
        round_ns,
        round_per_shard_ns,
        block_size: measured.key.block_size as f64,
    };
    let speed = Spread::of(&contender.values(Sample::transactions_per_s))?;
    let total_ns = 1e9 / speed.median;
    Some(costs.calibrated(Calibration { shards, total_ns, execute_ns: of(execute_ns)?.min(total_ns) }))
}

/// Edges per transaction with very many shards, as the greatest measured number of shards suggests.
fn edges_limit(options: &ExecutorOptions, measured: &Measured) -> f64 {
    let most = options.shards.iter().copied().filter(|&shards| shards > 1).max();
    let limit = most.and_then(|shards| {
        let contender = measured.find(ExecutorName::ProcessesAhead, shards)?;
        let edges = |it: &Sample| it.stats.cross_shard_edges as f64 / it.transactions.max(1) as f64;
        Some(median(&contender.values(edges))? / (1.0 - 1.0 / shards as f64))
    });
    limit.unwrap_or(0.0)
}

/// What a round costs with the fewest shards measured, counted down to one, and what each further shard adds: the line
/// through the fewest and the most.
fn rounds(wakeups: &[WakeupRow]) -> (f64, f64) {
    let known: Vec<(f64, f64)> =
        wakeups.iter().filter_map(|row| Some((row.shards as f64, row.round_ns?.median))).collect();
    match known.as_slice() {
        [] => (0.0, 0.0),
        [(_, only)] => (*only, 0.0),
        [(few, least), .., (many, most)] => {
            let slope = ((most - least) / (many - few).max(1.0)).max(0.0);
            ((least - slope * (few - 1.0)).max(0.0), slope)
        }
    }
}
