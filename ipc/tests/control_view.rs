//! Looking at a control segment from outside, and holding a process.
//!
//! What would break without them: an onlooker that can write what it looks at, one that takes a dead family's segment for
//! a living one, a signal that reaches a stranger with a dead process's pid. Controls: the same calls on the living owner
//! and the right start time succeed; opening through the read-write `Control` gives a mapping that the kernel lists as
//! writable.

#![cfg(not(loom))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use phalanx_ipc::{
    Control, ControlError, ControlView, Fault, HandleError, ProcessHandle, ProcessIdentity, SlotState,
    monotonic_now,
};
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command};
use std::sync::atomic::Ordering;

fn sleeper() -> (Child, ProcessIdentity) {
    let child = Command::new("sleep").arg("60").spawn().unwrap();
    let identity = ProcessIdentity::of(i32::try_from(child.id()).unwrap()).unwrap();
    (child, identity)
}

/// How the kernel lists the mappings of a file: `rw-s`, `r--s`...
fn modes_of(name: &str) -> Vec<String> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let own = maps.lines().filter(|line| line.ends_with(&format!("/dev/shm{name}")));
    own.map(|line| line.split_ascii_whitespace().nth(1).unwrap().to_owned()).collect()
}

#[test]
fn an_onlooker_reads_what_the_owner_writes() {
    let made = Control::create_named(2).unwrap();
    let view = ControlView::open(made.os_id().unwrap()).unwrap();
    assert_eq!((view.slots(), view.owner(), view.os_id()), (2, made.owner(), made.os_id().unwrap()));
    let before = view.slot(1).unwrap();
    assert_eq!((before.generation, before.state, before.process), (0, SlotState::Empty, None));
    assert!(!before.ready && view.slot(2).is_none());
    let slot = made.slot(1).unwrap();
    slot.lifeline(3).reset().unwrap();
    slot.generation.store(3, Ordering::SeqCst);
    slot.start_time.store(77, Ordering::Relaxed);
    slot.pid.store(42, Ordering::Release);
    slot.set_state(SlotState::Up);
    slot.counters[5].store(9, Ordering::Relaxed);
    slot.record_ready(3, monotonic_now());
    slot.record_exit(2, 0x89);
    let after = view.slot(1).unwrap();
    assert_eq!(after.process, Some(ProcessIdentity { pid: 42, start_time: 77 }));
    assert_eq!((after.generation, after.state, after.counters[5]), (3, SlotState::Up, 9));
    assert!(!after.ready, "nobody holds its lifeline");
    slot.lifeline(3).hold().unwrap();
    assert!(view.slot(1).unwrap().ready);
    for (generation, signal) in [(2, 11), (3, 9), (3, 0)] {
        slot.record_fault(generation, Fault { signal, address: 0, from_outside: true, lost_page: false });
        assert!(!slot.is_dying(3) && view.slot(1).unwrap().ready, "another life's fault, or none: {signal}");
    }
    slot.record_fault(3, Fault { signal: 11, address: 0, from_outside: true, lost_page: false });
    assert!(
        slot.is_dying(3) && !view.slot(1).unwrap().ready,
        "it noted a fault, though it holds its lifeline"
    );
    assert_eq!((view.exit_of(1, 2), view.exit_of(1, 1), view.exit_of(2, 2)), (Some(0x89), None, None));
}

#[test]
fn an_onlookers_mapping_is_read_only() {
    let made = Control::create_named(1).unwrap();
    let name = made.os_id().unwrap();
    assert_eq!(modes_of(name), ["rw-s"], "negative control: the owner may write");
    let _view = ControlView::open(name).unwrap();
    let mut modes = modes_of(name);
    modes.sort();
    assert_eq!(modes, ["r--s", "rw-s"]);
}

#[test]
fn a_segment_of_a_dead_owner_or_of_another_name_is_refused() {
    let made = Control::create_named(1).unwrap();
    assert!(ControlView::open(made.os_id().unwrap()).is_ok(), "negative control");
    let (mut child, identity) = sleeper();
    child.kill().unwrap();
    child.wait().unwrap();
    for owner in
        [identity, ProcessIdentity { pid: made.owner().pid, start_time: made.owner().start_time + 1 }]
    {
        let name = format!("/phalanx-{}-{}-0", owner.pid, owner.start_time);
        fs::copy(format!("/dev/shm{}", made.os_id().unwrap()), format!("/dev/shm{name}")).unwrap();
        let refused = ControlView::open(&name);
        fs::remove_file(format!("/dev/shm{name}")).ok();
        // Another test's owner may have cleared it away as stale already.
        assert!(
            matches!(refused, Err(ControlError::OwnerGone { .. } | ControlError::Os { .. })),
            "{refused:?}"
        );
    }
    assert!(matches!(ControlView::open("/../etc/passwd"), Err(ControlError::BadName { .. })));
}

#[test]
fn a_signal_reaches_the_process_that_is_meant_or_nobody() {
    let (mut child, identity) = sleeper();
    let stranger = ProcessIdentity { start_time: identity.start_time + 1, ..identity };
    assert!(matches!(ProcessHandle::open(stranger), Err(HandleError::Gone { .. })));
    let handle = ProcessHandle::open(identity).unwrap();
    handle.signal(Signal::SIGKILL).unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    assert!(matches!(handle.signal(Signal::SIGKILL), Err(HandleError::Gone { .. })), "it is reaped");
    assert!(matches!(ProcessHandle::open(identity), Err(HandleError::Gone { .. })));
}

/// With one descriptor left a process can be held but not looked at. Negative control: with `is_alive` alone, which calls nobody dead
/// on a guess, the stranger is held. Runs in a process of its own, since others need descriptors.
#[test]
fn whom_the_kernel_does_not_show_is_not_held() {
    const ALONE: &str = "PHALANX_TEST_FEW_DESCRIPTORS";
    if std::env::var_os(ALONE).is_none() {
        let itself = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "whom_the_kernel_does_not_show_is_not_held"])
            .env(ALONE, "1")
            .output()
            .unwrap();
        assert!(itself.status.success(), "{}", String::from_utf8_lossy(&itself.stdout));
        return;
    }
    let (mut child, identity) = sleeper();
    let stranger = ProcessIdentity { start_time: identity.start_time + 1, ..identity };
    let next = fs::File::open("/dev/null").unwrap().as_raw_fd();
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, u64::try_from(next).unwrap() + 1, hard).unwrap();
    let held = ProcessHandle::open(stranger);
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(matches!(held, Err(HandleError::Gone { .. })), "{held:?}");
}
