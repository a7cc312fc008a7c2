//! Ommers: blocks that another block beat, and what they earn.

use crate::ethereum::chain::links::{Chain, Link};
use crate::ethereum::chain::{DecodedBlock, Fork, Rejection};
use alloy_consensus::Header;
use phalanx::vm::evm::revm::primitives::{Address, B256};

/// Most ommers of a block.
const OMMERS_MAX: usize = 2;
/// Generations of ancestors among which ommers branch off.
const GENERATIONS: usize = 7;
/// An ommer earns this many parts of the reward, less one for each generation.
const OMMER_PARTS: u64 = 8;
/// Whoever names an ommer earns one of these parts of the reward.
const NEPHEW_PARTS: u128 = 32;

/// Checks that a block may name its ommers.
///
/// # Errors
/// [`Rejection::TooManyOmmers`], [`Rejection::Ommer`].
pub(super) fn check_ommers(chain: &Chain, block: &DecodedBlock, parent: &Link) -> Result<(), Rejection> {
    if block.ommers.len() > OMMERS_MAX {
        return Err(Rejection::TooManyOmmers(block.ommers.len()));
    }
    if block.ommers.is_empty() {
        return Ok(());
    }
    let ancestors: Vec<&Link> = chain.ancestors(parent).take(GENERATIONS).collect();
    let mut named: Vec<B256> = ancestors.iter().flat_map(|link| link.ommers.iter().copied()).collect();
    for (place, (hash, header)) in block.ommers.iter().enumerate() {
        let refused = |cause: String| Err(Rejection::Ommer { place, cause });
        if named.contains(hash) {
            return refused("it was named before".to_owned());
        }
        if *hash == block.hash || ancestors.iter().any(|link| link.hash == *hash) {
            return refused("it is an ancestor".to_owned());
        }
        let branched = ancestors.iter().skip(1).find(|link| link.hash == header.parent_hash);
        let Some(branched) = branched else {
            return refused(format!("its parent {} is no ancestor within 7 generations", header.parent_hash));
        };
        if let Err(cause) = chain.check_header(header, branched) {
            return refused(cause.to_string());
        }
        named.push(*hash);
    }
    Ok(())
}

/// What a block's author and its ommers' authors earn, in wei; nothing from Paris on.
pub(super) fn rewards(fork: Fork, header: &Header, ommers: &[(B256, Header)]) -> Vec<(Address, u128)> {
    let reward = fork.block_reward();
    if reward == 0 {
        return Vec::new();
    }
    let nephew = reward / NEPHEW_PARTS * ommers.len() as u128;
    let mut rewards = vec![(header.beneficiary, reward + nephew)];
    for (_, ommer) in ommers {
        let age = header.number.saturating_sub(ommer.number);
        let parts = u128::from(OMMER_PARTS.saturating_sub(age));
        rewards.push((ommer.beneficiary, reward / u128::from(OMMER_PARTS) * parts));
    }
    rewards
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ommer_earns_less_with_each_generation_and_whoever_names_it_a_thirty_second() {
        let block = Header { number: 10, beneficiary: Address::repeat_byte(1), ..Header::default() };
        let ommer = |number| {
            (B256::ZERO, Header { number, beneficiary: Address::repeat_byte(2), ..Header::default() })
        };
        let ether = 1_000_000_000_000_000_000_u128;
        assert_eq!(
            rewards(Fork::Byzantium, &block, &[ommer(9), ommer(4)]),
            [
                (Address::repeat_byte(1), 3 * ether + 3 * ether / 16),
                (Address::repeat_byte(2), 3 * ether * 7 / 8),
                (Address::repeat_byte(2), 3 * ether * 2 / 8),
            ]
        );
        assert_eq!(rewards(Fork::Frontier, &block, &[]), [(Address::repeat_byte(1), 5 * ether)]);
        assert!(rewards(Fork::Paris, &block, &[]).is_empty());
    }
}
