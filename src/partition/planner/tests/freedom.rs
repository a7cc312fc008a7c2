//! Free transactions and long ones. What would break: they are executed too early or too late, by which nothing is wrong, only slow.
//! Negative controls run: all accesses taken for sure, none for guesses but those of full shards, work ahead or short transactions
//! not looked at, the longest ones placed in their turn, seated although they wait for others, not seated where nobody waits,
//! two of them begun at once on one shard: it fails each time.

use super::super::freedom::LIGHT_NS;
use super::*;

#[test]
fn what_is_long_and_free_is_begun_first_and_what_is_tied_or_short_is_not() {
    let (long, short) = (10 * LONG_NS, LONG_NS - 1);
    let transactions = vec![
        (short, vec![]),
        (long, vec![(1, AccessMode::Write)]),
        (short, vec![(1, AccessMode::Read)]),
        (long, vec![(2, AccessMode::Read)]),
    ];
    assert_eq!(plan(&transactions, 2).freedom, [FREE_FIRST, TIED, TIED, FREE_FIRST], "and the first in line");
    let mut awaited = transactions.clone();
    awaited.extend([(long, vec![(3, AccessMode::Write)]), (long, vec![(4, AccessMode::Write)])]);
    awaited.push((short, vec![(3, AccessMode::Read), (4, AccessMode::Read)]));
    let plan_with_edges = plan(&awaited, 2);
    assert!(plan_with_edges.edges > 0, "{plan_with_edges:?}");
    let answering =
        plan_with_edges.required.iter().flatten().map(|&(_, writer, _)| plan_with_edges.shard_of(writer));
    let answering: HashSet<_> = answering.collect();
    for txn in (1..awaited.len()).filter(|&txn| plan_with_edges.freedom[txn] == FREE_FIRST) {
        assert!(
            !answering.contains(&plan_with_edges.shard_of(txn)),
            "others wait for its shard: {plan_with_edges:?}"
        );
    }
    assert_eq!(plan(&transactions, 1).freedom, [TIED; 4], "one shard alone keeps to the block's order");
    let many: Vec<Declared> = (0..1_000).map(|_| (LONG_NS, vec![])).collect();
    let plan_of_many = plan(&many, 2);
    assert!(plan_of_many.freedom.iter().skip(1).all(|&freedom| freedom == FREE), "none of many is long");
    let short_ones: Vec<Declared> = vec![(LIGHT_NS - 1, vec![]); 9];
    assert_eq!(plan(&short_ones, 2).freedom, [FREE; 9], "in a row, the first one is executed first anyway");
}

#[test]
fn what_takes_as_long_as_all_others_has_a_shard_to_itself_wherever_it_stands() {
    let (short, others) = (2 * LIGHT_NS, 60);
    let longest = short * others;
    // Three chains, so that each shard answers the other one.
    let chained = |number: u32| (short, vec![(u8::try_from(number % 3).unwrap(), AccessMode::ReadWrite)]);
    let with = |place: usize, accesses: Vec<(u8, AccessMode)>| {
        let mut transactions: Vec<Declared> = (0..others).map(chained).collect();
        transactions.insert(place, (longest, accesses));
        transactions
    };
    for place in [0, 20, 60] {
        let alone = plan(&with(place, vec![(9, AccessMode::ReadWrite)]), 2);
        let part = &alone.parts[alone.shard_of(place).unwrap()];
        assert_eq!((alone.freedom[place], part.len()), (FREE_FIRST, 1), "at {place}: {alone:?}");
        assert_eq!(alone.makespan_ns, u64::from(longest), "at {place}");
    }
    let two_each = plan(&vec![(longest, vec![(9, AccessMode::Read)]); 4], 2);
    assert_eq!((two_each.makespan_ns, &two_each.freedom[..]), (2 * u64::from(longest), &[FREE_FIRST; 4][..]));
    let waiting = plan(&with(60, vec![(0, AccessMode::Read)]), 2);
    assert_eq!(waiting.freedom[60], TIED);
    let shares = waiting.parts.iter().map(Vec::len).max().unwrap();
    assert!(shares < 45, "a shard was kept free for one that waits for others: {waiting:?}");
    let guessed = plan(&with(60, vec![(9, AccessMode::Near)]), 2);
    assert_ne!(guessed.makespan_ns, u64::from(longest), "nothing was kept free for what may conflict");
    let ahead = block_of(&with(60, vec![]), |_| short / 2);
    let seated = plan_block(&ahead, 2, LIMITS, usize::MAX, |_| Standing::Open);
    assert_ne!(seated.freedom[60], FREE_FIRST, "work ahead is done in a row");
}

#[test]
fn free_ones_are_left_for_later_where_accesses_are_sure_or_a_shard_is_full_of_tied_ones() {
    let chain = |cost: u32, length: usize| vec![(cost, vec![(1, AccessMode::ReadWrite)]); length];
    let block = |chained: Vec<Declared>, others: Vec<Declared>| plan(&[chained, others].concat(), 2);
    let (heavy, light) = (50 * LIGHT_NS, LIGHT_NS - 1);
    let (sure, unsure) = (vec![(heavy, vec![]); 6], vec![(heavy, vec![(9, AccessMode::Near)]); 6]);
    assert_eq!(block(chain(heavy, 2), sure).tied_first, [1, 1]);
    assert_eq!(
        block(chain(heavy, 2), unsure.clone()).tied_first,
        [0, 0],
        "a third of one shard's work is tied"
    );
    let full = block(chain(heavy, 6), unsure);
    let chained = full.shard_of(0).unwrap();
    assert_eq!((full.tied_first[chained], full.tied_first[1 - chained]), (1, 0), "{full:?}");
    assert_eq!(block(chain(light, 4), vec![(light, vec![]); 4]).tied_first, [0, 0], "too short for that");
    let ahead = block_of(&vec![(heavy, vec![]); 8], |_| heavy / 2);
    assert_eq!(plan_block(&ahead, 2, LIMITS, usize::MAX, |_| Standing::Open).tied_first, [0, 0]);
}

#[test]
fn no_shard_leaves_anything_for_last_where_order_is_to_be_kept() {
    let mut arena = loaded(&block_of(&vec![(50 * LIGHT_NS, vec![]); 8], |_| 0), LIMITS);
    let mut planner = Planner::new(CostModel::default());
    let mut left_for_last = |in_order: bool| {
        planner.begin(&mut arena, &[ShardId(0), ShardId(1)]).unwrap();
        if in_order {
            planner.keep_order();
        }
        while !planner.step(&mut arena, usize::MAX, |_| (Standing::Open, Incarnation(1))).unwrap() {}
        planner.seal(&mut arena, RoundId(1), false).unwrap();
        arena.plan_parts().unwrap().sub_blocks.iter().filter(|part| part.tied_first != 0).count()
    };
    // The next plan is asked anew.
    assert_eq!([false, true, false].map(&mut left_for_last), [2, 0, 2]);
}

#[test]
fn what_is_merely_near_others_is_seated_first_where_nobody_waits() {
    let longest = 60 * 5_000;
    let mut transactions: Vec<Declared> =
        (0..60).map(|_| (5_000, vec![(1, AccessMode::ReadWrite)])).collect();
    transactions.push((longest, vec![(1, AccessMode::Near)]));
    let mut arena = loaded(&block_of(&transactions, |_| 0), LIMITS);
    let mut planner = Planner::new(CostModel::default());
    planner.begin(&mut arena, &[ShardId(0), ShardId(1)]).unwrap();
    planner.wait_for_nobody();
    while !planner.step(&mut arena, 7, |_| (Standing::Open, Incarnation(1))).unwrap() {}
    let totals = planner.seal(&mut arena, RoundId(1), true).unwrap();
    assert_eq!(totals.makespan_ns, u64::from(longest));
}
