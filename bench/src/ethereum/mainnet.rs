//! The rules of mainnet by block number and time.

use phalanx::vm::evm::revm::primitives::hardfork::SpecId;

/// First blocks of the rules before the merge, newest first. Forks that changed nothing an execution sees are left out.
const BY_NUMBER: [(u64, SpecId); 9] = [
    (15_537_394, SpecId::MERGE),
    (12_965_000, SpecId::LONDON),
    (12_244_000, SpecId::BERLIN),
    (9_069_000, SpecId::ISTANBUL),
    (7_280_000, SpecId::PETERSBURG),
    (4_370_000, SpecId::BYZANTIUM),
    (2_675_000, SpecId::SPURIOUS_DRAGON),
    (2_463_000, SpecId::TANGERINE),
    (1_150_000, SpecId::HOMESTEAD),
];

/// First times of the rules after the merge, in seconds since the Unix epoch, newest first.
const BY_TIME: [(u64, SpecId); 4] = [
    (1_764_798_551, SpecId::OSAKA),
    (1_746_612_311, SpecId::PRAGUE),
    (1_710_338_135, SpecId::CANCUN),
    (1_681_338_455, SpecId::SHANGHAI),
];

/// Update fractions of the blob base fee by their first times, newest first.
const BLOB_FRACTIONS: [(u64, u64); 4] =
    [(1_767_747_671, 11_684_671), (1_765_290_071, 8_346_193), (1_746_612_311, 5_007_716), (0, 3_338_477)];

/// The rules for a block of mainnet.
#[must_use]
pub fn mainnet_spec(number: u64, timestamp_s: u64) -> SpecId {
    let by_number = BY_NUMBER.iter().find(|(first, _)| number >= *first);
    let spec = by_number.map_or(SpecId::FRONTIER, |(_, spec)| *spec);
    if spec != SpecId::MERGE {
        return spec;
    }
    BY_TIME.iter().find(|(first, _)| timestamp_s >= *first).map_or(spec, |(_, spec)| *spec)
}

/// The update fraction of the blob base fee for a block of mainnet.
#[must_use]
pub fn blob_update_fraction(timestamp_s: u64) -> u64 {
    BLOB_FRACTIONS
        .iter()
        .find(|(first, _)| timestamp_s >= *first)
        .map_or(3_338_477, |(_, fraction)| *fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fork_begins_at_its_first_block() {
        assert_eq!(mainnet_spec(0, 0), SpecId::FRONTIER);
        for (first, spec) in BY_NUMBER {
            assert_eq!(mainnet_spec(first, 0), spec);
            assert!(mainnet_spec(first - 1, 0) < spec);
        }
        for (first, spec) in BY_TIME {
            assert_eq!(mainnet_spec(20_000_000, first), spec);
            assert!(mainnet_spec(20_000_000, first - 1) < spec);
        }
        assert_eq!(mainnet_spec(15_537_393, u64::MAX), SpecId::LONDON);
        assert_eq!(blob_update_fraction(1_710_338_135), 3_338_477);
        assert_eq!(blob_update_fraction(1_746_612_311), 5_007_716);
    }
}
