//! A temporary directory that goes with the process, however that ends: only SIGKILL leaves it.

use parking_lot::Mutex;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

/// A place for the directory; every clone is the same place.
#[derive(Clone, Debug, Default)]
pub struct Scratch(Arc<Mutex<Option<TempDir>>>);

impl Scratch {
    /// Makes the directory.
    ///
    /// # Errors
    /// As the system says.
    pub fn make(&self) -> io::Result<PathBuf> {
        let made = tempfile::Builder::new().prefix("phalanx-node-").tempdir()?;
        Ok(self.0.lock().insert(made).path().to_owned())
    }

    /// Removes the directory, if there is one, though others may still write into it. One that cannot be removed is named in the log.
    pub fn remove(&self) {
        // Held until it is removed: whoever comes second, and ends the process, waits for the first.
        let mut place = self.0.lock();
        let Some(path) = place.take().map(TempDir::keep) else { return };
        if let Err(error) = remove_in_use(&path) {
            tracing::warn!(%error, directory = %path.display(), "the temporary directory is left");
        }
    }
}

fn remove_in_use(path: &Path) -> io::Result<()> {
    // Under another name nobody makes files in it any more.
    let renamed = path.with_extension("gone");
    std::fs::rename(path, &renamed)?;
    std::fs::remove_dir_all(&renamed)
}

#[cfg(test)]
mod tests {
    //! What would break: files that a node leaves when its first signal or its second ends it. Control run: `remove` that does not
    //! rename the directory fails the test.

    use super::Scratch;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn a_directory_into_which_somebody_writes_is_removed_all_the_same() {
        for _ in 0..20 {
            let scratch = Scratch::default();
            let path = scratch.make().unwrap();
            let over = AtomicBool::new(false);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let mut number = 0;
                    while !over.load(Ordering::Relaxed)
                        && std::fs::write(path.join(format!("{number}")), b"x").is_ok()
                    {
                        number += 1;
                    }
                });
                std::thread::sleep(std::time::Duration::from_millis(5));
                scratch.clone().remove();
                over.store(true, Ordering::Relaxed);
            });
            assert!(!path.exists() && !path.with_extension("gone").exists());
            scratch.remove();
        }
    }
}
