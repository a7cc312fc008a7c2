//! A sidecar: what the transactions of blocks were seen to touch, for a later run.
//!
//! One JSON object per line and block: `block`, and `transactions`, a list with an object for each transaction (`cost_ns`,
//! `accesses`: pairs of mode and key in hexadecimal).

use crate::ethereum::InputError;
use crate::ethereum::field::Field;
use phalanx::types::AccessMode;
use phalanx::vm::evm::AccessSet;
use phalanx::vm::evm::revm::primitives::hex;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

/// What the items of one block touched, the protocol's own calls included.
pub type BlockAccess = Vec<AccessSet>;

const MODES: [(&str, AccessMode); 5] = [
    ("read", AccessMode::Read),
    ("write", AccessMode::Write),
    ("read-write", AccessMode::ReadWrite),
    ("add", AccessMode::Add),
    ("near", AccessMode::Near),
];

/// Writes the line of one block.
///
/// # Errors
/// What the system says.
pub fn write_access(to: &mut impl Write, block: u64, access: &BlockAccess) -> std::io::Result<()> {
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
        blocks.insert(block.get("block").u64()?, sets);
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
        let (_, known) = known.ok_or_else(|| mode.wrong("read, write, read-write, add or near"))?;
        Ok((key.bytes()?.to_vec(), *known))
    });
    Ok(AccessSet { accesses: accesses.collect::<Result<_, _>>()?, cost_ns })
}
