//! What would break the planner: an edge that is missing or comes twice (the reader waits for ever or guesses for
//! nothing), a transaction on two shards or on none, a plan that depends on anything but its input. The oracle follows
//! the block naively: who wrote each key last, and where.

mod freedom;

use super::*;
use crate::partition::{ArenaLimits, ArenaReader, FREE_FIRST, RoundPlan, TIED};
use crate::types::{BlockHeader, PreparedBlock};
use phalanx_ipc::RegionReader;
use proptest::prelude::*;
use std::collections::{HashMap, HashSet};

const LIMITS: ArenaLimits = ArenaLimits {
    transactions: 1 << 14,
    transaction_bytes: 1 << 20,
    accesses: 1 << 16,
    keys: 1 << 15,
    key_bytes: 1 << 20,
    edges: 1 << 16,
};

/// One transaction: its cost, and its accesses as key number and mode.
type Declared = (u32, Vec<(u8, AccessMode)>);

/// A finished plan, copied out of its arena.
#[derive(Debug, PartialEq)]
struct Plan {
    /// Per shard: its transactions in order.
    parts: Vec<Vec<usize>>,
    /// Per transaction: the edges that it waits for, as (key, writer, receiving shard).
    required: Vec<Vec<(KeyId, usize, u32)>>,
    /// Per transaction: the edges that it answers.
    dependent: Vec<HashSet<(KeyId, usize, u32)>>,
    /// Per transaction: [`TIED`], [`FREE`] or [`FREE_FIRST`].
    freedom: Vec<u32>,
    /// Per shard: whether its free ones are left for later.
    tied_first: Vec<u32>,
    edges: usize,
    makespan_ns: u64,
}

impl Plan {
    fn shard_of(&self, txn: usize) -> Option<usize> {
        self.parts.iter().position(|part| part.contains(&txn))
    }
}

/// A block of these; `ahead` tells how much of a transaction's cost needs no values.
fn block_of(transactions: &[Declared], ahead: impl Fn(usize) -> u32) -> PreparedBlock {
    let mut block = PreparedBlock::new(BlockHeader::default());
    for (number, (cost, accesses)) in transactions.iter().enumerate() {
        let declare = |hint: &mut crate::types::HintWriter<'_>| {
            accesses.iter().for_each(|&(key, mode)| hint.access(&[key], mode));
            hint.cost_ns(*cost);
            hint.ahead_ns(ahead(number));
        };
        block.push(b"transaction", declare).unwrap();
    }
    block
}

fn loaded(block: &PreparedBlock, limits: ArenaLimits) -> ArenaWriter {
    let mut arena = ArenaWriter::create("phalanx-planner-test", limits).unwrap();
    arena.begin_load(block).unwrap();
    while !arena.load_step(block).unwrap() {}
    arena
}

/// Plans `transactions` over shards `0..shards`, a few at a time; `standing` as in [`Planner::step`].
fn plan_with(
    transactions: &[Declared],
    shards: u32,
    limits: ArenaLimits,
    step: usize,
    standing: impl Fn(usize) -> Standing,
) -> Plan {
    plan_block(&block_of(transactions, |_| 0), shards, limits, step, standing)
}

fn plan_block(
    block: &PreparedBlock,
    shards: u32,
    limits: ArenaLimits,
    step: usize,
    standing: impl Fn(usize) -> Standing,
) -> Plan {
    let transactions = block.transactions();
    let mut arena = loaded(block, limits);
    let mut planner = Planner::new(CostModel::default());
    let ids: Vec<ShardId> = (0..shards).map(ShardId).collect();
    planner.begin(&mut arena, &ids).unwrap();
    while !planner.step(&mut arena, step, |txn| (standing(txn.index()), Incarnation(1))).unwrap() {}
    let totals = planner.seal(&mut arena, RoundId(1), false).unwrap();
    let open = (0..transactions.len()).filter(|&txn| standing(txn) == Standing::Open).count();
    assert_eq!(totals.transactions as usize, open);
    let fd = arena.region().reader_fd().unwrap();
    // SAFETY: the only writer is `arena`, which this function does not touch any more while the reader lives.
    #[allow(unsafe_code, reason = "tests read as shards do")]
    let region = unsafe { RegionReader::map(fd) }.unwrap();
    let reader = ArenaReader::new(region, limits);
    copied(&reader.round().unwrap(), shards, transactions.len(), totals)
}

fn copied(round: &RoundPlan<'_>, shards: u32, transactions: usize, totals: PlanTotals) -> Plan {
    let (mut parts, mut required) = (Vec::new(), vec![Vec::new(); transactions]);
    let (mut dependent, mut freedom) = (vec![HashSet::new(); transactions], vec![TIED; transactions]);
    let tied_first = round.sub_blocks.iter().take(shards as usize).map(|part| part.tied_first).collect();
    let named = |edge: &Edge| (edge.key, edge.writer.index(), edge.to_shard);
    for shard in 0..shards {
        let SubBlock { first, count, free, free_first, .. } = round.sub_blocks[shard as usize];
        let (mut txn, mut part, mut counted) = (first, Vec::new(), [0; 3]);
        for _ in 0..count {
            let planned = round.planned[txn.index()];
            let start = planned.required_start as usize;
            let waits = &round.edges[start..start + planned.required_count as usize];
            required[txn.index()].extend(waits.iter().map(named));
            let mut next = planned.dependent;
            while let Some(edge) = round.edges.get(next as usize) {
                assert!(dependent[txn.index()].insert(named(edge)), "edge answered twice");
                next = edge.next_dependent;
            }
            part.push(txn.index());
            freedom[txn.index()] = planned.freedom;
            counted[planned.freedom as usize] += 1;
            txn = planned.next;
        }
        let [_, in_order, begun_with] = counted;
        assert_eq!((free, free_first), (in_order + begun_with, begun_with), "free ones of shard {shard}");
        assert_eq!(txn, NO_TXN, "the chain ends with its count");
        parts.push(part);
    }
    let PlanTotals { edges, makespan_ns, .. } = totals;
    assert_eq!(round.edges.len(), edges as usize);
    Plan { parts, required, dependent, freedom, tied_first, edges: edges as usize, makespan_ns }
}

fn plan(transactions: &[Declared], shards: u32) -> Plan {
    plan_with(transactions, shards, LIMITS, usize::MAX, |_| Standing::Open)
}

/// Edges as they must be, given who sits where: (key's name, writer, shard) by the first reader there.
fn edges_by_the_oracle(
    transactions: &[Declared],
    plan: &Plan,
    standing: impl Fn(usize) -> Standing,
) -> HashMap<usize, HashSet<(u8, usize, u32)>> {
    let mut last: HashMap<u8, usize> = HashMap::new();
    let mut carried: HashSet<(u8, usize, u32)> = HashSet::new();
    let mut edges: HashMap<usize, HashSet<(u8, usize, u32)>> = HashMap::new();
    for (txn, (_, accesses)) in transactions.iter().enumerate() {
        let seat = plan.shard_of(txn);
        for &(key, mode) in accesses {
            match (standing(txn), seat) {
                (Standing::Accepted, _) => {}
                (Standing::Provisional, _) => {
                    if matches!(mode, AccessMode::Write | AccessMode::ReadWrite) {
                        last.remove(&key);
                    }
                }
                (Standing::Open, None) => panic!("transaction {txn} is not planned"),
                (Standing::Open, Some(seat)) => {
                    let shard = u32::try_from(seat).unwrap();
                    if let Some(&writer) = last.get(&key).filter(|_| mode.wants_value())
                        && writer != txn
                        && plan.shard_of(writer) != Some(seat)
                        && carried.insert((key, writer, shard))
                    {
                        edges.entry(txn).or_default().insert((key, writer, shard));
                    }
                    if mode.changes_value() {
                        last.insert(key, txn);
                    }
                }
            }
        }
    }
    edges
}

/// Key names by id: ids are given in the order of first mention.
fn names(transactions: &[Declared]) -> Vec<u8> {
    let mut names: Vec<u8> = Vec::new();
    for &(key, _) in transactions.iter().flat_map(|(_, accesses)| accesses) {
        if !names.contains(&key) {
            names.push(key);
        }
    }
    names
}

fn assert_sound(transactions: &[Declared], plan: &Plan, standing: impl Fn(usize) -> Standing) {
    let mut seen = HashSet::new();
    for part in &plan.parts {
        assert!(part.is_sorted(), "in block order: {part:?}");
        assert!(part.iter().all(|&txn| seen.insert(txn)), "once: {part:?}");
    }
    let open = (0..transactions.len()).filter(|&txn| standing(txn) == Standing::Open);
    assert_eq!(seen, open.collect(), "every open transaction and no other");
    let names = names(transactions);
    let mut oracle = edges_by_the_oracle(transactions, plan, &standing);
    for (txn, required) in plan.required.iter().enumerate() {
        let found: HashSet<_> =
            required.iter().map(|&(key, writer, shard)| (names[key.index()], writer, shard)).collect();
        assert_eq!(found.len(), required.len(), "no edge twice at transaction {txn}");
        assert_eq!(found, oracle.remove(&txn).unwrap_or_default(), "edges that transaction {txn} waits for");
        for edge in required {
            assert!(
                edge.1 < txn && plan.dependent[edge.1].contains(edge),
                "{edge:?} is answered by its writer"
            );
        }
    }
    assert_eq!(plan.required.iter().map(Vec::len).sum::<usize>(), plan.edges);
    assert_eq!(plan.dependent.iter().map(HashSet::len).sum::<usize>(), plan.edges);
}

/// Who waits for whom, by the block alone: a transaction is free if nobody is before or behind it.
fn free_by_the_oracle(transactions: &[Declared], standing: impl Fn(usize) -> Standing) -> Vec<bool> {
    let mut last: HashMap<u8, usize> = HashMap::new();
    let mut free: Vec<bool> = (0..transactions.len()).map(|txn| standing(txn) == Standing::Open).collect();
    for (txn, (_, accesses)) in transactions.iter().enumerate() {
        match standing(txn) {
            Standing::Accepted => {}
            Standing::Provisional => {
                for (key, _) in accesses
                    .iter()
                    .filter(|(_, mode)| matches!(mode, AccessMode::Write | AccessMode::ReadWrite))
                {
                    last.remove(key);
                }
            }
            Standing::Open => {
                for (key, _) in accesses.iter().filter(|(_, mode)| mode.wants_value()) {
                    if let Some(&writer) = last.get(key) {
                        (free[txn], free[writer]) = (false, false);
                    }
                }
                for (key, _) in accesses.iter().filter(|(_, mode)| mode.changes_value()) {
                    last.insert(*key, txn);
                }
            }
        }
    }
    free
}

fn mode() -> impl Strategy<Value = AccessMode> {
    prop_oneof![
        Just(AccessMode::Read),
        Just(AccessMode::Write),
        Just(AccessMode::ReadWrite),
        Just(AccessMode::Add),
        Just(AccessMode::Near),
        Just(AccessMode::Check)
    ]
}

fn declared() -> impl Strategy<Value = Declared> {
    (prop_oneof![0..5_000_u32, Just(u32::MAX)], prop::collection::vec((0..12_u8, mode()), 0..7))
}

fn standings() -> impl Strategy<Value = Vec<Standing>> {
    let one = prop_oneof![4 => Just(Standing::Open), 1 => Just(Standing::Provisional), 1 => Just(Standing::Accepted)];
    prop::collection::vec(one, 60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_read_of_another_shards_write_has_exactly_one_edge_at_or_before_it(
        transactions in prop::collection::vec(declared(), 0..60), shards in 1..9_u32,
    ) {
        assert_sound(&transactions, &plan(&transactions, shards), |_| Standing::Open);
    }

    #[test]
    fn work_that_needs_no_values_leaves_a_plan_sound(
        transactions in prop::collection::vec(declared(), 0..60), shards in 1..9_u32,
        ahead in prop::collection::vec(prop_oneof![0..5_000_u32, Just(u32::MAX)], 60),
    ) {
        let block = block_of(&transactions, |number| ahead[number]);
        let plan = plan_block(&block, shards, LIMITS, usize::MAX, |_| Standing::Open);
        assert_sound(&transactions, &plan, |_| Standing::Open);
    }

    #[test]
    fn later_rounds_plan_what_is_open_and_go_round_what_is_not(
        transactions in prop::collection::vec(declared(), 0..60), standings in standings(), shards in 1..9_u32,
    ) {
        let standing = |txn: usize| standings[txn];
        let plan = plan_with(&transactions, shards, LIMITS, usize::MAX, standing);
        assert_sound(&transactions, &plan, standing);
    }

    #[test]
    fn exactly_those_are_free_that_wait_for_nobody_and_that_nobody_waits_for(
        transactions in prop::collection::vec(declared(), 0..60), standings in standings(), shards in 1..9_u32,
    ) {
        let standing = |txn: usize| standings[txn];
        let plan = plan_with(&transactions, shards, LIMITS, usize::MAX, standing);
        let free: Vec<bool> = plan.freedom.iter().map(|&freedom| freedom != TIED).collect();
        let expected = if shards == 1 { vec![false; transactions.len()] } else { free_by_the_oracle(&transactions, standing) };
        prop_assert_eq!(free, expected);
    }

    #[test]
    fn the_plan_depends_on_its_input_alone(
        transactions in prop::collection::vec(declared(), 0..60), shards in 1..9_u32, step in 1..20_usize,
    ) {
        let whole = plan(&transactions, shards);
        prop_assert_eq!(&whole, &plan(&transactions, shards));
        prop_assert_eq!(&whole, &plan_with(&transactions, shards, LIMITS, step, |_| Standing::Open));
    }

    #[test]
    fn edges_over_the_limit_are_left_out_and_the_rest_is_sound(
        transactions in prop::collection::vec(declared(), 0..60), limit in 0..10_usize,
    ) {
        let limits = ArenaLimits { edges: limit, ..LIMITS };
        let few = plan_with(&transactions, 4, limits, usize::MAX, |_| Standing::Open);
        prop_assert!(few.edges <= limit);
        prop_assert_eq!(few.parts.iter().map(Vec::len).sum::<usize>(), transactions.len());
        prop_assert_eq!(few.required.iter().map(Vec::len).sum::<usize>(), few.edges);
        prop_assert_eq!(few.dependent.iter().map(HashSet::len).sum::<usize>(), few.edges);
    }
}

#[test]
fn the_oracle_notices_a_missing_edge() {
    // Two writers far too long for one shard, then a reader of both.
    let transactions = vec![
        (1_000_000, vec![(1, AccessMode::Write)]),
        (1_000_000, vec![(2, AccessMode::Write)]),
        (1_000, vec![(1, AccessMode::Read), (2, AccessMode::Read)]),
    ];
    let whole = plan(&transactions, 2);
    assert_eq!(whole.edges, 1);
    let none =
        plan_with(&transactions, 2, ArenaLimits { edges: 0, ..LIMITS }, usize::MAX, |_| Standing::Open);
    let noticed = std::panic::catch_unwind(|| assert_sound(&transactions, &none, |_| Standing::Open));
    assert!(noticed.is_err(), "negative control");
}

#[test]
fn one_shard_needs_no_edges() {
    let transactions: Vec<Declared> = (0..100).map(|_| (500, vec![(1, AccessMode::ReadWrite)])).collect();
    let plan = plan(&transactions, 1);
    assert_eq!((plan.edges, plan.parts[0].len()), (0, 100));
    assert_eq!(plan.makespan_ns, 100 * 500);
}

#[test]
fn a_chain_of_dependent_transactions_stays_on_one_shard() {
    let transactions: Vec<Declared> = (0..100).map(|_| (500, vec![(1, AccessMode::ReadWrite)])).collect();
    let plan = plan(&transactions, 4);
    assert_eq!((plan.edges, plan.makespan_ns), (0, 100 * 500), "moving it would only cost messages");
}

#[test]
fn a_chain_whose_work_mostly_needs_no_values_is_spread_in_runs() {
    let transactions: Vec<Declared> =
        (0..2_000).map(|_| (26_000, vec![(1, AccessMode::ReadWrite)])).collect();
    for shards in [2_u32, 4] {
        let block = block_of(&transactions, |_| 25_000);
        let plan = plan_block(&block, shards, LIMITS, usize::MAX, |_| Standing::Open);
        let ideal = 2_000 * 26_000 / u64::from(shards);
        assert!(plan.makespan_ns * 100 <= ideal * 105, "{} of {ideal}", plan.makespan_ns);
        assert!(plan.edges <= 300, "{} edges: a message for each change of shard", plan.edges);
    }
}

#[test]
fn independent_transactions_are_spread_evenly() {
    for shards in [2_u32, 3, 7, 8] {
        let costs: Vec<u32> = (0..4_000).map(|number| 400 + number * 7_919 % 1_000).collect();
        let keys = |number: usize| vec![(u8::try_from(number % 251).unwrap(), AccessMode::Read)];
        let transactions: Vec<Declared> =
            costs.iter().enumerate().map(|(number, &cost)| (cost, keys(number))).collect();
        let plan = plan(&transactions, shards);
        let ideal = costs.iter().map(|&cost| u64::from(cost)).sum::<u64>() / u64::from(shards);
        assert_eq!(plan.edges, 0);
        assert!(plan.makespan_ns * 100 <= ideal * 102, "{shards} shards: {} of {ideal}", plan.makespan_ns);
    }
}

#[test]
fn a_key_that_everyone_only_adds_to_makes_no_edges_and_does_not_serialise() {
    let transactions: Vec<Declared> = (0..1_000).map(|_| (1_000, vec![(9, AccessMode::Add)])).collect();
    let plan = plan(&transactions, 4);
    assert_eq!(plan.edges, 0);
    assert_eq!(plan.makespan_ns, 250 * 1_000);
}

#[test]
fn a_provisional_writer_between_two_open_ones_makes_an_edge_unnecessary() {
    // 0 and 1 keep both shards busy, so that the reader goes to the one that is not the writer's.
    let transactions = vec![
        (1_000, vec![(1, AccessMode::Write)]),
        (500, vec![]),
        (100, vec![(1, AccessMode::Write)]),
        (900_000, vec![(2, AccessMode::Write)]),
        (100, vec![(1, AccessMode::Read), (2, AccessMode::Read)]),
    ];
    let open = plan_with(&transactions, 2, LIMITS, usize::MAX, |txn| {
        if txn == 2 { Standing::Accepted } else { Standing::Open }
    });
    assert_eq!(open.required[4].len(), 1, "negative control: without it there is an edge from 0: {open:?}");
    let between = plan_with(&transactions, 2, LIMITS, usize::MAX, |txn| {
        if txn == 2 { Standing::Provisional } else { Standing::Open }
    });
    assert_eq!(between.required[4], [], "the overlay shows what the provisional one wrote: {between:?}");
}

#[test]
fn only_the_shards_given_are_used() {
    let block = block_of(&vec![(1_000, vec![(1, AccessMode::Read)]); 50], |_| 0);
    let mut arena = loaded(&block, LIMITS);
    let mut planner = Planner::new(CostModel::default());
    planner.begin(&mut arena, &[ShardId(2), ShardId(5)]).unwrap();
    while !planner.step(&mut arena, 7, |_| (Standing::Open, Incarnation(3))).unwrap() {}
    planner.seal(&mut arena, RoundId(4), true).unwrap();
    let counts: Vec<usize> = (0..8).map(|shard| arena.sub_block(ShardId(shard)).unwrap().count()).collect();
    assert_eq!(counts, [0, 0, 25, 0, 0, 25, 0, 0]);
    assert!(arena.sub_block(ShardId(2)).unwrap().all(|(_, incarnation)| incarnation == Incarnation(3)));
}

#[test]
fn transactions_near_one_key_share_a_shard_unless_it_is_much_busier() {
    let two: Vec<Declared> =
        (0..100_u8).map(|number| (1_000, vec![(1 + number % 2, AccessMode::Near)])).collect();
    let plan_of_two = plan(&two, 2);
    assert_eq!((plan_of_two.edges, plan_of_two.makespan_ns), (0, 50_000));
    assert!(plan_of_two.parts[0].iter().all(|txn| txn % 2 == 0), "{plan_of_two:?}");
    let one: Vec<Declared> = (0..100).map(|_| (1_000, vec![(1, AccessMode::Near)])).collect();
    let plan_of_one = plan(&one, 2);
    assert_eq!(plan_of_one.edges, 0);
    assert!((50_000..=65_000).contains(&plan_of_one.makespan_ns), "{}", plan_of_one.makespan_ns);
}

#[test]
fn a_key_whose_values_are_foreseen_is_waited_for_by_nobody_and_another_one_is() {
    let accesses = |number: u8| vec![(1, AccessMode::ReadWrite), (2 + number % 2, AccessMode::ReadWrite)];
    let transactions: Vec<Declared> = (0..100).map(|number| (5_000, accesses(number))).collect();
    let block = block_of(&transactions, |_| 0);
    let mut arena = loaded(&block, LIMITS);
    let mut planner = Planner::new(CostModel::default());
    let foreseen = block.accesses_of(TxnIndex(0))[0].key;
    for (foresees, makespan_ns) in [(true, 250_000), (false, 500_000)] {
        planner.begin(&mut arena, &[ShardId(0), ShardId(1)]).unwrap();
        if foresees {
            planner.wait_not_for(foreseen);
        }
        while !planner.step(&mut arena, 7, |_| (Standing::Open, Incarnation(1))).unwrap() {}
        let totals = planner.seal(&mut arena, RoundId(4), true).unwrap();
        assert_eq!((totals.edges, totals.makespan_ns), (0, makespan_ns), "foreseen: {foresees}");
    }
}

#[test]
fn where_values_are_foreseen_nobody_waits() {
    let transactions: Vec<Declared> = (0..100).map(|_| (5_000, vec![(1, AccessMode::ReadWrite)])).collect();
    let block = block_of(&transactions, |_| 0);
    let mut arena = loaded(&block, LIMITS);
    let mut planner = Planner::new(CostModel::default());
    planner.begin(&mut arena, &[ShardId(0), ShardId(1)]).unwrap();
    planner.wait_for_nobody();
    while !planner.step(&mut arena, 7, |_| (Standing::Open, Incarnation(1))).unwrap() {}
    let totals = planner.seal(&mut arena, RoundId(4), true).unwrap();
    assert_eq!((totals.edges, totals.makespan_ns), (0, 250_000));
    planner.begin(&mut arena, &[ShardId(0), ShardId(1)]).unwrap();
    while !planner.step(&mut arena, 7, |_| (Standing::Open, Incarnation(2))).unwrap() {}
    let totals = planner.seal(&mut arena, RoundId(5), true).unwrap();
    assert_eq!(totals.makespan_ns, 500_000, "negative control: the next plan waits again");
}

/// Negative control, built in: over even costs the same block is split.
#[test]
fn a_reader_stays_with_its_writer_when_the_other_shard_is_far_away() {
    use crate::topology::{Allowance, Layout, LayoutOptions, SysTree, Topology};
    let matrix = |distance: u32| {
        let tree = format!(
            "/sys/devices/system/cpu/online\t0-1\n/sys/devices/system/node/online\t0-1\n\
             /sys/devices/system/node/node0/cpulist\t0\n/sys/devices/system/node/node1/cpulist\t1\n\
             /sys/devices/system/node/node0/distance\t10 {distance}\n\
             /sys/devices/system/node/node1/distance\t{distance} 10\n"
        );
        let topology = Topology::read(&SysTree::from_dump(&tree)).unwrap();
        let layout =
            Layout::plan(&topology, &Allowance::everything(&topology), &LayoutOptions::default()).unwrap();
        CostMatrix::of(&topology, &layout)
    };
    let shards_of_readers = |planner: Planner| {
        let read = |cost| (cost, vec![(1, AccessMode::Read)]);
        let block = block_of(&[(100, vec![(1, AccessMode::Write)]), read(5_000), read(5_000)], |_| 0);
        let (mut arena, mut planner) = (loaded(&block, LIMITS), planner);
        planner.begin(&mut arena, &[ShardId(0), ShardId(1)]).unwrap();
        while !planner.step(&mut arena, 7, |_| (Standing::Open, Incarnation(1))).unwrap() {}
        planner.seal(&mut arena, RoundId(1), false).unwrap();
        [0, 1].map(|shard| arena.sub_block(ShardId(shard)).unwrap().count())
    };
    let costs = CostModel { edge_ns: 2_000 };
    assert_eq!(shards_of_readers(Planner::new(costs)), [2, 1]);
    assert_eq!(shards_of_readers(Planner::new(costs).over(matrix(12))), [2, 1]);
    assert_eq!(shards_of_readers(Planner::new(costs).over(matrix(60))), [3, 0]);
}
