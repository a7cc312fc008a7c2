//! Fault handlers: a child that dies of its own fault leaves the cause in its slot first.

use std::mem::ManuallyDrop;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use memmap2::MmapMut;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use crate::doorbell::Doorbell;
use crate::os::OsCause;
use crate::slot::{ChildSlot, Fault};

/// The signals by which a process dies of its own fault.
const FAULTS: [Signal; 5] =
    [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGILL, Signal::SIGFPE, Signal::SIGABRT];
/// Whether the handlers note this signal. Nothing else is a noted fault: a slot that somebody scribbled on hardly ever
/// names its generation and one of these few numbers.
pub(crate) fn is_noted(signal: i32) -> bool {
    FAULTS.iter().any(|fault| *fault as i32 == signal)
}

/// How long the handler sleeps once the cause is noted, in nanoseconds. The kernel dumps a core without giving the
/// processor to anyone for milliseconds, perhaps not even to whom the cause was noted for and who shares the processor.
const NOTICE_NS: libc::c_long = 400_000;

/// The handler's own stack, so that it also runs when the stack overflowed. Bytes.
const STACK_BYTES: usize = 64 * 1024;

/// Where the handler writes. Null until handlers are installed.
static SLOT: AtomicPtr<ChildSlot> = AtomicPtr::new(ptr::null_mut());
/// The doorbell that it rings.
static BELL: AtomicPtr<Doorbell> = AtomicPtr::new(ptr::null_mut());
/// The generation that it names.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// Why fault handlers could not be installed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step}: {cause}")]
pub struct FaultError {
    /// The step that failed, as a verb.
    pub step: &'static str,
    /// What the kernel said.
    pub cause: OsCause,
}

/// From now on SIGSEGV, SIGBUS, SIGILL, SIGFPE and SIGABRT write signal, address and generation into `slot` and ring `bell`
/// before the process dies of them in the usual way, core dump included, 0.4 ms later: time for others to see it.
///
/// The handler runs on a stack of its own, which belongs to the calling thread: one thread per process, here.
///
/// # Safety
///
/// `slot` and `bell` must stay mapped, at these addresses, until the process ends.
pub unsafe fn install_fault_handlers(
    slot: *const ChildSlot,
    bell: *const Doorbell,
    generation: u32,
) -> Result<(), FaultError> {
    let failed = |step| move |cause: OsCause| FaultError { step, cause };
    BELL.store(bell.cast_mut(), Ordering::Relaxed);
    GENERATION.store(generation, Ordering::Relaxed);
    SLOT.store(slot.cast_mut(), Ordering::Release);
    let stack =
        MmapMut::map_anon(STACK_BYTES).map_err(|error| failed("map a handler's stack")(error.into()))?;
    // Never unmapped: the handler may need it until the very end.
    let mut stack = ManuallyDrop::new(stack);
    let place = libc::stack_t { ss_sp: stack.as_mut_ptr().cast(), ss_flags: 0, ss_size: STACK_BYTES };
    // SAFETY: the stack is a live mapping of ss_size bytes that nothing else uses and that is never unmapped.
    if unsafe { libc::sigaltstack(&raw const place, ptr::null_mut()) } != 0 {
        return Err(failed("set a handler's stack")(OsCause::last()));
    }
    let flags = SaFlags::SA_SIGINFO | SaFlags::SA_ONSTACK;
    let action = SigAction::new(SigHandler::SigAction(note_and_die), flags, SigSet::all());
    for signal in FAULTS {
        // SAFETY: the handler does async-signal-safe things only: atomic accesses to slot and bell, which stay mapped by this
        // function's contract, and the system calls futex, sigaction, getpid, nanosleep, gettid and tgkill.
        unsafe { sigaction(signal, &action) }
            .map_err(|errno| failed("install a fault handler")(errno.into()))?;
    }
    Ok(())
}

/// Leaves `text` as the last words of the calling process in the slot given to [`install_fault_handlers`]; false if no
/// slot was given. Allocates nothing and never waits, so a panic hook may call it.
pub fn leave_last_words(text: &str) -> bool {
    // SAFETY: null, or a slot that stays mapped until the process ends, by the contract of install_fault_handlers.
    let slot = unsafe { SLOT.load(Ordering::Acquire).as_ref() };
    if let Some(slot) = slot {
        slot.set_last_words(GENERATION.load(Ordering::Relaxed), text);
    }
    slot.is_some()
}

extern "C" fn note_and_die(signal: libc::c_int, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid siginfo to an SA_SIGINFO handler. si_code > 0 tells its own faults, where si_addr
    // is a field that exists and is meaningful, from signals that a process sent, where si_pid is. getpid cannot fail.
    let (code, address, from_outside) = unsafe {
        match (*info).si_code {
            code @ 1.. => (code, (*info).si_addr() as u64, false),
            code @ ..=0 => (code, 0, (*info).si_pid() != libc::getpid()),
        }
    };
    let lost_page = signal == libc::SIGBUS && matches!(code, libc::BUS_MCEERR_AR | libc::BUS_MCEERR_AO);
    // SAFETY: null, or a slot that stays mapped until the process ends, by the contract of install_fault_handlers.
    if let Some(slot) = unsafe { SLOT.load(Ordering::Acquire).as_ref() } {
        let fault = Fault { signal, address, from_outside, lost_page };
        slot.record_fault(GENERATION.load(Ordering::Relaxed), fault);
    }
    // SAFETY: null, or a doorbell that stays mapped until the process ends, by the contract of install_fault_handlers.
    if let Some(bell) = unsafe { BELL.load(Ordering::Relaxed).as_ref() } {
        bell.ring_for_the_dead();
    }
    let notice = libc::timespec { tv_sec: 0, tv_nsec: NOTICE_NS };
    // SAFETY: the kernel reads the structure during the call. An earlier wake-up does no harm.
    unsafe {
        libc::nanosleep(&raw const notice, ptr::null_mut());
    }
    // SAFETY: plain system calls. The signal stays masked until this handler returns and is delivered then, with its default
    // action. A fault would repeat by itself; a signal sent from outside would not.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::syscall(libc::SYS_tgkill, libc::getpid(), libc::gettid(), signal);
    }
}
