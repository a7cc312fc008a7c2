//! Control regions: made, found, refused, and cleared away when their owner was killed.
//!
//! What would break without them: a segment that outlives its owner for ever, or one that is removed under a living owner.
//! Control of the reclaim: the same call while the owner lives removes nothing.

#![cfg(not(loom))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::cast_possible_truncation, reason = "tests use small numbers")]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::Ordering;

use common::{actor, eventually, plays_well};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use phalanx_ipc::{
    Activity, Control, ControlError, EXITS_KEPT, Fault, Fork, LifelineState, MESSAGE_BYTES, ProcessIdentity,
    SlotState, fork_single_threaded, state_of,
};

#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = before_main;

extern "C" fn before_main() {
    common::act(play);
}

fn play(role: &str) {
    match role {
        "owner" => {
            let made = Control::create_named(1).unwrap();
            println!("made {}", made.os_id().unwrap());
            // Lives until it is killed, or until the test that started it is gone.
            let _ = std::io::stdin().read(&mut [0]);
        }
        "maker" => {
            let made = Control::create_named(1).unwrap();
            let path = path_of(&made);
            match fork_single_threaded().unwrap() {
                Fork::Child => {
                    drop(made);
                    // SAFETY: ends the child.
                    unsafe { libc::_exit(0) }
                }
                Fork::Parent { child } => nix::sys::wait::waitpid(child, None).unwrap(),
            };
            assert!(path.exists());
        }
        "pauper" => {
            let own = ProcessIdentity::current().unwrap();
            let other = ProcessIdentity { start_time: own.start_time + 1, ..own };
            let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
            setrlimit(Resource::RLIMIT_NOFILE, 0, hard).unwrap();
            let (living, unknown) = (own.is_alive(), other.is_alive());
            setrlimit(Resource::RLIMIT_NOFILE, 64, hard).unwrap();
            assert!(living && unknown, "nothing can be known");
            assert!(own.is_alive() && !other.is_alive(), "the control: now it can");
        }
        other => panic!("no role {other}"),
    }
}

fn path_of(control: &Control) -> PathBuf {
    PathBuf::from(format!("/dev/shm{}", control.os_id().unwrap()))
}

#[test]
fn what_one_mapping_writes_another_one_reads() {
    let made = Control::create_named(3).unwrap();
    let opened = Control::open_named(made.os_id().unwrap()).unwrap();
    assert_eq!((opened.shards(), opened.owner()), (3, ProcessIdentity::current().unwrap()));
    made.slot(2).unwrap().progress.store(42, Ordering::Relaxed);
    made.words()[5].store(43, Ordering::Relaxed);
    made.bell().ring_from(7);
    assert_eq!(opened.slot(2).unwrap().progress.load(Ordering::Relaxed), 42);
    assert_eq!(opened.words()[5].load(Ordering::Relaxed), 43);
    assert_eq!(opened.bell().take_news(0), 1 << 7);
    assert!(opened.slot(3).is_none() && opened.slot(u32::MAX).is_none());
    made.slot(0).unwrap().lifeline(1).reset().unwrap();
    assert_eq!(opened.slot(0).unwrap().lifeline(1).probe(), LifelineState::Free);
}

#[test]
fn only_the_maker_removes_the_segment_and_only_its_user_may_open_it() {
    let made = Control::create_named(1).unwrap();
    let path = path_of(&made);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    drop(Control::open_named(made.os_id().unwrap()).unwrap());
    assert!(path.exists());
    drop(made);
    assert!(!path.exists());
}

#[test]
fn a_segment_of_another_build_or_of_no_build_or_cut_short_is_refused() {
    let made = Control::create_named(2).unwrap();
    let name = made.os_id().unwrap().to_owned();
    let file = fs::File::options().read(true).write(true).open(path_of(&made)).unwrap();
    for (offset, expected) in [(0, "magic"), (8, "version"), (16, "layout hash")] {
        let mut word = [0; 1];
        file.read_exact_at(&mut word, offset).unwrap();
        file.write_all_at(&[word[0] ^ 0x55], offset).unwrap();
        match Control::open_named(&name) {
            Err(ControlError::Mismatch { what, .. }) => assert_eq!(what, expected),
            other => panic!("{other:?}"),
        }
        file.write_all_at(&word, offset).unwrap();
    }
    for slots in [0_u32, 300, u32::MAX] {
        file.write_all_at(&slots.to_ne_bytes(), 12).unwrap();
        assert!(Control::open_named(&name).is_err(), "{slots} slots");
    }
    file.write_all_at(&2_u32.to_ne_bytes(), 12).unwrap();
    // The control: as it was, it opens.
    assert!(Control::open_named(&name).is_ok());
    file.set_len(0).unwrap();
    assert!(Control::open_named(&name).is_err());
}

#[test]
fn names_that_are_not_ours_are_refused_and_a_missing_segment_is_fine_to_remove() {
    for name in ["", "/", "phalanx-1-2-3", "/../etc/passwd", "/phalanx-1-2", "/other"] {
        assert!(matches!(Control::open_named(name), Err(ControlError::BadName { .. })), "{name}");
        assert!(matches!(Control::unlink(name), Err(ControlError::BadName { .. })), "{name}");
    }
    Control::unlink("/phalanx-1-2-3").unwrap();
    let made = Control::create_named(1).unwrap();
    Control::unlink(made.os_id().unwrap()).unwrap();
    assert!(!path_of(&made).exists());
    assert!(matches!(Control::create_named(0), Err(ControlError::BadSlots { slots: 0 })));
    assert!(matches!(Control::create_private(385), Err(ControlError::BadSlots { slots: 385 })));
}

#[test]
fn the_segment_of_a_killed_owner_is_removed_and_that_of_a_living_one_is_not() {
    let mut owner = actor("owner").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(owner.stdout.take().unwrap()).lines();
    let name =
        lines.map(Result::unwrap).find_map(|line| line.strip_prefix("made ").map(str::to_owned)).unwrap();
    let path = Path::new("/dev/shm").join(&name[1..]);

    Control::reclaim_stale().unwrap();
    assert!(path.exists(), "the owner lives");
    owner.kill().unwrap();
    eventually("the owner is a zombie", || state_of(owner.id() as i32) == Some('Z'));
    Control::reclaim_stale().unwrap();
    assert!(!path.exists(), "the owner is dead, reaped or not");
    owner.wait().unwrap();
}

#[test]
fn a_forked_child_that_drops_its_copy_removes_nothing() {
    plays_well("maker");
}

#[test]
fn a_slot_remembers_the_last_exits_by_generation() {
    let control = Control::create_private(1).unwrap();
    let slot = control.slot(0).unwrap();
    assert_eq!((slot.exit_of(0), slot.exit_of(1)), (None, None));
    for generation in 1..=200 {
        slot.record_exit(generation, -generation.cast_signed());
    }
    for generation in 1..=200_u32 {
        let expected =
            (generation > 200 - u32::try_from(EXITS_KEPT).unwrap()).then_some(-generation.cast_signed());
        assert_eq!(slot.exit_of(generation), expected);
    }
}

#[test]
fn states_and_activities_survive_the_round_trip_and_unknown_words_are_damage() {
    let control = Control::create_private(1).unwrap();
    let slot = control.slot(0).unwrap();
    assert_eq!((slot.state(), slot.activity()), (SlotState::Empty, Activity::Parked));
    for state in [SlotState::Starting, SlotState::Up, SlotState::Down, SlotState::Resting, SlotState::Damaged]
    {
        slot.set_state(state);
        assert_eq!(slot.state(), state);
    }
    for activity in [Activity::Running, Activity::Waiting, Activity::Damaged, Activity::Parked] {
        slot.set_activity(activity);
        assert_eq!(slot.activity(), activity);
    }
    // The state is the slot's second word.
    // SAFETY: the word lies inside the slot and is atomic.
    let word = unsafe { &*std::ptr::from_ref(slot).cast::<std::sync::atomic::AtomicU32>().add(1) };
    word.store(77, Ordering::Relaxed);
    assert_eq!(slot.state(), SlotState::Damaged);
}

#[test]
fn a_message_is_cut_at_a_character_and_a_fault_belongs_to_its_generation() {
    let control = Control::create_private(1).unwrap();
    let slot = control.slot(0).unwrap();
    assert_eq!(slot.message(), "");
    let long = "ä".repeat(MESSAGE_BYTES);
    slot.set_message(&format!("x{long}"));
    assert_eq!(slot.message(), format!("x{}", "ä".repeat((MESSAGE_BYTES - 1) / 2)));
    slot.set_message("short");
    assert_eq!(slot.message(), "short");
    let fault = Fault { signal: libc::SIGSEGV, address: 0x10, from_outside: false, lost_page: true };
    slot.record_fault(4, fault);
    assert_eq!(slot.fault_of(4), Some(fault));
    assert_eq!((slot.fault_of(3), slot.fault_of(0)), (None, None));
    slot.record_fault(5, Fault { from_outside: true, ..fault });
    assert_eq!((slot.fault_of(4), slot.fault_of(5).unwrap().from_outside), (None, true));
    slot.clear_child_lines();
    assert_eq!((slot.message().as_str(), slot.fault_of(5).unwrap().signal), ("short", libc::SIGSEGV));
}

#[test]
fn last_words_belong_to_the_generation_that_did_not_live_on() {
    let control = Control::create_private(1).unwrap();
    let slot = control.slot(0).unwrap();
    assert_eq!(slot.last_words_of(0), None);
    slot.set_last_words(7, "boom");
    assert_eq!((slot.last_words_of(7).as_deref(), slot.last_words_of(8)), (Some("boom"), None));
    slot.clear_child_lines();
    assert_eq!(slot.last_words_of(7).as_deref(), Some("boom"), "a successor does not wipe them");
    slot.set_message("it was caught");
    assert_eq!((slot.last_words_of(7), slot.message().as_str()), (None, "it was caught"));
}

/// Once broke: a process that had no descriptor left could not read /proc, took every owner for dead, and removed the
/// segments of living families. Negative control: with any failure to read taken for a death, this test failed.
#[test]
fn a_process_without_a_free_descriptor_takes_nobody_for_dead() {
    plays_well("pauper");
}
