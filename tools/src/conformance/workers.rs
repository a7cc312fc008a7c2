//! Files side by side: each worker takes the next one and has an executor of its own.

use crate::conformance::engine::Engine;
use crate::conformance::error::ConformanceError;
use crate::conformance::options::ConformanceOptions;
use crate::conformance::progress::Progress;
use crate::conformance::report::{FileEnding, Report};
use crate::conformance::test_file::{Entry, read_test};
use crate::conformance::verdict::{Ending, Verdict, run_test};
use parking_lot::Mutex;
use phalanx_bench::ethereum::{Field, InputError, read_json};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Chain id of most tests.
const USUAL_CHAIN: u64 = 1;

/// Runs the tests of all files and reports them in order.
///
/// # Errors
/// `Start`.
pub fn run_files(
    options: &ConformanceOptions,
    files: &[PathBuf],
    jobs: usize,
    log: &str,
) -> Result<Report, ConformanceError> {
    let engines =
        (0..jobs).map(|_| Engine::start(options, USUAL_CHAIN, log).map_err(ConformanceError::Start));
    // All of them before the first test: a limit of the host is known at once.
    let engines = engines.collect::<Result<Vec<_>, _>>()?;
    let shards = engines.first().map_or(0, Engine::shards);
    let progress = Progress::new(files.len());
    let (next, endings) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(files.len())));
    let failed = Mutex::new(None);
    std::thread::scope(|scope| {
        for engine in engines {
            scope.spawn(|| {
                let mut worker = Worker { options, log, engine };
                while let Some((place, file)) = taken(&next, files) {
                    match worker.run_file(file) {
                        Ok(ending) => endings.lock().push((place, ending)),
                        Err(error) => {
                            *failed.lock() = Some(error);
                            next.store(files.len(), Ordering::Relaxed);
                        }
                    }
                    progress.count(file);
                }
            });
        }
    });
    progress.finish();
    if let Some(error) = failed.into_inner() {
        return Err(error);
    }
    let mut endings = endings.into_inner();
    endings.sort_unstable_by_key(|(place, _)| *place);
    let mut report = Report { shards, jobs, executor: options.executor.to_string(), ..Report::default() };
    for (place, ending) in endings {
        report.take(&files[place], ending);
    }
    report.gather();
    Ok(report)
}

/// The next file that nobody has taken yet.
fn taken<'f>(next: &AtomicUsize, files: &'f [PathBuf]) -> Option<(usize, &'f PathBuf)> {
    let place = next.fetch_add(1, Ordering::Relaxed);
    files.get(place).map(|file| (place, file))
}

struct Worker<'a> {
    options: &'a ConformanceOptions,
    log: &'a str,
    engine: Engine,
}

impl Worker<'_> {
    /// Runs the tests of one file.
    fn run_file(&mut self, file: &Path) -> Result<FileEnding, ConformanceError> {
        let json = match read_json(file) {
            Ok(json) => json,
            Err(InputError::Unreadable { source, .. }) => {
                return Ok(FileEnding::Broken(format!("the file cannot be read: {source}")));
            }
            Err(error @ (InputError::NotJson { .. } | InputError::Field { .. })) => {
                return Ok(FileEnding::Broken(error.to_string()));
            }
        };
        let members = match Field::whole(file, &json).members() {
            Ok(members) => members,
            Err(error) => return Ok(FileEnding::Broken(error.to_string())),
        };
        let wanted = |name: &str| self.options.filter.as_ref().is_none_or(|filter| name.contains(filter));
        let mut tests = Vec::with_capacity(members.len());
        for (name, test) in members.into_iter().filter(|(name, _)| wanted(name)).collect::<Vec<_>>() {
            let verdict = match read_test(&test) {
                Ok(Entry::Test(test)) => {
                    if self.engine.chain_id() != test.chain_id {
                        let engine = Engine::start(self.options, test.chain_id, self.log);
                        self.engine = engine.map_err(ConformanceError::Start)?;
                    }
                    Ok(run_test(&test, &mut self.engine))
                }
                Ok(Entry::Skip(reason)) => Ok(Verdict::without_blocks(Ending::Skipped(reason))),
                Err(error) => Err(error.to_string()),
            };
            tests.push((name.to_owned(), verdict));
        }
        Ok(FileEnding::Tests(tests))
    }
}
