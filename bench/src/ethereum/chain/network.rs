//! Which rules hold where in a chain, by the names that tests give to networks.

use crate::ethereum::chain::{BlobRules, Fork};
use phalanx::vm::evm::revm::primitives::U256;
use thiserror::Error;

/// From where on something holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    Number(u64),
    Time(u64),
    /// Behind a block with which the chain's total difficulty has reached this.
    TotalDifficulty(U256),
}

/// Rules from somewhere on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    from: From,
    /// Its name, as a test's blob schedule calls it.
    pub name: String,
    /// The rules.
    pub fork: Fork,
    /// Blobs, from Cancun on.
    pub blobs: Option<BlobRules>,
}

/// The rules of one chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Never empty; the first one holds from the first block on.
    stages: Vec<Stage>,
    /// Number of the block at which balances were moved (EIP-779).
    dao: Option<u64>,
}

/// A network that cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NetworkError {
    /// There are no such rules here.
    #[error("{name}: {lacking}")]
    Unsupported {
        /// The fork.
        name: String,
        /// What is lacking.
        lacking: &'static str,
    },
    /// Nobody knows the name.
    #[error("no network has the name {0}")]
    Unknown(String),
}

/// Names of single forks. Several for some.
const FORKS: [(&str, Fork); 21] = [
    ("Frontier", Fork::Frontier),
    ("Homestead", Fork::Homestead),
    ("EIP150", Fork::Tangerine),
    ("TangerineWhistle", Fork::Tangerine),
    ("EIP158", Fork::SpuriousDragon),
    ("SpuriousDragon", Fork::SpuriousDragon),
    ("Byzantium", Fork::Byzantium),
    ("ConstantinopleFix", Fork::Petersburg),
    ("Petersburg", Fork::Petersburg),
    ("Istanbul", Fork::Istanbul),
    ("MuirGlacier", Fork::MuirGlacier),
    ("Berlin", Fork::Berlin),
    ("London", Fork::London),
    ("ArrowGlacier", Fork::ArrowGlacier),
    ("GrayGlacier", Fork::GrayGlacier),
    ("Merge", Fork::Paris),
    ("Paris", Fork::Paris),
    ("Shanghai", Fork::Shanghai),
    ("Cancun", Fork::Cancun),
    ("Prague", Fork::Prague),
    ("Osaka", Fork::Osaka),
];

/// Forks whose rules are lacking.
const UNSUPPORTED: [(&str, &str); 2] = [
    ("Constantinople", "revm has no rules with EIP-1283"),
    (
        "Amsterdam",
        "block access lists (EIP-7928) and the block's two kinds of gas (EIP-8037) are not checked here yet",
    ),
];

impl Network {
    /// The network with this name: a fork, or `AToBAtN` with a block number, `AToBAtTimeN` with a time, or
    /// `AToBAtDiffN` with a total difficulty in hexadecimal. A time may end in k for thousands.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub fn of_name(name: &str) -> Result<Network, NetworkError> {
        let unknown = || NetworkError::Unknown(name.to_owned());
        let Some((first, rest)) = name.split_once("To") else {
            return Ok(Network { stages: vec![stage(name, From::Number(0))?], dao: None });
        };
        let (second, place) = rest.rsplit_once("At").ok_or_else(unknown)?;
        let from = place_of(place).ok_or_else(unknown)?;
        let before = stage(first, From::Number(0))?;
        if second == "Dao" {
            let From::Number(number) = from else { return Err(unknown()) };
            return Ok(Network { stages: vec![before], dao: Some(number) });
        }
        Ok(Network { stages: vec![before, stage(second, from)?], dao: None })
    }

    /// The rules for a block by its number, its time, and the total difficulty of the chain before it.
    #[must_use]
    pub fn stage(&self, number: u64, time_s: u64, difficulty_before: U256) -> &Stage {
        let holds = |stage: &&Stage| match stage.from {
            From::Number(first) => number >= first,
            From::Time(first) => time_s >= first,
            From::TotalDifficulty(least) => difficulty_before >= least,
        };
        self.stages.iter().rev().find(holds).unwrap_or(&self.stages[0])
    }

    /// The number of the block at which balances were moved, if there is one (EIP-779).
    #[must_use]
    pub fn dao(&self) -> Option<u64> {
        self.dao
    }

    /// All rules, in order.
    #[must_use]
    pub fn stages(&self) -> &[Stage] {
        &self.stages
    }

    /// Sets the blobs of the stage with this name.
    pub fn set_blobs(&mut self, name: &str, blobs: BlobRules) {
        for stage in self.stages.iter_mut().filter(|stage| stage.name == name) {
            stage.blobs = Some(blobs);
        }
    }
}

fn stage(name: &str, from: From) -> Result<Stage, NetworkError> {
    let stage = |fork, blobs| Stage { from, name: name.to_owned(), fork, blobs };
    if let Some((_, lacking)) = UNSUPPORTED.iter().find(|(fork, _)| *fork == name) {
        return Err(NetworkError::Unsupported { name: name.to_owned(), lacking });
    }
    if let Some(number) = name.strip_prefix("BPO").and_then(|number| number.parse::<u8>().ok()) {
        let blobs = BlobRules::of_blob_fork(number).or_else(|| BlobRules::of_fork(Fork::Osaka));
        return Ok(stage(Fork::Osaka, blobs));
    }
    let fork = FORKS.iter().find(|(known, _)| *known == name);
    let (_, fork) = fork.ok_or_else(|| NetworkError::Unknown(name.to_owned()))?;
    Ok(stage(*fork, BlobRules::of_fork(*fork)))
}

fn place_of(place: &str) -> Option<From> {
    if let Some(difficulty) = place.strip_prefix("Diff") {
        return U256::from_str_radix(difficulty, 16).ok().map(From::TotalDifficulty);
    }
    if let Some(time) = place.strip_prefix("Time") {
        let (digits, unit) = time.strip_suffix('k').map_or((time, 1), |digits| (digits, 1_000));
        return digits.parse::<u64>().ok()?.checked_mul(unit).map(From::Time);
    }
    place.parse().ok().map(From::Number)
}

#[cfg(test)]
mod tests {
    //! What would break: a network whose blocks are judged by another network's rules.

    use super::*;

    fn fork_at(name: &str, number: u64, time_s: u64, difficulty: u64) -> Fork {
        Network::of_name(name).unwrap().stage(number, time_s, U256::from(difficulty)).fork
    }

    #[test]
    fn a_transition_changes_the_rules_at_its_place_and_not_before() {
        assert_eq!(fork_at("FrontierToHomesteadAt5", 4, 9_999_999, 9), Fork::Frontier);
        assert_eq!(fork_at("FrontierToHomesteadAt5", 5, 0, 0), Fork::Homestead);
        assert_eq!(fork_at("ParisToShanghaiAtTime15k", 99, 14_999, 0), Fork::Paris);
        assert_eq!(fork_at("ParisToShanghaiAtTime15k", 1, 15_000, 0), Fork::Shanghai);
        assert_eq!(fork_at("ArrowGlacierToParisAtDiffC0000", 99, 0, 0xbffff), Fork::ArrowGlacier);
        assert_eq!(fork_at("ArrowGlacierToParisAtDiffC0000", 1, 0, 0xc0000), Fork::Paris);
        let dao = Network::of_name("HomesteadToDaoAt5").unwrap();
        assert_eq!((dao.dao(), dao.stage(9, 0, U256::ZERO).fork), (Some(5), Fork::Homestead));
        let blobs = Network::of_name("BPO1ToBPO2AtTime15k").unwrap();
        assert_eq!(blobs.stage(1, 14_999, U256::ZERO).blobs.unwrap().max, 15);
        assert_eq!(blobs.stage(1, 15_000, U256::ZERO).blobs.unwrap().max, 21);
        assert_eq!(fork_at("OsakaToBPO1AtTime15k", 1, 14_999, 0), Fork::Osaka);
    }

    #[test]
    fn every_single_fork_holds_from_the_first_block_on() {
        for (name, fork) in FORKS {
            assert_eq!(fork_at(name, 0, 0, 0), fork);
        }
    }

    #[test]
    fn what_cannot_be_had_is_told_apart_from_what_nobody_knows() {
        for name in
            ["Constantinople", "ByzantiumToConstantinopleAt5", "Amsterdam", "BPO2ToAmsterdamAtTime15k"]
        {
            assert!(matches!(Network::of_name(name), Err(NetworkError::Unsupported { .. })), "{name}");
        }
        for name in ["Nowhere", "FrontierToNowhereAt5", "FrontierToHomestead", "FrontierToHomesteadAtx"] {
            assert!(matches!(Network::of_name(name), Err(NetworkError::Unknown(_))), "{name}");
        }
    }
}
