//! From what was measured in a setting to its rows.

use crate::executor::contender::{Contender, Sample};
use crate::executor::setting::Measured;
use crate::executor::{CellRow, ExecutorName, Interval, Phases, SettingKey, SettingRow};
use crate::report::{Spread, median, median_ratio};
use phalanx::executor::BlockStats;

const MIB: f64 = (1 << 20) as f64;

/// The row of a setting that was measured.
pub(super) fn setting_row(measured: &Measured) -> SettingRow {
    let rounds = measured.sequential().map_or(0, |sequential| sequential.samples.len());
    SettingRow {
        rounds: u32::try_from(rounds).unwrap_or(u32::MAX),
        blocks_per_round: measured.blocks_per_round,
        generate_ns: Spread::of(&measured.generate),
        prepare_ns: Spread::of(&measured.prepare),
        chain_share: measured.chain_share,
        verified_blocks: measured.verified_blocks,
        ..skipped_row(measured.key, None)
    }
}

/// The row of a setting that has no blocks here.
pub(super) fn skipped_row(key: SettingKey, why: Option<&str>) -> SettingRow {
    SettingRow {
        key,
        commutative: key.workload.is_commutative(),
        rounds: 0,
        blocks_per_round: 0,
        generate_ns: None,
        prepare_ns: None,
        chain_share: None,
        verified_blocks: 0,
        skipped: why.map(str::to_owned),
    }
}

/// The row of one contender.
pub(super) fn cell_row(measured: &Measured, contender: &Contender, cores: usize) -> CellRow {
    let per_transaction = |count: fn(&BlockStats) -> u64| {
        median(&contender.values(|it| count(&it.stats) as f64 / it.transactions.max(1) as f64))
    };
    let rounds = contender.values(|it| it.stats.rounds as f64 / it.blocks.max(1) as f64);
    CellRow {
        key: measured.key,
        executor: contender.executor,
        shards: contender.shards,
        oversubscribed: contender.shards > cores,
        transactions: contender.samples.iter().map(|sample| sample.transactions).sum(),
        transactions_per_s: Spread::of(&contender.values(Sample::transactions_per_s)),
        ratio_to_sequential: ratio(measured.sequential(), Some(contender)),
        phases: phases(measured, contender),
        cpu_s_per_transaction: median(&contender.values(|it| it.per_transaction(it.cpu) / 1e9)),
        memory_mib: contender.memory_peak.map(|bytes| bytes as f64 / MIB),
        huge_mib: contender.huge as f64 / MIB,
        edges_per_transaction: per_transaction(|stats| stats.cross_shard_edges),
        reexecuted_per_transaction: per_transaction(|stats| stats.reexecuted),
        rounds_per_block: median(&rounds),
        error: contender.error.clone(),
    }
}

/// The speed of one contender divided by that of another, round by round.
pub(super) fn ratio(slow: Option<&Contender>, fast: Option<&Contender>) -> Option<Interval> {
    let (over, under) = (slow?.values(Sample::total_ns), fast?.values(Sample::total_ns));
    let (low, median, high) = median_ratio(&over, &under)?;
    Some(Interval { median, low, high })
}

fn phases(measured: &Measured, contender: &Contender) -> Option<Phases> {
    let of = |value: &dyn Fn(&Sample) -> f64| median(&contender.values(value));
    let shards = contender.shards.max(1) as f64;
    let wait = of(&|it| it.per_transaction(it.stats.waited) / shards);
    let (wait_ns, wait_reason) = match contender.executor {
        ExecutorName::Sequential => (None, Some("there is nobody to wait for")),
        ExecutorName::BlockStm => (None, Some("its threads do not tell: they take up other work")),
        ExecutorName::Threads | ExecutorName::Processes | ExecutorName::ProcessesAhead => (wait, None),
    };
    let needs_no_hints = contender.executor == ExecutorName::Sequential;
    Some(Phases {
        total_ns: of(&Sample::total_ns)?,
        prepare_ns: if needs_no_hints { 0.0 } else { median(&measured.prepare)? },
        plan_ns: of(&plan_ns)?,
        execute_ns: of(&execute_ns)?,
        wait_ns,
        wait_reason,
        validate_ns: of(&|it| it.per_transaction(it.stats.validate))?,
        commit_ns: of(&|it| it.per_transaction(it.stats.commit))?,
        serial_ns: of(&serial_ns)?,
    })
}

pub(super) fn plan_ns(sample: &Sample) -> f64 {
    sample.per_transaction(sample.stats.plan)
}

pub(super) fn execute_ns(sample: &Sample) -> f64 {
    sample.per_transaction(sample.stats.execute)
}

/// What the caller waits for while no shard works.
pub(super) fn serial_ns(sample: &Sample) -> f64 {
    sample.per_transaction(sample.wall.saturating_sub(sample.stats.execute))
}
