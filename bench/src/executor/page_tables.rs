//! Tables of the page.

use crate::executor::{ExecutorRow, SettingKey};
use crate::report::Spread;
use crate::report::page::{Entry, Table};

fn strings<const N: usize>(columns: [&str; N]) -> Vec<String> {
    columns.map(str::to_owned).into()
}

fn setting(key: &SettingKey) -> [Entry; 3] {
    let signed = if key.signed { "signed" } else { "unsigned" };
    [Entry::text(key.workload), Entry::text(signed), Entry::Number(key.block_size.to_string())]
}

fn spread(spread: Option<Spread>, digits: usize) -> [Entry; 3] {
    let of = |value: fn(Spread) -> f64| Entry::number(spread.map(value), digits);
    [of(|it| it.median), of(|it| it.min), of(|it| it.max)]
}

fn table(title: &str, columns: Vec<String>, rows: Vec<Vec<Entry>>, folded: bool) -> Table {
    Table { title: title.to_owned(), columns, rows, folded }
}

pub(super) fn budget(rows: &[ExecutorRow]) -> Table {
    let rows = rows.iter().filter_map(|row| {
        let ExecutorRow::Budget(row) = row else { return None };
        let digits = if row.unit == "ns" { 0 } else { 2 };
        let target =
            row.target.map_or(String::new(), |target| format!("{target} {} ({})", row.unit, row.judged));
        let cells = [Entry::text(row.name)].into_iter().chain(setting(&row.key)).chain([
            Entry::Number(row.shards.to_string()),
            Entry::number(row.median, digits),
            Entry::number(row.low, digits),
            Entry::number(row.high, digits),
            Entry::text(row.unit),
            Entry::text(target),
            Entry::Verdict(row.verdict),
            Entry::text(row.note.unwrap_or_default()),
        ]);
        Some(cells.collect())
    });
    let columns = strings([
        "what",
        "workload",
        "signatures",
        "block",
        "shards",
        "median",
        "low",
        "high",
        "unit",
        "target",
        "verdict",
        "note",
    ]);
    table("The budget", columns, rows.collect(), false)
}

pub(super) fn cells(rows: &[ExecutorRow]) -> Table {
    let rows = rows.iter().filter_map(|row| {
        let ExecutorRow::Cell(row) = row else { return None };
        let ratio = row.ratio_to_sequential;
        let phase =
            |value: fn(&crate::executor::Phases) -> f64| Entry::number(row.phases.as_ref().map(value), 0);
        let cells = setting(&row.key)
            .into_iter()
            .chain([Entry::text(row.executor), Entry::Number(row.shards.to_string())])
            .chain(spread(row.transactions_per_s, 0))
            .chain([
                Entry::number(ratio.map(|it| it.median), 2),
                Entry::number(ratio.map(|it| it.low), 2),
                Entry::number(ratio.map(|it| it.high), 2),
                phase(|it| it.plan_ns),
                phase(|it| it.execute_ns),
                phase(|it| it.validate_ns),
                phase(|it| it.commit_ns),
                Entry::number(row.memory_mib, 0),
                Entry::text(row.error.as_deref().unwrap_or_default()),
            ]);
        Some(cells.collect())
    });
    let columns = strings([
        "workload",
        "signatures",
        "block",
        "executor",
        "shards",
        "transactions/s",
        "least",
        "greatest",
        "to sequential",
        "low",
        "high",
        "plan ns",
        "execute ns",
        "validate ns",
        "commit ns",
        "MiB",
        "error",
    ]);
    table("All that was measured", columns, rows.collect(), true)
}

pub(super) fn scaling(rows: &[ExecutorRow]) -> Table {
    let rows = rows.iter().filter_map(|row| {
        let ExecutorRow::Scaling(row) = row else { return None };
        let cells = setting(&row.key).into_iter().chain([
            Entry::Number(row.shards.to_string()),
            Entry::Number(row.nodes.to_string()),
            Entry::number(Some(row.transactions_per_s), 0),
            Entry::text(if row.predicted { "predicted" } else { "calibrated here" }),
            Entry::number(row.measured.map(|it| it.median), 0),
            Entry::text(row.bound_by),
        ]);
        Some(cells.collect())
    });
    let columns = strings([
        "workload",
        "signatures",
        "block",
        "shards",
        "nodes",
        "transactions/s",
        "",
        "measured",
        "bound by",
    ]);
    table("All predictions for processes-ahead", columns, rows.collect(), true)
}

pub(super) fn crossings(rows: &[ExecutorRow]) -> Table {
    let rows = rows.iter().filter_map(|row| {
        let ExecutorRow::Crossing(row) = row else { return None };
        let median = |spread: Option<Spread>| Entry::number(spread.map(|it| it.median), 0);
        Some(vec![
            Entry::Number(row.lag.to_string()),
            Entry::Number(row.pairs.to_string()),
            median(row.writer_ns),
            median(row.reader_ns),
            median(row.wall_ns),
            Entry::text(row.skipped.as_deref().unwrap_or_default()),
        ])
    });
    let columns = strings(["lag", "pairs", "writer ns", "reader ns", "wall ns", "skipped"]);
    table(
        "The price of a value that crosses from one shard to another, per edge",
        columns,
        rows.collect(),
        false,
    )
}
