//! Signatures under batch infos, and the proof that a quorum has stored a batch.

use crate::quorum_store::{BatchInfo, ValidatorId};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Most validators of a set.
pub const MAX_VALIDATORS: usize = 128;

/// A signature, of one validator or aggregated.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signature(pub [u8; SIGNATURE_BYTES]);

/// Length of a signature.
pub const SIGNATURE_BYTES: usize = 96;

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}{:02x}..", self.0[0], self.0[1])
    }
}

impl Serialize for Signature {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Signature {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Signature, D::Error> {
        deserializer.deserialize_bytes(SignatureVisitor)
    }
}

struct SignatureVisitor;

impl serde::de::Visitor<'_> for SignatureVisitor {
    type Value = Signature;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SIGNATURE_BYTES} bytes")
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Signature, E> {
        <[u8; SIGNATURE_BYTES]>::try_from(bytes)
            .map(Signature)
            .map_err(|_| E::invalid_length(bytes.len(), &self))
    }
}

/// A set of validators.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SignerSet(u128);

impl SignerSet {
    /// Adds one; false if it was there already, or no set can hold it.
    pub fn insert(&mut self, validator: ValidatorId) -> bool {
        let new = validator.index() < MAX_VALIDATORS && !self.contains(validator);
        if new {
            self.0 |= 1 << validator.0;
        }
        new
    }

    /// Whether one is in it.
    #[must_use]
    pub fn contains(self, validator: ValidatorId) -> bool {
        validator.index() < MAX_VALIDATORS && self.0 >> validator.0 & 1 == 1
    }

    /// All of them, ascending.
    pub fn iter(self) -> impl Iterator<Item = ValidatorId> {
        (0..128_u16).map(ValidatorId).filter(move |&validator| self.contains(validator))
    }

    /// How many.
    #[must_use]
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether nobody is in it.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<ValidatorId> for SignerSet {
    fn from_iter<I: IntoIterator<Item = ValidatorId>>(validators: I) -> SignerSet {
        let mut set = SignerSet::default();
        validators.into_iter().for_each(|validator| _ = set.insert(validator));
        set
    }
}

/// A validator says that it has stored a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedBatchInfo {
    /// The batch.
    pub info: BatchInfo,
    /// Who says it.
    pub signer: ValidatorId,
    /// Its signature under [`BatchInfo::signing_bytes`].
    pub signature: Signature,
}

/// A quorum has stored a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProofOfStore {
    /// The batch.
    pub info: BatchInfo,
    /// Who signed.
    pub signers: SignerSet,
    /// Their signatures, aggregated.
    pub signature: Signature,
}
