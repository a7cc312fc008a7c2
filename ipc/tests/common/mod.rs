//! What several tests share: rings in shared memory, forked children that never outlive their test, and actors: the
//! test program itself, started again, for what needs a process with one thread.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::process::Command;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use phalanx_ipc::{Cell, CellSpace, Consumer, Producer, Region, RingHeader, ring_bytes};

/// Nothing here takes a tenth of this, even on a loaded host.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A ring in memory that forked children share, with a page of canary bytes on either side.
pub struct SharedRing {
    region: Region,
    base: NonNull<u8>,
    pub capacity: usize,
}

const CANARY_BYTES: usize = 4096;
const CANARY: u8 = 0xA5;

// SAFETY: the memory is shared by design and used through atomics; the pointer is valid while `region` lives.
unsafe impl Sync for SharedRing {}
// SAFETY: as for Sync.
unsafe impl Send for SharedRing {}

impl SharedRing {
    pub fn new(capacity: usize) -> SharedRing {
        let bytes = ring_bytes(capacity).next_multiple_of(CANARY_BYTES);
        let mut region = Region::create("test-ring", bytes + 2 * CANARY_BYTES).unwrap();
        region.slice_mut::<u8>(0, CANARY_BYTES).unwrap().fill(CANARY);
        region.slice_mut::<u8>(CANARY_BYTES + bytes, CANARY_BYTES).unwrap().fill(CANARY);
        let all = region.slice_mut::<u8>(0, bytes + 2 * CANARY_BYTES).unwrap().as_mut_ptr();
        // SAFETY: the ring starts one page into the mapping.
        let base = unsafe { NonNull::new(all).unwrap().add(CANARY_BYTES) };
        SharedRing { region, base, capacity }
    }

    /// The words of the ring, header first: tail is word 0, head is word 16, the request is word 32, cells start at word 48.
    pub fn words(&self) -> &[AtomicU64] {
        // SAFETY: the ring is ring_bytes(capacity) bytes long, aligned to a page, and lives as long as the region.
        unsafe { std::slice::from_raw_parts(self.base.cast().as_ptr(), ring_bytes(self.capacity) / 8) }
    }

    pub fn header(&self) -> NonNull<RingHeader> {
        self.base.cast()
    }

    pub fn cells(&self) -> NonNull<CellSpace> {
        // SAFETY: the cells follow the header inside the mapping.
        unsafe { self.base.add(ring_bytes(0)).cast() }
    }

    pub fn producer(&self) -> Producer {
        // SAFETY: valid while the region lives; each test uses one living producer at a time.
        unsafe { Producer::attach(self.header(), self.cells(), self.capacity).unwrap() }
    }

    pub fn consumer(&self) -> Consumer {
        // SAFETY: as for the producer.
        unsafe { Consumer::attach(self.header(), self.cells(), self.capacity).unwrap() }
    }

    pub fn canaries_are_intact(&self) -> bool {
        let end = self.region.len() - CANARY_BYTES;
        [0, end]
            .iter()
            .all(|&at| self.region.slice::<u8>(at, CANARY_BYTES).unwrap().iter().all(|&b| b == CANARY))
    }
}

/// A cell that tells its number and can be seen to be whole.
pub fn cell(number: u64) -> Cell {
    let mix = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Cell(std::array::from_fn(|index| if index == 0 { number } else { mix.rotate_left(index as u32 * 7) }))
}

/// The number of a whole cell.
pub fn number_of(found: &Cell) -> Option<u64> {
    (*found == cell(found.0[0])).then_some(found.0[0])
}

/// A forked child; killed and reaped when dropped.
pub struct Kid {
    pub pid: i32,
    reaped: Option<i32>,
}

impl Kid {
    /// Forks; the child runs `run`, which must neither allocate nor take a lock, and exits with 0.
    pub fn fork(run: impl FnOnce()) -> Kid {
        // SAFETY: the child of this threaded program runs `run`, which allocates nothing, and leaves by _exit.
        match unsafe { libc::fork() } {
            0 => {
                // SAFETY: plain system calls.
                unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
                run();
                // SAFETY: ends the process without running anything of the parent's.
                unsafe { libc::_exit(0) }
            }
            pid if pid > 0 => Kid { pid, reaped: None },
            _ => panic!("fork: {}", std::io::Error::last_os_error()),
        }
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: the child is not reaped yet, so its pid is its own.
        assert!(self.reaped.is_some() || unsafe { libc::kill(self.pid, signal) } == 0);
    }

    /// Waits for the next change (a stop under ptrace, or the end) and gives the raw status.
    pub fn wait(&mut self) -> i32 {
        let mut status = 0;
        // SAFETY: waits for the own child; status is a live local.
        assert_eq!(unsafe { libc::waitpid(self.pid, &raw mut status, 0) }, self.pid);
        if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
            self.reaped = Some(status);
        }
        status
    }

    /// Kills it for real and reaps it.
    pub fn kill(&mut self) {
        self.signal(libc::SIGKILL);
        while self.reaped.is_none() {
            self.wait();
        }
    }
}

impl Drop for Kid {
    fn drop(&mut self) {
        if self.reaped.is_none() {
            self.kill();
        }
    }
}

/// Waits until something is true; fails the test if it takes too long.
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < PATIENCE, "waited too long until {what}");
        std::thread::sleep(Duration::from_micros(200));
    }
}

const ROLE: &str = "PHALANX_TEST_ROLE";

/// A command that runs this test program as an actor: instead of its tests it plays a role, on its only thread.
pub fn actor(role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env(ROLE, role);
    command
}

/// Plays the role and exits, if this process is an actor. Runs before main: the test harness starts threads.
pub fn act(play: fn(&str)) {
    if let Ok(role) = std::env::var(ROLE) {
        let ended = std::panic::catch_unwind(|| play(&role));
        std::process::exit(if ended.is_ok() { 0 } else { 101 });
    }
}

/// Plays a role in a process of one thread and expects it to end well.
pub fn plays_well(role: &str) {
    let output = actor(role).output().unwrap();
    assert!(output.status.success(), "{role}: {}", String::from_utf8_lossy(&output.stderr));
}
