//! A block as `eth_getBlockByNumber` with full transactions returns it.

use crate::ethereum::field::Field;
use crate::ethereum::mainnet::{blob_update_fraction, mainnet_spec};
use crate::ethereum::{BlockAccessList, InputError};
use phalanx::vm::evm::revm::context::TxEnv;
use phalanx::vm::evm::revm::context::transaction::{
    AccessList, AccessListItem, Authorization, RecoveredAuthority, RecoveredAuthorization,
    SignedAuthorization,
};
use phalanx::vm::evm::revm::context_interface::either::Either;
use phalanx::vm::evm::revm::primitives::hardfork::SpecId;
use phalanx::vm::evm::revm::primitives::{Address, B256, Bytes, TxKind, U256};
use phalanx::vm::evm::{BlobContext, EvmBlockContext};

/// Transaction types that are known.
const TYPES: u64 = 5;
/// Bytes of a bloom filter.
pub const BLOOM_BYTES: usize = 256;

/// A block and what its header says of its execution.
#[derive(Clone, Debug)]
pub struct BlockFile {
    /// Context of the execution; without hashes of earlier blocks.
    pub context: EvmBlockContext,
    /// Transactions; the signer is what the file says.
    pub transactions: Vec<TxEnv>,
    /// Sum of the gas used.
    pub gas_used: u64,
    /// Root of the receipts' trie.
    pub receipts_root: B256,
    /// Union of the logs' blooms.
    pub logs_bloom: Bytes,
    /// Root of the parent's beacon block, from Cancun on.
    pub parent_beacon_root: Option<B256>,
    /// Hash of the parent.
    pub parent_hash: B256,
    /// The block's access list, where the file has it.
    pub access_list: Option<BlockAccessList>,
}

impl BlockFile {
    /// Reads the block out of a file.
    ///
    /// # Errors
    /// `Field`.
    pub fn read(block: &Field<'_>) -> Result<BlockFile, InputError> {
        let number = block.get("number").u64()?;
        let timestamp_s = block.get("timestamp").u64()?;
        let spec = mainnet_spec(number, timestamp_s);
        let merged = spec.is_enabled_in(SpecId::MERGE);
        let base_fee =
            if spec.is_enabled_in(SpecId::LONDON) { block.get("baseFeePerGas").u64()? } else { 0 };
        let blobs = spec.is_enabled_in(SpecId::CANCUN).then(|| block.get("excessBlobGas").u64());
        let blobs = blobs
            .transpose()?
            .map(|excess_gas| BlobContext { excess_gas, update_fraction: blob_update_fraction(timestamp_s) });
        let parent_beacon_root =
            spec.is_enabled_in(SpecId::CANCUN).then(|| block.get("parentBeaconBlockRoot").hash());
        let bloom = block.get("logsBloom");
        let logs_bloom = bloom.bytes()?;
        if logs_bloom.len() != BLOOM_BYTES {
            return Err(bloom.wrong("256 bytes in hexadecimal"));
        }
        let context = EvmBlockContext {
            spec,
            number,
            timestamp_s,
            beneficiary: block.get("miner").address()?,
            gas_limit: block.get("gasLimit").u64()?,
            base_fee,
            difficulty: if merged { U256::ZERO } else { block.get("difficulty").number()? },
            prevrandao: merged.then(|| block.get("mixHash").hash()).transpose()?,
            blobs,
            slot: 0,
            block_hashes: Vec::new(),
        };
        let transactions = block.get("transactions").items()?;
        let transactions = transactions.iter().map(transaction).collect::<Result<_, _>>()?;
        Ok(BlockFile {
            context,
            transactions,
            gas_used: block.get("gasUsed").u64()?,
            receipts_root: block.get("receiptsRoot").hash()?,
            logs_bloom,
            parent_beacon_root: parent_beacon_root.transpose()?,
            parent_hash: block.get("parentHash").hash()?,
            access_list: block
                .get("blockAccessList")
                .present()
                .map(|list| BlockAccessList::read(&list))
                .transpose()?,
        })
    }
}

fn transaction(tx: &Field<'_>) -> Result<TxEnv, InputError> {
    let kind_of_transaction = tx.get("type");
    let tx_type = kind_of_transaction.present().map_or(Ok(0), |kind| kind.u64())?;
    let tx_type = u8::try_from(tx_type).ok().filter(|&known| u64::from(known) < TYPES);
    let tx_type = tx_type.ok_or_else(|| kind_of_transaction.wrong("a transaction type from 0x0 to 0x4"))?;
    let to = tx.get("to").present().map(|to| to.address()).transpose()?;
    let priced = if tx_type >= 2 { "maxFeePerGas" } else { "gasPrice" };
    let list = |name: &str, wanted: bool| match (wanted, tx.get(name).present()) {
        (true, Some(list)) => list.items(),
        (true, None) => Err(tx.get(name).wrong("a list")),
        (false, _) => Ok(Vec::new()),
    };
    let access_list = list("accessList", tx_type >= 1)?;
    let blob_hashes = list("blobVersionedHashes", tx_type == 3)?;
    let authorizations = list("authorizationList", tx_type == 4)?;
    Ok(TxEnv {
        tx_type,
        caller: tx.get("from").address()?,
        gas_limit: tx.get("gas").u64()?,
        gas_price: tx.get(priced).u128()?,
        kind: to.map_or(TxKind::Create, TxKind::Call),
        value: tx.get("value").number()?,
        data: tx.get("input").bytes()?,
        nonce: tx.get("nonce").u64()?,
        chain_id: tx.get("chainId").present().map(|id| id.u64()).transpose()?,
        access_list: AccessList(access_list.iter().map(access_entry).collect::<Result<_, _>>()?),
        gas_priority_fee: (tx_type >= 2).then(|| tx.get("maxPriorityFeePerGas").u128()).transpose()?,
        blob_hashes: blob_hashes.iter().map(Field::hash).collect::<Result<_, _>>()?,
        max_fee_per_blob_gas: if tx_type == 3 { tx.get("maxFeePerBlobGas").u128()? } else { 0 },
        authorization_list: authorizations.iter().map(authorization).collect::<Result<_, _>>()?,
    })
}

fn access_entry(entry: &Field<'_>) -> Result<AccessListItem, InputError> {
    let slots = entry.get("storageKeys").items()?;
    Ok(AccessListItem {
        address: entry.get("address").address()?,
        storage_keys: slots.iter().map(Field::hash).collect::<Result<_, _>>()?,
    })
}

fn authorization(
    entry: &Field<'_>,
) -> Result<Either<SignedAuthorization, RecoveredAuthorization>, InputError> {
    let inner = Authorization {
        chain_id: entry.get("chainId").number()?,
        address: entry.get("address").address()?,
        nonce: entry.get("nonce").u64()?,
    };
    let parity = entry.get("yParity");
    let parity = parity.present().unwrap_or_else(|| entry.get("v")).u64()?;
    // No signature has another parity: the authority is then unknown, which is allowed.
    let signed = u8::try_from(parity).ok().map(|parity| {
        let (r, s) = (entry.get("r").number(), entry.get("s").number());
        Ok(SignedAuthorization::new_unchecked(inner.clone(), parity, r?, s?))
    });
    let authority: Option<Address> = signed.transpose()?.and_then(|signed| signed.recover_authority().ok());
    let authority = authority.map_or(RecoveredAuthority::Invalid, RecoveredAuthority::Valid);
    Ok(Either::Right(RecoveredAuthorization::new_unchecked(inner, authority)))
}
