//! Real faults on demand, for tests of what survives them. Only with the feature `crashes`.
//!
//! A signal that a process sends to itself is not the same: the kernel marks its own faults, and a handler that returns
//! from one meets it again.

use std::arch::asm;
use std::hint::black_box;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap};
use nix::unistd::ftruncate;

const PAGE_BYTES: usize = 4096;

/// Ends the process by a store to an address where nothing is mapped: SIGSEGV.
pub fn segmentation_fault() -> ! {
    let nowhere = black_box(std::ptr::without_provenance_mut::<u8>(0x18));
    // SAFETY: the first page is never mapped (vm.mmap_min_addr), so the store meets no object of this program: it traps,
    // and nothing after it runs. The pointer is not null and a byte needs no alignment.
    unsafe { nowhere.write_volatile(1) };
    std::process::abort()
}

/// Ends the process by a store to a mapped page behind the end of its file: SIGBUS. Aborts if there is no such page to
/// be had.
pub fn bus_error() -> ! {
    // The page cannot be made: the process ends all the same, by another signal.
    let Ok(cut_off) = page_behind_the_end() else { std::process::abort() };
    // SAFETY: the mapping is private to this function and lives on; the store traps, since the file has no such page.
    unsafe { cut_off.write_volatile(1) };
    std::process::abort()
}

fn page_behind_the_end() -> io::Result<*mut u8> {
    let file: OwnedFd = memfd_create(c"phalanx-bus-error", MFdFlags::MFD_CLOEXEC)?;
    ftruncate(&file, PAGE_BYTES as i64)?;
    let length = NonZeroUsize::MIN.saturating_add(PAGE_BYTES - 1);
    let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: a new mapping at an address of the kernel's choice touches no memory that is in use.
    let page = unsafe { mmap(None, length, access, MapFlags::MAP_SHARED, &file, 0) }?;
    ftruncate(&file, 0)?;
    Ok(page.as_ptr().cast())
}

/// Ends the process by an instruction that no processor has: SIGILL.
pub fn illegal_instruction() -> ! {
    // SAFETY: ud2 is defined to trap; nothing after it runs.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        asm!("ud2", options(noreturn))
    }
    // SAFETY: udf is defined to trap; nothing after it runs.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        asm!("udf #0", options(noreturn))
    }
}
