//! Kills shard processes, one at a time, drawn at random.

use crate::node::error::NodeError;
use crate::victims::Victims;
use nix::sys::signal::Signal;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Keeps its random numbers apart from others under the same seed.
const STREAM: u64 = 102;

/// Kills shard processes of one family, and nobody else.
#[derive(Debug)]
pub struct ShardKiller {
    victims: Victims,
    random: ChaCha8Rng,
}

impl ShardKiller {
    /// For the family of a control segment.
    ///
    /// # Errors
    /// `Victims` when it cannot be read.
    pub fn new(segment: &str, seed: u64) -> Result<ShardKiller, NodeError> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(STREAM);
        Ok(ShardKiller { victims: Victims::open(segment)?, random })
    }

    /// Sends SIGKILL to one shard; false if there was none at that moment.
    pub fn strike(&mut self) -> bool {
        let shards = u32::try_from(self.victims.shards()).unwrap_or(0);
        if shards == 0 {
            return false;
        }
        let shard = self.random.random_range(0..shards);
        let Some(victim) = self.victims.shard(shard) else { return false };
        match victim.process.strike(Signal::SIGKILL) {
            Ok(struck) => struck.is_some(),
            Err(error) => {
                tracing::warn!(%error, shard, "a shard cannot be killed");
                false
            }
        }
    }
}
