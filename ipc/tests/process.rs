//! Process helpers, each on real processes.
//!
//! What would break without them: a fork with a lock held by another thread, a child that outlives its parent, a pin that
//! did not take, a death without a cause. Controls: an untied child does outlive its parent, a child without fault
//! handlers leaves no cause.

#![cfg(not(loom))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::cast_possible_truncation, reason = "tests use small numbers")]

mod common;

use std::io::{BufRead, BufReader, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use common::{Kid, PATIENCE, actor, eventually, plays_well};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, getpid, getppid};
use phalanx_ipc::{
    Channel, ChannelError, Control, Fault, Fork, ForkError, MAX_FDS_PER_MESSAGE, MAX_MESSAGE_BYTES, PinError,
    ProcessError, ProcessIdentity, Readiness, Region, SignalFd, SignalSetup, SpawnError, allowed_cores,
    close_all_fds_except, cpu_time_of, crash, die_with_parent, fork_single_threaded, install_fault_handlers,
    pin_current_thread, raise_fd_limit, set_process_name, spawn_image, state_of,
};

#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = before_main;

extern "C" fn before_main() {
    common::act(play);
}

fn play(role: &str) {
    match role {
        "forker" => fork_once(),
        "tied" | "untied" => be_a_parent(role == "tied"),
        "orphan" => follow_the_wrong_parent(),
        "closer" => close_most_descriptors(),
        "listener" => listen_for_children(),
        other => panic!("no role {other}"),
    }
}

#[test]
fn a_fork_with_two_threads_is_refused() {
    let (stay, wait) = std::sync::mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || wait.recv());
        match fork_single_threaded() {
            Err(ForkError::NotSingleThreaded { threads }) => assert!(threads >= 2),
            other => panic!("{other:?}"),
        }
        drop(stay);
    });
}

#[test]
fn a_process_of_one_thread_forks() {
    plays_well("forker");
}

fn fork_once() {
    match fork_single_threaded().unwrap() {
        // SAFETY: ends the child.
        Fork::Child => unsafe { libc::_exit(42) },
        Fork::Parent { child } => assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 42)),
    }
}

#[test]
fn a_child_that_is_tied_dies_with_its_parent_and_one_that_is_not_lives_on() {
    for (role, survives) in [("tied", false), ("untied", true)] {
        let mut parent = actor(role).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(parent.stdout.take().unwrap()).lines();
        let pid = lines
            .map(Result::unwrap)
            .find_map(|line| line.strip_prefix("child ").map(str::to_owned))
            .unwrap();
        let child = ProcessIdentity::of(pid.parse().unwrap()).unwrap();
        parent.kill().unwrap();
        parent.wait().unwrap();
        if survives {
            thread::sleep(Duration::from_millis(100));
            assert!(child.is_alive(), "the control: nothing ties it");
            // SAFETY: the process was just seen to be the one meant.
            unsafe { libc::kill(child.pid, libc::SIGKILL) };
        }
        eventually("the child is dead", || !child.is_alive());
    }
}

/// Forks a child that ties itself or not, tells its pid once it is ready, and lives until it is killed.
fn be_a_parent(ties: bool) {
    let parent = getpid();
    let (ready, tell) = Channel::pair().unwrap();
    match fork_single_threaded().unwrap() {
        Fork::Child => {
            if ties {
                die_with_parent(parent).unwrap();
            }
            tell.send(b"ready", &[]).unwrap();
            // Without the tie it would live for ever: an alarm ends it should the test die.
            // SAFETY: plain system calls.
            unsafe {
                libc::alarm(120);
                libc::pause();
                libc::_exit(0)
            }
        }
        Fork::Parent { child } => {
            assert!(ready.poll(Some(PATIENCE)).unwrap().readable);
            println!("child {child}");
            let _ = std::io::stdin().read(&mut [0]);
        }
    }
}

#[test]
fn a_parent_that_is_gone_before_the_tie_is_noticed() {
    plays_well("orphan");
}

fn follow_the_wrong_parent() {
    let wrong = Pid::from_raw(getppid().as_raw() + 1);
    match die_with_parent(wrong) {
        Err(ProcessError::ParentGone { expected, found }) => {
            assert_eq!((expected, found), (wrong, getppid()))
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_pin_is_read_back_and_an_impossible_one_is_refused() {
    thread::spawn(|| {
        let cores = allowed_cores().unwrap();
        let last = *cores.last().unwrap();
        pin_current_thread(last).unwrap();
        assert_eq!(allowed_cores().unwrap(), [last]);
        assert!(matches!(pin_current_thread(1023), Err(PinError::Refused { core: 1023, .. })));
        assert!(matches!(pin_current_thread(100_000), Err(PinError::BeyondRange { .. })));
        assert_eq!(allowed_cores().unwrap(), [last]);
    })
    .join()
    .unwrap();
}

#[test]
fn a_zombie_is_dead_and_another_start_time_is_another_process() {
    let mut kid = Kid::fork(|| ());
    eventually("the child is a zombie", || state_of(kid.pid) == Some('Z'));
    let zombie = ProcessIdentity::of(kid.pid).unwrap();
    assert!(!zombie.is_alive());
    kid.wait();
    assert_eq!(ProcessIdentity::of(0), None);

    let own = ProcessIdentity::current().unwrap();
    assert!(own.is_alive());
    assert!(!ProcessIdentity { start_time: own.start_time + 1, ..own }.is_alive());
    assert!(cpu_time_of(own.pid).is_some() && cpu_time_of(0).is_none());
}

/// What the slot says after a child of generation 5 ran `crash`, with handlers installed or not.
fn fault_of(handlers: bool, crash: fn()) -> (i32, Option<phalanx_ipc::Fault>) {
    let control = Control::create_private(1).unwrap();
    let slot = control.slot(0).unwrap();
    let mut kid = Kid::fork(|| {
        let no_core = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the limit is a live local; the handlers of the parent's test harness are taken away; the slot is mapped
        // until the child ends.
        unsafe {
            libc::setrlimit(libc::RLIMIT_CORE, &raw const no_core);
            libc::signal(libc::SIGSEGV, libc::SIG_DFL);
            if handlers && install_fault_handlers(slot, control.bell(), 5).is_err() {
                libc::_exit(1);
            }
        }
        crash();
    });
    let status = kid.wait();
    assert!(libc::WIFSIGNALED(status), "status {status:#x}");
    assert_eq!(slot.fault_of(4), None);
    (libc::WTERMSIG(status), slot.fault_of(5))
}

fn write_to_null() {
    crash::segmentation_fault()
}

#[test]
fn a_crash_leaves_its_signal_and_address_in_the_slot() {
    let (signal, fault) = fault_of(true, write_to_null);
    let fault = fault.unwrap();
    assert_eq!((signal, fault.signal, fault.address), (libc::SIGSEGV, libc::SIGSEGV, 0x18));
    assert!(!fault.from_outside);
    let (signal, fault) = fault_of(true, || crash::bus_error());
    assert_eq!((signal, fault.unwrap().from_outside), (libc::SIGBUS, false));
    let (signal, fault) = fault_of(true, || crash::illegal_instruction());
    assert_eq!((signal, fault.unwrap().from_outside), (libc::SIGILL, false));
    // SAFETY: abort ends the child.
    let (signal, fault) = fault_of(true, || unsafe { libc::abort() });
    let fault = fault.unwrap();
    assert_eq!((signal, fault.signal, fault.from_outside), (libc::SIGABRT, libc::SIGABRT, false));
    // A signal that was sent does not repeat by itself, and kills all the same.
    // SAFETY: plain system call.
    let (signal, fault) = fault_of(true, || unsafe { assert_eq!(libc::raise(libc::SIGBUS), 0) });
    assert_eq!(
        (signal, fault.unwrap()),
        (libc::SIGBUS, Fault { signal, address: 0, from_outside: false, lost_page: false })
    );
    // SAFETY: plain system calls, in a child and in its own child, which is another process than its victim.
    let (signal, fault) = fault_of(true, || unsafe {
        let victim = libc::getpid();
        if libc::fork() == 0 {
            libc::kill(victim, libc::SIGSEGV);
            libc::_exit(0);
        }
        libc::wait(std::ptr::null_mut());
    });
    assert_eq!(
        (signal, fault.unwrap()),
        (libc::SIGSEGV, Fault { signal, address: 0, from_outside: true, lost_page: false })
    );
    // The control: no handlers, no cause.
    assert_eq!(fault_of(false, write_to_null), (libc::SIGSEGV, None));
}

#[test]
fn a_stack_overflow_leaves_its_signal_too() {
    fn deeper(depth: u64) -> u64 {
        let room = std::hint::black_box([depth; 512]);
        if depth == u64::MAX { 0 } else { deeper(depth + 1) + room[0] }
    }
    let (signal, fault) = fault_of(true, || {
        std::hint::black_box(deeper(0));
    });
    assert_eq!((signal, fault.unwrap().signal), (libc::SIGSEGV, libc::SIGSEGV));
}

#[test]
fn a_channel_carries_messages_whole_with_their_descriptors() {
    let (left, right) = Channel::pair().unwrap();
    let (mut bytes, mut fds) = (Vec::new(), Vec::new());
    assert!(matches!(right.recv(&mut bytes, &mut fds), Err(ChannelError::WouldBlock)));
    assert_eq!(right.poll(Some(Duration::ZERO)).unwrap(), Readiness::default());

    let mut region = Region::create("passed-on", 4096).unwrap();
    region.slice_mut::<u8>(0, 4).unwrap().copy_from_slice(b"here");
    let readers: Vec<OwnedFd> = (0..MAX_FDS_PER_MESSAGE).map(|_| region.reader_fd().unwrap()).collect();
    let borrowed: Vec<_> = readers.iter().map(|fd| fd.as_fd()).collect();
    left.send(b"one", &borrowed[..1]).unwrap();
    left.send(b"all", &borrowed).unwrap();
    left.send(&[7; MAX_MESSAGE_BYTES], &[]).unwrap();

    assert_eq!(right.poll(None).unwrap(), Readiness { readable: true, hung_up: false });
    assert_eq!(right.recv(&mut bytes, &mut fds).unwrap().fds, 1);
    assert_eq!(bytes, b"one");
    // SAFETY: plain system call.
    assert_eq!(unsafe { libc::fcntl(fds[0].as_raw_fd(), libc::F_GETFD) }, libc::FD_CLOEXEC);
    // SAFETY: nobody writes while the slice lives.
    let reader = unsafe { phalanx_ipc::RegionReader::map(fds.remove(0)).unwrap() };
    assert_eq!(reader.slice::<u8>(0, 4).unwrap(), b"here");
    assert_eq!(right.recv(&mut bytes, &mut fds).unwrap().fds, MAX_FDS_PER_MESSAGE);
    let received = right.recv(&mut bytes, &mut fds).unwrap();
    assert_eq!(
        (received.bytes, received.fds, bytes.len(), fds.len()),
        (MAX_MESSAGE_BYTES, 0, MAX_MESSAGE_BYTES, 0)
    );
}

#[test]
fn a_channel_tells_a_lagging_peer_from_a_closed_one() {
    let (left, right) = Channel::pair().unwrap();
    for bad in [0, MAX_MESSAGE_BYTES + 1] {
        assert!(matches!(left.send(&vec![1; bad], &[]), Err(ChannelError::BadSize { .. })));
    }
    let refusal = (0..100_000).find_map(|_| left.send(&[1; 1024], &[]).err());
    assert!(matches!(refusal, Some(ChannelError::WouldBlock)));
    let (mut bytes, mut fds) = (Vec::new(), Vec::new());
    drop(left);
    while right.recv(&mut bytes, &mut fds).is_ok() {}
    // What other tests fork has a copy of the other end for a moment.
    let hung_up = || match right.recv(&mut bytes, &mut fds) {
        Err(ChannelError::HungUp) => true,
        Err(ChannelError::WouldBlock) => false,
        other => panic!("{other:?}"),
    };
    eventually("the end of the other end", hung_up);
    assert!(right.poll(None).unwrap().hung_up);
    assert!(matches!(right.send(b"x", &[]), Err(ChannelError::PeerGone)));

    let (left, right) = Channel::pair().unwrap();
    left.send(b"last words", &[]).unwrap();
    drop(left);
    let both = Readiness { readable: true, hung_up: true };
    eventually("the end of the other end", || right.poll(None).unwrap() == both);
    assert_eq!(right.recv(&mut bytes, &mut fds).unwrap().bytes, 10);
}

#[test]
fn an_image_is_started_from_a_threaded_process_with_its_socket_at_three() {
    let image = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/answer.sh"));
    let (mine, theirs) = Channel::pair().unwrap();
    let mut child = spawn_image(image, ("PHALANX_TEST_MARK", "the mark"), theirs.into_fd()).unwrap();
    assert!(mine.poll(Some(PATIENCE)).unwrap().readable);
    let (mut bytes, mut fds) = (Vec::new(), Vec::new());
    mine.recv(&mut bytes, &mut fds).unwrap();
    assert_eq!(bytes, b"the mark");
    assert!(child.wait().unwrap().success());
    assert!(mine.poll(Some(PATIENCE)).unwrap().hung_up, "no copy of the socket stayed behind");

    let (_mine, theirs) = Channel::pair().unwrap();
    let missing = spawn_image(Path::new("/nowhere/at/all"), ("A", "b"), theirs.into_fd());
    assert!(matches!(missing, Err(SpawnError::Image { .. })));
}

#[test]
fn only_the_descriptors_to_keep_stay_open() {
    plays_well("closer");
}

fn close_most_descriptors() {
    let region = Region::create("kept", 4096).unwrap();
    let opened: Vec<_> =
        (0..6).map(|_| region.reader_fd().unwrap()).map(std::os::fd::IntoRawFd::into_raw_fd).collect();
    let keep = [opened[4], opened[1], opened[1], -1, 1];
    std::mem::forget(region);
    close_all_fds_except(&keep).unwrap();
    // SAFETY: plain system call.
    let is_open = |fd: i32| unsafe { libc::fcntl(fd, libc::F_GETFD) } >= 0;
    let open: Vec<_> = (3..1024).filter(|&fd| is_open(fd)).collect();
    assert_eq!(open, [opened[1], opened[4]]);
    assert!((0..3).all(is_open));
}

#[test]
fn a_child_forgets_handlers_ignores_the_terminal_and_unmasks_signals() {
    plays_well("listener");
}

fn listen_for_children() {
    let children = SignalFd::for_children().unwrap();
    assert!(!children.drain().unwrap());
    match fork_single_threaded().unwrap() {
        Fork::Child => {
            let masked = signal_line("SigBlk");
            SignalSetup::child().unwrap();
            let chld = 1 << (libc::SIGCHLD - 1);
            let ignored =
                [libc::SIGINT, libc::SIGTERM, libc::SIGPIPE].map(|signal| 1 << (signal - 1)).iter().sum();
            let good = masked & chld == chld
                && signal_line("SigBlk") == 0
                && signal_line("SigIgn") & !LIBCS_OWN == ignored
                && signal_line("SigCgt") == 0;
            // SAFETY: ends the child.
            unsafe { libc::_exit(i32::from(!good)) }
        }
        Fork::Parent { child } => {
            eventually("the death is heard", || children.drain().unwrap());
            assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 0));
            assert!(!children.drain().unwrap());
        }
    }
}

/// Signals 32 and 33: libc keeps them for itself.
const LIBCS_OWN: u64 = 3 << 31;

fn signal_line(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    u64::from_str_radix(line.trim_start_matches(':').trim(), 16).unwrap()
}

#[test]
fn a_name_is_set_and_a_limit_out_of_reach_is_told() {
    thread::spawn(|| {
        set_process_name("a-name-longer-than-fifteen").unwrap();
        assert_eq!(std::fs::read_to_string("/proc/thread-self/comm").unwrap(), "a-name-longer-t\n");
        assert!(set_process_name("zero\0byte").is_err());
    })
    .join()
    .unwrap();
    raise_fd_limit(64).unwrap();
    let refused = raise_fd_limit(u64::MAX - 1).unwrap_err();
    assert_eq!(refused.needed, u64::MAX - 1);
    assert!(refused.soft <= refused.hard);
}
