//! The forks of the protocol, in order, and what each of them sets.

use phalanx::vm::evm::revm::primitives::hardfork::SpecId;

/// One ether in wei.
const ETHER: u128 = 1_000_000_000_000_000_000;

/// A set of rules. Later ones include earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fork {
    /// The first rules.
    Frontier,
    /// EIP-2, 7, 8.
    Homestead,
    /// EIP-150.
    Tangerine,
    /// EIP-155, 160, 161, 170.
    SpuriousDragon,
    /// EIP-100, 140, 196, 197, 198, 211, 214, 649, 658.
    Byzantium,
    /// EIP-145, 1014, 1052, 1234; without EIP-1283, which was taken back.
    Petersburg,
    /// EIP-152, 1108, 1344, 1884, 2028, 2200.
    Istanbul,
    /// EIP-2384.
    MuirGlacier,
    /// EIP-2565, 2718, 2929, 2930.
    Berlin,
    /// EIP-1559, 3198, 3529, 3541, 3554.
    London,
    /// EIP-4345.
    ArrowGlacier,
    /// EIP-5133.
    GrayGlacier,
    /// EIP-3675, 4399: no more proof of work.
    Paris,
    /// EIP-3651, 3855, 3860, 4895.
    Shanghai,
    /// EIP-1153, 4788, 4844, 5656, 6780, 7516.
    Cancun,
    /// EIP-2537, 2935, 6110, 7002, 7251, 7623, 7685, 7691, 7702.
    Prague,
    /// EIP-7594, 7823, 7825, 7883, 7918, 7934, 7939, 7951.
    Osaka,
}

impl Fork {
    /// The rules of an execution, as revm numbers them.
    #[must_use]
    pub const fn spec(self) -> SpecId {
        match self {
            Fork::Frontier => SpecId::FRONTIER,
            Fork::Homestead => SpecId::HOMESTEAD,
            Fork::Tangerine => SpecId::TANGERINE,
            Fork::SpuriousDragon => SpecId::SPURIOUS_DRAGON,
            Fork::Byzantium => SpecId::BYZANTIUM,
            Fork::Petersburg => SpecId::PETERSBURG,
            Fork::Istanbul | Fork::MuirGlacier => SpecId::ISTANBUL,
            Fork::Berlin => SpecId::BERLIN,
            Fork::London | Fork::ArrowGlacier | Fork::GrayGlacier => SpecId::LONDON,
            Fork::Paris => SpecId::MERGE,
            Fork::Shanghai => SpecId::SHANGHAI,
            Fork::Cancun => SpecId::CANCUN,
            Fork::Prague => SpecId::PRAGUE,
            Fork::Osaka => SpecId::OSAKA,
        }
    }

    /// What whoever finds a block earns, in wei; nothing from Paris on.
    #[must_use]
    pub const fn block_reward(self) -> u128 {
        match self {
            Fork::Frontier | Fork::Homestead | Fork::Tangerine | Fork::SpuriousDragon => 5 * ETHER,
            Fork::Byzantium => 3 * ETHER,
            Fork::Petersburg
            | Fork::Istanbul
            | Fork::MuirGlacier
            | Fork::Berlin
            | Fork::London
            | Fork::ArrowGlacier
            | Fork::GrayGlacier => 2 * ETHER,
            Fork::Paris | Fork::Shanghai | Fork::Cancun | Fork::Prague | Fork::Osaka => 0,
        }
    }

    /// By how many blocks the growth of the difficulty is put off (EIP-649, 1234, 2384, 3554, 4345, 5133).
    #[must_use]
    pub const fn bomb_delay(self) -> u64 {
        match self {
            Fork::Frontier | Fork::Homestead | Fork::Tangerine | Fork::SpuriousDragon => 0,
            Fork::Byzantium => 3_000_000,
            Fork::Petersburg | Fork::Istanbul => 5_000_000,
            Fork::MuirGlacier | Fork::Berlin => 9_000_000,
            Fork::London => 9_700_000,
            Fork::ArrowGlacier => 10_700_000,
            Fork::GrayGlacier | Fork::Paris | Fork::Shanghai | Fork::Cancun | Fork::Prague | Fork::Osaka => {
                11_400_000
            }
        }
    }

    /// Whether blocks need no proof of work any more.
    #[must_use]
    pub fn is_merged(self) -> bool {
        self >= Fork::Paris
    }
}
