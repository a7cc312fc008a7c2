//! Who may sign: the validators' keys, and what a signature must satisfy.

use crate::quorum_store::proof::{MAX_VALIDATORS, SIGNATURE_BYTES};
use crate::quorum_store::{Signature, SignerSet, ValidatorId};
use blst::BLST_ERROR;
use blst::min_pk::{AggregateSignature, PublicKey, SecretKey, Signature as BlsSignature};
use std::fmt;
use thiserror::Error;

/// Signs for one validator and checks the signatures of all. Calls may take milliseconds.
pub trait Keys: Send + Sync + fmt::Debug {
    /// Signs as this validator.
    fn sign(&self, message: &[u8]) -> Signature;

    /// Whether a signature is this validator's.
    fn verify(&self, signer: ValidatorId, message: &[u8], signature: &Signature) -> bool;

    /// One signature of all these under the same message; `None` if one of them is no signature at all.
    fn aggregate(&self, signatures: &[Signature]) -> Option<Signature>;

    /// Whether an aggregate is of exactly these signers.
    fn verify_aggregate(&self, signers: SignerSet, message: &[u8], signature: &Signature) -> bool;

    /// Number of validators.
    fn validators(&self) -> usize;

    /// Voters that are a quorum: more than two thirds.
    fn quorum(&self) -> usize {
        self.validators() * 2 / 3 + 1
    }
}

const SIGNING_TAG: &[u8] = b"BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_";
const POSSESSION_TAG: &[u8] = b"BLS_POP_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_";

/// A set of validators that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KeysError {
    /// No such number of validators.
    #[error("{count} validators are not possible; choose 1 to {MAX_VALIDATORS}")]
    Count {
        /// How many were given.
        count: usize,
    },
    /// A key that its owner has not shown to hold: with such keys one could sign for others.
    #[error("validator {validator} does not prove that it holds its key; have it register again")]
    Possession {
        /// Whose key.
        validator: ValidatorId,
    },
    /// Bytes that are no secret key.
    #[error("a seed of validator {validator} gives no key; give 32 random bytes")]
    Seed {
        /// Whose.
        validator: ValidatorId,
    },
}

/// A public key, with the proof that its owner holds the secret one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegisteredKey {
    /// The compressed key.
    pub key: [u8; 48],
    /// Signature of the key under itself.
    pub possession: Signature,
}

/// A secret key.
pub struct BlsSecret(SecretKey);

impl fmt::Debug for BlsSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BlsSecret")
    }
}

impl BlsSecret {
    /// The key of a seed of 32 random bytes.
    ///
    /// # Errors
    /// `Seed`, which names `validator`.
    pub fn from_seed(validator: ValidatorId, seed: &[u8; 32]) -> Result<BlsSecret, KeysError> {
        SecretKey::key_gen(seed, &[]).map(BlsSecret).map_err(|_| KeysError::Seed { validator })
    }

    /// What the owner shows to the others.
    #[must_use]
    pub fn register(&self) -> RegisteredKey {
        let key = self.0.sk_to_pk().to_bytes();
        let possession = Signature(self.0.sign(&key, POSSESSION_TAG, &[]).to_bytes());
        RegisteredKey { key, possession }
    }
}

/// BLS signatures over BLS12-381: many under the same message are checked at the cost of one.
pub struct BlsKeys {
    secret: SecretKey,
    public: Vec<PublicKey>,
}

impl fmt::Debug for BlsKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlsKeys of {} validators", self.public.len())
    }
}

impl BlsKeys {
    /// The keys of a set in which this validator has `secret`.
    ///
    /// # Errors
    /// `Count`, `Possession`.
    pub fn new(secret: BlsSecret, registered: &[RegisteredKey]) -> Result<BlsKeys, KeysError> {
        if !(1..=MAX_VALIDATORS).contains(&registered.len()) {
            return Err(KeysError::Count { count: registered.len() });
        }
        let mut public = Vec::with_capacity(registered.len());
        for (validator, one) in (0_u16..).map(ValidatorId).zip(registered) {
            let key = PublicKey::key_validate(&one.key).map_err(|_| KeysError::Possession { validator })?;
            let possession = BlsSignature::uncompress(&one.possession.0);
            let holds = possession.is_ok_and(|proof| {
                proof.verify(true, &one.key, POSSESSION_TAG, &[], &key, false) == BLST_ERROR::BLST_SUCCESS
            });
            if !holds {
                return Err(KeysError::Possession { validator });
            }
            public.push(key);
        }
        Ok(BlsKeys { secret: secret.0, public })
    }
}

fn parse(signature: &Signature) -> Option<BlsSignature> {
    BlsSignature::uncompress(&signature.0).ok()
}

impl Keys for BlsKeys {
    fn sign(&self, message: &[u8]) -> Signature {
        Signature(self.secret.sign(message, SIGNING_TAG, &[]).to_bytes())
    }

    fn verify(&self, signer: ValidatorId, message: &[u8], signature: &Signature) -> bool {
        let (Some(key), Some(signature)) = (self.public.get(signer.index()), parse(signature)) else {
            return false;
        };
        signature.verify(true, message, SIGNING_TAG, &[], key, false) == BLST_ERROR::BLST_SUCCESS
    }

    fn aggregate(&self, signatures: &[Signature]) -> Option<Signature> {
        let parsed: Vec<BlsSignature> = signatures.iter().map(parse).collect::<Option<_>>()?;
        let all: Vec<&BlsSignature> = parsed.iter().collect();
        let aggregate = AggregateSignature::aggregate(&all, true).ok()?;
        Some(Signature(aggregate.to_signature().to_bytes()))
    }

    fn verify_aggregate(&self, signers: SignerSet, message: &[u8], signature: &Signature) -> bool {
        let keys: Option<Vec<&PublicKey>> =
            signers.iter().map(|signer| self.public.get(signer.index())).collect();
        let (Some(keys), Some(signature)) = (keys, parse(signature)) else { return false };
        !keys.is_empty()
            && signature.fast_aggregate_verify(true, message, SIGNING_TAG, &keys) == BLST_ERROR::BLST_SUCCESS
    }

    fn validators(&self) -> usize {
        self.public.len()
    }
}

const _: () = assert!(SIGNATURE_BYTES == 96);
