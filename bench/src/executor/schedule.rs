//! Everything in order: the settings, then what a value and a round cost, then what follows from it.

use crate::executor::error::BenchError;
use crate::executor::options::Step;
use crate::executor::setting::{Measured, measure, rounds_of};
use crate::executor::{
    ExecutorOptions, ExecutorRow, SettingKey, budget, cells, crossing, idle, model, wakeup,
};

const NO_TRACE: &str = "no trace: name a CSV file with --trace-file";

/// Compares the executors, contenders in turns, and says before each step what it is.
///
/// Starts and ends threads and processes; takes from seconds to hours, as the options say.
///
/// # Errors
/// [`BenchError`]: no blocks, no sequential execution, or a result that is not that of sequential execution.
pub fn run(options: &ExecutorOptions, mut on_step: impl FnMut(Step)) -> Result<Vec<ExecutorRow>, BenchError> {
    let cores = phalanx_ipc::allowed_cores().map_or(1, |cores| cores.len());
    let settings: Vec<SettingKey> = settings(options).collect();
    let per_setting = rounds_of(options);
    let total = settings.len() * per_setting + 3;
    let (mut rows, mut all) = (Vec::new(), Vec::new());
    for (place, &key) in settings.iter().enumerate() {
        let done = place * per_setting;
        let each = |round: u32| {
            on_step(Step { done: done + round as usize, total, what: format!("{key}, round {round}") });
        };
        match measure(options, key, each)? {
            Some(mut measured) => {
                rows.push(ExecutorRow::Setting(cells::setting_row(&measured)));
                let all_cells = measured.contenders.iter();
                let row = |contender| Box::new(cells::cell_row(&measured, contender, cores));
                rows.extend(all_cells.map(row).map(ExecutorRow::Cell));
                measured.end();
                all.push(measured);
            }
            None => rows.push(ExecutorRow::Setting(cells::skipped_row(key, Some(NO_TRACE)))),
        }
    }
    on_step(Step { done: total - 3, total, what: "the price of crossing".to_owned() });
    let crossings = crossing::measure(options, cores);
    on_step(Step { done: total - 2, total, what: "wake-ups".to_owned() });
    let wakeups = wakeup::measure(options);
    on_step(Step { done: total - 1, total, what: "silence".to_owned() });
    let silences = idle::measure(options);
    let judged = |measured: &Measured| budget::rows(options, measured, cores);
    rows.extend(all.iter().flat_map(judged).map(ExecutorRow::Budget));
    let predicted = |measured: &Measured| model::rows(options, measured, &crossings, &wakeups, cores);
    let predicted: Vec<_> = all.iter().flat_map(predicted).collect();
    rows.extend(crossings.into_iter().map(ExecutorRow::Crossing));
    rows.extend(wakeups.into_iter().map(ExecutorRow::Wakeup));
    rows.extend(silences.into_iter().map(ExecutorRow::Idle));
    rows.extend(predicted.into_iter().map(ExecutorRow::Scaling));
    Ok(rows)
}

fn settings(options: &ExecutorOptions) -> impl Iterator<Item = SettingKey> {
    options.workloads.iter().flat_map(move |&workload| {
        options.signatures.iter().flat_map(move |&signed| {
            options.block_sizes.iter().map(move |&block_size| SettingKey { workload, signed, block_size })
        })
    })
}
