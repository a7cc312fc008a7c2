//! What a header must say after its parent.

use crate::ethereum::chain::blobs::GAS_PER_BLOB;
use crate::ethereum::chain::dao;
use crate::ethereum::chain::difficulty::difficulty;
use crate::ethereum::chain::{Fork, Rejection, SealCheck, Stage};
use alloy_consensus::Header;
use alloy_consensus::constants::EMPTY_OMMER_ROOT_HASH;
use alloy_eips::eip1559::{BaseFeeParams, INITIAL_BASE_FEE, calc_next_block_base_fee};
use alloy_primitives::{B64, U256};

/// Most bytes of extra data.
const EXTRA_DATA_BYTES: usize = 32;
/// Least gas limit, and greatest: clients count it with a sign.
const GAS_LIMIT_LEAST: u64 = 5_000;
const GAS_LIMIT_MOST: u64 = i64::MAX as u64;
/// The gas limit moves by less than this part of it.
const GAS_LIMIT_PART: u64 = 1_024;
/// With the base fee the limit doubled: the old one became the target (EIP-1559).
const ELASTICITY: u64 = 2;

/// What a header is held against.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeaderRules<'a> {
    pub(super) stage: &'a Stage,
    pub(super) parent: &'a Header,
    /// Rules that held for the parent.
    pub(super) parent_fork: Fork,
    pub(super) dao: Option<u64>,
    pub(super) seal: SealCheck,
}

type Checked = Result<(), Rejection>;

fn equal(field: &'static str, claimed: impl Into<Number>, right: impl Into<Number>) -> Checked {
    let (Number(claimed), Number(right)) = (claimed.into(), right.into());
    if claimed == right { Ok(()) } else { Err(Rejection::Value { field, claimed, right }) }
}

/// A number of a header.
struct Number(U256);

impl From<u64> for Number {
    fn from(number: u64) -> Number {
        Number(U256::from(number))
    }
}

impl From<U256> for Number {
    fn from(number: U256) -> Number {
        Number(number)
    }
}

/// A field must be there from a fork on and not before.
fn presence(field: &'static str, there: bool, since: Fork, fork: Fork) -> Checked {
    match (there, fork >= since) {
        (true, true) | (false, false) => Ok(()),
        (false, true) => Err(Rejection::Missing(field)),
        (true, false) => Err(Rejection::TooEarly(field)),
    }
}

impl HeaderRules<'_> {
    /// Checks all that does not depend on the block's body and execution.
    ///
    /// # Errors
    /// The first [`Rejection`].
    pub(super) fn check(&self, header: &Header) -> Checked {
        let parent = self.parent;
        if Some(header.number) != parent.number.checked_add(1) {
            return Err(Rejection::Number { number: header.number, parent: parent.number });
        }
        if header.timestamp <= parent.timestamp {
            return Err(Rejection::Time { time_s: header.timestamp, parent_s: parent.timestamp });
        }
        self.check_gas(header)?;
        if header.extra_data.len() > EXTRA_DATA_BYTES {
            return Err(Rejection::ExtraData(header.extra_data.len()));
        }
        if self.dao.is_some_and(|fork| dao::marks(fork, header.number))
            && *header.extra_data != *dao::EXTRA_DATA
        {
            return Err(Rejection::DaoExtraData);
        }
        self.check_presence(header)?;
        self.check_work(header)?;
        self.check_base_fee(header)?;
        self.check_blobs(header)
    }

    fn check_gas(&self, header: &Header) -> Checked {
        let first_london = self.stage.fork >= Fork::London && self.parent_fork < Fork::London;
        let before = if first_london {
            self.parent.gas_limit.saturating_mul(ELASTICITY)
        } else {
            self.parent.gas_limit
        };
        let move_most = (before / GAS_LIMIT_PART).saturating_sub(1);
        let least = before.saturating_sub(move_most).max(GAS_LIMIT_LEAST);
        let most = before.saturating_add(move_most).min(GAS_LIMIT_MOST);
        if !(least..=most).contains(&header.gas_limit) {
            return Err(Rejection::GasLimit { limit: header.gas_limit, least, most });
        }
        if header.gas_used > header.gas_limit {
            return Err(Rejection::GasAboveLimit { used: header.gas_used, limit: header.gas_limit });
        }
        Ok(())
    }

    fn check_presence(&self, header: &Header) -> Checked {
        let fork = self.stage.fork;
        presence("base fee", header.base_fee_per_gas.is_some(), Fork::London, fork)?;
        presence("withdrawals root", header.withdrawals_root.is_some(), Fork::Shanghai, fork)?;
        presence("blob gas used", header.blob_gas_used.is_some(), Fork::Cancun, fork)?;
        presence("excess blob gas", header.excess_blob_gas.is_some(), Fork::Cancun, fork)?;
        presence("parent beacon root", header.parent_beacon_block_root.is_some(), Fork::Cancun, fork)?;
        presence("requests hash", header.requests_hash.is_some(), Fork::Prague, fork)?;
        // They came with rules that are not known here.
        for (field, there) in [
            ("access list hash", header.block_access_list_hash.is_some()),
            ("slot number", header.slot_number.is_some()),
        ] {
            if there {
                return Err(Rejection::TooEarly(field));
            }
        }
        Ok(())
    }

    fn check_work(&self, header: &Header) -> Checked {
        if self.stage.fork.is_merged() {
            let zero = header.difficulty.is_zero();
            let merged = [
                ("difficulty", zero),
                ("nonce", header.nonce == B64::ZERO),
                ("ommers hash", header.ommers_hash == EMPTY_OMMER_ROOT_HASH),
            ];
            return match merged.into_iter().find(|(_, right)| !right) {
                Some((field, _)) => Err(Rejection::NotMerged(field)),
                None => Ok(()),
            };
        }
        let right = difficulty(self.stage.fork, header.number, header.timestamp, self.parent);
        equal("difficulty", header.difficulty, right)?;
        self.seal.check(header)
    }

    fn check_base_fee(&self, header: &Header) -> Checked {
        let Some(claimed) = header.base_fee_per_gas else { return Ok(()) };
        let parent = self.parent;
        let right = match parent.base_fee_per_gas {
            Some(before) if self.parent_fork >= Fork::London => {
                let params = BaseFeeParams::ethereum();
                calc_next_block_base_fee(parent.gas_used, parent.gas_limit, before, params)
            }
            Some(_) | None => INITIAL_BASE_FEE,
        };
        equal("base fee", claimed, right)
    }

    fn check_blobs(&self, header: &Header) -> Checked {
        let (Some(rules), Some(used), Some(excess)) =
            (self.stage.blobs, header.blob_gas_used, header.excess_blob_gas)
        else {
            return Ok(());
        };
        let most = rules.max.saturating_mul(GAS_PER_BLOB);
        if used > most || !used.is_multiple_of(GAS_PER_BLOB) {
            return Err(Rejection::BlobGas { used, most });
        }
        equal("excess blob gas", excess, rules.next_excess(self.stage.fork, self.parent))
    }
}
