//! Blocks as bytes: header, transactions, ommers and, from Shanghai on, withdrawals.

use crate::ethereum::chain::Rejection;
use alloy_consensus::transaction::RlpEcdsaDecodableTx;
use alloy_consensus::{EthereumTxEnvelope, Header, TxEip4844, TxLegacy};
use alloy_eips::eip2718::Decodable2718;
use alloy_eips::eip4895::Withdrawal;
use alloy_rlp::{Decodable, Header as Head};
use alloy_trie::root::{ordered_trie_root, ordered_trie_root_encoded};
use phalanx::vm::evm::revm::primitives::{B256, keccak256};

/// A transaction with its signature; blobs are not part of blocks.
pub(super) type Envelope = EthereumTxEnvelope<TxEip4844>;

/// A block that was decoded. Nothing of it was checked beyond its layout.
#[derive(Clone, Debug)]
pub struct DecodedBlock {
    /// The header.
    pub header: Header,
    /// Keccak-256 of the header as it stood in the bytes.
    pub hash: B256,
    /// The transactions.
    pub transactions: Vec<Envelope>,
    /// Root of the trie of the transactions, as they stood in the bytes.
    pub transactions_root: B256,
    /// Headers of the ommers, with their hashes.
    pub ommers: Vec<(B256, Header)>,
    /// Keccak-256 of the list of ommers.
    pub ommers_hash: B256,
    /// Withdrawals, if the block has a list of them.
    pub withdrawals: Option<Vec<Withdrawal>>,
    /// Length of all.
    pub bytes: usize,
}

/// Takes the next item off the front, with its head.
fn item<'a>(from: &mut &'a [u8]) -> Result<(Head, &'a [u8]), alloy_rlp::Error> {
    let mut rest = *from;
    let head = Head::decode(&mut rest)?;
    let start = from.len() - rest.len();
    let whole = from.get(..start + head.payload_length).ok_or(alloy_rlp::Error::InputTooShort)?;
    *from = &from[whole.len()..];
    Ok((head, whole))
}

/// Takes the next item, which must be a list, and returns the whole and its items.
fn list<'a>(from: &mut &'a [u8]) -> Result<(&'a [u8], &'a [u8]), alloy_rlp::Error> {
    let (head, whole) = item(from)?;
    if !head.list {
        return Err(alloy_rlp::Error::UnexpectedString);
    }
    Ok((whole, &whole[whole.len() - head.payload_length..]))
}

fn undecodable(part: impl Into<String>) -> impl FnOnce(alloy_rlp::Error) -> Rejection {
    let part = part.into();
    move |cause| Rejection::Undecodable { part, cause: cause.to_string() }
}

impl DecodedBlock {
    /// The block that `bytes` encode.
    ///
    /// # Errors
    /// [`Rejection::Undecodable`].
    pub fn decode(bytes: &[u8]) -> Result<DecodedBlock, Rejection> {
        let mut rest = bytes;
        let (_, mut parts) = list(&mut rest).map_err(undecodable("the block"))?;
        let left_over = |part: &str| {
            undecodable(part)(alloy_rlp::Error::Custom("bytes are left over behind the last part"))
        };
        if !rest.is_empty() {
            return Err(left_over("the block"));
        }
        let (header, hash) = header(&mut parts).map_err(undecodable("the header"))?;
        let (_, transactions) = list(&mut parts).map_err(undecodable("the list of transactions"))?;
        let (transactions, transactions_root) = decode_transactions(transactions)?;
        let (raw_ommers, mut ommer_list) = list(&mut parts).map_err(undecodable("the list of ommers"))?;
        let mut ommers = Vec::new();
        while !ommer_list.is_empty() {
            let part = format!("ommer {}", ommers.len());
            let (header, hash) = self::header(&mut ommer_list).map_err(undecodable(part))?;
            ommers.push((hash, header));
        }
        let withdrawals = if parts.is_empty() {
            None
        } else {
            Some(Vec::<Withdrawal>::decode(&mut parts).map_err(undecodable("the withdrawals"))?)
        };
        if !parts.is_empty() {
            return Err(left_over("the block"));
        }
        let ommers_hash = keccak256(raw_ommers);
        let bytes = bytes.len();
        Ok(DecodedBlock {
            header,
            hash,
            transactions,
            transactions_root,
            ommers,
            ommers_hash,
            withdrawals,
            bytes,
        })
    }

    /// Checks that ommers and withdrawals are those that the header names.
    ///
    /// # Errors
    /// [`Rejection::Hash`], [`Rejection::Missing`], [`Rejection::TooEarly`].
    pub(super) fn check_parts(&self) -> Result<(), Rejection> {
        Rejection::unless_same("ommers hash", self.header.ommers_hash, self.ommers_hash)?;
        match (&self.withdrawals, self.header.withdrawals_root) {
            (Some(withdrawals), Some(claimed)) => {
                let right = ordered_trie_root::<Withdrawal>(withdrawals);
                Rejection::unless_same("withdrawals root", claimed, right)
            }
            (None, None) => Ok(()),
            (None, Some(_)) => Err(Rejection::Missing("list of withdrawals")),
            (Some(_), None) => Err(Rejection::TooEarly("list of withdrawals")),
        }
    }

    /// Checks that the transactions are those that the header names.
    ///
    /// # Errors
    /// [`Rejection::Hash`].
    pub(super) fn check_transactions(&self) -> Result<(), Rejection> {
        Rejection::unless_same("transactions root", self.header.transactions_root, self.transactions_root)
    }
}

fn header(from: &mut &[u8]) -> Result<(Header, B256), alloy_rlp::Error> {
    let (whole, _) = list(from)?;
    Ok((Header::decode(&mut &*whole)?, keccak256(whole)))
}

fn decode_transactions(mut items: &[u8]) -> Result<(Vec<Envelope>, B256), Rejection> {
    let (mut decoded, mut encoded) = (Vec::new(), Vec::new());
    while !items.is_empty() {
        let txn = decoded.len();
        let failed = |cause: String| Rejection::Undecodable { part: format!("transaction {txn}"), cause };
        let (head, whole) = item(&mut items).map_err(|error| failed(error.to_string()))?;
        // One of a type stands as a string of bytes, one without as a list.
        let bytes = if head.list { whole } else { &whole[whole.len() - head.payload_length..] };
        if !head.list && !matches!(bytes.first(), Some(1..=0x7f)) {
            return Err(failed("it has no type".to_owned()));
        }
        let mut rest = bytes;
        let envelope = if head.list {
            let legacy = TxLegacy::rlp_decode_signed(&mut rest).map(Envelope::Legacy);
            legacy.map_err(|error| failed(error.to_string()))?
        } else {
            Envelope::decode_2718(&mut rest).map_err(|error| failed(error.to_string()))?
        };
        if !rest.is_empty() {
            return Err(failed(format!("{} bytes are left over", rest.len())));
        }
        decoded.push(envelope);
        encoded.push(bytes);
    }
    Ok((decoded, ordered_trie_root_encoded(&encoded)))
}
