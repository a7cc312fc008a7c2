//! What each view of a region can and cannot do.
//!
//! What would break without them: a reader that can turn its view writable, or a peer that can truncate the file under
//! everyone. Negative controls: the same mprotect succeeds on a writer's view, the same truncation on a file without seals.

#![cfg(not(loom))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::cast_possible_truncation, reason = "tests use small numbers")]

mod common;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};
use phalanx_ipc::{PeerReader, Region, RegionError, RegionReader};

const PAGE: usize = 4096;

fn reader(region: &Region) -> RegionReader {
    // SAFETY: these tests write only while no slice of the reader lives.
    unsafe { RegionReader::map(region.reader_fd().unwrap()).unwrap() }
}

/// Tries to make a page writable; Ok if the kernel lets it.
fn make_writable(page: *const u8) -> Result<(), Errno> {
    // SAFETY: the page belongs to a mapping of this test, and nothing here relies on its protection.
    match unsafe { libc::mprotect(page.cast_mut().cast(), PAGE, libc::PROT_READ | libc::PROT_WRITE) } {
        0 => Ok(()),
        _ => Err(Errno::last()),
    }
}

/// First page of the mapping whose name contains `name` and that is not writable, as the kernel lists it.
fn read_only_mapping(name: &str) -> *const u8 {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let line = maps.lines().find(|line| line.contains(name) && line.contains(" r--s ")).unwrap();
    let start = usize::from_str_radix(line.split('-').next().unwrap(), 16).unwrap();
    std::ptr::without_provenance(start)
}

#[test]
fn what_the_writer_writes_the_readers_read() {
    let mut region = Region::create("what-is-written", 3 * PAGE).unwrap();
    region.slice_mut::<u32>(PAGE, 3).unwrap().copy_from_slice(&[1, 2, 3]);
    let (turns, peer) = (reader(&region), PeerReader::map(region.reader_fd().unwrap()).unwrap());
    assert_eq!(turns.slice::<u32>(PAGE, 3).unwrap(), [1, 2, 3]);
    assert_eq!(peer.load_u64(PAGE).unwrap(), 1 | 2 << 32);
    let mut bytes = vec![9];
    peer.copy_out(PAGE, 12, &mut bytes).unwrap();
    peer.copy_out(PAGE, 5, &mut bytes).unwrap();
    peer.copy_out(3 * PAGE, 0, &mut bytes).unwrap();
    assert_eq!(bytes, [9, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2]);
    let second = Region::map_writer(region.writer_fd().unwrap()).unwrap();
    assert_eq!(second.slice::<u32>(PAGE, 3).unwrap(), [1, 2, 3]);
    assert_eq!((region.len(), turns.len(), peer.len()), (3 * PAGE, 3 * PAGE, 3 * PAGE));
}

#[test]
fn a_readers_view_can_never_be_made_writable() {
    let mut region = Region::create("never-writable", PAGE).unwrap();
    let turns = reader(&region);
    assert_eq!(make_writable(turns.slice::<u8>(0, 1).unwrap().as_ptr()), Err(Errno::EACCES));
    drop(turns);
    let peer = PeerReader::map(region.reader_fd().unwrap()).unwrap();
    assert_eq!(make_writable(read_only_mapping("never-writable")), Err(Errno::EACCES));
    drop(peer);
    // The control: the writer's own view.
    assert_eq!(make_writable(region.slice_mut::<u8>(0, 1).unwrap().as_ptr()), Ok(()));
}

#[test]
fn a_reader_is_refused_a_writable_descriptor() {
    let region = Region::create("writable-fd", PAGE).unwrap();
    assert!(matches!(PeerReader::map(region.writer_fd().unwrap()), Err(RegionError::NotReadOnly)));
    // SAFETY: it is refused.
    let refused = unsafe { RegionReader::map(region.writer_fd().unwrap()) };
    assert!(matches!(refused, Err(RegionError::NotReadOnly)));
    assert!(Region::map_writer(region.reader_fd().unwrap()).is_err());
}

#[test]
fn a_region_cannot_shrink_or_grow_and_an_unsealed_file_is_refused() {
    let region = Region::create("no-shrink", PAGE).unwrap();
    let file = File::from(region.writer_fd().unwrap());
    assert_eq!(file.set_len(0).unwrap_err().raw_os_error(), Some(libc::EPERM));
    assert_eq!(file.set_len(2 * PAGE as u64).unwrap_err().raw_os_error(), Some(libc::EPERM));
    // The control: the same file without seals shrinks, and so is refused.
    let unsealed =
        File::from(memfd_create("unsealed", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING).unwrap());
    unsealed.set_len(PAGE as u64).unwrap();
    let refused = Region::map_writer(OwnedFd::from(unsealed.try_clone().unwrap()));
    assert!(matches!(refused, Err(RegionError::NotSealed { .. })));
    unsealed.set_len(0).unwrap();
}

#[test]
fn after_the_write_seal_only_the_writer_that_exists_writes() {
    let mut region = Region::create("write-seal", PAGE).unwrap();
    let before = Region::map_writer(region.writer_fd().unwrap());
    assert!(before.is_ok());
    region.seal_writes().unwrap();
    assert!(Region::map_writer(region.writer_fd().unwrap()).is_err());
    region.slice_mut::<u8>(0, 1).unwrap()[0] = 7;
    let turns = reader(&region);
    assert_eq!(turns.slice::<u8>(0, 1).unwrap(), [7]);
    assert_eq!(make_writable(turns.slice::<u8>(0, 1).unwrap().as_ptr()), Err(Errno::EACCES));
}

#[test]
fn ranges_outside_and_crooked_offsets_are_errors() {
    let mut region = Region::create("ranges", PAGE).unwrap();
    assert!(matches!(region.slice::<u64>(PAGE - 8, 2), Err(RegionError::OutOfBounds { .. })));
    assert!(matches!(region.slice::<u64>(usize::MAX, 1), Err(RegionError::OutOfBounds { .. })));
    assert!(matches!(region.slice_mut::<u64>(0, usize::MAX), Err(RegionError::OutOfBounds { .. })));
    assert!(matches!(region.slice::<u64>(4, 1), Err(RegionError::Misaligned { offset: 4, align: 8 })));
    assert_eq!(region.slice::<u64>(PAGE, 0).unwrap(), [0_u64; 0]);
    let peer = PeerReader::map(region.reader_fd().unwrap()).unwrap();
    assert!(peer.load_u64(PAGE).is_err() && peer.load_u64(1).is_err());
    assert!(peer.copy_out(4, 8, &mut Vec::new()).is_err());
    assert!(peer.copy_out(PAGE - 8, 9, &mut Vec::new()).is_err());
    assert!(matches!(Region::create("none", 0), Err(RegionError::BadSize { bytes: 0 })));
    assert!(matches!(Region::create("all", usize::MAX), Err(RegionError::BadSize { .. })));
}

#[test]
fn a_region_of_hundreds_of_gigabytes_costs_only_what_is_touched() {
    let bytes = 200 << 30;
    let mut region = Region::create("sparse", bytes).unwrap();
    assert_eq!(region.len(), bytes);
    region.slice_mut::<u8>(bytes - 1, 1).unwrap()[0] = 1;
    assert!(file_sectors(&region) <= 2 * 2 * 1024 * 1024 / 512, "at most one huge page or so");
}

fn file_sectors(region: &Region) -> u64 {
    use std::os::unix::fs::MetadataExt;
    File::from(region.writer_fd().unwrap()).metadata().unwrap().blocks()
}

#[test]
fn discarded_pages_read_as_zero_and_cost_nothing_until_the_write_seal() {
    let mut region = Region::create("discard", 4 * PAGE).unwrap();
    region.slice_mut::<u8>(0, 4 * PAGE).unwrap().fill(1);
    region.discard(100, 3 * PAGE).unwrap();
    let bytes = region.slice::<u8>(0, 4 * PAGE).unwrap();
    assert!(bytes[..PAGE].iter().all(|&byte| byte == 1) && bytes[3 * PAGE..].iter().all(|&byte| byte == 1));
    assert!(bytes[PAGE..3 * PAGE].iter().all(|&byte| byte == 0));
    region.discard(10, 20).unwrap();
    assert!(region.discard(0, 5 * PAGE).is_err());
    region.seal_writes().unwrap();
    assert!(matches!(region.discard(0, PAGE), Err(RegionError::SealedDiscard { bytes: PAGE })));
}

#[test]
fn a_copy_of_memory_that_is_being_written_consists_of_whole_words() {
    let mut region = Region::create("written-meanwhile", PAGE).unwrap();
    let peer = PeerReader::map(region.reader_fd().unwrap()).unwrap();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let words = region.slice_mut::<u64>(0, PAGE / 8).unwrap();
            for turn in 0_u64.. {
                // SAFETY: AtomicU64 has the layout of u64; nobody else has this slice.
                words.iter_mut().for_each(|word| unsafe {
                    std::sync::atomic::AtomicU64::from_ptr(word).store(turn | !turn << 32, Ordering::Relaxed);
                });
                if over.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        let mut copy = Vec::new();
        while peer.load_u64(PAGE - 8).unwrap() == 0 {
            thread::yield_now();
        }
        for _ in 0..2_000 {
            copy.clear();
            peer.copy_out(0, PAGE, &mut copy).unwrap();
            for word in copy.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())) {
                let whole = word == 0 || word >> 32 == !word & 0xffff_ffff;
                if !whole {
                    over.store(true, Ordering::Relaxed);
                }
                assert!(whole, "half a word: {word:#x}");
            }
        }
        over.store(true, Ordering::Relaxed);
    });
}
