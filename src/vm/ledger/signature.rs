//! Signatures: ed25519 by the rules of ZIP 215 (<https://zips.z.cash/zip-0215>), under which a batch holds if and only if
//! each signature in it does. A batch costs less than half of what its signatures cost one by one.

use crate::vm::Finding;
use ed25519_zebra::batch::{Item, Verifier};
use ed25519_zebra::{Signature, VerificationKeyBytes};
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::SeedableRng;

/// The signature is the sender's.
pub(super) const GENUINE: Finding = Finding(1);
/// It is not.
pub(super) const FORGED: Finding = Finding(2);

/// Signatures that are checked together: beyond that, more bring little.
pub(super) const BATCH: usize = 64;

/// Keeps the coefficients from meaning anything elsewhere.
const SEED_CONTEXT: &str = "phalanx ledger signature batch 1";

/// A signature with everything that its check needs.
pub(super) struct SignedMessage {
    item: Item,
}

impl SignedMessage {
    /// `message` is what was signed.
    pub(super) fn new(sender: [u8; 32], signature: [u8; 64], message: &[u8]) -> SignedMessage {
        let (sender, signature) = (VerificationKeyBytes::from(sender), Signature::from(signature));
        SignedMessage { item: Item::from((sender, signature, message)) }
    }

    /// Whether the signature is the sender's, by a check of its own.
    pub(super) fn is_genuine(&self) -> bool {
        self.item.clone().verify_single().is_ok()
    }
}

/// Signatures to be checked together, each with its place among the transactions examined.
#[derive(Default)]
pub(super) struct SignatureBatch {
    signed: Vec<(usize, SignedMessage)>,
    seed: Option<blake3::Hasher>,
}

impl SignatureBatch {
    /// `encoded` is the whole transaction. It decides, with all others, by which coefficients the signatures are added up: so
    /// the check is a function of the transactions alone, and who chooses them cannot choose the coefficients.
    pub(super) fn push(&mut self, place: usize, encoded: &[u8], signed: SignedMessage) {
        let seed = self.seed.get_or_insert_with(|| blake3::Hasher::new_derive_key(SEED_CONTEXT));
        seed.update(&(encoded.len() as u64).to_le_bytes()).update(encoded);
        self.signed.push((place, signed));
    }

    /// Checks all and leaves what was found at their places; the batch is empty afterwards.
    pub(super) fn judge(&mut self, findings: &mut [Finding]) {
        let Some(seed) = self.seed.take() else { return };
        let mut together = Verifier::new();
        for (_, signed) in &self.signed {
            together.queue(signed.item.clone());
        }
        let all_hold = together.verify(ChaCha12Rng::from_seed(*seed.finalize().as_bytes())).is_ok();
        for (place, signed) in self.signed.drain(..) {
            if let Some(finding) = findings.get_mut(place) {
                *finding = if all_hold || signed.is_genuine() { GENUINE } else { FORGED };
            }
        }
    }
}
