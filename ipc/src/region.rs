//! Regions: sealed memfds, mapped whole at their greatest size and grown by being touched.
//!
//! Three views of one file, by what the viewer may assume:
//!
//! | view | mapping | assumes |
//! |---|---|---|
//! | [`Region`] | read-write | it is the one writer of what it hands out slices of |
//! | [`RegionReader`] | read-only | writer and readers take turns |
//! | [`PeerReader`] | read-only | nothing: the writer may be in the middle of anything |
//!
//! Every region is sealed against shrinking before anyone else can see it: without that seal a peer could truncate
//! the file and the next load in any other process would be a SIGBUS.

use std::mem::{align_of, size_of};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use bytemuck::Pod;
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, FcntlArg, OFlag, SealFlag, fallocate, fcntl, open};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::ftruncate;

use crate::huge_pages::HUGE_PAGE_BYTES;
use crate::mapping::Mapping;
use crate::numa::{self, NodePolicy, PagePlace};
use crate::os::OsCause;
use crate::page::page_size;

/// Why a region could not be made, mapped, sealed or read.
#[derive(Debug, thiserror::Error)]
pub enum RegionError {
    /// The kernel refused a step.
    #[error("cannot {step} region of {bytes} bytes: {cause}")]
    Os {
        /// The step that failed, as a verb.
        step: &'static str,
        /// Size of the region in bytes, 0 while it is not known.
        bytes: usize,
        /// What the kernel said.
        cause: OsCause,
    },
    /// A region of no bytes, or of more than the kernel can address, was asked for.
    #[error("a region of {bytes} bytes cannot exist; ask for 1 byte to 2^46 bytes")]
    BadSize {
        /// The size asked for.
        bytes: usize,
    },
    /// The descriptor can still be truncated, so a load through its mapping could end in SIGBUS.
    #[error("the descriptor lacks the shrink seal (seals {seals:#x}); pass one that a region handed out")]
    NotSealed {
        /// The seals found, as the kernel's bits.
        seals: i32,
    },
    /// A reader was given a descriptor that could be mapped writable.
    #[error("the descriptor is open for writing; pass the one that reader_fd() returns")]
    NotReadOnly,
    /// A range reaches past the end of the mapping.
    #[error("{count} items of {item_bytes} bytes at offset {offset} leave the region of {len} bytes")]
    OutOfBounds {
        /// First byte of the range.
        offset: usize,
        /// Items asked for.
        count: usize,
        /// Size of one item in bytes.
        item_bytes: usize,
        /// Size of the mapping in bytes.
        len: usize,
    },
    /// An offset does not suit the alignment of the item.
    #[error("offset {offset} is not a multiple of {align}, the alignment of its items")]
    Misaligned {
        /// The offset asked for.
        offset: usize,
        /// The alignment needed in bytes.
        align: usize,
    },
    /// The hardware has lost a page of the range.
    #[error(
        "the hardware has lost memory in the {len} bytes at offset {offset}; look for memory errors in the kernel's log"
    )]
    LostPage {
        /// First byte of the range.
        offset: usize,
        /// Size of the range in bytes.
        len: usize,
    },
    /// Memory cannot be given back any more: the write seal forbids it.
    #[error("cannot discard {bytes} bytes of a write-sealed region; discard before seal_writes()")]
    SealedDiscard {
        /// Bytes that were to be given back.
        bytes: usize,
    },
}

/// A read-write mapping of a sealed memfd, and its writable descriptor.
///
/// The holder of a `Region` is the one writer of the bytes that it reads and writes through [`slice`](Self::slice) and
/// [`slice_mut`](Self::slice_mut). Processes that share a region by several `Region`s (rings) touch it through
/// atomics only. Whoever receives a writable descriptor is trusted with that rule; readers get a read-only one.
#[derive(Debug)]
pub struct Region {
    map: Mapping,
    file: OwnedFd,
}

impl Region {
    /// Makes a region of at least `bytes` bytes, rounded up to whole pages, all zero, and maps it read-write.
    ///
    /// Sparse: address space is taken at once, memory only as pages are touched. The file is sealed against shrinking
    /// and growing and kept out of core dumps. `name` is shown in `/proc/PID/maps` and need not be unique.
    pub fn create(name: &str, bytes: usize) -> Result<Region, RegionError> {
        Region::create_from(name, bytes, page_size(), MFdFlags::empty())
    }

    /// As [`create`](Self::create), of huge pages of 2 MiB from the kernel's reserve, all of them taken at once and on the nodes
    /// that `policy` says; so that there is no SIGBUS later for want of one.
    ///
    /// Errors if the reserve, or its part on those nodes, is too small; nothing is taken then.
    pub fn create_huge(name: &str, bytes: usize, policy: &NodePolicy) -> Result<Region, RegionError> {
        let region = Region::create_from(name, bytes, HUGE_PAGE_BYTES, MFdFlags::MFD_HUGETLB)?;
        region.place(policy)?;
        region.map.populate().map_err(refused("take huge pages for a", region.len()))?;
        Ok(region)
    }

    fn create_from(name: &str, bytes: usize, page: usize, kind: MFdFlags) -> Result<Region, RegionError> {
        let rounded =
            bytes.div_ceil(page).checked_mul(page).filter(|&rounded| rounded > 0 && rounded <= 1 << 46);
        let rounded = rounded.ok_or(RegionError::BadSize { bytes })?;
        let size = i64::try_from(rounded).map_err(|_| RegionError::BadSize { bytes })?;
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING | kind;
        let file = memfd_create(name, flags).map_err(refused("create", rounded))?;
        ftruncate(&file, size).map_err(refused("set the size of", rounded))?;
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW;
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals)).map_err(refused("seal", rounded))?;
        Self::map_writer(file)
    }

    /// Says on which nodes the pages of the region go, whoever touches them. Call it before the first touch: pages that are
    /// there stay where they are, although the kernel reports success. Look with [`pages_of`](crate::pages_of).
    pub fn place(&self, policy: &NodePolicy) -> Result<(), RegionError> {
        self.bind(policy, false)
    }

    /// As [`place`](Self::place), and takes along what only this process has mapped. For regions that nobody else has yet.
    pub fn place_and_move(&self, policy: &NodePolicy) -> Result<(), RegionError> {
        self.bind(policy, true)
    }

    fn bind(&self, policy: &NodePolicy, move_own: bool) -> Result<(), RegionError> {
        // SAFETY: the range is this region's whole mapping, which begins a page and lives as long as `self`.
        let bound = unsafe { numa::bind(self.map.start().as_ptr(), self.len(), policy, move_own) };
        bound.map_err(refused("set the nodes of", self.len()))
    }

    /// Asks the kernel for huge pages where this mapping touches memory first. What comes of it is the host's affair
    /// (`/sys/kernel/mm/transparent_hugepage/shmem_enabled`).
    pub fn prefer_huge_pages(&self) -> Result<(), RegionError> {
        self.map.prefer_huge_pages().map_err(refused("ask for huge pages for", self.len()))
    }

    /// Where the pages are that anybody has touched: see [`pages_of`](crate::pages_of).
    pub fn pages(&self, limit: Option<usize>, turn: usize) -> Result<Vec<PagePlace>, RegionError> {
        numa::pages_of(&self.file, limit, turn).map_err(refused("find the pages of", self.len()))
    }

    /// Maps a region that another process made, read-write. `fd` must be a descriptor from [`writer_fd`](Self::writer_fd).
    ///
    /// The size comes from the file. Errors with [`RegionError::NotSealed`] if the file could be truncated later.
    pub fn map_writer(fd: OwnedFd) -> Result<Region, RegionError> {
        let bytes = sealed_size(&fd)?;
        let map = Mapping::new(&fd, bytes, true).map_err(refused("map", bytes))?;
        Ok(Region { map, file: fd })
    }

    /// Lets only the writable mappings that exist now write from now on, and fixes the seals.
    ///
    /// Afterwards nobody, this process included, can map the file writable again, write to it, or punch holes in it.
    pub fn seal_writes(&self) -> Result<(), RegionError> {
        let seals = SealFlag::F_SEAL_FUTURE_WRITE | SealFlag::F_SEAL_SEAL;
        fcntl(&self.file, FcntlArg::F_ADD_SEALS(seals)).map_err(refused("write-seal", self.len()))?;
        Ok(())
    }

    /// Opens the file anew, read-only: a mapping of the result can never be made writable.
    pub fn reader_fd(&self) -> Result<OwnedFd, RegionError> {
        let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        open(path.as_str(), flags, Mode::empty()).map_err(refused("re-open read-only", self.len()))
    }

    /// Duplicates the writable descriptor, close-on-exec, for the one process that is to write here too.
    pub fn writer_fd(&self) -> Result<OwnedFd, RegionError> {
        self.file.try_clone().map_err(refused("duplicate the descriptor of", self.len()))
    }

    /// Size of the mapping in bytes: a multiple of the page size, never 0.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Always false: a region of no bytes cannot be made.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `count` items from byte `offset` on. Untouched memory reads as zero.
    pub fn slice<T: Pod>(&self, offset: usize, count: usize) -> Result<&[T], RegionError> {
        let start = range_of::<T>(&self.map, offset, count)?;
        // SAFETY: range_of checked that the items lie inside the mapping and are aligned; the mapping lives as long as
        // `self`; T is Pod, so any bytes are a T; no `&mut` to them exists in this process, since slice_mut borrows
        // `self` mutably, and the type's rule makes its holder the one writer among all processes.
        Ok(unsafe { std::slice::from_raw_parts(start.as_ptr(), count) })
    }

    /// As [`slice`](Self::slice), to write.
    pub fn slice_mut<T: Pod>(&mut self, offset: usize, count: usize) -> Result<&mut [T], RegionError> {
        let start = range_of::<T>(&self.map, offset, count)?;
        // SAFETY: as in slice(); `&mut self` excludes every other slice of this mapping, and readers in other
        // processes promised (RegionReader::map) to be quiet, or load atomically and expect anything (PeerReader).
        Ok(unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), count) })
    }

    /// Asks the processor to fetch the cache line at byte `offset`; an offset outside is ignored. Never waits or faults.
    #[inline]
    pub fn prefetch(&self, offset: usize) {
        prefetch(&self.map, offset);
    }

    /// As [`prefetch`](Self::prefetch), for a line that is about to be written: other processors give it up meanwhile.
    #[inline]
    pub fn prefetch_to_write(&self, offset: usize) {
        if offset >= self.map.len() {
            return;
        }
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the offset lies inside the mapping, so the sum does; a prefetch is a hint that never faults or changes
        // what the program computes.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_ET0>(self.map.start().as_ptr().add(offset).cast());
        }
    }

    /// Stores the word at byte `offset` (a multiple of 8) sequentially consistent, for [`PeerReader::load_u64`]. Not for
    /// words that a slice shows to anyone.
    pub fn store_u64(&self, offset: usize, value: u64) -> Result<(), RegionError> {
        let word = range_of::<AtomicU64>(&self.map, offset, 1)?;
        // SAFETY: range_of checked bounds and alignment; the mapping is writable and lives as long as `self`; AtomicU64
        // allows any bits; readers of this word load it atomically (PeerReader).
        unsafe { word.as_ref() }.store(value, Ordering::SeqCst);
        Ok(())
    }

    /// Gives the memory of the whole pages inside the range back; they read as zero afterwards.
    ///
    /// Bytes of partly covered pages keep their values. Errors with [`RegionError::SealedDiscard`] after
    /// [`seal_writes`](Self::seal_writes): the kernel counts a hole as a write, by any call.
    pub fn discard(&mut self, offset: usize, len: usize) -> Result<(), RegionError> {
        range_of::<u8>(&self.map, offset, len)?;
        let page = page_size();
        let first = offset.div_ceil(page).saturating_mul(page);
        let end = (offset + len) / page * page;
        if first >= end {
            return Ok(());
        }
        let too_big = |_| RegionError::BadSize { bytes: len };
        let (start, bytes) =
            (i64::try_from(first).map_err(too_big)?, i64::try_from(end - first).map_err(too_big)?);
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        fallocate(&self.file, flags, start, bytes).map_err(|errno| match OsCause::from(errno) {
            cause if cause.errno() == libc::EPERM => RegionError::SealedDiscard { bytes: end - first },
            cause => RegionError::Os { step: "punch a hole into", bytes: self.map.len(), cause },
        })
    }

    /// Has the kernel put what is touched inside the range onto huge pages, as far as it can: fewer page faults and
    /// cache misses for everyone who maps the region, and a faster end for a process that does. Contents stay.
    ///
    /// Takes about half a millisecond per MiB. Errors if the kernel is older than Linux 6.1 or has no huge pages to give;
    /// nothing is lost then.
    pub fn collapse(&self, offset: usize, len: usize) -> Result<(), RegionError> {
        range_of::<u8>(&self.map, offset, len)?;
        self.map.collapse(offset, len).map_err(refused("put onto huge pages a", len))
    }

    /// As [`PeerReader::let_go`].
    pub fn let_go(&self) -> Result<(), RegionError> {
        self.map.let_go().map_err(refused("let go the pages of", self.len()))
    }

    /// First byte of the mapping, aligned to a huge page.
    pub(crate) fn base(&self) -> NonNull<u8> {
        self.map.start()
    }
}

/// A read-only mapping whose writer and readers take turns.
///
/// The mapping can never be made writable, and holds no descriptor.
#[derive(Debug)]
pub struct RegionReader {
    map: Mapping,
}

impl RegionReader {
    /// Maps a descriptor from [`Region::reader_fd`] read-only, whole, and keeps it out of core dumps.
    ///
    /// Errors if the descriptor is writable or its file could be truncated.
    ///
    /// # Safety
    ///
    /// The caller promises that writer and readers take turns: while a slice of this reader lives, no process writes
    /// to the bytes of that slice. (The usual proof: every reader says that it is done, or is known to be dead,
    /// before the writer starts again.)
    pub unsafe fn map(fd: OwnedFd) -> Result<RegionReader, RegionError> {
        Ok(RegionReader { map: map_read_only(&fd)? })
    }

    /// As [`Region::prefetch`].
    #[inline]
    pub fn prefetch(&self, offset: usize) {
        prefetch(&self.map, offset);
    }

    /// Size of the mapping in bytes: a multiple of the page size, never 0.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Always false: a region of no bytes cannot be made.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `count` items from byte `offset` on. Untouched memory reads as zero.
    pub fn slice<T: Pod>(&self, offset: usize, count: usize) -> Result<&[T], RegionError> {
        let start = range_of::<T>(&self.map, offset, count)?;
        // SAFETY: range_of checked bounds and alignment; the mapping lives as long as `self`; T is Pod; nobody writes
        // while the slice lives, by the promise the caller of map() gave.
        Ok(unsafe { std::slice::from_raw_parts(start.as_ptr(), count) })
    }
}

/// A read-only mapping of memory that a peer may write at any moment.
///
/// Hands out copies only, loaded atomically word by word: what is copied while the peer writes may be a mix of old and
/// new words, never undefined. The mapping can never be made writable, and holds no descriptor.
#[derive(Debug)]
pub struct PeerReader {
    map: Mapping,
}

impl PeerReader {
    /// Maps a descriptor from [`Region::reader_fd`] read-only, whole, and keeps it out of core dumps.
    ///
    /// Errors if the descriptor is writable or its file could be truncated.
    pub fn map(fd: OwnedFd) -> Result<PeerReader, RegionError> {
        Ok(PeerReader { map: map_read_only(&fd)? })
    }

    /// Size of the mapping in bytes: a multiple of the page size, never 0.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Always false: a region of no bytes cannot be made.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// As [`Region::prefetch`].
    #[inline]
    pub fn prefetch(&self, offset: usize) {
        prefetch(&self.map, offset);
    }

    /// The word at byte `offset` (a multiple of 8), by one acquire load. May be stale at once.
    ///
    /// What the peer wrote before it stored this word by [`Region::store_u64`] is visible afterwards.
    pub fn load_u64(&self, offset: usize) -> Result<u64, RegionError> {
        let words = self.words(offset, size_of::<u64>())?;
        Ok(words.first().map_or(0, |word| word.load(Ordering::Acquire)))
    }

    /// Looks whether the range can be read, before somebody dies of trying: errors with [`RegionError::LostPage`] if the kernel
    /// knows that the hardware has lost a page of it. Returns where the range's last page ends: so far no loss is known.
    /// Stale at once. Untouched memory of the range is touched. On a kernel that cannot tell (before Linux 5.14) nothing is lost.
    ///
    /// Asks the kernel, which takes longer than to read a few hundred bytes: do not look twice at one page.
    pub fn look_over(&self, offset: usize, len: usize) -> Result<usize, RegionError> {
        range_of::<u8>(&self.map, offset, len)?;
        match self.map.look_over(offset, len) {
            Err(Errno::EHWPOISON) => Err(RegionError::LostPage { offset, len }),
            // Whatever else it says, whoever reads is told again.
            Ok(()) | Err(_) => Ok((offset + len).next_multiple_of(page_size())),
        }
    }

    /// Lets go of the pages that this mapping has met, to meet those that the file has now. For a mapping that met a page
    /// before the hardware lost it: it would fault there though the file has another one meanwhile.
    pub fn let_go(&self) -> Result<(), RegionError> {
        self.map.let_go().map_err(refused("let go the pages of", self.len()))
    }

    /// Appends the `len` bytes from byte `offset` (a multiple of 8) on to `into`. Reserves at most once.
    pub fn copy_out(&self, offset: usize, len: usize, into: &mut Vec<u8>) -> Result<(), RegionError> {
        let words = self.words(offset, len)?;
        let old = into.len();
        into.reserve(words.len() * size_of::<u64>());
        let mut target = into.spare_capacity_mut().as_mut_ptr().cast::<u64>();
        for word in words {
            // SAFETY: reserve() made room for all words behind the old length; the loop advances by one word per
            // word, so both the write and the advance stay inside that room (or one past its end); write_unaligned
            // needs no alignment, and the room belongs to `into`, which nobody else can reach.
            unsafe {
                target.write_unaligned(word.load(Ordering::Relaxed));
                target = target.add(1);
            }
        }
        // SAFETY: the loop initialised words.len() * 8 >= len bytes behind the old length, within the capacity.
        unsafe { into.set_len(old + len) };
        Ok(())
    }

    /// The words that cover `len` bytes from `offset` on. The last one may reach past them: never past the mapping,
    /// whose size is a multiple of 8.
    fn words(&self, offset: usize, len: usize) -> Result<&[AtomicU64], RegionError> {
        range_of::<u8>(&self.map, offset, len)?;
        let count = len.div_ceil(size_of::<u64>());
        let start = range_of::<u64>(&self.map, offset, count)?;
        // SAFETY: range_of checked bounds and alignment; AtomicU64 has the layout of u64 and allows any bits; only
        // loads are done (a relaxed 8-byte load is allowed on read-only memory), and an atomic may change at any time.
        Ok(unsafe { std::slice::from_raw_parts(start.as_ptr().cast::<AtomicU64>(), count) })
    }
}

/// Turns an errno into a [`RegionError`] that names the step and the size.
fn refused<E: Into<OsCause>>(step: &'static str, bytes: usize) -> impl FnOnce(E) -> RegionError {
    move |cause| RegionError::Os { step, bytes, cause: cause.into() }
}

/// Hints that the cache line at byte `offset` will be read soon.
#[inline]
fn prefetch(map: &Mapping, offset: usize) {
    if offset < map.len() {
        // SAFETY: the offset lies inside the mapping, so the sum does.
        prefetch_line(unsafe { map.start().as_ptr().add(offset) });
    }
}

/// Asks the processor to fetch the cache line where `bytes` begin. Never waits or faults.
#[inline]
pub fn prefetch_start(bytes: &[u8]) {
    prefetch_line(bytes.as_ptr());
}

#[inline]
#[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables))]
fn prefetch_line(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch is a hint that never faults, whatever the address, or changes what the program computes.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(at.cast());
    }
}

/// Size of a file that can never shrink, in bytes, rounded down to words.
fn sealed_size(fd: &OwnedFd) -> Result<usize, RegionError> {
    let seals = fcntl(fd, FcntlArg::F_GET_SEALS).map_err(refused("read the seals of", 0))?;
    if seals & libc::F_SEAL_SHRINK == 0 {
        return Err(RegionError::NotSealed { seals });
    }
    let size = fstat(fd).map_err(refused("read the size of", 0))?.st_size;
    let bytes = usize::try_from(size).unwrap_or(0);
    match bytes % page_size() {
        0 if bytes > 0 => Ok(bytes),
        _ => Err(RegionError::BadSize { bytes }),
    }
}

fn map_read_only(fd: &OwnedFd) -> Result<Mapping, RegionError> {
    let flags = fcntl(fd.as_fd(), FcntlArg::F_GETFL).map_err(refused("read the flags of", 0))?;
    if flags & libc::O_ACCMODE != libc::O_RDONLY {
        return Err(RegionError::NotReadOnly);
    }
    let bytes = sealed_size(fd)?;
    Mapping::new(fd, bytes, false).map_err(refused("map", bytes))
}

/// Checks that `count` items of T at `offset` lie inside the mapping, aligned; returns where they start.
fn range_of<T>(map: &Mapping, offset: usize, count: usize) -> Result<NonNull<T>, RegionError> {
    let (len, item_bytes, align) = (map.len(), size_of::<T>(), align_of::<T>());
    let end = count.checked_mul(item_bytes).and_then(|bytes| bytes.checked_add(offset));
    if end.is_none_or(|end| end > len) {
        return Err(RegionError::OutOfBounds { offset, count, item_bytes, len });
    }
    // SAFETY: offset <= end <= len, so the sum stays inside the mapping or one past its end.
    let start = unsafe { map.start().add(offset) }.cast::<T>();
    if !start.is_aligned() {
        return Err(RegionError::Misaligned { offset, align });
    }
    Ok(start)
}
