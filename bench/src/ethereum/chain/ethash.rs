//! Whether a header's proof of work holds (Ethash), without the great data set: each piece of it that is needed is made
//! out of the cache.

use crate::ethereum::chain::Rejection;
use alloy_consensus::Header;
use alloy_rlp::Encodable;
use parking_lot::Mutex;
use phalanx::vm::evm::revm::primitives::{B256, U256, keccak256};
use sha3::{Digest, Keccak512};
use std::sync::Arc;

/// Blocks for which one cache serves.
const EPOCH_BLOCKS: u64 = 30_000;
/// Sizes in bytes of the cache and of the data set: of the first epoch, and how they grow.
const CACHE_BYTES: u64 = 1 << 24;
const CACHE_GROWTH: u64 = 1 << 17;
const SET_BYTES: u64 = 1 << 30;
const SET_GROWTH: u64 = 1 << 23;
/// Rounds in which the cache is mixed.
const CACHE_ROUNDS: usize = 3;
/// Items of the cache that one item of the data set is made of.
const PARENTS: u32 = 256;
/// Pieces of the data set that a proof looks at, and words of each.
const ACCESSES: u32 = 64;
const MIX_WORDS: usize = 32;
/// Bytes and words of an item of cache or data set.
const ITEM_BYTES: u64 = 64;
const ITEM_WORDS: usize = 16;
const FNV_PRIME: u32 = 0x0100_0193;

/// An item of cache or data set.
type Item = [u32; ITEM_WORDS];

/// Whether proofs of work are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealCheck {
    /// The chain's blocks have none that would hold, as most tests' do.
    Off,
    /// They must hold.
    Ethash,
}

impl SealCheck {
    /// Checks the proof of work of a header whose difficulty is right.
    ///
    /// # Errors
    /// [`Rejection::Seal`].
    pub(super) fn check(self, header: &Header) -> Result<(), Rejection> {
        match self {
            SealCheck::Off => Ok(()),
            SealCheck::Ethash => check_work(header),
        }
    }
}

/// The cache that was used last: making one takes about a second.
static LAST: Mutex<Option<(u64, Arc<Vec<Item>>)>> = Mutex::new(None);

fn check_work(header: &Header) -> Result<(), Rejection> {
    let epoch = header.number / EPOCH_BLOCKS;
    let cache = {
        let mut last = LAST.lock();
        match &*last {
            Some((kept, cache)) if *kept == epoch => Arc::clone(cache),
            Some(_) | None => {
                let cache = Arc::new(make_cache(epoch));
                *last = Some((epoch, Arc::clone(&cache)));
                cache
            }
        }
    };
    let (mix, result) = hash_light(&cache, epoch, sealed_hash(header), header.nonce.into());
    if mix != header.mix_hash {
        return Err(Rejection::Seal("the mix is another one"));
    }
    let bound = U256::MAX.checked_div(header.difficulty).unwrap_or(U256::ZERO);
    if U256::from_be_bytes(result.0) > bound {
        return Err(Rejection::Seal("the difficulty is not reached"));
    }
    Ok(())
}

/// Keccak-256 of the header without the proof.
fn sealed_hash(header: &Header) -> B256 {
    let fields: [&dyn Encodable; 13] = [
        &header.parent_hash,
        &header.ommers_hash,
        &header.beneficiary,
        &header.state_root,
        &header.transactions_root,
        &header.receipts_root,
        &header.logs_bloom,
        &header.difficulty,
        &header.number,
        &header.gas_limit,
        &header.gas_used,
        &header.timestamp,
        &header.extra_data,
    ];
    let mut payload = Vec::new();
    fields.iter().for_each(|field| field.encode(&mut payload));
    if let Some(base_fee) = header.base_fee_per_gas {
        base_fee.encode(&mut payload);
    }
    let mut bytes = Vec::new();
    alloy_rlp::Header { list: true, payload_length: payload.len() }.encode(&mut bytes);
    bytes.extend_from_slice(&payload);
    keccak256(bytes)
}

fn is_prime(number: u64) -> bool {
    number > 1
        && (2..)
            .take_while(|divisor| divisor * divisor <= number)
            .all(|divisor| !number.is_multiple_of(divisor))
}

/// The greatest prime number of items of `bytes` that take no more than `size` bytes less one item.
fn prime_items(size: u64, bytes: u64) -> u64 {
    let mut items = (size - bytes) / bytes;
    while !is_prime(items) {
        items -= 1;
    }
    items
}

fn words(bytes: &[u8]) -> Item {
    let mut words = [0; ITEM_WORDS];
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(4)) {
        *word = u32::from_le_bytes(bytes.try_into().unwrap_or_default());
    }
    words
}

fn bytes_of(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn keccak512(bytes: &[u8]) -> Item {
    words(&Keccak512::digest(bytes))
}

fn fnv(left: u32, right: u32) -> u32 {
    left.wrapping_mul(FNV_PRIME) ^ right
}

fn make_cache(epoch: u64) -> Vec<Item> {
    let items = prime_items(CACHE_BYTES + CACHE_GROWTH * epoch, ITEM_BYTES);
    // A few hundred thousand.
    let items = usize::try_from(items).unwrap_or(usize::MAX);
    let mut seed = B256::ZERO;
    for _ in 0..epoch {
        seed = keccak256(seed);
    }
    let mut cache = Vec::with_capacity(items);
    let mut last = keccak512(seed.as_slice());
    for _ in 0..items {
        cache.push(last);
        last = keccak512(&bytes_of(&last));
    }
    for _ in 0..CACHE_ROUNDS {
        for place in 0..items {
            let before = cache[(place + items - 1) % items];
            let other = cache[cache[place][0] as usize % items];
            let mixed: Vec<u32> = before.iter().zip(&other).map(|(left, right)| left ^ right).collect();
            cache[place] = keccak512(&bytes_of(&mixed));
        }
    }
    cache
}

/// One item of the data set.
fn set_item(cache: &[Item], number: u32) -> Item {
    let mut mix = cache[number as usize % cache.len()];
    mix[0] ^= number;
    mix = keccak512(&bytes_of(&mix));
    for parent in 0..PARENTS {
        let from = fnv(number ^ parent, mix[parent as usize % ITEM_WORDS]);
        let from = &cache[from as usize % cache.len()];
        mix.iter_mut().zip(from).for_each(|(word, other)| *word = fnv(*word, *other));
    }
    keccak512(&bytes_of(&mix))
}

/// The mix and the result of a proof.
fn hash_light(cache: &[Item], epoch: u64, header: B256, nonce: u64) -> (B256, B256) {
    let pages = prime_items(SET_BYTES + SET_GROWTH * epoch, 2 * ITEM_BYTES);
    // Fewer than 2^32 for any block number that a chain will reach.
    let pages = u32::try_from(pages).unwrap_or(u32::MAX);
    let seed = keccak512(&[header.as_slice(), &nonce.to_le_bytes()].concat());
    let mut mix: [u32; MIX_WORDS] = std::array::from_fn(|place| seed[place % ITEM_WORDS]);
    for access in 0..ACCESSES {
        let page = fnv(access ^ seed[0], mix[access as usize % MIX_WORDS]) % pages;
        let halves = [set_item(cache, 2 * page), set_item(cache, 2 * page + 1)];
        let data = halves.iter().flatten();
        mix.iter_mut().zip(data).for_each(|(word, other)| *word = fnv(*word, *other));
    }
    let folded: Vec<u32> =
        mix.chunks_exact(4).map(|four| fnv(fnv(fnv(four[0], four[1]), four[2]), four[3])).collect();
    let mix = B256::from_slice(&bytes_of(&folded));
    let result = keccak256([&bytes_of(&seed)[..], mix.as_slice()].concat());
    (mix, result)
}

#[cfg(test)]
mod tests {
    //! The oracle is the first block of mainnet: its hash shows that the header is written down right, and its proof of work
    //! holds. What would break: a valid block of proof of work refused, or any other taken.

    use super::*;
    use alloy_primitives::{B64, Bytes, address, b256, hex};

    fn first_block() -> Header {
        Header {
            parent_hash: b256!("d4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3"),
            ommers_hash: alloy_consensus::constants::EMPTY_OMMER_ROOT_HASH,
            beneficiary: address!("05a56e2d52c817161883f50c441c3228cfe54d9f"),
            state_root: b256!("d67e4d450343046425ae4271474353857ab860dbc0a1dde64b41b5cd3a532bf3"),
            transactions_root: alloy_consensus::constants::EMPTY_ROOT_HASH,
            receipts_root: alloy_consensus::constants::EMPTY_ROOT_HASH,
            difficulty: U256::from(0x3_ff80_0000_u64),
            number: 1,
            gas_limit: 5_000,
            timestamp: 0x55ba_4224,
            extra_data: Bytes::from_static(&hex!("476574682f76312e302e302f6c696e75782f676f312e342e32")),
            mix_hash: b256!("969b900de27b6ac6a67742365dd65f55a0526c41fd18e1b16f1a1215c2e66f59"),
            nonce: B64::from(hex!("539bd4979fef1ec4")),
            ..Header::default()
        }
    }

    #[test]
    fn the_first_block_of_mainnet_holds_and_no_change_of_it_does() {
        let right = first_block();
        let hash = b256!("88e96d4537bea4d9c05d12549907b32561d3bf31f45aae734cdc119f13406cb6");
        assert_eq!(right.hash_slow(), hash);
        assert_eq!(check_work(&right), Ok(()));
        let other_mix = Err(Rejection::Seal("the mix is another one"));
        assert_eq!(check_work(&Header { nonce: B64::repeat_byte(1), ..right.clone() }), other_mix);
        assert_eq!(check_work(&Header { gas_used: 1, ..right.clone() }), other_mix);
        // The difficulty is part of what is sealed, so that a harder bound is tried on the same seal.
        let cache = make_cache(0);
        let (mix, result) = hash_light(&cache, 0, sealed_hash(&right), right.nonce.into());
        assert_eq!(mix, right.mix_hash);
        assert!(U256::from_be_bytes(result.0) > U256::MAX / U256::from(u128::MAX));
    }
}
