//! Blocks prepared with right, wrong or missing hints.

use super::Dice;
use phalanx::types::{AccessMode, Block, PreparedBlock};
use phalanx::vm::ledger::LedgerVm;

/// What a transaction's hint is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hints {
    /// As the virtual machine declares it.
    Right,
    /// Some accesses are missing, some are of other keys, some have another mode; the cost is absurd.
    Wrong,
    /// None at all.
    Missing,
}

/// Prepares a block; `hints` says for each transaction what its hint is like.
pub fn prepare_with(
    vm: &LedgerVm,
    block: &Block,
    dice: &mut Dice,
    mut hints: impl FnMut(&mut Dice) -> Hints,
) -> PreparedBlock {
    let right = PreparedBlock::prepare(vm, block).unwrap();
    let declared: Vec<(&[u8], AccessMode)> = right
        .accesses()
        .iter()
        .map(|access| (right.key(access.key).unwrap().1, access.access_mode()))
        .collect();
    let mut prepared = PreparedBlock::new(block.header.clone());
    for (transaction, entry) in block.transactions.iter().zip(right.transactions()) {
        let start = entry.access_start as usize;
        let own = &declared[start..start + entry.access_count as usize];
        let accesses: Vec<(Vec<u8>, AccessMode)> = match hints(dice) {
            Hints::Right => own.iter().map(|&(key, mode)| (key.to_vec(), mode)).collect(),
            Hints::Wrong => falsified(own, &declared, dice),
            Hints::Missing => Vec::new(),
        };
        let cost = if dice.chance(70) { entry.cost_ns } else { *dice.pick(&[0, 1, 1_000_000, u32::MAX]) };
        prepared
            .push(transaction, |hint| {
                accesses.iter().for_each(|(key, mode)| hint.access(key, *mode));
                hint.cost_ns(cost);
            })
            .unwrap();
    }
    prepared
}

const MODES: [AccessMode; 4] = [AccessMode::Read, AccessMode::Write, AccessMode::ReadWrite, AccessMode::Add];

fn falsified(
    own: &[(&[u8], AccessMode)],
    all: &[(&[u8], AccessMode)],
    dice: &mut Dice,
) -> Vec<(Vec<u8>, AccessMode)> {
    let mut accesses: Vec<(Vec<u8>, AccessMode)> = Vec::new();
    for &(key, mode) in own {
        if dice.chance(60) {
            accesses.push((key.to_vec(), if dice.chance(50) { mode } else { *dice.pick(&MODES) }));
        }
    }
    for _ in 0..dice.below(4) {
        // A key of another transaction misleads the planner most; others must do no harm either.
        let key = if !all.is_empty() && dice.chance(70) {
            dice.pick(all).0.to_vec()
        } else {
            (0..dice.below(300)).map(|_| u8::try_from(dice.below(256)).unwrap()).collect()
        };
        let place = dice.below(accesses.len() + 1);
        accesses.insert(place, (key, *dice.pick(&MODES)));
    }
    accesses
}
