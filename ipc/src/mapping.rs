//! Shared mappings of a file, aligned so that huge pages can back them.

use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::ptr::NonNull;

use nix::errno::Errno;
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap, mmap_anonymous, munmap};

use crate::huge_pages::HUGE_PAGE_BYTES;
use crate::page::page_size;

/// A shared mapping of a whole file from its first byte on, kept out of core dumps. Unmapped when dropped.
///
/// Starts at a multiple of [`HUGE_PAGE_BYTES`]: only then can the kernel map a huge page of the file by one entry.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<u8>,
    len: usize,
    reserved: NonNull<u8>,
    reserved_len: NonZeroUsize,
}

// SAFETY: a mapping is memory that belongs to the process, not to a thread; it hands out its address only.
unsafe impl Send for Mapping {}
// SAFETY: as for Send.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `len` bytes of `file`, which must not be 0.
    pub(crate) fn new(file: impl AsFd, len: usize, writable: bool) -> Result<Mapping, Errno> {
        let reserved_len =
            len.checked_add(HUGE_PAGE_BYTES).and_then(NonZeroUsize::new).ok_or(Errno::ENOMEM)?;
        let bytes = NonZeroUsize::new(len).ok_or(Errno::EINVAL)?;
        let nothing = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE;
        // SAFETY: a new private mapping at an address of the kernel's choice touches no other memory.
        let reserved =
            unsafe { mmap_anonymous(None, reserved_len, ProtFlags::PROT_NONE, nothing) }?.cast::<u8>();
        let skipped = reserved.as_ptr().align_offset(HUGE_PAGE_BYTES);
        // SAFETY: the reservation is a huge page longer than `len`, so start and end of the aligned range lie inside it.
        let start = unsafe { reserved.add(skipped) };
        let mut mapping = Mapping { start, len, reserved, reserved_len };
        let access =
            if writable { ProtFlags::PROT_READ | ProtFlags::PROT_WRITE } else { ProtFlags::PROT_READ };
        let shared = MapFlags::MAP_SHARED | MapFlags::MAP_FIXED;
        // SAFETY: MAP_FIXED replaces pages of the reservation only, which is this mapping's own and in use by nobody.
        let placed =
            unsafe { mmap(NonZeroUsize::new(start.as_ptr() as usize), bytes, access, shared, file, 0) }?;
        mapping.start = placed.cast();
        // SAFETY: the range is this mapping, just made; the advice changes what a core dump holds, nothing else.
        unsafe { madvise(placed, len, MmapAdvise::MADV_DONTDUMP) }?;
        Ok(mapping)
    }

    /// Size in bytes.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// First byte, aligned to a huge page.
    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// Maps the page at byte `at` of the file, if there is one; takes no memory that was not taken.
    pub(crate) fn look_at(&self, at: usize) -> Result<(), Errno> {
        if at >= self.len {
            return Err(Errno::EINVAL);
        }
        // SAFETY: at < len, so the page lies inside the mapping; reading it in changes nothing. A hole is filled with zeros.
        let answer =
            unsafe { libc::madvise(self.start.add(at).as_ptr().cast(), 1, libc::MADV_POPULATE_READ) };
        Errno::result(answer).map(drop)
    }

    /// Maps the touched pages inside `at..at + len`, as [`look_at`](Self::look_at) does one; `EHWPOISON` if one of them is lost.
    pub(crate) fn look_over(&self, at: usize, len: usize) -> Result<(), Errno> {
        let first = at / page_size() * page_size();
        if at.checked_add(len).is_none_or(|end| end > self.len) {
            return Err(Errno::EINVAL);
        }
        // SAFETY: first <= at and at + len <= self.len, so the range lies inside the mapping; reading it in changes nothing.
        let answer = unsafe {
            let start = self.start.add(first).as_ptr().cast();
            libc::madvise(start, at + len - first, libc::MADV_POPULATE_READ)
        };
        Errno::result(answer).map(drop)
    }

    /// Has the kernel forget which pages this mapping has met; it meets them again at the next touch. The file keeps them.
    pub(crate) fn let_go(&self) -> Result<(), Errno> {
        self.advise(libc::MADV_DONTNEED)
    }

    /// Takes all memory of the mapping now; an error instead of a SIGBUS at the touch.
    pub(crate) fn populate(&self) -> Result<(), Errno> {
        self.advise(libc::MADV_POPULATE_WRITE)
    }

    /// Asks for huge pages at the first touch through this mapping.
    pub(crate) fn prefer_huge_pages(&self) -> Result<(), Errno> {
        self.advise(libc::MADV_HUGEPAGE)
    }

    fn advise(&self, advice: libc::c_int) -> Result<(), Errno> {
        // SAFETY: the range is this mapping, writable where it is populated; the pages of a shared mapping are the file's, so
        // each kind of advice changes which pages are mapped or hold the bytes, not the bytes.
        let answer = unsafe { libc::madvise(self.start.as_ptr().cast(), self.len, advice) };
        Errno::result(answer).map(drop)
    }

    /// Has the kernel put the whole huge pages inside `offset..offset + len` of the file onto huge pages, copying what is
    /// touched. Works whatever the host's settings for transparent huge pages are, from Linux 6.1 on.
    ///
    /// Takes about half a millisecond per MiB.
    pub(crate) fn collapse(&self, offset: usize, len: usize) -> Result<(), Errno> {
        let first = offset.next_multiple_of(HUGE_PAGE_BYTES);
        let end = offset.saturating_add(len).min(self.len) / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES;
        if first >= end {
            return Ok(());
        }
        // SAFETY: first < end <= len, so the range lies inside the mapping; collapsing changes which pages hold the bytes,
        // not the bytes.
        let answer =
            unsafe { libc::madvise(self.start.add(first).as_ptr().cast(), end - first, libc::MADV_COLLAPSE) };
        Errno::result(answer).map(drop)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is the reservation of new(), which holds the mapping; whoever has its address borrows `self`.
        let unmapped = unsafe { munmap(self.reserved.cast(), self.reserved_len.get()) };
        debug_assert!(unmapped.is_ok(), "a mapping can always be unmapped");
    }
}
