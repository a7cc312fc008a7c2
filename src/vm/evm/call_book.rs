//! What similar calls touched before: hints for transactions of which nothing is declared.
//!
//! Calls are similar if they go to the same contract with the same selector. A key that they touched is remembered as it
//! is, or by how it follows from the call: the slot of a mapping under the sender or under a word of the input.

use crate::types::{AccessMode, HintWriter};
use crate::vm::evm::hints::declare_near;
use crate::vm::evm::outline::Outline;
use crate::vm::evm::{AccessSet, EvmField, EvmKey};
use revm::primitives::{Address, B256, U256, keccak256};
use std::collections::HashMap;

/// Words of the input that a key may follow from.
const WORDS: u8 = 8;
/// Places of mappings that are tried.
const POSITIONS: u8 = 12;
/// Kinds of calls remembered; past it all are forgotten.
const CALLS_MAX: usize = 1 << 16;
/// Keys remembered of one kind of call.
const PARTS_MAX: usize = 512;
/// Sightings after which older ones begin to fade.
const SEEN_MAX: u32 = 16;

/// Part of the similar calls that must have touched a key for it to be declared: to wait for nothing takes longer than to execute
/// a few transactions again.
const LIKELY: (u64, u64) = (4, 5);

/// Which calls are similar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct CallKind {
    contract: Address,
    selector: [u8; 4],
}

/// What a key follows from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Word {
    Sender,
    Input(u8),
}

/// A key, or how to find it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Part {
    Fixed(Vec<u8>),
    /// The slot of the mapping at `position` of `contract` under a word.
    Mapped {
        contract: Address,
        word: Word,
        position: u8,
    },
    /// Balance, code or nonce of the account that a word names.
    Balance(Word),
    CodeOf(Word),
    Nonce(Word),
}

/// How often a part was seen, and how it was touched last.
#[derive(Clone, Copy, Debug)]
struct Sighting {
    count: u32,
    mode: AccessMode,
    /// Place in the order of touching, as last seen.
    order: u32,
}

#[derive(Clone, Debug, Default)]
struct Pattern {
    seen: u32,
    cost_ns: u32,
    parts: HashMap<Part, Sighting>,
    /// Parts that most calls touched, in the order of touching.
    likely: Vec<(Part, AccessMode)>,
}

/// Remembers what calls touched. Its answers are hints: wrong ones cost time only.
#[derive(Clone, Debug, Default)]
pub struct CallBook {
    calls: HashMap<CallKind, Pattern>,
}

impl CallBook {
    /// Learns what an encoded transaction touched.
    pub fn observe(&mut self, transaction: &[u8], touched: &AccessSet) {
        let Some(tx) = Outline::of(transaction) else { return };
        let Some(kind) = kind_of(&tx) else { return };
        if self.calls.len() >= CALLS_MAX {
            self.calls.clear();
        }
        let words = words_of(&tx);
        let slots = mapped_slots(&words);
        let pattern = self.calls.entry(kind).or_default();
        pattern.fade();
        pattern.seen += 1;
        if touched.cost_ns > 0 {
            let before = if pattern.cost_ns == 0 { touched.cost_ns } else { pattern.cost_ns };
            pattern.cost_ns = before / 2 + touched.cost_ns / 2;
        }
        for (order, (key, mode)) in (0_u32..).zip(&touched.accesses) {
            let Some(part) = part_of(key, &words, &slots) else { continue };
            if pattern.parts.len() >= PARTS_MAX && !pattern.parts.contains_key(&part) {
                continue;
            }
            let sighting = pattern.parts.entry(part).or_insert(Sighting { count: 0, mode: *mode, order });
            (sighting.count, sighting.order) = (sighting.count + 1, order);
            sighting.mode = if sighting.mode == *mode { *mode } else { careful(sighting.mode, *mode) };
        }
        pattern.rank();
    }

    /// Declares what most of the similar calls touched, and their cost; false if nothing is known.
    #[must_use]
    pub fn declare(&self, transaction: &[u8], hint: &mut HintWriter<'_>) -> bool {
        let Some(tx) = Outline::of(transaction) else { return false };
        let Some(pattern) = kind_of(&tx).and_then(|kind| self.calls.get(&kind)) else { return false };
        let words = words_of(&tx);
        for (part, mode) in &pattern.likely {
            match (part, key_of(part, &words)) {
                (Part::Fixed(key), _) => hint.access(key, *mode),
                (_, Some(key)) => hint.access(key.as_slice(), *mode),
                (_, None) => {}
            }
        }
        if let Some(to) = tx.recipient {
            declare_near(to, hint);
        }
        if pattern.cost_ns > 0 {
            hint.cost_ns(pattern.cost_ns);
        }
        true
    }
}

impl Pattern {
    fn rank(&mut self) {
        let likely =
            |sighting: &Sighting| u64::from(sighting.count) * LIKELY.1 >= u64::from(self.seen) * LIKELY.0;
        let mut likely: Vec<(&Part, &Sighting)> =
            self.parts.iter().filter(|(_, sighting)| likely(sighting)).collect();
        likely.sort_unstable_by_key(|(_, sighting)| sighting.order);
        self.likely = likely.into_iter().map(|(part, sighting)| (part.clone(), sighting.mode)).collect();
    }

    fn fade(&mut self) {
        if self.seen < SEEN_MAX {
            return;
        }
        self.seen /= 2;
        self.parts.retain(|_, sighting| {
            sighting.count /= 2;
            sighting.count > 0
        });
    }
}

fn kind_of(tx: &Outline<'_>) -> Option<CallKind> {
    let contract = tx.recipient?;
    let selector = tx.input.first_chunk::<4>().copied().unwrap_or_default();
    // A plain transfer touches what it says, and nothing is learned from it.
    if tx.input.is_empty() { None } else { Some(CallKind { contract, selector }) }
}

/// Sender and first words of the input. Small numbers name no account and no entry of a mapping.
fn words_of(tx: &Outline<'_>) -> Vec<(Word, B256)> {
    let mut words = vec![(Word::Sender, tx.sender.into_word())];
    for (place, chunk) in (0..WORDS).zip(tx.input.get(4..).unwrap_or(&[]).chunks_exact(32)) {
        let word = B256::from_slice(chunk);
        if U256::from_be_bytes(word.0).bit_len() > 64 && words.iter().all(|(_, known)| *known != word) {
            words.push((Word::Input(place), word));
        }
    }
    words
}

fn mapped_slot(word: &B256, position: u8) -> U256 {
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(word.as_slice());
    bytes[63] = position;
    keccak256(bytes).into()
}

fn mapped_slots(words: &[(Word, B256)]) -> HashMap<U256, (Word, u8)> {
    let slots = words.iter().flat_map(|(word, value)| {
        (0..POSITIONS).map(move |position| (mapped_slot(value, position), (*word, position)))
    });
    slots.collect()
}

fn part_of(key: &[u8], words: &[(Word, B256)], slots: &HashMap<U256, (Word, u8)>) -> Option<Part> {
    let fixed = || Part::Fixed(key.to_vec());
    let named = |account: Address, part: fn(Word) -> Part| {
        let word = words.iter().find(|(_, value)| Address::from_word(*value) == account);
        word.map_or_else(fixed, |(word, _)| part(*word))
    };
    Some(match EvmField::of_key(key)? {
        EvmField::Balance(account) => named(account, Part::Balance),
        EvmField::Nonce(account) => named(account, Part::Nonce),
        EvmField::CodeOf(account) => named(account, Part::CodeOf),
        EvmField::Slot(contract, 0, slot) => {
            slots.get(&slot).map_or_else(fixed, |&(word, position)| Part::Mapped { contract, word, position })
        }
        EvmField::Slot(..) | EvmField::Exists(_) => fixed(),
        // What a hash stands for never changes.
        EvmField::Code(_) => return None,
    })
}

/// The key of a part that follows from a word.
fn key_of(part: &Part, words: &[(Word, B256)]) -> Option<EvmKey> {
    let value = |word: &Word| words.iter().find(|(known, _)| known == word).map(|(_, value)| value);
    let account = |word: &Word| value(word).map(|value| Address::from_word(*value));
    Some(match part {
        Part::Fixed(_) => return None,
        Part::Mapped { contract, word, position } => {
            EvmKey::slot(*contract, 0, mapped_slot(value(word)?, *position))
        }
        Part::Balance(word) => EvmKey::balance(account(word)?),
        Part::CodeOf(word) => EvmKey::code_of(account(word)?),
        Part::Nonce(word) => EvmKey::nonce(account(word)?),
    })
}

/// The mode that fits both.
fn careful(left: AccessMode, right: AccessMode) -> AccessMode {
    match (left, right) {
        (AccessMode::Check, other) | (other, AccessMode::Check) => other,
        (left, right) if left == right => left,
        _ => AccessMode::ReadWrite,
    }
}
