//! `phalanx run`: a workload, block by block, verified.
//!
//! The blocks run in a thread of their own; the main thread sleeps until they are through or a signal comes. On a
//! signal it cancels the block, ends the shard processes and leaves without waiting for that thread, which may be
//! signing or verifying for seconds to come and holds nothing that outlives the process.

mod blocks;
mod engine;
mod error;
mod family;
mod progress;
mod report;
mod trace;
mod workload_file;

use crate::cli::{Format, RunOptions};
use crate::exit::Exit;
use crate::output::{print, print_error};
use crate::service::Service;
use crate::signals::{self, StopSignal};
use engine::CLOSE_PATIENCE;
use family::Family;
use progress::Progress;
use report::Report;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

pub use engine::oracle;
pub use error::RunError;

/// What the main thread waits for.
enum News {
    Signal(StopSignal),
    Done(Box<Result<Report, RunError>>),
}

/// How long an orderly end may take after a signal, in all.
const END_LIMIT: Duration = Duration::from_millis(900);

/// Runs the command.
pub fn command(options: RunOptions) -> Exit {
    let filter = crate::logging::filter(options.verbose);
    phalanx::telemetry::log_to_stderr(&filter);
    let format = options.format;
    match supervise(options, filter) {
        Ok(Ended::ByItself(report)) => publish(&report, format),
        Ok(Ended::BySignal(signal)) => signals::end_at_once(signal.exit()),
        Err(error) => fail(&error),
    }
}

enum Ended {
    ByItself(Box<Report>),
    BySignal(StopSignal),
}

/// Starts the run's thread and waits for its end or for a signal.
fn supervise(options: RunOptions, filter: String) -> Result<Ended, RunError> {
    let (family, progress) = (Arc::new(Family::default()), Arc::new(Progress::new(options.blocks)));
    let (sender, news) = channel();
    let on_signal = sender.clone();
    signals::watch(move |signal| {
        // The receiver is gone only when the process ends anyway.
        let _ = on_signal.send(News::Signal(signal));
    })?;
    let (shared, shown) = (Arc::clone(&family), Arc::clone(&progress));
    let service = Arc::new(Service::of_environment());
    let told = Arc::clone(&service);
    start(sender, move || blocks::run(&options, &filter, shared, &shown, &told))?;
    match wait(&news)? {
        News::Done(result) => Ok(Ended::ByItself(Box::new((*result)?))),
        News::Signal(signal) => {
            service.stopping();
            progress.abandon();
            end_family(family);
            let (done, asked) = (progress.done(), progress.asked());
            print_error(format_args!(
                "{signal} after {done} of {asked} blocks; nothing of a block that was under way is committed, start the run again"
            ));
            Ok(Ended::BySignal(signal))
        }
    }
}

/// Starts `run` in a thread that reports its result.
fn start(
    sender: Sender<News>,
    run: impl FnOnce() -> Result<Report, RunError> + Send + 'static,
) -> Result<(), RunError> {
    std::thread::Builder::new().name("phx-run".to_owned()).spawn(move || {
        // A panic must reach the main thread as an end: the signal thread keeps the channel open.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
        let result = result.unwrap_or(Err(RunError::Panicked));
        let _ = sender.send(News::Done(Box::new(result)));
    })?;
    Ok(())
}

fn wait(news: &Receiver<News>) -> Result<News, RunError> {
    news.recv().map_err(|_| RunError::Panicked)
}

/// Ends the processes, within [`END_LIMIT`]: what is left then ends when this process does.
fn end_family(family: Arc<Family>) {
    let (sender, ended) = channel();
    let closer = std::thread::Builder::new().name("phx-close".to_owned()).spawn(move || {
        family.close(CLOSE_PATIENCE);
        let _ = sender.send(());
    });
    if closer.is_ok() && ended.recv_timeout(END_LIMIT).is_err() {
        tracing::warn!(
            limit_ms = END_LIMIT.as_millis(),
            "shards did not end in time; they end with this process"
        );
    }
}

fn publish(report: &Report, format: Format) -> Exit {
    let text = match format {
        Format::Text => Ok(report.table()),
        Format::Json => report.json().map_err(std::io::Error::from),
    };
    match text.and_then(|text| print(&text)) {
        Ok(()) if !report.is_in_place() => Exit::Misplaced,
        Ok(()) => Exit::Ok,
        Err(error) => fail(&RunError::Report(error)),
    }
}

fn fail(error: &RunError) -> Exit {
    print_error(error);
    error.exit()
}
