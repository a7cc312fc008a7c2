//! Memory on nodes: where pages are to go, and where they are.
//!
//! What the kernel does, and what this module makes of it:
//! - The policy of a shared memory file lives in the file: who made it binds it once, and every later page of whoever
//!   touches it follows.
//! - Binding does not move pages that are there already, or only those of the caller, and reports success all the same. So
//!   regions are bound before they are touched, and looked at afterwards.
//! - A page that this process has not mapped itself has no place as far as the kernel tells it. So looking maps it first.

use std::mem::size_of_val;
use std::num::NonZeroUsize;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use nix::unistd::{Whence, lseek};

use crate::os::OsCause;
use crate::page::page_size;

/// Nodes that a mask can name.
const NODES: usize = 1024;
const WORD_BITS: usize = 64;

/// Modes and flags of `mbind` and `set_mempolicy`, from the kernel's interface.
const PREFERRED: libc::c_int = libc::MPOL_PREFERRED;
const BIND: libc::c_int = libc::MPOL_BIND;
const INTERLEAVE: libc::c_int = libc::MPOL_INTERLEAVE;
const DEFAULT: libc::c_int = libc::MPOL_DEFAULT;
/// Move pages that this process alone has.
const MOVE: libc::c_uint = 2;
/// Move pages of others too; needs `CAP_SYS_NICE`.
const MOVE_ALL: libc::c_int = 4;

/// Extents among which a sample is drawn: a table that is touched here and there has very many.
const EXTENTS_LOOKED_AT: usize = 256;
/// Pages that are looked at in one piece.
const PIECE_PAGES: usize = 512;

/// Where pages are to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodePolicy {
    /// On this node only: past its free memory the kernel kills.
    Only(u32),
    /// On this node, elsewhere when it is full.
    Near(u32),
    /// In turns over these nodes.
    Spread(Vec<u32>),
    /// Where the thread runs that touches them first.
    Default,
}

/// A mask of nodes as the kernel reads it.
struct NodeMask([u64; NODES / WORD_BITS]);

impl NodeMask {
    fn of(nodes: &[u32]) -> Result<NodeMask, OsCause> {
        let mut mask = NodeMask([0; NODES / WORD_BITS]);
        for &node in nodes {
            let place = node as usize;
            let word = mask.0.get_mut(place / WORD_BITS).ok_or(OsCause::from(Errno::EINVAL))?;
            *word |= 1 << (place % WORD_BITS);
        }
        Ok(mask)
    }

    /// The kernel reads one bit less than it is told.
    const MAX_NODE: usize = NODES + 1;
}

impl NodePolicy {
    fn encode(&self) -> Result<(libc::c_int, NodeMask), OsCause> {
        Ok(match self {
            NodePolicy::Only(node) => (BIND, NodeMask::of(&[*node])?),
            NodePolicy::Near(node) => (PREFERRED, NodeMask::of(&[*node])?),
            NodePolicy::Spread(nodes) => (INTERLEAVE, NodeMask::of(nodes)?),
            NodePolicy::Default => (DEFAULT, NodeMask::of(&[])?),
        })
    }
}

/// Gives a mapping's pages their policy; `move_own` takes along what this process alone has touched.
///
/// # Safety
/// `start .. start + len` lies in a mapping of this process, and `start` begins a page.
pub(crate) unsafe fn bind(
    start: *mut u8,
    len: usize,
    policy: &NodePolicy,
    move_own: bool,
) -> Result<(), OsCause> {
    let (mode, mask) = policy.encode()?;
    let flags = if move_own { MOVE } else { 0 };
    // SAFETY: by the caller's promise the range is mapped; a policy changes where pages are, not what they hold; the mask
    // lives until the call returns and has MAX_NODE - 1 bits, which is what the kernel reads.
    let answer = unsafe {
        libc::syscall(libc::SYS_mbind, start, len, mode, mask.0.as_ptr(), NodeMask::MAX_NODE, flags)
    };
    if answer == 0 { Ok(()) } else { Err(OsCause::last()) }
}

/// Has the calling thread, and what is forked from it, take its own memory by this policy from now on.
///
/// # Errors
/// What the kernel says: `EINVAL` for a node that is not there, has no memory, or is not allowed.
pub fn set_own_policy(policy: &NodePolicy) -> Result<(), OsCause> {
    let (mode, mask) = policy.encode()?;
    // SAFETY: the kernel reads MAX_NODE - 1 bits of the mask, which lives until the call returns.
    let answer = unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, mask.0.as_ptr(), NodeMask::MAX_NODE) };
    if answer == 0 { Ok(()) } else { Err(OsCause::last()) }
}

/// Runs `work` while the calling thread takes its memory by `policy`, and goes back to the policy before. For shared memory
/// that is taken at once by a call that cannot be told where.
///
/// # Errors
/// What the kernel says of the policy; then `work` has run without it, and its result is in the error's place of the pair.
pub fn with_own_policy<T>(policy: &NodePolicy, work: impl FnOnce() -> T) -> (T, Result<(), OsCause>) {
    let (mut mode, mut mask) = (0 as libc::c_int, [0_u64; NODES / WORD_BITS]);
    // SAFETY: the kernel writes the mode and at most MAX_NODE - 1 bits of the mask; both live until the call returns; without an
    // address it tells the thread's own policy.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_get_mempolicy,
            &raw mut mode,
            mask.as_mut_ptr(),
            NODES,
            std::ptr::null_mut::<libc::c_void>(),
            0,
        )
    };
    let taken = if answer == 0 { set_own_policy(policy) } else { Err(OsCause::last()) };
    let done = work();
    if taken.is_ok() {
        // SAFETY: as in set_own_policy, with what the kernel has told just before.
        let restored =
            unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, mask.as_ptr(), NodeMask::MAX_NODE) };
        debug_assert_eq!(restored, 0, "a policy that was in force can be set again");
    }
    (done, taken)
}

/// The node of one page of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PagePlace {
    /// First byte of the page, from the file's beginning.
    pub offset: usize,
    /// Its node.
    pub node: u32,
}

/// Tells where the pages of a shared memory file are, those that have been touched by anyone: all of them, or with `limit`
/// at most so many, evenly drawn from `turn` on (another number looks at other pages).
///
/// Takes about a microsecond per page. Touches nothing that was not there, and leaves out pages that the hardware has lost. The
/// file may change at any moment.
///
/// # Errors
/// What the kernel says.
pub fn pages_of(file: impl AsFd, limit: Option<usize>, turn: usize) -> Result<Vec<PagePlace>, OsCause> {
    look(file, limit, turn, |_| Ok(()))
}

/// As [`pages_of`], and moves those that `home` gives another node to that one before they are looked at again. Returns what
/// was found first.
///
/// # Errors
/// What the kernel says; `EPERM` without `CAP_SYS_NICE`. Pages may have been moved then.
pub fn move_pages_home(
    file: impl AsFd,
    limit: Option<usize>,
    turn: usize,
    home: impl Fn(PagePlace) -> Option<u32>,
) -> Result<Vec<PagePlace>, OsCause> {
    look(file, limit, turn, |piece| piece.bring_home(&home))
}

fn look(
    file: impl AsFd,
    limit: Option<usize>,
    turn: usize,
    mut then: impl FnMut(&mut Piece) -> Result<(), OsCause>,
) -> Result<Vec<PagePlace>, OsCause> {
    let extents = match limit {
        None => extents(&file, 0, usize::MAX)?,
        Some(_) => some_extents(&file, turn)?,
    };
    let page = page_size();
    let total: usize = extents.iter().map(|(from, to)| (to - from) / page).sum();
    let step = limit.map_or(1, |limit| total.div_ceil(limit.max(1)).max(1));
    let mut found = Vec::new();
    // How many pages to pass over before the next one.
    let mut ahead = turn % step;
    for (from, to) in extents {
        let mut at = from;
        while at < to {
            let len = (to - at).min(PIECE_PAGES * page);
            let pages = len / page;
            if ahead < pages {
                let mut piece = Piece::map(&file, at, len)?;
                let wanted: Vec<usize> = (ahead..pages).step_by(step).collect();
                ahead = wanted.last().map_or(ahead, |last| last + step);
                piece.ask(&wanted)?;
                then(&mut piece)?;
                found.append(&mut piece.found);
            }
            ahead -= pages.min(ahead);
            at += len;
        }
    }
    Ok(found)
}

/// A bounded number of extents: all of them if they are few, else the first ones or, every other turn, some from another place on.
fn some_extents(file: &impl AsFd, turn: usize) -> Result<Vec<(usize, usize)>, OsCause> {
    let first = extents(file, 0, EXTENTS_LOOKED_AT)?;
    if first.len() < EXTENTS_LOOKED_AT || turn.is_multiple_of(2) {
        return Ok(first);
    }
    let end = extents_end(file)?;
    // Weyl's sequence by the golden ratio: in time it comes by everywhere.
    let place = (turn as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let start = (u128::from(place) * u128::from(end.cast_unsigned())) >> 64;
    let elsewhere = extents(file, i64::try_from(start).unwrap_or(0), EXTENTS_LOOKED_AT)?;
    Ok(if elsewhere.is_empty() { first } else { elsewhere })
}

/// Size of a file in bytes.
fn extents_end(file: &impl AsFd) -> Result<i64, OsCause> {
    Ok(nix::sys::stat::fstat(file)?.st_size)
}

/// The parts of a file that have memory from byte `start` on, in whole pages, at most so many.
pub(crate) fn extents(file: &impl AsFd, start: i64, most: usize) -> Result<Vec<(usize, usize)>, OsCause> {
    let mut extents = Vec::new();
    let mut at = start;
    while extents.len() < most {
        let from = match lseek(file, at, Whence::SeekData) {
            Ok(from) => from,
            // There is no more.
            Err(Errno::ENXIO) => return Ok(extents),
            Err(errno) => return Err(errno.into()),
        };
        let to = lseek(file, from, Whence::SeekHole)?;
        let (Ok(start), Ok(end)) = (usize::try_from(from), usize::try_from(to)) else { return Ok(extents) };
        let page = page_size();
        extents.push((start / page * page, end.next_multiple_of(page)));
        at = to;
    }
    Ok(extents)
}

/// A short read-only mapping of a file, to look at its pages.
struct Piece {
    start: std::ptr::NonNull<libc::c_void>,
    len: usize,
    offset: usize,
    found: Vec<PagePlace>,
}

impl Piece {
    fn map(file: &impl AsFd, offset: usize, len: usize) -> Result<Piece, OsCause> {
        let bytes = NonZeroUsize::new(len).ok_or(OsCause::from(Errno::EINVAL))?;
        let at = i64::try_from(offset).map_err(|_| OsCause::from(Errno::EFBIG))?;
        // SAFETY: a new mapping at an address of the kernel's choice touches no other memory; it is read-only.
        let start = unsafe { mmap(None, bytes, ProtFlags::PROT_READ, MapFlags::MAP_SHARED, file, at) }?;
        Ok(Piece { start, len, offset, found: Vec::new() })
    }

    fn address(&self, page: usize) -> *mut libc::c_void {
        self.start.as_ptr().cast::<u8>().wrapping_add(page * page_size()).cast()
    }

    /// Has the kernel tell the nodes of some pages.
    fn ask(&mut self, pages: &[usize]) -> Result<(), OsCause> {
        for &page in pages {
            // SAFETY: `page` is below the mapping's number of pages, so its range lies inside; reading pages in changes nothing.
            // A hole punched meanwhile is filled again, by the file's policy.
            let answer = unsafe { libc::madvise(self.address(page), page_size(), libc::MADV_POPULATE_READ) };
            match Errno::result(answer) {
                // One that the hardware has lost is nowhere.
                Ok(_) | Err(Errno::EHWPOISON) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        let status = self.move_to(pages, None)?;
        let offset = self.offset;
        let places = pages.iter().zip(status).filter_map(|(&page, status)| {
            // A page that is gone again has an error in the place of its node.
            let node = u32::try_from(status).ok()?;
            Some(PagePlace { offset: offset + page * page_size(), node })
        });
        self.found.extend(places);
        Ok(())
    }

    fn bring_home(&mut self, home: &impl Fn(PagePlace) -> Option<u32>) -> Result<(), OsCause> {
        let lost = self.found.iter().filter_map(|&place| {
            let target = home(place).filter(|&target| target != place.node)?;
            Some(((place.offset - self.offset) / page_size(), target.cast_signed()))
        });
        let (pages, nodes): (Vec<usize>, Vec<i32>) = lost.unzip();
        if !pages.is_empty() {
            self.move_to(&pages, Some(&nodes))?;
        }
        Ok(())
    }

    /// `move_pages`: without targets it only tells the nodes.
    fn move_to(&self, pages: &[usize], targets: Option<&[i32]>) -> Result<Vec<i32>, OsCause> {
        let mut addresses: Vec<*mut libc::c_void> = pages.iter().map(|&page| self.address(page)).collect();
        let mut status = vec![-libc::ENOENT; pages.len()];
        debug_assert!(targets.is_none_or(|targets| size_of_val(targets) == size_of_val(&*status)));
        let nodes = targets.map_or(std::ptr::null(), <[i32]>::as_ptr);
        let flags = if targets.is_some() { MOVE_ALL } else { 0 };
        // SAFETY: 0 is this process; addresses, status and targets (if there are any) have one entry per page and live until the
        // call returns; the addresses lie in this mapping; moving a page changes where it is, not what it holds.
        let answer = unsafe {
            libc::syscall(
                libc::SYS_move_pages,
                0,
                pages.len(),
                addresses.as_mut_ptr(),
                nodes,
                status.as_mut_ptr(),
                flags,
            )
        };
        // Greater than 0: so many could not be moved.
        if answer < 0 { Err(OsCause::last()) } else { Ok(status) }
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        // SAFETY: the range is the mapping of map(), and its address is not handed out.
        let unmapped = unsafe { munmap(self.start, self.len) };
        debug_assert!(unmapped.is_ok(), "a mapping can always be unmapped");
    }
}
