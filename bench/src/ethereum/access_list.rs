//! Block access lists (EIP-7928): what every transaction of a block changes, so that each can run without the others.
//!
//! A file holds one JSON object per line and block: `block`, and `blockAccessList` in the shape of the standard. An index of 0
//! stands for the protocol's calls before the first transaction, the one behind the last for what comes after it.

use crate::ethereum::InputError;
use crate::ethereum::field::Field;
use phalanx::vm::evm::revm::primitives::hardfork::SpecId;
use phalanx::vm::evm::revm::primitives::{Address, Bytes, KECCAK_EMPTY, U256, hex};
use phalanx::vm::evm::revm::state::EvmState;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write;
use std::path::Path;

/// Values after transactions, by block access index.
pub(super) type Changes<T> = BTreeMap<u64, T>;

/// What a block does to one account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct AccountAccess {
    pub(super) slots: BTreeMap<U256, Changes<U256>>,
    read: BTreeSet<U256>,
    pub(super) balances: Changes<U256>,
    pub(super) nonces: Changes<u64>,
    pub(super) codes: Changes<Bytes>,
}

impl AccountAccess {
    /// The indices from which on a new life of the storage counts, in order. Code goes only with its account before Cancun, and
    /// only a delegation goes after it.
    pub(super) fn lives(&self, spec: SpecId) -> Vec<u64> {
        let gone = self.codes.iter().filter(|(_, code)| code.is_empty());
        if spec.is_enabled_in(SpecId::CANCUN) { Vec::new() } else { gone.map(|(index, _)| *index).collect() }
    }
}

/// Number of the life at an index, if the first one was in force before the block.
pub(super) fn life_at(lives: &[u64], index: u64) -> u64 {
    lives.iter().filter(|begins| **begins <= index).count() as u64
}

/// What a block does to all accounts that it touches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockAccessList {
    accounts: BTreeMap<Address, AccountAccess>,
}

impl BlockAccessList {
    /// Reads a list.
    ///
    /// # Errors
    /// `Field`.
    pub fn read(list: &Field<'_>) -> Result<BlockAccessList, InputError> {
        let mut accounts = BTreeMap::new();
        for account in list.items()? {
            let mut access = AccountAccess::default();
            for slot in part(&account, "storageChanges")? {
                let changes = either(&slot, ["changes", "slotChanges"]).items()?;
                let changes = changes.iter().map(|one| change(one, ["value", "newValue", "postValue"]));
                let number = either(&slot, ["key", "slot"]).number()?;
                access.slots.insert(number, changes.collect::<Result<_, _>>()?);
            }
            access.read =
                part(&account, "storageReads")?.iter().map(Field::number).collect::<Result<_, _>>()?;
            for one in part(&account, "balanceChanges")? {
                access.balances.extend([change(&one, ["value", "postBalance"])?]);
            }
            for one in part(&account, "nonceChanges")? {
                access.nonces.insert(index(&one)?, either(&one, ["value", "newNonce"]).u64()?);
            }
            for one in part(&account, "codeChanges")? {
                access.codes.insert(index(&one)?, either(&one, ["code", "newCode"]).bytes()?);
            }
            accounts.insert(account.get("address").address()?, access);
        }
        Ok(BlockAccessList { accounts })
    }

    /// The list in the shape of the standard.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let pair = |index: &u64, name: &str, value: Value| json!({ "index": hex_of(*index), name: value });
        let accounts = self.accounts.iter().map(|(address, access)| {
            let slots = access.slots.iter().map(|(slot, changes)| {
                let changes = changes.iter().map(|(index, value)| pair(index, "value", json!(hex_of(value))));
                json!({ "key": hex_of(slot), "changes": changes.collect::<Vec<_>>() })
            });
            let balances =
                access.balances.iter().map(|(index, value)| pair(index, "value", json!(hex_of(value))));
            let nonces =
                access.nonces.iter().map(|(index, nonce)| pair(index, "value", json!(hex_of(nonce))));
            let codes = access.codes.iter();
            let codes = codes.map(|(index, code)| pair(index, "code", json!(hex::encode_prefixed(code))));
            json!({
                "address": hex::encode_prefixed(address),
                "storageChanges": slots.collect::<Vec<_>>(),
                "storageReads": access.read.iter().map(hex_of).collect::<Vec<_>>(),
                "balanceChanges": balances.collect::<Vec<_>>(),
                "nonceChanges": nonces.collect::<Vec<_>>(),
                "codeChanges": codes.collect::<Vec<_>>(),
            })
        });
        Value::Array(accounts.collect())
    }

    /// Adds what revm's journal shows of one transaction or call.
    pub(super) fn observe(&mut self, index: u64, changes: &EvmState, before: impl Fn(&Address) -> Before) {
        for (address, account) in changes {
            let access = self.accounts.entry(*address).or_default();
            let gone = account.is_touched() && (account.is_selfdestructed() || account.is_empty());
            let after = if gone { Before::default() } else { Before::of(&account.info) };
            let before = before(address);
            if after.balance != before.balance {
                access.balances.insert(index, after.balance);
            }
            if after.nonce != before.nonce {
                access.nonces.insert(index, after.nonce);
            }
            if after.code_hash != before.code_hash {
                let code = account.info.code.as_ref().filter(|_| !gone);
                access.codes.insert(index, code.map(|code| code.original_bytes()).unwrap_or_default());
            }
            for (slot, value) in &account.storage {
                if value.is_changed() && !gone {
                    access.slots.entry(*slot).or_default().insert(index, value.present_value);
                } else {
                    access.read.insert(*slot);
                }
            }
        }
        for access in self.accounts.values_mut() {
            let AccountAccess { slots, read, .. } = access;
            read.retain(|slot| !slots.contains_key(slot));
        }
    }

    /// What it says of every account.
    pub(super) fn accounts(&self) -> &BTreeMap<Address, AccountAccess> {
        &self.accounts
    }

    /// The first thing in which this list is not what `right` says that the block does; what was only read does not count.
    #[must_use]
    pub fn first_difference(&self, right: &BlockAccessList) -> Option<String> {
        let nothing = AccountAccess::default();
        let addresses: BTreeSet<&Address> = self.accounts.keys().chain(right.accounts.keys()).collect();
        addresses.into_iter().find_map(|address| {
            let of = |list: &BlockAccessList| {
                list.accounts.get(address).cloned().unwrap_or_else(|| nothing.clone())
            };
            let (given, right) = (of(self), of(right));
            let slots: BTreeSet<&U256> = given.slots.keys().chain(right.slots.keys()).collect();
            let none = Changes::new();
            let of = |access: &AccountAccess, slot| access.slots.get(slot).unwrap_or(&none).clone();
            let slot = slots.into_iter().find_map(|slot| {
                let what = format!("slot {}", hex_of(slot));
                differ(&what, &of(&given, slot), &of(&right, slot))
            });
            let found = slot
                .or_else(|| differ("balance", &given.balances, &right.balances))
                .or_else(|| differ("nonce", &given.nonces, &right.nonces))
                .or_else(|| differ("code", &given.codes, &right.codes));
            found.map(|found| format!("account {address}: {found}"))
        })
    }
}

/// An account as a transaction finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Before {
    balance: U256,
    nonce: u64,
    code_hash: phalanx::vm::evm::revm::primitives::B256,
}

impl Default for Before {
    fn default() -> Before {
        Before { balance: U256::ZERO, nonce: 0, code_hash: KECCAK_EMPTY }
    }
}

impl Before {
    pub(super) fn of(info: &phalanx::vm::evm::revm::state::AccountInfo) -> Before {
        let code_hash = if info.is_empty_code_hash() { KECCAK_EMPTY } else { info.code_hash };
        Before { balance: info.balance, nonce: info.nonce, code_hash }
    }
}

/// Writes the line of one block.
///
/// # Errors
/// What the system says.
pub fn write_access_list(to: &mut impl Write, block: u64, list: &BlockAccessList) -> std::io::Result<()> {
    writeln!(to, "{}", json!({ "block": block, "blockAccessList": list.to_json() }))
}

/// Reads the lists of a file by block number; `None` if its first line holds none, but perhaps something else.
///
/// # Errors
/// [`InputError`].
pub fn read_access_lists(path: &Path) -> Result<Option<HashMap<u64, BlockAccessList>>, InputError> {
    let unreadable = |source| InputError::Unreadable { file: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let mut lists = HashMap::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let json: Value = serde_json::from_str(line)
            .map_err(|source| InputError::NotJson { file: path.to_owned(), source })?;
        let block = Field::whole(path, &json);
        if lists.is_empty() && block.get("blockAccessList").present().is_none() {
            return Ok(None);
        }
        lists.insert(block.get("block").u64()?, BlockAccessList::read(&block.get("blockAccessList"))?);
    }
    Ok(Some(lists))
}

/// A list that may be left out.
fn part<'a>(account: &Field<'a>, name: &str) -> Result<Vec<Field<'a>>, InputError> {
    account.get(name).present().map_or(Ok(Vec::new()), |list| list.items())
}

/// The member with the first of these names that is there; drafts of the standard differ.
fn either<'a, const N: usize>(of: &Field<'a>, names: [&str; N]) -> Field<'a> {
    names.iter().find_map(|name| of.get(name).present()).unwrap_or_else(|| of.get(names[0]))
}

fn index(change: &Field<'_>) -> Result<u64, InputError> {
    either(change, ["index", "blockAccessIndex", "txIndex"]).u64()
}

fn change<const N: usize>(one: &Field<'_>, names: [&str; N]) -> Result<(u64, U256), InputError> {
    Ok((index(one)?, either(one, names).number()?))
}

fn differ<T: PartialEq + std::fmt::Debug>(
    what: &str,
    given: &Changes<T>,
    right: &Changes<T>,
) -> Option<String> {
    let indices: BTreeSet<&u64> = given.keys().chain(right.keys()).collect();
    let index = indices.into_iter().find(|index| given.get(index) != right.get(index))?;
    let shown = |value: Option<&T>| value.map_or("no change".to_owned(), |value| format!("{value:?}"));
    let (given, right) = (shown(given.get(index)), shown(right.get(index)));
    Some(format!("{what} at index {index}: the list says {given}, the block does {right}"))
}

fn hex_of(number: impl std::fmt::LowerHex) -> String {
    format!("{number:#x}")
}
