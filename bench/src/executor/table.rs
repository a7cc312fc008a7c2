//! The report for people.

use crate::executor::{
    BudgetRow, CellRow, CrossingRow, ExecutorRow, IdleRow, Phases, ScalingRow, SettingKey, SettingRow,
    WakeupRow,
};
use crate::report::{BenchReport, Spread};
use std::fmt::Write;

/// The report as tables.
pub fn table(report: &BenchReport<ExecutorRow>) -> String {
    let mut text = report.heading();
    let mut section = "";
    let mut of_section = |text: &mut String, name: &'static str, head: &str| {
        if section != name {
            section = name;
            text.push_str(head);
        }
    };
    let mut last_point = None;
    for row in &report.rows {
        // Writing to a string cannot fail.
        let _ = match row {
            ExecutorRow::Setting(row) => {
                section_of_setting(&mut of_section, &mut text);
                setting(&mut text, row)
            }
            ExecutorRow::Cell(row) => cell(&mut text, row),
            ExecutorRow::Budget(row) => {
                of_section(&mut text, "budget", "\nbudget: median and its 95 % interval\n");
                budget(&mut text, row)
            }
            ExecutorRow::Crossing(row) => {
                of_section(&mut text, "crossing", "\nthe price of crossing: one cross-shard edge, ns\n");
                crossing(&mut text, row)
            }
            ExecutorRow::Wakeup(row) => {
                of_section(&mut text, "wakeup", "\na round of one transaction per shard, us\n");
                wakeup(&mut text, row)
            }
            ExecutorRow::Idle(row) => {
                of_section(&mut text, "idle", "\nwake-ups while no block runs\n");
                idle(&mut text, row)
            }
            ExecutorRow::Scaling(row) => {
                of_section(&mut text, "scaling", SCALING_HEAD);
                scaling(&mut text, row, &mut last_point)
            }
        };
    }
    text.push('\n');
    text
}

const SCALING_HEAD: &str =
    "\nscaling of processes-ahead, million transactions per second: predicted by the model, at * calibrated;
in brackets what was measured here; bound by e: execution, k: coordinator, c: chain\n";

fn section_of_setting(of_section: &mut impl FnMut(&mut String, &'static str, &str), text: &mut String) {
    let head = "\nns per transaction, medians of the rounds; prepare is outside total, plan of processes-ahead too\n";
    of_section(text, "settings", head);
}

fn setting(text: &mut String, row: &SettingRow) -> std::fmt::Result {
    let SettingRow { key, rounds, blocks_per_round, verified_blocks, .. } = row;
    if let Some(why) = &row.skipped {
        return writeln!(text, "\n{key}: skipped: {why}");
    }
    writeln!(
        text,
        "\n{key}: {rounds} rounds of {blocks_per_round} blocks, {verified_blocks} blocks equal to sequential; \
         generate {} prepare {} ns, longest chain {} of a block",
        whole(row.generate_ns.map(|it| it.median)),
        whole(row.prepare_ns.map(|it| it.median)),
        percent(row.chain_share),
    )?;
    writeln!(
        text,
        "{:<16}{:>3}{:>9} {:<19}{:>6} {:<13}{:>7}{:>7}{:>8}{:>7}{:>9}{:>7}{:>8}{:>8}{:>6}{:>7}",
        "executor",
        "n",
        "ktps",
        " (min..max)",
        "ratio",
        " [95 %]",
        "total",
        "plan",
        "execute",
        "wait",
        "validate",
        "commit",
        "cpu us",
        "MiB",
        "huge",
        "edges"
    )
}

fn cell(text: &mut String, row: &CellRow) -> std::fmt::Result {
    write!(text, "{:<16}{:>3}", row.executor, row.shards)?;
    if let Some(Spread { median, min, max }) = row.transactions_per_s {
        let range = format!("({:.1}..{:.1})", min / 1e3, max / 1e3);
        write!(text, "{:>9.1} {range:<19}", median / 1e3)?;
    }
    if let Some(ratio) = row.ratio_to_sequential {
        let range = format!("[{:.2}, {:.2}]", ratio.low, ratio.high);
        write!(text, "{:>6.2} {range:<13}", ratio.median)?;
    }
    if let Some(phases) = &row.phases {
        let Phases { total_ns, plan_ns, execute_ns, wait_ns, validate_ns, commit_ns, .. } = phases;
        write!(text, "{total_ns:>7.0}{plan_ns:>7.0}{execute_ns:>8.0}{:>7}", whole(*wait_ns))?;
        write!(text, "{validate_ns:>9.0}{commit_ns:>7.0}")?;
    }
    let cpu = row.cpu_s_per_transaction.map_or("-".to_owned(), |cpu| format!("{:.2}", cpu * 1e6));
    let edges = row.edges_per_transaction.map_or("-".to_owned(), |edges| format!("{edges:.3}"));
    write!(text, "{cpu:>8}{:>8}{:>6.0}{edges:>7}", whole(row.memory_mib), row.huge_mib)?;
    let oversubscribed = if row.oversubscribed { "  more than cores" } else { "" };
    writeln!(text, "{oversubscribed}  {}", row.error.as_deref().unwrap_or_default())
}

fn budget(text: &mut String, row: &BudgetRow) -> std::fmt::Result {
    let key = key(row.key);
    write!(text, "{:<62}{key:<24}n={:<4}", row.name, row.shards)?;
    match (row.median, row.low, row.high) {
        (Some(median), Some(low), Some(high)) if row.unit == "ns" => {
            write!(text, "{median:>8.0} ns [{low:.0}, {high:.0}]")?;
        }
        (Some(median), Some(low), Some(high)) => write!(text, "{median:>8.2} [{low:.2}, {high:.2}]")?,
        (None, _, _) | (_, None, _) | (_, _, None) => write!(text, "       -")?,
    }
    match (row.target, row.verdict) {
        (Some(target), Some(verdict)) => writeln!(text, "  {} {target} {verdict}", row.judged),
        (None, _) | (_, None) => writeln!(text, "  {}", row.note.unwrap_or_default()),
    }
}

fn crossing(text: &mut String, row: &CrossingRow) -> std::fmt::Result {
    let CrossingRow { lag, pairs, rounds, .. } = row;
    if let Some(why) = &row.skipped {
        return writeln!(text, "{pairs} pairs, {lag} apart: skipped: {why}");
    }
    let spread = |spread: Option<Spread>| {
        spread.map_or("-".to_owned(), |it| format!("{:.0} ({:.0}..{:.0})", it.median, it.min, it.max))
    };
    writeln!(
        text,
        "{pairs} pairs, {lag} apart, {rounds} rounds: a transaction takes {} ns of CPU beside its pair; an edge adds \
         {} to the writer's side, {} to the reader's side, {} to the wall time",
        whole(row.same_shard_ns),
        spread(row.writer_ns),
        spread(row.reader_ns),
        spread(row.wall_ns),
    )
}

fn wakeup(text: &mut String, row: &WakeupRow) -> std::fmt::Result {
    match (&row.round_ns, &row.error) {
        (Some(it), _) => writeln!(
            text,
            "{:>3} shards {:>8.1} ({:.1}..{:.1})",
            row.shards,
            it.median / 1e3,
            it.min / 1e3,
            it.max / 1e3
        ),
        (None, error) => {
            writeln!(text, "{:>3} shards: {}", row.shards, error.as_deref().unwrap_or("not measured"))
        }
    }
}

fn idle(text: &mut String, row: &IdleRow) -> std::fmt::Result {
    let IdleRow { shards, idle_ms, at_work, idle, target, verdict, error } = row;
    match (at_work, idle, error) {
        (Some(at_work), Some(idle), _) => writeln!(
            text,
            "{shards:>3} shards: {idle} wake-ups of shards, supervisor and coordinator in {idle_ms} ms without a block \
             ({at_work} while three were executed), target {target} {verdict}"
        ),
        (_, _, error) => writeln!(text, "{shards:>3} shards: {}", error.as_deref().unwrap_or("not measured")),
    }
}

/// One line per setting and number of nodes.
fn scaling(text: &mut String, row: &ScalingRow, last: &mut Option<(SettingKey, usize)>) -> std::fmt::Result {
    let ScalingRow { key, shards, nodes, transactions_per_s, predicted, .. } = row;
    if last.replace((*key, *nodes)) != Some((*key, *nodes)) {
        write!(text, "\n{key}, {nodes} nodes, shards:rate ")?;
    }
    let mark = if *predicted { "" } else { "*" };
    let bound = match row.bound_by {
        "coordinator" => "k",
        other => other.get(..1).unwrap_or_default(),
    };
    write!(text, " {shards}:{:.3}{mark}{bound}", transactions_per_s / 1e6)?;
    row.measured.map_or(Ok(()), |it| write!(text, "({:.3})", it.median / 1e6))
}

fn key(key: SettingKey) -> String {
    let signed = if key.signed { "signed" } else { "unsigned" };
    format!("{} {signed}", key.workload)
}

fn whole(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), |value| format!("{value:.0}"))
}

fn percent(share: Option<f64>) -> String {
    share.map_or("-".to_owned(), |share| format!("{:.2} %", share * 100.0))
}
