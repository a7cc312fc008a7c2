//! Where pages are: what was touched, no more and no less, on a host with any number of nodes.
//!
//! What would break it: a look that touches what was not there (memory would grow by being looked at), one that sees only what
//! this process has mapped itself, a mask that is one bit too short. `tests/numa.rs` of the library does the rest in machines
//! with several nodes. Negative controls, built in: an untouched region has no pages, and a node that cannot be is refused.
#![allow(missing_docs, reason = "a test program")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

use phalanx_ipc::{NodePolicy, Region, pages_of, set_own_policy, with_own_policy};

const PAGE: usize = 4096;

#[test]
fn the_look_finds_what_was_touched_and_touches_nothing() {
    let region = Region::create("looked-at", 4096 * PAGE).unwrap();
    assert!(region.pages(None, 0).unwrap().is_empty());
    let touched = [0, 3, 4, 700, 1023, 4095];
    for page in touched {
        region.store_u64(page * PAGE, 1).unwrap();
    }
    // Through a descriptor of which nobody has a mapping that touched anything.
    let fd = region.reader_fd().unwrap();
    for _ in 0..2 {
        let pages: Vec<usize> =
            pages_of(&fd, None, 0).unwrap().iter().map(|page| page.offset / PAGE).collect();
        assert_eq!(pages, touched, "twice the same: looking has touched nothing");
    }
}

#[test]
fn a_sample_is_even_bounded_and_another_one_each_turn() {
    let mut region = Region::create("sampled", 2048 * PAGE).unwrap();
    region.slice_mut::<u8>(0, 2048 * PAGE).unwrap().fill(1);
    let sample = |turn| -> Vec<usize> {
        region.pages(Some(16), turn).unwrap().iter().map(|page| page.offset / PAGE).collect()
    };
    let first = sample(0);
    assert_eq!(first.len(), 16);
    assert!(first.windows(2).all(|pair| pair[1] - pair[0] == 128), "{first:?}");
    assert_ne!(first, sample(1));
    let mut seen: Vec<usize> = (0..128).flat_map(sample).collect();
    seen.sort_unstable();
    assert_eq!(seen, (0..2048).collect::<Vec<_>>(), "every page has its turn");
}

#[test]
fn policies_are_taken_and_impossible_ones_refused() {
    let region = Region::create("placed", 16 * PAGE).unwrap();
    for policy in [NodePolicy::Only(0), NodePolicy::Near(0), NodePolicy::Spread(vec![0]), NodePolicy::Default]
    {
        region.place(&policy).unwrap();
    }
    region.place(&NodePolicy::Only(0)).unwrap();
    region.store_u64(0, 1).unwrap();
    assert_eq!(region.pages(None, 0).unwrap()[0].node, 0);
    for node in [1023, 1024, u32::MAX] {
        assert!(region.place(&NodePolicy::Only(node)).is_err(), "node {node}");
    }
    std::thread::spawn(|| {
        set_own_policy(&NodePolicy::Near(0)).unwrap();
        assert!(set_own_policy(&NodePolicy::Only(1023)).is_err());
        let (done, placed) = with_own_policy(&NodePolicy::Only(0), || 7);
        assert_eq!((done, placed.is_ok()), (7, true));
        // Refused: the work is done all the same.
        let (done, placed) = with_own_policy(&NodePolicy::Only(1023), || 8);
        assert_eq!((done, placed.is_ok()), (8, false));
        set_own_policy(&NodePolicy::Default).unwrap();
    })
    .join()
    .unwrap();
}

#[test]
fn huge_pages_that_are_not_in_reserve_are_an_error_and_not_a_signal() {
    let free = phalanx_ipc::free_huge_pages();
    let pages = usize::try_from(free).unwrap() + 8;
    assert!(Region::create_huge("too-many", pages * (2 << 20), &NodePolicy::Default).is_err());
    assert_eq!(phalanx_ipc::free_huge_pages(), free, "nothing is kept");
}
