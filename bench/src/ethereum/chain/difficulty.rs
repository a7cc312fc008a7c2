//! The difficulty that a block must have while there is proof of work.

use crate::ethereum::chain::Fork;
use alloy_consensus::Header;
use alloy_consensus::constants::EMPTY_OMMER_ROOT_HASH;
use phalanx::vm::evm::revm::primitives::U256;

/// Least difficulty.
const LEAST: u64 = 131_072;
/// The difficulty changes by steps of this part of it.
const STEP_PART: u64 = 2_048;
/// Blocks after which the exponential part doubles.
const BOMB_PERIOD: u64 = 100_000;
/// Greatest fall, in steps.
const FALL_MAX: u64 = 99;

/// The difficulty of a block with this number and time after `parent`.
pub(super) fn difficulty(fork: Fork, number: u64, time_s: u64, parent: &Header) -> U256 {
    let step = parent.difficulty / U256::from(STEP_PART);
    let waited = time_s.saturating_sub(parent.timestamp);
    let moved = if fork < Fork::Homestead {
        if waited < 13 { Steps::Up(1) } else { Steps::Down(1) }
    } else if fork < Fork::Byzantium {
        steps(1, waited / 10)
    } else {
        let with_ommers = parent.ommers_hash != EMPTY_OMMER_ROOT_HASH;
        steps(if with_ommers { 2 } else { 1 }, waited / 9)
    };
    let moved = match moved {
        Steps::Up(count) => parent.difficulty.saturating_add(step * U256::from(count)),
        Steps::Down(count) => parent.difficulty.saturating_sub(step * U256::from(count)),
    };
    let least = U256::from(LEAST);
    let period = number.saturating_sub(fork.bomb_delay()) / BOMB_PERIOD;
    let bomb = if period > 1 { U256::ONE << (period - 2) } else { U256::ZERO };
    moved.max(least).saturating_add(bomb)
}

#[derive(Clone, Copy, Debug)]
enum Steps {
    Up(u64),
    Down(u64),
}

/// `most` steps up less `waited`, but not more than 99 down.
fn steps(most: u64, waited: u64) -> Steps {
    match most.checked_sub(waited) {
        Some(up) => Steps::Up(up),
        None => Steps::Down((waited - most).min(FALL_MAX)),
    }
}

#[cfg(test)]
mod tests {
    //! The oracle of the first test are the first blocks of mainnet, of the others the text of the proposals. What would
    //! break: a valid block of proof of work that is refused.

    use super::*;

    fn parent(difficulty: u64, timestamp: u64) -> Header {
        Header {
            difficulty: U256::from(difficulty),
            timestamp,
            ommers_hash: EMPTY_OMMER_ROOT_HASH,
            ..Header::default()
        }
    }

    #[test]
    fn the_first_block_of_mainnet_is_easier_than_the_genesis() {
        let genesis = parent(17_179_869_184, 0);
        assert_eq!(difficulty(Fork::Frontier, 1, 1_438_269_988, &genesis), U256::from(17_171_480_576_u64));
        let first = parent(17_171_480_576, 1_438_269_988);
        assert_eq!(difficulty(Fork::Frontier, 2, 1_438_270_017, &first), U256::from(17_163_096_064_u64));
    }

    #[test]
    fn every_fork_moves_by_its_own_steps() {
        let before = parent(2_048_000, 100);
        let of = |fork, waited: u64| difficulty(fork, 5, 100 + waited, &before);
        assert_eq!(of(Fork::Frontier, 12), U256::from(2_049_000));
        assert_eq!(of(Fork::Frontier, 13), U256::from(2_047_000));
        assert_eq!(of(Fork::Homestead, 9), U256::from(2_049_000));
        assert_eq!(of(Fork::Homestead, 10), U256::from(2_048_000));
        assert_eq!(of(Fork::Homestead, 20), U256::from(2_047_000));
        assert_eq!(of(Fork::Homestead, 100_000), U256::from(1_949_000));
        assert_eq!(of(Fork::Byzantium, 8), U256::from(2_049_000));
        assert_eq!(of(Fork::Byzantium, 9), U256::from(2_048_000));
        let with_ommers = Header { ommers_hash: Default::default(), ..before.clone() };
        assert_eq!(difficulty(Fork::Byzantium, 5, 108, &with_ommers), U256::from(2_050_000));
    }

    #[test]
    fn the_bomb_waits_as_long_as_its_fork_says() {
        let before = parent(131_072, 100);
        let of = |fork, number| difficulty(fork, number, 1_000_000, &before) - U256::from(131_072);
        assert_eq!(of(Fork::Homestead, 199_999), U256::ZERO);
        assert_eq!(of(Fork::Homestead, 200_000), U256::from(1));
        assert_eq!(of(Fork::Homestead, 500_000), U256::from(8));
        assert_eq!(of(Fork::Byzantium, 3_300_000), U256::from(2));
        assert_eq!(of(Fork::Petersburg, 5_300_000), U256::from(2));
        assert_eq!(of(Fork::MuirGlacier, 9_300_000), U256::from(2));
        assert_eq!(of(Fork::London, 10_000_000), U256::from(2));
        assert_eq!(of(Fork::GrayGlacier, 11_600_000), U256::from(1));
    }
}
