//! Ethereum transactions as blocks hold them: decoded fields, signer known, in the layout of `docs/layout.md`.

use crate::vm::evm::wire::{WireError, WireReader, WireWrite};
use revm::context::TxEnv;
use revm::context::transaction::{
    AccessList, AccessListItem, Authorization, AuthorizationTr, RecoveredAuthority, RecoveredAuthorization,
};
use revm::context_interface::either::Either;
use revm::primitives::{Address, Bytes, TxKind};

pub(super) const KIND_USER: u8 = 1;
const KIND_SYSTEM: u8 = 2;
const KIND_CREDIT: u8 = 3;

/// Least encoded length of an entry of an access list and of an authorization.
const ACCESS_ENTRY_BYTES: usize = 24;
const AUTHORIZATION_BYTES: usize = 61;

/// One item of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EvmTransaction {
    /// A user's transaction. Its signature was checked when the signer was found.
    User(Box<TxEnv>),
    /// A call that the protocol makes at the beginning or the end of a block (EIP-4788, 2935, 7002, 7251). Without
    /// code at the address nothing happens.
    System {
        /// The contract.
        contract: Address,
        /// What it is called with.
        input: Bytes,
    },
    /// Coins that the protocol brings into being: block and ommer rewards, withdrawals.
    Credit {
        /// Who receives them.
        account: Address,
        /// How many, in wei.
        amount: u128,
    },
}

impl EvmTransaction {
    /// The encoding.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(256);
        match self {
            EvmTransaction::User(tx) => {
                bytes.push(KIND_USER);
                encode_user(&mut bytes, tx);
            }
            EvmTransaction::System { contract, input } => {
                bytes.push(KIND_SYSTEM);
                bytes.extend_from_slice(contract.as_slice());
                bytes.put_counted(input);
            }
            EvmTransaction::Credit { account, amount } => {
                bytes.push(KIND_CREDIT);
                bytes.extend_from_slice(account.as_slice());
                bytes.put_u128(*amount);
            }
        }
        bytes
    }

    /// The transaction that `bytes` encode.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn decode(bytes: &[u8]) -> Result<EvmTransaction, WireError> {
        let mut reader = WireReader::new(bytes);
        let transaction = match reader.byte("kind of transaction")? {
            KIND_USER => EvmTransaction::User(Box::new(decode_user(&mut reader)?)),
            KIND_SYSTEM => EvmTransaction::System {
                contract: reader.address("system contract")?,
                input: Bytes::copy_from_slice(reader.counted("input")?),
            },
            KIND_CREDIT => EvmTransaction::Credit {
                account: reader.address("credited account")?,
                amount: reader.u128("credit")?,
            },
            kind => return Err(WireError::BadValue { field: "kind of transaction", value: kind.into() }),
        };
        reader.end()?;
        Ok(transaction)
    }
}

fn encode_user(bytes: &mut Vec<u8>, tx: &TxEnv) {
    bytes.push(tx.tx_type);
    bytes.extend_from_slice(tx.caller.as_slice());
    bytes.put_optional(tx.kind.to(), |bytes, to| bytes.extend_from_slice(to.as_slice()));
    bytes.put_u64(tx.nonce);
    bytes.put_u64(tx.gas_limit);
    bytes.put_u128(tx.gas_price);
    bytes.put_optional(tx.gas_priority_fee, |bytes, fee| bytes.put_u128(fee));
    bytes.put_u256(&tx.value);
    bytes.put_optional(tx.chain_id, |bytes, id| bytes.put_u64(id));
    bytes.put_counted(&tx.data);
    bytes.put_count(tx.access_list.0.len());
    for entry in &tx.access_list.0 {
        bytes.extend_from_slice(entry.address.as_slice());
        bytes.put_count(entry.storage_keys.len());
        entry.storage_keys.iter().for_each(|slot| bytes.extend_from_slice(slot.as_slice()));
    }
    bytes.put_u128(tx.max_fee_per_blob_gas);
    bytes.put_count(tx.blob_hashes.len());
    tx.blob_hashes.iter().for_each(|hash| bytes.extend_from_slice(hash.as_slice()));
    bytes.put_count(tx.authorization_list.len());
    for authorization in &tx.authorization_list {
        bytes.put_u256(&authorization.chain_id());
        bytes.extend_from_slice(authorization.address().as_slice());
        bytes.put_u64(authorization.nonce());
        bytes.put_optional(authorization.authority(), |bytes, who| bytes.extend_from_slice(who.as_slice()));
    }
}

fn decode_user(reader: &mut WireReader<'_>) -> Result<TxEnv, WireError> {
    Ok(TxEnv {
        tx_type: reader.byte("transaction type")?,
        caller: reader.address("sender")?,
        kind: reader
            .optional("recipient", |reader| reader.address("recipient"))?
            .map_or(TxKind::Create, TxKind::Call),
        nonce: reader.u64("nonce")?,
        gas_limit: reader.u64("gas limit")?,
        gas_price: reader.u128("gas price")?,
        gas_priority_fee: reader.optional("priority fee", |reader| reader.u128("priority fee"))?,
        value: reader.u256("value")?,
        chain_id: reader.optional("chain id", |reader| reader.u64("chain id"))?,
        data: Bytes::copy_from_slice(reader.counted("input")?),
        access_list: AccessList(reader.list("access list", ACCESS_ENTRY_BYTES, |reader| {
            Ok(AccessListItem {
                address: reader.address("address of the access list")?,
                storage_keys: reader.list("slots of the access list", 32, |reader| reader.hash("slot"))?,
            })
        })?),
        max_fee_per_blob_gas: reader.u128("blob fee")?,
        blob_hashes: reader.list("blob hashes", 32, |reader| reader.hash("blob hash"))?,
        authorization_list: reader.list("authorizations", AUTHORIZATION_BYTES, |reader| {
            let inner = Authorization {
                chain_id: reader.u256("chain id of an authorization")?,
                address: reader.address("delegate")?,
                nonce: reader.u64("nonce of an authorization")?,
            };
            let authority = reader.optional("authority", |reader| reader.address("authority"))?;
            let authority = authority.map_or(RecoveredAuthority::Invalid, RecoveredAuthority::Valid);
            Ok(Either::Right(RecoveredAuthorization::new_unchecked(inner, authority)))
        })?,
    })
}

#[cfg(test)]
mod tests {
    //! What would break: a field lost or put elsewhere on the way to a shard, or a count that makes a shard allocate
    //! without bound.

    use super::*;
    use crate::vm::evm::outline::Outline;
    use proptest::prelude::*;
    use revm::primitives::{B256, U256};

    fn full(seed: u64) -> TxEnv {
        let byte = |salt: u64| (seed.wrapping_mul(31).wrapping_add(salt) % 251) as u8;
        let authority = |valid: bool, salt| {
            let authority = Address::repeat_byte(byte(salt));
            let inner = Authorization {
                chain_id: U256::from(seed),
                address: Address::repeat_byte(byte(salt + 1)),
                nonce: seed,
            };
            let known =
                if valid { RecoveredAuthority::Valid(authority) } else { RecoveredAuthority::Invalid };
            Either::Right(RecoveredAuthorization::new_unchecked(inner, known))
        };
        TxEnv {
            tx_type: byte(1) % 5,
            caller: Address::repeat_byte(byte(2)),
            kind: if seed.is_multiple_of(2) {
                TxKind::Create
            } else {
                TxKind::Call(Address::repeat_byte(byte(3)))
            },
            nonce: seed,
            gas_limit: seed ^ 77,
            gas_price: u128::from(seed) << 40,
            gas_priority_fee: seed.is_multiple_of(3).then_some(u128::from(seed)),
            value: U256::from(seed) << 190,
            chain_id: (!seed.is_multiple_of(5)).then_some(seed),
            data: Bytes::from(vec![byte(4); (seed % 90) as usize]),
            access_list: AccessList(vec![AccessListItem {
                address: Address::repeat_byte(byte(5)),
                storage_keys: vec![B256::repeat_byte(byte(6)); (seed % 4) as usize],
            }]),
            max_fee_per_blob_gas: u128::from(seed) + 9,
            blob_hashes: vec![B256::repeat_byte(byte(7)); (seed % 3) as usize],
            authorization_list: vec![authority(true, 8), authority(false, 9)],
        }
    }

    /// The outline has the fields of the transaction.
    fn assert_outlined(bytes: &[u8], transaction: &EvmTransaction) {
        let outline = Outline::of(bytes);
        let EvmTransaction::User(tx) = transaction else { return assert!(outline.is_none()) };
        let outline = outline.unwrap();
        assert_eq!((outline.sender, outline.recipient), (tx.caller, tx.kind.to().copied()));
        assert_eq!((outline.nonce, outline.gas_limit, outline.value), (tx.nonce, tx.gas_limit, tx.value));
        assert_eq!(outline.input, &tx.data[..]);
        let mut listed = Vec::new();
        outline.for_each_listed(|account, slot| listed.push((account, slot)));
        let entries = tx.access_list.0.iter();
        let expected = entries.flat_map(|entry| {
            let slots = entry.storage_keys.iter().map(|slot| (entry.address, Some(*slot)));
            std::iter::once((entry.address, None)).chain(slots)
        });
        assert_eq!(listed, expected.collect::<Vec<_>>());
    }

    proptest! {
        #[test]
        fn a_transaction_comes_back_as_it_was(seed: u64) {
            for transaction in [
                EvmTransaction::User(Box::new(full(seed))),
                EvmTransaction::Credit { account: Address::repeat_byte(1), amount: u128::from(seed) },
                EvmTransaction::System { contract: Address::repeat_byte(2), input: vec![7; 32].into() },
            ] {
                let bytes = transaction.encode();
                assert_outlined(&bytes, &transaction);
                prop_assert_eq!(EvmTransaction::decode(&bytes), Ok(transaction));
                for end in 0..bytes.len() {
                    prop_assert!(EvmTransaction::decode(&bytes[..end]).is_err());
                }
            }
        }

        #[test]
        fn any_bytes_are_refused_or_decoded_without_harm(bytes: Vec<u8>) {
            let _ = EvmTransaction::decode(&bytes);
            if let Some(outline) = Outline::of(&bytes) {
                outline.for_each_listed(|_, _| {});
            }
        }
    }

    #[test]
    fn a_count_that_the_bytes_cannot_hold_is_refused_before_anything_is_made() {
        let mut bytes = EvmTransaction::User(Box::default()).encode();
        let at = bytes.len() - 4;
        bytes[at..].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(
            EvmTransaction::decode(&bytes),
            Err(WireError::CutOff { field: "authorizations", .. })
        ));
    }
}
