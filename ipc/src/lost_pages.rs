//! Lost pages: memory that the hardware cannot read any more.
//!
//! The kernel takes such a page out of use, but a shared memory file keeps its place for it: whoever touches that dies of
//! SIGBUS, and so does everybody who comes after, until the page is taken out of the file.

use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::statfs::fstatfs;
use nix::sys::uio::pread;

use crate::numa::extents;
use crate::os::OsCause;
use crate::page::page_size;

/// Pages of a shared memory file that the kernel knows to be lost: the first byte of each, from the file's beginning,
/// ascending. Stale at once.
///
/// Reads a byte of every page that anybody has touched. The kernel does the reading, and answers where a load would kill.
/// Before Linux 5.16 it says nothing of such pages: it puts zeros in their place by itself.
///
/// # Errors
/// What the kernel says.
pub fn lost_pages(file: impl AsFd) -> Result<Vec<usize>, OsCause> {
    let page = page_of(&file)?;
    let mut lost = Vec::new();
    for (from, to) in extents(&file, 0, usize::MAX)? {
        for at in (from / page * page..to).step_by(page) {
            match pread(&file, &mut [0], offset(at)?) {
                Ok(_) => {}
                Err(Errno::EIO | Errno::EHWPOISON) => lost.push(at),
                Err(errno) => return Err(errno.into()),
            }
        }
    }
    Ok(lost)
}

/// Takes pages out of a shared memory file and has the kernel put others, of zeros, in their places. `pages` are first bytes
/// of pages, as [`lost_pages`] tells them. Mappings that have met a lost page still fault there until they let it go
/// ([`PeerReader::let_go`](crate::PeerReader::let_go)) or are made anew.
///
/// # Errors
/// What the kernel says: `EPERM` where the file is sealed against writing, `ENOSPC` or `ENOMEM` where there is no memory for
/// another page. Some pages may have been replaced then.
pub fn replace_pages(file: impl AsFd, pages: &[usize]) -> Result<(), OsCause> {
    let page = offset(page_of(&file)?)?;
    for &at in pages {
        let at = offset(at)?;
        let hole = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        fallocate(&file, hole, at, page)?;
        // At once: a page that is missing at the next touch would be another SIGBUS.
        fallocate(&file, FallocateFlags::FALLOC_FL_KEEP_SIZE, at, page)?;
    }
    Ok(())
}

/// Size of the pages of a file's memory in bytes: those of reserved huge pages are huge.
fn page_of(file: &impl AsFd) -> Result<usize, OsCause> {
    let block = usize::try_from(fstatfs(file)?.block_size()).unwrap_or(0);
    Ok(block.max(page_size()))
}

fn offset(at: usize) -> Result<i64, OsCause> {
    i64::try_from(at).map_err(|_| OsCause::from(Errno::EFBIG))
}
