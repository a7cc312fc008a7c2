//! A sidecar: what the transactions of blocks were seen to touch, for a later run.
//!
//! One JSON object per line and block: `block`, and `transactions`, a list with an object for each transaction (`cost_ns`,
//! `accesses`: pairs of mode and key in hexadecimal).

use crate::ethereum::InputError;
use crate::ethereum::field::Field;
use phalanx::types::{AccessMode, HintWriter, NamedKeys, TransactionAccess};
use phalanx::vm::evm::AccessSet;
use phalanx::vm::evm::revm::primitives::hex;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

/// What the items of one block touch, the protocol's own calls included, as a block declares it: keys numbered, hashed and
/// indexed once, and for each item the numbers of its keys.
#[derive(Clone, Debug, Default)]
pub struct BlockAccess {
    keys: NamedKeys,
    accesses: Vec<TransactionAccess>,
    items: Vec<ItemAccess>,
}

/// What one item touches.
#[derive(Clone, Copy, Debug)]
struct ItemAccess {
    /// Where its accesses end; they start where those of the one before end.
    end: usize,
    cost_ns: u32,
}

impl BlockAccess {
    /// These sets, item by item.
    #[must_use]
    pub fn of(sets: Vec<AccessSet>) -> BlockAccess {
        let mut block = BlockAccess::default();
        for AccessSet { accesses, cost_ns } in sets {
            for (key, mode) in accesses {
                let access = |key| TransactionAccess { key, mode: mode as u32 };
                block.accesses.extend(block.keys.name(&key).map(access));
            }
            block.items.push(ItemAccess { end: block.accesses.len(), cost_ns });
        }
        block
    }

    /// Number of items.
    #[must_use]
    pub fn items(&self) -> usize {
        self.items.len()
    }

    /// The keys of a block whose items are to be [declared](Self::declare).
    #[must_use]
    pub fn keys(&self) -> &NamedKeys {
        &self.keys
    }

    /// Declares what one item touches.
    pub fn declare(&self, item: usize, hint: &mut HintWriter<'_>) {
        let Some(&ItemAccess { end, cost_ns }) = self.items.get(item) else { return };
        let start = item.checked_sub(1).map_or(0, |before| self.items[before].end);
        hint.named(&self.accesses[start..end]);
        if cost_ns > 0 {
            hint.cost_ns(cost_ns);
        }
    }
}

const MODES: [(&str, AccessMode); 6] = [
    ("read", AccessMode::Read),
    ("write", AccessMode::Write),
    ("read-write", AccessMode::ReadWrite),
    ("add", AccessMode::Add),
    ("near", AccessMode::Near),
    ("check", AccessMode::Check),
];

/// Writes the line of one block.
///
/// # Errors
/// What the system says.
pub fn write_access(to: &mut impl Write, block: u64, access: &[AccessSet]) -> std::io::Result<()> {
    let name = |mode: AccessMode| MODES.iter().find(|(_, known)| *known == mode).map_or("", |(name, _)| name);
    let transactions: Vec<Value> = access
        .iter()
        .map(|set| {
            let accesses = set.accesses.iter();
            let accesses: Vec<_> =
                accesses.map(|(key, mode)| json!([name(*mode), hex::encode_prefixed(key)])).collect();
            json!({ "cost_ns": set.cost_ns, "accesses": accesses })
        })
        .collect();
    writeln!(to, "{}", json!({ "block": block, "transactions": transactions }))
}

/// Reads a sidecar: access sets by block number.
///
/// # Errors
/// [`InputError`].
pub fn read_access(path: &Path) -> Result<HashMap<u64, BlockAccess>, InputError> {
    let unreadable = |source| InputError::Unreadable { file: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let mut blocks = HashMap::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let json: Value = serde_json::from_str(line)
            .map_err(|source| InputError::NotJson { file: path.to_owned(), source })?;
        let block = Field::whole(path, &json);
        let sets = block.get("transactions").items()?;
        let sets = sets.iter().map(access_set).collect::<Result<_, _>>()?;
        blocks.insert(block.get("block").u64()?, BlockAccess::of(sets));
    }
    Ok(blocks)
}

fn access_set(set: &Field<'_>) -> Result<AccessSet, InputError> {
    let cost = set.get("cost_ns");
    let cost_ns = u32::try_from(cost.u64()?).map_err(|_| cost.wrong("nanoseconds in 32 bits"))?;
    let accesses = set.get("accesses").items()?.into_iter().map(|access| {
        let pair = access.items()?;
        let [mode, key] = pair.as_slice() else { return Err(access.wrong("a pair of mode and key")) };
        let known = MODES.iter().find(|(name, _)| mode.text() == Some(name));
        let (_, known) = known.ok_or_else(|| mode.wrong("read, write, read-write, add, near or check"))?;
        Ok((key.bytes()?.to_vec(), *known))
    });
    Ok(AccessSet { accesses: accesses.collect::<Result<_, _>>()?, cost_ns })
}

#[cfg(test)]
mod tests {
    //! What would break: a key that stands for another one, so that every plan is made of wrong hints; a block that changes the keys
    //! which it has in common with others. Negative controls run: with the accesses of the next item, and with a block without
    //! the keys, it fails.

    use super::*;
    use phalanx::types::{Block, BlockHeader, PreparedBlock};

    #[test]
    fn numbered_keys_declare_what_their_sets_do() {
        let set = |item: u8| AccessSet {
            accesses: (0..6).map(|key| (vec![key * 7 % 5 + item, key], MODES[usize::from(key)].1)).collect(),
            cost_ns: u32::from(item) * 900,
        };
        let sets: Vec<AccessSet> = (0..40).map(|item| set(item % 9)).collect();
        let mut plain = PreparedBlock::new(BlockHeader::default());
        let block = BlockAccess::of(sets.clone());
        let mut numbered = PreparedBlock::with_keys(&Block::default(), block.keys());
        for (item, AccessSet { accesses, cost_ns }) in sets.iter().enumerate() {
            let declare = |hint: &mut HintWriter<'_>| {
                accesses.iter().for_each(|(key, mode)| hint.access(key, *mode));
                if *cost_ns > 0 {
                    hint.cost_ns(*cost_ns);
                }
            };
            plain.push(b"transaction", declare).unwrap();
            numbered.push(b"transaction", |hint| block.declare(item, hint)).unwrap();
        }
        assert_eq!((numbered.transactions(), numbered.accesses()), (plain.transactions(), plain.accesses()));
        assert_eq!((numbered.keys(), numbered.key_bytes()), (plain.keys(), plain.key_bytes()));
        assert_eq!(block.items(), sets.len());
        let shared = numbered.clone();
        for block in [&mut numbered, &mut plain] {
            block.push(b"transaction", |hint| hint.access(b"new", AccessMode::Add)).unwrap();
        }
        assert_eq!((numbered.keys(), numbered.accesses()), (plain.keys(), plain.accesses()));
        assert_eq!(shared.keys().len() + 1, numbered.keys().len(), "others do not see what came later");
    }
}
