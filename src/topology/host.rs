//! Which cores there are and who goes where.

use crate::topology::TopologyError;
use phalanx_ipc::allowed_cores;

/// Turns of a spin before sleeping, when there is a core for everyone: about the cost of a wake-up.
const SPIN_TURNS: u32 = 2_000;

/// The cores that this process may run on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    cores: Vec<usize>,
}

impl Host {
    /// Reads the affinity mask of the calling thread, in which cpuset and taskset already count.
    ///
    /// # Errors
    /// [`TopologyError`].
    pub fn detect() -> Result<Host, TopologyError> {
        let cores = allowed_cores()?;
        if cores.is_empty() {
            return Err(TopologyError::NoCores);
        }
        Ok(Host { cores })
    }

    /// Number of cores.
    #[must_use]
    pub fn cores(&self) -> usize {
        self.cores.len()
    }

    /// Those cores, ascending.
    #[must_use]
    pub fn all_cores(&self) -> &[usize] {
        &self.cores
    }

    /// The core of a shard: one each while there are enough, then again from the first.
    #[must_use]
    pub fn core_of(&self, shard: usize) -> usize {
        self.cores.get(shard % self.cores.len()).copied().unwrap_or(0)
    }

    /// As many shards as there are cores, less one for the coordinator when there are more than two.
    #[must_use]
    pub fn auto_shards(&self) -> usize {
        match self.cores.len() {
            few @ 0..=2 => few.max(1),
            many => (many - 1).min(crate::MAX_SHARDS),
        }
    }
}

/// How long a waiting process looks before it sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spins(u32);

impl Spins {
    /// None when the shards and their coordinator outnumber the cores: a spinner then takes the core from whoever it
    /// waits for.
    #[must_use]
    pub fn adapted(host: &Host, shards: usize) -> Spins {
        Spins(if shards < host.cores() { SPIN_TURNS } else { 0 })
    }

    /// The number of turns.
    #[must_use]
    pub fn turns(self) -> u32 {
        self.0
    }
}
