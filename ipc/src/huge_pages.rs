//! Huge pages: how many there are, and what is really on them.
//!
//! Asking for them is a wish: the kernel takes ordinary pages without a word where its settings or its memory have no others.

use std::fs;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::sys::stat::fstat;
use nix::sys::statfs::fstatfs;

use crate::mapping::Mapping;
use crate::numa::extents;
use crate::os::OsCause;
use crate::page::page_size;
use crate::region::{Region, RegionError};

/// Size and alignment of a huge page, in bytes: what one entry of a page directory maps.
pub const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Unit of the sizes that `stat` tells, in bytes.
const BLOCK_BYTES: u64 = 512;

/// Pages of 2 MiB that this kernel has in reserve for [`Region::create_huge`](crate::Region::create_huge), over all nodes.
#[must_use]
pub fn free_huge_pages() -> u64 {
    let text = fs::read_to_string("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages");
    text.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// Whether memory that asks for huge pages gets one at its first touch here and now: tried, since settings, free memory and
/// sandboxes all have a say. Takes 2 MiB for a moment.
///
/// # Errors
/// [`RegionError`] if not even that can be had.
pub fn gives_huge_pages() -> Result<bool, RegionError> {
    let region = Region::create("phalanx-probe", HUGE_PAGE_BYTES)?;
    if region.prefer_huge_pages().is_err() {
        return Ok(false);
    }
    region.store_u64(0, 1)?;
    Ok(huge_bytes_of(region.reader_fd()?).is_ok_and(|bytes| bytes > 0))
}

/// Bytes of a shared memory file that are on huge pages, from the reserve or put together by the kernel; of those that anybody
/// has touched. Takes some microseconds per 2 MiB that hold memory. May be stale at once.
///
/// # Errors
/// What the kernel says.
pub fn huge_bytes_of(file: impl AsFd) -> Result<u64, OsCause> {
    let stat = fstat(file.as_fd())?;
    let page = fstatfs(file.as_fd())?.block_size();
    if usize::try_from(page).is_ok_and(|page| page > page_size()) {
        // A file of the reserve has no other pages.
        return Ok(u64::try_from(stat.st_blocks).unwrap_or(0) * BLOCK_BYTES);
    }
    let len = usize::try_from(stat.st_size).unwrap_or(0);
    if len == 0 {
        return Ok(0);
    }
    let map = Mapping::new(&file, len, false)?;
    // One look brings a whole huge page into this mapping; then the kernel tells how many entries of that size it has.
    let mut looked_at = None;
    for (from, to) in extents(&file, 0, usize::MAX)? {
        for huge in from / HUGE_PAGE_BYTES..to.div_ceil(HUGE_PAGE_BYTES) {
            if looked_at != Some(huge) {
                map.look_at(from.max(huge * HUGE_PAGE_BYTES))?;
                looked_at = Some(huge);
            }
        }
    }
    let kib = huge_kib_at(&fs::read_to_string("/proc/self/smaps")?, map.start().as_ptr() as usize);
    kib.map(|kib| kib * 1024).ok_or(OsCause::from(Errno::ENODATA))
}

/// Of the mapping that begins at `start`: KiB that huge entries map.
fn huge_kib_at(smaps: &str, start: usize) -> Option<u64> {
    let head = format!("{start:x}-");
    let mapping = smaps.lines().skip_while(|line| !line.starts_with(&head)).skip(1);
    // The next mapping's first line begins with an address, in lower case; fields begin with a capital.
    let fields = mapping.take_while(|line| line.starts_with(|first: char| first.is_ascii_uppercase()));
    let huge = fields.filter_map(|line| {
        let value = line.strip_prefix("ShmemPmdMapped:").or_else(|| line.strip_prefix("FilePmdMapped:"))?;
        value.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    });
    huge.reduce(|sum, kib| sum + kib)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_huge_part_of_one_mapping_is_found_among_many() {
        let field = |name: &str, kib: u64| format!("{name}:          {kib} kB\n");
        let mapping = |start: &str, shmem, file| {
            let head = format!("{start}-7f0000400000 rw-s 00000000 00:01 1 /memfd:phalanx (deleted)\n");
            [head, field("Size", 4096), field("ShmemPmdMapped", shmem), field("FilePmdMapped", file)].concat()
        };
        let smaps = mapping("7f0000000000", 2048, 0) + &mapping("7f0000400000", 0, 4096);
        assert_eq!(huge_kib_at(&smaps, 0x7f00_0000_0000), Some(2048));
        assert_eq!(huge_kib_at(&smaps, 0x7f00_0040_0000), Some(4096));
        assert_eq!(huge_kib_at(&smaps, 0x7f00_0080_0000), None);
    }

    #[test]
    fn what_was_put_together_is_counted_and_ordinary_pages_are_not() {
        let mut region = Region::create("counted", 3 * HUGE_PAGE_BYTES).unwrap();
        region.slice_mut::<u8>(0, 2 * HUGE_PAGE_BYTES).unwrap().fill(1);
        let fd = region.reader_fd().unwrap();
        let always = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/shmem_enabled")
            .is_ok_and(|text| text.contains("[always]") || text.contains("[force]"));
        if !always {
            assert_eq!(huge_bytes_of(&fd).unwrap(), 0);
        }
        // A kernel before 6.1, or one without 2 MiB in one piece, refuses.
        if region.collapse(0, HUGE_PAGE_BYTES).is_ok() {
            assert!(huge_bytes_of(&fd).unwrap() >= HUGE_PAGE_BYTES as u64);
        }
    }
}
