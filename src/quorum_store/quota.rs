//! What one author has left in a store.

use crate::quorum_store::Refusal;
use crate::quorum_store::config::QuotaConfig;

/// Where a batch lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// On disk and in memory.
    MemoryAndDisk,
    /// On disk only.
    DiskOnly,
}

/// What one author has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    left: QuotaConfig,
}

impl Quota {
    /// All of it.
    #[must_use]
    pub fn new(whole: QuotaConfig) -> Quota {
        Quota { left: whole }
    }

    /// What is left.
    #[must_use]
    pub fn left(&self) -> QuotaConfig {
        self.left
    }

    /// Takes what a batch of so many bytes needs.
    ///
    /// # Errors
    /// `BatchQuota`, `DbQuota`; nothing is taken.
    pub fn take(&mut self, bytes: u64) -> Result<Storage, Refusal> {
        let batches = self.left.batches.checked_sub(1).ok_or(Refusal::BatchQuota)?;
        let db_bytes = self.left.db_bytes.checked_sub(bytes).ok_or(Refusal::DbQuota)?;
        let memory = self.left.memory_bytes.checked_sub(bytes);
        self.left = QuotaConfig { batches, db_bytes, memory_bytes: memory.unwrap_or(self.left.memory_bytes) };
        Ok(if memory.is_some() { Storage::MemoryAndDisk } else { Storage::DiskOnly })
    }

    /// Gives back what a batch had.
    pub fn give_back(&mut self, bytes: u64, storage: Storage) {
        self.left.batches = self.left.batches.saturating_add(1);
        self.left.db_bytes = self.left.db_bytes.saturating_add(bytes);
        match storage {
            Storage::MemoryAndDisk => self.left.memory_bytes = self.left.memory_bytes.saturating_add(bytes),
            Storage::DiskOnly => {}
        }
    }

    /// A batch stays on disk and goes from memory.
    pub fn leave_memory(&mut self, bytes: u64) {
        self.left.memory_bytes = self.left.memory_bytes.saturating_add(bytes);
    }

    /// Undoes [`give_back`](Self::give_back).
    pub fn take_again(&mut self, bytes: u64, storage: Storage) {
        self.left.batches = self.left.batches.saturating_sub(1);
        self.left.db_bytes = self.left.db_bytes.saturating_sub(bytes);
        match storage {
            Storage::MemoryAndDisk => self.left.memory_bytes = self.left.memory_bytes.saturating_sub(bytes),
            Storage::DiskOnly => {}
        }
    }
}
