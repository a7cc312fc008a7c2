//! Where durable state lives, and how much it may take.

use crate::durable::step::Steps;
use crate::types::OutOfRange;
use std::path::PathBuf;

/// Where durable state lives, and how much it may take.
#[derive(Clone, Debug)]
pub struct DurableConfig {
    /// The state directory; made if it is missing, in a directory that is there.
    pub directory: PathBuf,
    /// A log segment that is longer than this is followed by a new one; 4 KiB ..= 64 GiB. Default: 64 MiB.
    pub segment_bytes: u64,
    /// Results of so many last blocks are kept for whoever submits one of them again; whole segments of older blocks are
    /// removed. Default: 1,024.
    pub keep_blocks: u64,
    /// How far the store may lag behind the log, in bytes of the log, 4 KiB ..= 2^40; blocks wait beyond it. This bounds the
    /// time that opening takes after a crash. Default: 256 MiB.
    pub backlog_bytes: u64,
    /// The most that the store may hold, in bytes, 1 MiB ..= 2^46, rounded up to whole pages. Address space is reserved
    /// for it. Default: 64 GiB.
    pub store_bytes: u64,
    /// The most shared memory that the state may take, in bytes, 64 KiB ..= 2^45: it is a cache of the store then, and may be
    /// smaller than the state. What the store lacks yet, and what the present block touches, is held beyond it. Default:
    /// `None`, all of the state is in memory.
    pub cache_bytes: Option<u64>,
    /// What happens at each step.
    #[cfg(feature = "fail-points")]
    pub hook: Option<crate::durable::StepHook>,
}

impl DurableConfig {
    /// The defaults, in this directory.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> DurableConfig {
        DurableConfig {
            directory: directory.into(),
            segment_bytes: 64 << 20,
            keep_blocks: 1_024,
            backlog_bytes: 256 << 20,
            store_bytes: 64 << 30,
            cache_bytes: None,
            #[cfg(feature = "fail-points")]
            hook: None,
        }
    }

    /// Whether a directory can be opened with these sizes.
    ///
    /// # Errors
    /// [`OutOfRange`] for the first that is not possible.
    pub fn check(&self) -> Result<(), OutOfRange> {
        OutOfRange::check("durable.segment_bytes", self.segment_bytes, 4 << 10..=64 << 30)?;
        OutOfRange::check("durable.backlog_bytes", self.backlog_bytes, 4 << 10..=1 << 40)?;
        OutOfRange::check("durable.store_bytes", self.store_bytes, 1 << 20..=1 << 46)?;
        let cache = self.cache_bytes.unwrap_or(64 << 10);
        OutOfRange::check("durable.cache_bytes", cache, 64 << 10..=1 << 45)
    }

    pub(super) fn steps(&self) -> Steps {
        Steps {
            #[cfg(feature = "fail-points")]
            hook: self.hook.clone(),
        }
    }
}
