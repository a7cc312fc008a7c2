//! What was measured, against the performance budget.

use crate::executor::cells::{plan_ns, ratio, serial_ns};
use crate::executor::contender::{Contender, Sample};
use crate::executor::setting::Measured;
use crate::executor::{BudgetRow, ExecutorName, ExecutorOptions, Interval, WorkloadName};
use crate::report::{Bound, Verdict, median_ratio};

const PLAN_NS: Bound = Bound::AtMost(150.0);
const VALIDATE_NS: Bound = Bound::AtMost(40.0);
const SERIAL_NS: Bound = Bound::AtMost(300.0);
const SAME_SPEED: Bound = Bound::AtLeast(0.97);
const TWO_SIGNED: Bound = Bound::AtLeast(1.9);
const ONE_UNSIGNED: Bound = Bound::AtLeast(0.8);

const NOT_TRANSFERS: &str = "told only: the target is one per transfer";
const OVERSUBSCRIBED: &str = "told only: more shards than cores";
const NOTHING_COMMUTES: &str = "told only: nothing commutes, every transaction waits for the one before";

/// The rows of a setting, if its block size is the one that the budget speaks of.
pub(super) fn rows(options: &ExecutorOptions, measured: &Measured, cores: usize) -> Vec<BudgetRow> {
    if options.reference_block_size() != Some(measured.key.block_size) {
        return Vec::new();
    }
    let judge = Judge { measured };
    let mut rows = judge.coordinator(options);
    for &shards in &options.shards {
        rows.extend(judge.rivals(shards, cores));
    }
    if measured.key.signed {
        rows.push(judge.two_signed(cores));
    } else {
        rows.push(judge.one_unsigned());
    }
    rows
}

struct Judge<'a> {
    measured: &'a Measured,
}

impl Judge<'_> {
    /// The coordinator's work per transfer, with two shards if that was measured.
    fn coordinator(&self, options: &ExecutorOptions) -> Vec<BudgetRow> {
        let shards = options.shards.iter().copied().filter(|&shards| shards <= 2).max();
        let Some(shards) = shards.or(options.shards.first().copied()) else { return Vec::new() };
        let contender = self.measured.find(ExecutorName::Processes, shards);
        let note = match self.measured.key.workload {
            WorkloadName::Batch => Some(NOT_TRANSFERS),
            WorkloadName::HotPlain => Some(NOTHING_COMMUTES),
            WorkloadName::Uniform
            | WorkloadName::Zipf08
            | WorkloadName::Zipf12
            | WorkloadName::Hot
            | WorkloadName::Trace => None,
        };
        let row = |name, value: fn(&Sample) -> f64, target| {
            let found = contender.and_then(|contender| of_values(contender, value));
            self.row(name, shards, "ns", found, target, note)
        };
        vec![
            row("plan, per transfer", plan_ns, PLAN_NS),
            row("validate, per transfer", |it| it.per_transaction(it.stats.validate), VALIDATE_NS),
            row("serial work of the coordinator without prepare, per transfer", serial_ns, SERIAL_NS),
        ]
    }

    /// Processes beside what a user would take instead, judged by the lower end.
    fn rivals(&self, shards: usize, cores: usize) -> Vec<BudgetRow> {
        let note = (shards > cores).then_some(OVERSUBSCRIBED);
        let processes = self.measured.find(ExecutorName::Processes, shards);
        let rivals = [
            (ExecutorName::Threads, "processes / threads"),
            (ExecutorName::BlockStm, "processes / block-stm"),
        ];
        let rows = rivals.map(|(rival, name)| {
            let found = ratio(self.measured.find(rival, shards), processes);
            let row = self.row(name, shards, "ratio", found, SAME_SPEED, note);
            let verdict = row.target.map(|target| row.low.map_or(Verdict::Open, |low| target.judge(low)));
            BudgetRow { judged: "low", verdict, ..row }
        });
        rows.into()
    }

    fn two_signed(&self, cores: usize) -> BudgetRow {
        let found = ratio(self.measured.sequential(), self.measured.find(ExecutorName::Processes, 2));
        let note = if cores < 2 { Some(OVERSUBSCRIBED) } else { self.unless_it_commutes() };
        self.row("processes, 2 shards / sequential, signed", 2, "ratio", found, TWO_SIGNED, note)
    }

    fn one_unsigned(&self) -> BudgetRow {
        let found = ratio(self.measured.sequential(), self.measured.find(ExecutorName::ProcessesAhead, 1));
        let name = "processes, 1 shard, planning ahead / sequential, unsigned";
        self.row(name, 1, "ratio", found, ONE_UNSIGNED, self.unless_it_commutes())
    }

    fn unless_it_commutes(&self) -> Option<&'static str> {
        (!self.measured.key.workload.is_commutative()).then_some(NOTHING_COMMUTES)
    }

    /// Judged by its median; with a note it is only told.
    fn row(
        &self,
        name: &'static str,
        shards: usize,
        unit: &'static str,
        found: Option<Interval>,
        target: Bound,
        note: Option<&'static str>,
    ) -> BudgetRow {
        let target = note.is_none().then_some(target);
        let verdict = target.map(|target| found.map_or(Verdict::Open, |found| target.judge(found.median)));
        BudgetRow {
            name,
            key: self.measured.key,
            shards,
            unit,
            median: found.map(|found| found.median),
            low: found.map(|found| found.low),
            high: found.map(|found| found.high),
            target,
            judged: "median",
            verdict,
            note,
        }
    }
}

/// The median over the rounds and its interval.
fn of_values(contender: &Contender, value: fn(&Sample) -> f64) -> Option<Interval> {
    let values = contender.values(value);
    let (low, median, high) = median_ratio(&values, &vec![1.0; values.len()])?;
    Some(Interval { median, low, high })
}
