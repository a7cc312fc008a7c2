//! Pages that the hardware has lost, as far as the kernel can play that: `MADV_HWPOISON`.
//!
//! What would break it: a coordinator that reads outputs without looking first (it dies), lost pages that stay in their file (every
//! successor dies of them), a mapping that keeps what it met (the coordinator kills a shard for a page that is good), zeros
//! taken for outputs. Negative control run, in the 6.12 guest `4n`: without the replacing of pages one loss cost five lives of the
//! shard until the test ended it.

use crate::common::{PATIENCE, Scene};
use crate::support::{Oracle, builder, in_guest, patient, scene, skip};
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap};
use phalanx::Phalanx;
use phalanx::supervisor::{Incidents, MemoryIncident};
use phalanx::topology::RegionKind;
use phalanx_ipc::{PeerReader, Region, RegionError, lost_pages, replace_pages};
use std::fs::{self, File};
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::Instant;

const PAGE: usize = 4096;
/// Names the file of which a page is to be lost, and the page.
const ORDER: &str = "PHALANX_TEST_LOSE";
/// Pages lost by each of two shards, one after the other.
const LOSSES: usize = 4;

/// In a process that was started for it: loses a page, and may die of it.
pub fn lose_if_asked() {
    let Ok(order) = std::env::var(ORDER) else { return };
    let (path, offset) = order.split_once(' ').unwrap();
    let file = File::options().read(true).write(true).open(path).unwrap();
    let page = NonZeroUsize::new(PAGE).unwrap();
    let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: a new mapping at an address of the kernel's choice touches no other memory; the advice is for that page only, and
    // nobody reads it here afterwards.
    let lost = unsafe {
        mmap(None, page, access, MapFlags::MAP_SHARED, &file, offset.parse().unwrap())
            .and_then(|start| madvise(start, PAGE, MmapAdvise::MADV_HWPOISON))
    };
    std::process::exit(lost.map_or_else(|errno| errno as i32, |()| 0));
}

/// Has another process lose a page of a file of this one: the kernel kills who gives that advice.
fn lose(file: BorrowedFd<'_>, offset: usize) {
    let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
    let status = Command::new("/proc/self/exe").env(ORDER, format!("{path} {offset}")).status().unwrap();
    let killed = status.signal() == Some(nix::libc::SIGBUS);
    // Somebody else held the page at that moment; it is lost all the same.
    let busy = status.code() == Some(nix::libc::EBUSY);
    assert!(status.success() || killed || busy, "no page can be lost: {status}");
}

pub fn lost_pages_are_told_replaced_by_zeros_and_not_where_the_file_is_sealed() {
    if !in_guest() {
        return skip("would take pages of this host's memory out of use");
    }
    let mut region = Region::create("phalanx-test", 8 * PAGE).unwrap();
    region.slice_mut::<u8>(0, 5 * PAGE).unwrap().fill(7);
    let reader = PeerReader::map(region.reader_fd().unwrap()).unwrap();
    reader.copy_out(0, 5 * PAGE, &mut Vec::new()).unwrap();
    let file = region.writer_fd().unwrap();
    assert!(lost_pages(&file).unwrap().is_empty());
    lose(file.as_fd(), PAGE);
    lose(file.as_fd(), 3 * PAGE);
    assert_eq!(lost_pages(&file).unwrap(), [PAGE, 3 * PAGE]);
    let places: Vec<usize> = region.pages(None, 0).unwrap().iter().map(|place| place.offset).collect();
    assert_eq!(places, [0, 2 * PAGE, 4 * PAGE], "an audit passes over what is lost");
    assert!(matches!(reader.look_over(PAGE + 8, 8), Err(RegionError::LostPage { .. })));
    assert!(matches!(reader.look_over(0, 5 * PAGE), Err(RegionError::LostPage { .. })));
    reader.look_over(2 * PAGE, PAGE).unwrap();
    replace_pages(&file, &[PAGE, 3 * PAGE]).unwrap();
    assert!(lost_pages(&file).unwrap().is_empty());
    reader.let_go().unwrap();
    reader.look_over(0, 5 * PAGE).unwrap();
    let mut bytes = Vec::new();
    reader.copy_out(0, 5 * PAGE, &mut bytes).unwrap();
    let expected: Vec<u8> = [7, 0, 7, 0, 7].iter().flat_map(|&byte| [byte; PAGE]).collect();
    assert!(bytes == expected, "the other pages keep what they hold");
    region.let_go().unwrap();
    region.slice_mut::<u8>(PAGE, PAGE).unwrap().fill(9);
    lose(file.as_fd(), 4 * PAGE);
    region.seal_writes().unwrap();
    assert_eq!(replace_pages(&file, &[4 * PAGE]).unwrap_err().errno(), nix::libc::EPERM);
    assert_eq!(lost_pages(&file).unwrap(), [4 * PAGE]);
}

/// A file of this process which is the output arena of the shard with this pid: the one that the shard maps writable.
fn outputs_of(pid: i32) -> File {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let line = maps.lines().find(|line| line.contains(" rw-s ") && line.contains("phalanx-outputs")).unwrap();
    let inode: u64 = line.split_whitespace().nth(4).unwrap().parse().unwrap();
    let files = fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap().path());
    let path = files.filter(|path| path.exists() || path.is_symlink());
    let path = path.filter(|path| fs::metadata(path).is_ok_and(|it| it.ino() == inode));
    let mut opened = path.filter_map(|path| File::options().read(true).write(true).open(path).ok());
    opened.next().unwrap()
}

/// Loses a page of a shard's outputs while blocks run, and goes on until it is told of.
fn lose_and_wait(
    scene: &mut Scene,
    phalanx: &Phalanx,
    oracle: &mut Oracle,
    (shard, page): (usize, usize),
) -> Incidents {
    let file = outputs_of(phalanx.health()[shard].pid);
    let mut seen = Incidents::default();
    std::thread::scope(|scope| {
        let loser = scope.spawn(|| lose(file.as_fd(), page * PAGE));
        let begun = Instant::now();
        let mut more = 2;
        // Some more blocks show that it is over.
        while more > 0 {
            assert!(begun.elapsed() < PATIENCE, "nobody tells: {seen:?}");
            oracle.step(scene, phalanx);
            let incidents = phalanx.take_incidents();
            seen.shards.extend(incidents.shards);
            seen.memory.extend(incidents.memory);
            more -= u32::from(!seen.memory.is_empty() && loser.is_finished());
        }
        loser.join().unwrap();
    });
    seen
}

pub fn a_page_of_outputs_that_is_lost_while_blocks_run_costs_its_shard_one_life_and_no_result() {
    if !in_guest() {
        return skip("would take pages of this host's memory out of use");
    }
    let mut scene = scene();
    let phalanx = scene.launch(builder(&scene, patient()).shards(2));
    let mut oracle = Oracle(scene.oracle());
    for _ in 0..2 {
        oracle.step(&mut scene, &phalanx);
    }
    for (shard, page) in (0..2).flat_map(|shard| (0..LOSSES).map(move |turn| (shard, turn % 2))) {
        let seen = lose_and_wait(&mut scene, &phalanx, &mut oracle, (shard, page));
        for incident in &seen.memory {
            println!("  {incident}");
        }
        for incident in &seen.shards {
            println!("  {}", incident.death);
        }
        assert!(seen.shards.len() <= 1, "it dies at most once: {seen:?}");
        let arena = outputs_of(phalanx.health()[shard].pid);
        assert!(lost_pages(&arena).unwrap().is_empty(), "the page is good again");
        let [MemoryIncident { region, shard: whose, pages, replaced, .. }] = seen.memory[..] else {
            panic!("told once: {seen:?}")
        };
        assert_eq!((region, pages, replaced), (RegionKind::Outputs, 1, true));
        assert_eq!(whose.map(|whose| whose.index()), Some(shard));
        assert!(seen.shards.iter().all(|incident| incident.death.shard.index() == shard), "{seen:?}");
    }
}
