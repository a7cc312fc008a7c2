//! What all transactions of an Ethereum block see alike, and how a block header carries it.

use crate::types::BlockHeader;
use crate::vm::evm::wire::{WireError, WireReader, WireWrite};
use alloy_eips::eip4844::{BLOB_TX_MIN_BLOB_GASPRICE, fake_exponential};
use revm::context::BlockEnv;
use revm::context_interface::block::BlobExcessGasAndPrice;
use revm::primitives::hardfork::SpecId;
use revm::primitives::{Address, B256, U256};

/// Bytes of an address in front of which a header's beneficiary has zeros.
const BENEFICIARY_PADDING: usize = 12;

/// Context of one block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvmBlockContext {
    /// The rules in force.
    pub spec: SpecId,
    /// Number of the block.
    pub number: u64,
    /// Its time in seconds since the Unix epoch.
    pub timestamp_s: u64,
    /// Who receives the fees.
    pub beneficiary: Address,
    /// Most gas that the block may use.
    pub gas_limit: u64,
    /// Base fee per gas in wei; 0 before London.
    pub base_fee: u64,
    /// Difficulty; 0 from the merge on.
    pub difficulty: U256,
    /// Randomness of the beacon chain, from the merge on.
    pub prevrandao: Option<B256>,
    /// Excess blob gas and the fraction by which the blob price is updated, from Cancun on.
    pub blobs: Option<BlobContext>,
    /// Slot number, from Amsterdam on.
    pub slot: u64,
    /// Hashes of earlier blocks, by number, ascending: of the last 256, those that the block may ask for.
    pub block_hashes: Vec<(u64, B256)>,
}

/// What the price of blobs follows from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobContext {
    /// Excess blob gas.
    pub excess_gas: u64,
    /// Update fraction of the blob base fee.
    pub update_fraction: u64,
}

impl BlobContext {
    /// Price of a unit of blob gas, in wei; one that 128 bits do not hold is the greatest they do.
    ///
    /// Source: EIP-4844, `fake_exponential`.
    #[must_use]
    pub fn price(&self) -> u128 {
        // Zero is not decoded.
        let fraction = self.update_fraction.max(1);
        fake_exponential(BLOB_TX_MIN_BLOB_GASPRICE, self.excess_gas.into(), fraction.into())
    }
}

impl EvmBlockContext {
    /// The header of a block in this context.
    #[must_use]
    pub fn header(&self) -> BlockHeader {
        let mut beneficiary = [0; 32];
        beneficiary[BENEFICIARY_PADDING..].copy_from_slice(self.beneficiary.as_slice());
        let mut extra = vec![self.spec as u8];
        extra.put_u64(self.gas_limit);
        extra.put_u64(self.base_fee);
        extra.put_u256(&self.difficulty);
        extra.put_optional(self.prevrandao, |extra, hash| extra.extend_from_slice(hash.as_slice()));
        extra.put_optional(self.blobs, |extra, blobs| {
            extra.put_u64(blobs.excess_gas);
            extra.put_u64(blobs.update_fraction);
        });
        extra.put_u64(self.slot);
        extra.put_count(self.block_hashes.len());
        for (number, hash) in &self.block_hashes {
            extra.put_u64(*number);
            extra.extend_from_slice(hash.as_slice());
        }
        BlockHeader { height: self.number, timestamp_s: self.timestamp_s, beneficiary, extra }
    }

    /// The context that a header carries.
    ///
    /// # Errors
    /// [`WireError`] when the header is not that of an Ethereum block.
    pub fn of_header(header: &BlockHeader) -> Result<EvmBlockContext, WireError> {
        let mut reader = WireReader::new(&header.extra);
        let spec = reader.byte("spec")?;
        let context = EvmBlockContext {
            spec: SpecId::try_from_u8(spec)
                .ok_or(WireError::BadValue { field: "spec", value: spec.into() })?,
            number: header.height,
            timestamp_s: header.timestamp_s,
            beneficiary: EvmBlockContext::beneficiary_of(header),
            gas_limit: reader.u64("gas limit")?,
            base_fee: reader.u64("base fee")?,
            difficulty: reader.u256("difficulty")?,
            prevrandao: reader.optional("prevrandao", |reader| reader.hash("prevrandao"))?,
            blobs: reader.optional("blob gas", |reader| {
                let (excess_gas, update_fraction) =
                    (reader.u64("excess blob gas")?, reader.u64("blob fee fraction")?);
                // The price is a division by it.
                if update_fraction == 0 {
                    return Err(WireError::BadValue { field: "blob fee fraction", value: 0 });
                }
                Ok(BlobContext { excess_gas, update_fraction })
            })?,
            slot: reader.u64("slot")?,
            block_hashes: reader.list("block hashes", 40, |reader| {
                Ok((reader.u64("number of a block hash")?, reader.hash("block hash")?))
            })?,
        };
        reader.end()?;
        Ok(context)
    }

    /// The beneficiary alone.
    pub(super) fn beneficiary_of(header: &BlockHeader) -> Address {
        Address::from_slice(&header.beneficiary[BENEFICIARY_PADDING..])
    }

    /// The same for revm.
    #[must_use]
    pub fn block_env(&self) -> BlockEnv {
        BlockEnv {
            number: U256::from(self.number),
            beneficiary: self.beneficiary,
            timestamp: U256::from(self.timestamp_s),
            gas_limit: self.gas_limit,
            basefee: self.base_fee,
            difficulty: self.difficulty,
            prevrandao: self.prevrandao,
            blob_excess_gas_and_price: self.blobs.map(|blobs| BlobExcessGasAndPrice {
                excess_blob_gas: blobs.excess_gas,
                blob_gasprice: blobs.price(),
            }),
            slot_num: self.slot,
        }
    }

    /// The hash of an earlier block, if the context has it.
    #[must_use]
    pub fn block_hash(&self, number: u64) -> Option<B256> {
        let place = self.block_hashes.binary_search_by_key(&number, |&(number, _)| number).ok()?;
        self.block_hashes.get(place).map(|&(_, hash)| hash)
    }
}

#[cfg(test)]
mod tests {
    //! What would break: a shard that executes under other rules than the coordinator asked for; a price of blobs that has wrapped
    //! around, so that blobs are cheap when they are dearest (revm's own does from some 190 million units of excess on).

    use super::*;

    /// Control run: with revm's own price it fails in the second loop (by an overflow, where those are looked for).
    #[test]
    fn the_price_of_blobs_is_revms_and_goes_on_rising_where_that_wraps_around() {
        let price = |excess_gas| BlobContext { excess_gas, update_fraction: 3_338_477 }.price();
        for excess in (0..150_000_000).step_by(1_234_567) {
            assert_eq!(
                price(excess),
                BlobExcessGasAndPrice::new(excess, 3_338_477).blob_gasprice,
                "{excess}"
            );
        }
        // Each step of ten million multiplies it by e to the power of 10,000,000 / 3,338,477, which is 19.99.
        for excess in (150_000_000..280_000_000).step_by(10_000_000) {
            let (before, after) = (price(excess), price(excess + 10_000_000));
            assert!(before.saturating_mul(19) < after && after < before.saturating_mul(21), "{excess}");
        }
        assert_eq!(price(400_000_000), u128::MAX);
        assert_eq!(price(u64::MAX), u128::MAX);
    }

    #[test]
    fn a_context_survives_its_header() {
        for spec in (0..=SpecId::AMSTERDAM as u8).filter_map(SpecId::try_from_u8) {
            let late = (spec as u8).is_multiple_of(2);
            let context = EvmBlockContext {
                spec,
                number: 19_426_587,
                timestamp_s: 1_710_338_135,
                beneficiary: Address::repeat_byte(9),
                gas_limit: 30_000_000,
                base_fee: 77,
                difficulty: U256::MAX,
                prevrandao: late.then_some(B256::repeat_byte(3)),
                blobs: late.then_some(BlobContext { excess_gas: 5, update_fraction: 3_338_477 }),
                slot: 12,
                block_hashes: vec![(5, B256::repeat_byte(5)), (9, B256::repeat_byte(9))],
            };
            let header = context.header();
            assert_eq!(EvmBlockContext::of_header(&header).as_ref(), Ok(&context));
            assert_eq!(context.block_hash(9), Some(B256::repeat_byte(9)));
            assert_eq!(context.block_hash(6), None);
            for end in 0..header.extra.len() {
                let cut = BlockHeader { extra: header.extra[..end].to_vec(), ..header.clone() };
                assert!(EvmBlockContext::of_header(&cut).is_err(), "{end}");
            }
        }
    }
}
