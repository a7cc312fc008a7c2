//! How many blobs a block may have, and what they cost (EIP-4844, 7691, 7892, 7918).

use crate::ethereum::chain::Fork;
use alloy_consensus::Header;
use phalanx::vm::evm::BlobContext;

/// Gas of one blob.
pub(super) const GAS_PER_BLOB: u64 = 1 << 17;
/// Execution gas to which the price of a blob is tied (EIP-7918).
const BLOB_BASE_COST: u128 = 1 << 13;
/// Most blobs of one transaction from Osaka on (EIP-7594).
const BLOBS_PER_TRANSACTION: u64 = 6;

/// Blobs in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobRules {
    /// Blobs per block above which the price rises.
    pub target: u64,
    /// Most blobs of a block.
    pub max: u64,
    /// Update fraction of the price; not 0.
    pub update_fraction: u64,
}

impl BlobRules {
    /// What mainnet has from a fork on; blobs came with Cancun.
    #[must_use]
    pub fn of_fork(fork: Fork) -> Option<BlobRules> {
        let rules = |target, max, update_fraction| Some(BlobRules { target, max, update_fraction });
        match fork {
            Fork::Cancun => rules(3, 6, 3_338_477),
            Fork::Prague | Fork::Osaka => rules(6, 9, 5_007_716),
            Fork::Frontier
            | Fork::Homestead
            | Fork::Tangerine
            | Fork::SpuriousDragon
            | Fork::Byzantium
            | Fork::Petersburg
            | Fork::Istanbul
            | Fork::MuirGlacier
            | Fork::Berlin
            | Fork::London
            | Fork::ArrowGlacier
            | Fork::GrayGlacier
            | Fork::Paris
            | Fork::Shanghai => None,
        }
    }

    /// What the n-th fork that only changes blobs sets, unless a test says otherwise.
    #[must_use]
    pub fn of_blob_fork(number: u8) -> Option<BlobRules> {
        let rules = |target, max, update_fraction| Some(BlobRules { target, max, update_fraction });
        match number {
            1 => rules(10, 15, 8_346_193),
            2 => rules(14, 21, 11_684_671),
            3 => rules(21, 32, 20_609_697),
            4 => rules(14, 21, 13_739_630),
            _ => None,
        }
    }

    /// Most blobs of one transaction.
    #[must_use]
    pub fn max_per_transaction(&self, fork: Fork) -> u64 {
        if fork >= Fork::Osaka { BLOBS_PER_TRANSACTION.min(self.max) } else { self.max }
    }

    /// The excess blob gas of a block after `parent`.
    #[must_use]
    pub fn next_excess(&self, fork: Fork, parent: &Header) -> u64 {
        let excess = parent.excess_blob_gas.unwrap_or(0);
        let used = parent.blob_gas_used.unwrap_or(0);
        let all = excess.saturating_add(used);
        let target = self.target.saturating_mul(GAS_PER_BLOB);
        let Some(over) = all.checked_sub(target) else { return 0 };
        if fork >= Fork::Osaka {
            let price = BlobContext { excess_gas: excess, update_fraction: self.update_fraction }.price();
            let floor = BLOB_BASE_COST * u128::from(parent.base_fee_per_gas.unwrap_or(0));
            if floor > u128::from(GAS_PER_BLOB).saturating_mul(price) {
                let room = u128::from(self.max.saturating_sub(self.target));
                let more = u128::from(used) * room / u128::from(self.max.max(1));
                return excess.saturating_add(u64::try_from(more).unwrap_or(u64::MAX));
            }
        }
        over
    }
}

#[cfg(test)]
mod tests {
    //! What would break: a block that is valid on mainnet and refused here, by one unit of excess blob gas.

    use super::*;

    fn parent(excess: u64, blobs: u64, base_fee: u64) -> Header {
        Header {
            excess_blob_gas: Some(excess),
            blob_gas_used: Some(blobs * GAS_PER_BLOB),
            base_fee_per_gas: Some(base_fee),
            ..Header::default()
        }
    }

    #[test]
    fn excess_grows_by_what_is_above_the_target_and_stays_above_zero() {
        let rules = BlobRules::of_fork(Fork::Cancun).unwrap();
        assert_eq!(rules.next_excess(Fork::Cancun, &parent(0, 3, 7)), 0);
        assert_eq!(rules.next_excess(Fork::Cancun, &parent(0, 2, 7)), 0);
        assert_eq!(rules.next_excess(Fork::Cancun, &parent(5 * GAS_PER_BLOB, 6, 7)), 8 * GAS_PER_BLOB);
        assert_eq!(rules.next_excess(Fork::Cancun, &Header::default()), 0);
    }

    #[test]
    fn from_osaka_on_excess_does_not_fall_while_blobs_are_cheaper_than_execution() {
        let rules = BlobRules::of_fork(Fork::Osaka).unwrap();
        // Price 1: 2^13 * base fee > 2^17 from a base fee of 17 on.
        let before = parent(10 * GAS_PER_BLOB, 3, 17);
        assert_eq!(rules.next_excess(Fork::Osaka, &before), 11 * GAS_PER_BLOB, "a third of three blobs");
        assert_eq!(rules.next_excess(Fork::Prague, &before), 7 * GAS_PER_BLOB);
        assert_eq!(rules.next_excess(Fork::Osaka, &parent(10 * GAS_PER_BLOB, 3, 16)), 7 * GAS_PER_BLOB);
        assert_eq!(rules.next_excess(Fork::Osaka, &parent(0, 5, 1_000)), 0, "below the target");
    }
}
