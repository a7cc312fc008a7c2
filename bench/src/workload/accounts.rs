//! Accounts of a workload, derived from its seed.

use crate::workload::parallel::in_parallel;
use ed25519_dalek::SigningKey;
use phalanx::vm::ledger::{Address, RawTransaction};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Streams of random numbers under one seed, so that one use does not shift another.
#[derive(Clone, Copy, Debug)]
#[repr(u64)]
pub(super) enum Stream {
    Accounts = 1,
    Beneficiary = 2,
    Ranks = 3,
    Transfers = 4,
    Mixed = 5,
}

/// The random numbers of one use.
pub(super) fn random(seed: u64, stream: Stream) -> ChaCha8Rng {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(stream as u64);
    random
}

/// Addresses of a workload's accounts, with their keys if it is signed.
#[derive(Clone, Debug)]
pub struct Accounts {
    addresses: Vec<Address>,
    /// Empty if the workload is not signed.
    keys: Vec<SigningKey>,
}

impl Accounts {
    /// Derives `count` accounts, on all available cores. With `signed`, each has a key pair (some 20 us each);
    /// otherwise the addresses are plain random bytes, with no work on the curve.
    #[must_use]
    pub fn derive(seed: u64, count: usize, signed: bool) -> Accounts {
        let secrets = in_parallel(count, |part| {
            let mut random = random(seed, Stream::Accounts);
            // A secret takes 8 words of 4 bytes.
            random.set_word_pos(part.start as u128 * 8);
            part.map(|_| {
                let mut secret = [0; 32];
                random.fill_bytes(&mut secret);
                secret
            })
            .collect()
        });
        if !signed {
            return Accounts { addresses: secrets.into_iter().map(Address).collect(), keys: Vec::new() };
        }
        let keys = in_parallel(count, |part| secrets[part].iter().map(SigningKey::from_bytes).collect());
        let addresses = keys.iter().map(|key| Address(key.verifying_key().to_bytes())).collect();
        Accounts { addresses, keys }
    }

    /// Number of accounts.
    #[must_use]
    pub fn len(&self) -> usize {
        self.addresses.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }

    /// All addresses, by account number.
    #[must_use]
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// The key of an account; `None` if there is no such account or the workload is not signed.
    #[must_use]
    pub fn key(&self, account: usize) -> Option<&SigningKey> {
        self.keys.get(account)
    }

    /// `raw` as block bytes, signed by `signer` if the workload is signed. A transaction that does not encode (the
    /// generators make none) becomes no bytes at all, which the ledger reports as undecodable.
    #[must_use]
    pub fn encode(&self, raw: RawTransaction, signer: usize) -> Vec<u8> {
        let signed = match self.key(signer) {
            Some(key) => raw.sign(key),
            None => Ok(raw.unsigned()),
        };
        signed.and_then(|signed| signed.encode()).unwrap_or_default()
    }
}

/// The beneficiary of a workload's blocks: an address that is none of its accounts.
pub(super) fn dedicated_beneficiary(seed: u64) -> Address {
    let mut bytes = [0; 32];
    random(seed, Stream::Beneficiary).fill_bytes(&mut bytes);
    Address(bytes)
}
