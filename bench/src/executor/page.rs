//! The report as a page.

use crate::executor::page_tables as tables;
use crate::executor::{CellRow, ExecutorName, ExecutorRow, ScalingRow, SettingKey, WakeupRow, WorkloadName};
use crate::report::page::{
    BarChart, BarGroup, Figure, Line, LineChart, Page, Point, RangeChart, RangePoint, RangeRow,
};
use crate::report::{BenchReport, Spread};
use std::collections::BTreeSet;

/// The block size that scaling is shown for, if it was measured.
const USUAL_BLOCK: usize = 10_000;
const SMALL: (f64, f64) = (470.0, 250.0);
const LARGE: (f64, f64) = (960.0, 420.0);

/// The report as one page for a browser; `timeline` shows what each process did in one block, if that was recorded.
pub fn page(report: &BenchReport<ExecutorRow>, timeline: Option<&Figure>) -> Page {
    let mut page = Page::new("Executors of phalanx side by side", report);
    let rows = Rows::of(&report.rows);
    page.section(
        "Targets",
        "What the performance budget asks for, with the median over the rounds and its 95 % bootstrap interval.",
    );
    page.table(&tables::budget(&report.rows));
    page.section(
        "Throughput",
        "Transactions per second of each executor on the same blocks, taking turns in one run. After every round all state digests were compared. Higher is better.",
    );
    rows.variants().into_iter().filter_map(|it| rows.throughput(it)).for_each(|it| page.figure(&it));
    page.table(&tables::cells(&report.rows));
    page.section(
        "Scaling",
        "Transactions per second by the number of shards or threads. What this host does not allow is predicted by the scaling model, from the costs that were measured.",
    );
    for signed in rows.signatures() {
        page.figures(&rows.scaling(signed));
        rows.predicted(signed).iter().for_each(|it| page.figure(it));
    }
    page.table(&tables::scaling(&report.rows));
    if let Some(figure) = timeline {
        page.section("One block", "What the coordinator and each shard did while one block was executed.");
        page.figure(figure);
    }
    page.section("Latency", "What a round costs in which each shard has one transaction only, and what an edge between shards costs.");
    rows.wakeups().iter().for_each(|it| page.figure(it));
    page.table(&tables::crossings(&report.rows));
    page
}

/// Signed or not, and transactions per block.
type Variant = (bool, usize);

struct Rows<'a> {
    cells: Vec<&'a CellRow>,
    scaling: Vec<&'a ScalingRow>,
    wakeups: Vec<&'a WakeupRow>,
}

impl<'a> Rows<'a> {
    fn of(rows: &'a [ExecutorRow]) -> Rows<'a> {
        let mut sorted = Rows { cells: Vec::new(), scaling: Vec::new(), wakeups: Vec::new() };
        for row in rows {
            match row {
                ExecutorRow::Cell(row) => sorted.cells.push(row),
                ExecutorRow::Scaling(row) => sorted.scaling.push(row),
                ExecutorRow::Wakeup(row) => sorted.wakeups.push(row),
                ExecutorRow::Setting(_)
                | ExecutorRow::Budget(_)
                | ExecutorRow::Crossing(_)
                | ExecutorRow::Idle(_) => {}
            }
        }
        sorted
    }

    fn measured(&self) -> impl Iterator<Item = (&'a CellRow, Spread)> {
        self.cells.iter().filter_map(|cell| Some((*cell, cell.transactions_per_s?)))
    }

    fn signatures(&self) -> BTreeSet<bool> {
        self.measured().map(|(cell, _)| cell.key.signed).collect()
    }

    fn variants(&self) -> BTreeSet<Variant> {
        self.measured().map(|(cell, _)| (cell.key.signed, cell.key.block_size)).collect()
    }

    fn workloads(&self, variant: Variant) -> Vec<WorkloadName> {
        let found: BTreeSet<WorkloadName> = self
            .measured()
            .filter(|(cell, _)| variant_of(&cell.key) == variant)
            .map(|(cell, _)| cell.key.workload)
            .collect();
        found.into_iter().collect()
    }

    /// The most shards that have a core each, or the fewest.
    fn usual_shards(&self) -> Option<usize> {
        let sharded = || self.measured().filter(|(cell, _)| cell.executor != ExecutorName::Sequential);
        let fitting = sharded().filter(|(cell, _)| !cell.oversubscribed).map(|(cell, _)| cell.shards).max();
        fitting.or(sharded().map(|(cell, _)| cell.shards).min())
    }

    fn find(&self, key: SettingKey, executor: ExecutorName, shards: usize) -> Option<Spread> {
        let is_it = |cell: &CellRow| cell.key == key && cell.executor == executor && cell.shards == shards;
        self.measured().find(|(cell, _)| is_it(cell)).map(|(_, rate)| rate)
    }

    fn throughput(&self, (signed, block_size): Variant) -> Option<Figure> {
        let shards = self.usual_shards().unwrap_or(1);
        let executors =
            ExecutorName::ALL.into_iter().filter(|it| self.cells.iter().any(|cell| cell.executor == *it));
        let executors: Vec<ExecutorName> = executors.collect();
        let groups: Vec<BarGroup> = self
            .workloads((signed, block_size))
            .into_iter()
            .map(|workload| {
                let key = SettingKey { workload, signed, block_size };
                let value = |executor: &ExecutorName| {
                    let shards = if *executor == ExecutorName::Sequential { 1 } else { shards };
                    self.find(key, *executor, shards)
                };
                BarGroup { name: workload.to_string(), values: executors.iter().map(value).collect() }
            })
            .collect();
        let chart = BarChart {
            title: format!(
                "{} transactions, blocks of {block_size}, {shards} shards or threads",
                told(signed)
            ),
            caption: "Bars: medians over the rounds; whiskers: least to greatest.".to_owned(),
            axis: "transactions per second".to_owned(),
            series: executors.iter().map(|it| (it.to_string(), colour_of(*it))).collect(),
            groups,
        };
        (!chart.groups.is_empty()).then(|| chart.figure())
    }

    fn reference(&self, signed: bool) -> Option<Variant> {
        let sizes: BTreeSet<usize> =
            self.variants().into_iter().filter(|it| it.0 == signed).map(|it| it.1).collect();
        let usual = sizes.get(&USUAL_BLOCK).or(sizes.last()).copied();
        usual.map(|size| (signed, size))
    }

    /// A small picture for each workload.
    fn scaling(&self, signed: bool) -> Vec<Figure> {
        let Some(variant) = self.reference(signed) else { return Vec::new() };
        let draw = |workload| self.scaling_of(SettingKey { workload, signed, block_size: variant.1 });
        self.workloads(variant).into_iter().map(draw).collect()
    }

    fn scaling_of(&self, key: SettingKey) -> Figure {
        let line = |executor: ExecutorName| {
            let cells = self.measured().filter(|(cell, _)| cell.key == key && cell.executor == executor);
            let mut measured: Vec<Point> =
                cells.map(|(cell, rate)| Point { x: cell.shards as f64, y: rate }).collect();
            measured.sort_by(|one, other| one.x.total_cmp(&other.x));
            Line { name: executor.to_string(), colour: colour_of(executor), measured, predicted: Vec::new() }
        };
        let lines = ExecutorName::ALL.map(line).into_iter().filter(|line| !line.measured.is_empty());
        LineChart {
            title: format!("{}, {}, blocks of {}", key.workload, told(key.signed), key.block_size),
            caption: "Points: medians over the rounds; thin lines: least to greatest.".to_owned(),
            y_axis: "transactions per second".to_owned(),
            x_axis: "shards or threads".to_owned(),
            width: SMALL.0,
            height: SMALL.1,
            lines: lines.collect(),
        }
        .figure()
    }

    /// What the model says of hosts with one NUMA node, a line for each workload.
    fn predicted(&self, signed: bool) -> Option<Figure> {
        let all: Vec<&ScalingRow> =
            self.scaling.iter().copied().filter(|row| row.key.signed == signed && row.nodes == 1).collect();
        let size = all.iter().map(|row| row.key.block_size).max()?;
        let line = |workload: WorkloadName| {
            let own = || {
                let mut own: Vec<&ScalingRow> = all
                    .iter()
                    .copied()
                    .filter(|row| row.key.workload == workload && row.key.block_size == size)
                    .collect();
                own.sort_by_key(|row| row.shards);
                own
            };
            let measured = own().into_iter().filter_map(|row| Some((row.shards, row.measured?)));
            Line {
                name: workload.to_string(),
                colour: 1 + WorkloadName::ALL.iter().position(|it| *it == workload).unwrap_or(0),
                measured: measured.map(|(shards, y)| Point { x: shards as f64, y }).collect(),
                predicted: own().iter().map(|row| (row.shards as f64, row.transactions_per_s)).collect(),
            }
        };
        let lines: Vec<Line> =
            WorkloadName::ALL.map(line).into_iter().filter(|line| !line.predicted.is_empty()).collect();
        let chart = LineChart {
            title: format!("Predicted for processes-ahead: {} transactions, blocks of {size}, one NUMA node", told(signed)),
            caption: "Dashed: what the scaling model makes of the costs measured here; a core for each shard and one for the coordinator. Hosts with more nodes are in the table."
                .to_owned(),
            y_axis: "transactions per second".to_owned(),
            x_axis: "shards, logarithmic".to_owned(),
            width: LARGE.0,
            height: LARGE.1,
            lines,
        };
        (!chart.lines.is_empty()).then(|| chart.figure())
    }

    fn wakeups(&self) -> Option<Figure> {
        let rows: Vec<RangeRow> = self
            .wakeups
            .iter()
            .filter_map(|row| {
                let Spread { median, min, max } = row.round_ns?;
                let point = RangePoint { series: 0, value: median / 1e3, ends: (min / 1e3, max / 1e3) };
                Some(RangeRow { name: format!("{} shards", row.shards), strong: false, points: vec![point] })
            })
            .collect();
        let chart = RangeChart {
            title: "A round with one transaction per shard".to_owned(),
            caption: "From the announcement until all shards have left the round. Points: medians; thin lines: least to greatest."
                .to_owned(),
            axis: "microseconds, logarithmic".to_owned(),
            series: vec![("median".to_owned(), 1)],
            joined: false,
            rows,
        };
        (!chart.rows.is_empty()).then(|| chart.figure())
    }
}

fn variant_of(key: &SettingKey) -> Variant {
    (key.signed, key.block_size)
}

fn told(signed: bool) -> &'static str {
    if signed { "signed" } else { "unsigned" }
}

/// The same on every page.
fn colour_of(executor: ExecutorName) -> usize {
    match executor {
        ExecutorName::Sequential => 3,
        ExecutorName::Threads => 2,
        ExecutorName::BlockStm => 5,
        ExecutorName::Processes => 1,
        ExecutorName::ProcessesAhead => 7,
    }
}
