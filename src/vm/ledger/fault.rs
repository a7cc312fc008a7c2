//! Transactions that bring their shard down on purpose. Only with the feature `fault-transactions`: for tests.

use crate::types::BlockHeader;
use crate::vm::StateView;
use crate::vm::ledger::{Address, balance_key};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{Signal, raise};
use phalanx_ipc::crash;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::{OpenOptions, read_to_string};
use std::hint::black_box;
use std::io::Write;
use std::time::{Duration, Instant};

const MEGABYTE: usize = 1 << 20;
/// What memory is taken in: small enough for a limit to be met closely.
const CHUNK_BYTES: usize = MEGABYTE;

/// A block whose header has this as its extra bytes panics the virtual machine before its first transaction.
pub const PANIC_AT_BLOCK: &[u8] = b"panic at the block";

/// What a fault transaction does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// Writes where nothing is mapped: SIGSEGV.
    Segfault,
    /// Writes to a page behind the end of its file: SIGBUS.
    BusError,
    /// Executes an instruction that no processor has: SIGILL.
    IllegalInstruction,
    /// Aborts: SIGABRT.
    Abort,
    /// Panics with this message.
    Panic(String),
    /// Panics with a message whose formatting panics: the process aborts.
    PanicWhilePanicking,
    /// Panics with this message; a value dropped on the way out panics too: the process aborts.
    PanicInDrop(String),
    /// Computes for ever.
    Loop,
    /// Looks at the state for ever.
    LoopOverView,
    /// Calls itself until the stack is full: SIGSEGV.
    StackOverflow,
    /// Takes memory, at most so many megabytes more than it has, until it is refused some: SIGABRT.
    ExhaustAddressSpace {
        /// How much.
        megabytes: u32,
    },
    /// Takes so many megabytes of memory, then ends as the kernel's out-of-memory killer would end it: SIGKILL.
    ExhaustMemory {
        /// How much.
        megabytes: u32,
    },
    /// Exits with this code.
    Exit(i32),
    /// Sleeps in one system call for ever.
    Sleep,
    /// Sleeps in short naps for ever.
    Nap,
    /// Stops itself with SIGSTOP; goes on as a transfer when it is continued.
    Stop,
    /// Nothing bad: computes for so many milliseconds, then goes on as a transfer.
    Busy {
        /// For how long.
        ms: u32,
    },
}

/// When a fault transaction does it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum When {
    /// Always.
    Always,
    /// If this account's balance is another one. The balance is read, and not declared: with the right value here the
    /// transaction strikes only on a wrong guess.
    BalanceIsNot {
        /// Whose balance.
        of: Address,
        /// The right value.
        right: u64,
    },
    /// In its n-th execution, from 1, as counted by the order's tally; never without one.
    Execution(u64),
}

/// A transfer that may bring its shard down first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultOrder {
    /// What it does.
    pub fault: Fault,
    /// When it does it.
    pub when: When,
    /// A file to which each execution appends one byte before anything else. Without effect if the file does not exist.
    pub tally: Option<String>,
    /// Who receives the transfer.
    pub to: Address,
    /// How much.
    pub amount: u64,
}

impl FaultOrder {
    /// Expected cost on top of a transfer's, in nanoseconds.
    pub(super) fn cost_ns(&self) -> u32 {
        match self.fault {
            Fault::Busy { ms } => ms.saturating_mul(1_000_000),
            Fault::Segfault
            | Fault::BusError
            | Fault::IllegalInstruction
            | Fault::Abort
            | Fault::Panic(_)
            | Fault::PanicWhilePanicking
            | Fault::PanicInDrop(_)
            | Fault::Loop
            | Fault::LoopOverView
            | Fault::StackOverflow
            | Fault::ExhaustAddressSpace { .. }
            | Fault::ExhaustMemory { .. }
            | Fault::Exit(_)
            | Fault::Sleep
            | Fault::Nap
            | Fault::Stop => 0,
        }
    }

    /// Does it if it is time to. Returns if it is not, or if the fault is one to return from.
    pub(super) fn strike(&self, view: &mut dyn StateView) {
        let execution = self.tally.as_deref().map_or(0, count_execution);
        let strikes = match &self.when {
            When::Always => true,
            When::BalanceIsNot { of, right } => {
                view.read(&balance_key(of)) != Some(right.to_le_bytes().as_slice())
            }
            When::Execution(number) => execution == *number,
        };
        if !strikes {
            return;
        }
        tracing::debug!(fault = ?self.fault, "fault transaction strikes");
        self.fault.strike(&balance_key(&self.to), view);
    }
}

/// Panics if the block asks for it.
#[allow(clippy::panic, reason = "that is what is asked for")]
pub(super) fn strike_at_block(header: &BlockHeader) {
    if header.extra == PANIC_AT_BLOCK {
        panic!("the block's header asks for a panic");
    }
}

impl Fault {
    #[allow(clippy::panic, reason = "that is what is asked for")]
    fn strike(&self, key: &[u8], view: &mut dyn StateView) {
        match self {
            Fault::Segfault => crash::segmentation_fault(),
            Fault::BusError => crash::bus_error(),
            Fault::IllegalInstruction => crash::illegal_instruction(),
            Fault::Abort => std::process::abort(),
            Fault::Panic(message) => panic!("{message}"),
            Fault::PanicWhilePanicking => panic!("{}", PanicsWhenShown),
            Fault::PanicInDrop(message) => {
                let _on_the_way_out = PanicsWhenDropped;
                panic!("{message}")
            }
            Fault::Loop => compute_until(|| black_box(false)),
            // A number that was only looked at is not recorded, so this takes no memory.
            Fault::LoopOverView => {
                compute_until(|| black_box(view.number(key)) == black_box(Some(u128::MAX)))
            }
            Fault::StackOverflow => {
                black_box(deeper(0));
            }
            Fault::ExhaustAddressSpace { megabytes } => {
                limit_address_space(*megabytes);
                take_memory(usize::MAX);
            }
            Fault::ExhaustMemory { megabytes } => {
                take_memory(*megabytes as usize);
                send_to_itself(Signal::SIGKILL);
            }
            Fault::Exit(code) => std::process::exit(*code),
            Fault::Sleep => loop {
                std::thread::sleep(Duration::from_secs(3_600));
            },
            Fault::Nap => loop {
                std::thread::sleep(Duration::from_millis(2));
            },
            Fault::Stop => send_to_itself(Signal::SIGSTOP),
            Fault::Busy { ms } => {
                let end = Instant::now() + Duration::from_millis((*ms).into());
                compute_until(|| Instant::now() >= end);
            }
        }
    }
}

struct PanicsWhenShown;

impl fmt::Display for PanicsWhenShown {
    #[allow(clippy::panic, reason = "that is what it is for")]
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("a message that cannot be shown")
    }
}

struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    #[allow(clippy::panic, reason = "that is what it is for")]
    fn drop(&mut self) {
        panic!("a second panic, on the way out")
    }
}

/// Counts this execution in the file; 0 if there is no such file.
fn count_execution(tally: &str) -> u64 {
    let counted = OpenOptions::new().append(true).open(tally).and_then(|mut file| {
        file.write_all(b".")?;
        Ok(file.metadata()?.len())
    });
    counted.unwrap_or(0)
}

fn compute_until(mut done: impl FnMut() -> bool) {
    while !done() {
        std::hint::spin_loop();
    }
}

#[allow(unconditional_recursion, reason = "the stack ends before it does")]
fn deeper(depth: u64) -> u64 {
    let room = black_box([depth; 512]);
    deeper(depth + 1) + room[0]
}

/// Lets the process have so much more address space than it has now.
fn limit_address_space(megabytes: u32) {
    let pages: u64 = read_to_string("/proc/self/statm")
        .ok()
        .and_then(|line| line.split(' ').next()?.parse().ok())
        .unwrap_or(0);
    let limit = pages * 4_096 + u64::from(megabytes) * MEGABYTE as u64;
    // Refused only if there is a lower limit already, which will do as well.
    let _ = setrlimit(Resource::RLIMIT_AS, limit, limit);
}

/// Takes memory and writes to all of it.
fn take_memory(megabytes: usize) {
    let mut taken = Vec::new();
    for _ in 0..megabytes {
        taken.push(black_box(vec![1_u8; CHUNK_BYTES]));
    }
}

fn send_to_itself(signal: Signal) {
    // Sending to oneself is never refused.
    let _ = raise(signal);
}
