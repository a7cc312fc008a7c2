//! Places: shards on their planned cores, every page of every region on its planned node, also after deaths; what moves
//! them away is found and put right while blocks run, and no result is ever wrong for it.
//!
//! On a host with one node this shows little. `tools/numa-guest/guest test` runs this program in machines with several
//! nodes; what needs such a machine, or to own it, says so and is left out elsewhere.
//!
//! What would break it: a region bound after its first touch, a respawned shard elsewhere, an audit that trusts what the
//! kernel reports; a page that the hardware has lost (`lost_memory.rs`). Negative controls, built in: with a page touched before its region is bound, with memory that is not
//! bound at all, and with a durable state filled before it is bound, the same look at the pages must find some on other nodes.
//!
//! It is the image of its own supervisor: in a guest there is no other program.
#![allow(missing_docs, reason = "a test program")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod audit;
#[path = "../common/mod.rs"]
mod common;
mod groups;
mod huge;
mod losses;
mod lost_memory;
mod places;
mod support;

use std::time::Instant;

/// A sentence, and what shows that it holds.
type Test = (&'static str, fn());

/// Lists tests by their names.
macro_rules! tests {
    ($($room:ident: $($name:ident),+;)+) => { [$($((stringify!($name), $room::$name as fn())),+),+] };
}

fn main() {
    phalanx::supervisor_entry();
    lost_memory::lose_if_asked();
    let tests: [Test; 19] = tests![
        places: everything_is_in_its_place_also_after_deaths,
            pages_that_were_touched_too_early_or_never_bound_are_found,
            a_durable_state_is_spread_as_it_is_filled_and_not_afterwards,
            the_layout_keeps_to_the_nodes_that_were_named;
        audit: an_audit_puts_a_shard_back_that_somebody_moved,
            an_audit_brings_pages_home_that_were_touched_too_early;
        losses: a_shard_whose_core_goes_offline_is_reported_in_time_and_has_a_spare_one_until_it_is_back,
            a_core_that_goes_offline_is_reported_in_time_where_there_is_no_spare_one,
            a_core_that_leaves_the_cpuset_is_reported_in_time_and_its_shard_has_a_spare_one,
            a_core_that_leaves_the_cpuset_is_reported_in_time_where_there_is_no_spare_one,
            memory_that_leaves_the_cpuset_is_reported_in_time_and_pages_come_home_with_it;
        groups: a_quota_below_the_shards_is_refused_with_the_reason,
            a_cpuset_says_which_cores_and_nodes_a_family_has,
            the_cores_of_an_isolated_partition_are_the_shards_own;
        huge: huge_pages_are_used_where_they_are_reserved_and_missed_loudly_elsewhere,
            transparent_huge_pages_are_used_where_the_kernel_gives_them,
            transparent_huge_pages_that_are_not_given_are_reported;
        lost_memory: lost_pages_are_told_replaced_by_zeros_and_not_where_the_file_is_sealed,
            a_page_of_outputs_that_is_lost_while_blocks_run_costs_its_shard_one_life_and_no_result;
    ];
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    let mut failed = 0;
    for (name, test) in tests {
        if arguments.iter().any(|argument| argument == "--list") {
            println!("{name}: test");
        } else if filter.is_none_or(|filter| name.contains(filter.as_str())) {
            let begun = Instant::now();
            // In a guest one boot is to tell of all of them.
            let passed = std::panic::catch_unwind(test).is_ok();
            failed += i32::from(!passed);
            let verdict = if passed { "ok" } else { "FAILED" };
            println!("test {name} ... {verdict} ({:.1} s)", begun.elapsed().as_secs_f64());
        }
    }
    std::process::exit(i32::from(failed > 0));
}
