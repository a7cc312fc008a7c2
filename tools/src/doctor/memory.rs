//! Checks of memory: /dev/shm, huge pages, locked memory, nodes.

use crate::doctor::check::Check;
use crate::doctor::patient::Patient;
use crate::doctor::session_limit::SessionLimit;
use nix::errno::Errno;
use nix::sys::statvfs::statvfs;
use phalanx::topology::SysTree;

/// What a control segment and its like may take in /dev/shm: some KiB per shard.
const SHM_NEEDED_KIB: u64 = 64;
const SHM_PER_SHARD_KIB: u64 = 8;

/// Whether shared memory gets huge pages.
pub(super) const SHMEM_ENABLED: &str = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";

/// All of them.
pub fn checks(patient: &Patient) -> Vec<Check> {
    vec![
        shm_size(patient),
        shm_options(&patient.tree),
        huge_pages(&patient.tree),
        shmem_huge(&patient.tree),
        anonymous_huge(&patient.tree),
        locked_memory(&patient.tree),
        overcommit(&patient.tree),
        node_memory(patient),
        numa_balancing(patient),
        zone_reclaim(patient),
    ]
}

fn shm_size(patient: &Patient) -> Check {
    let found = statvfs("/dev/shm").map(|stat| {
        let kib = |blocks: u64| blocks.saturating_mul(stat.fragment_size()) >> 10;
        (kib(stat.blocks()), kib(stat.blocks_available()))
    });
    shm_room(found, SHM_NEEDED_KIB + SHM_PER_SHARD_KIB * patient.shards() as u64)
}

/// Judges size and free room of /dev/shm, both in KiB.
fn shm_room(found: Result<(u64, u64), Errno>, needed_kib: u64) -> Check {
    let name = "/dev/shm size";
    let why = "the control segment lies there: some KiB per shard, reserved at start";
    match found {
        Ok((size, free)) => {
            let value = format!("{} MiB, {} MiB free", size >> 10, free >> 10);
            // A tmpfs without a limit tells no size.
            if size != 0 && free < needed_kib {
                Check::fail(name, value, why, "mount -o remount,size=64M /dev/shm")
            } else {
                Check::ok(name, value, why)
            }
        }
        Err(error) => Check::fail(
            name,
            error.desc(),
            why,
            "mkdir -p /dev/shm && mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs /dev/shm",
        ),
    }
}

fn shm_options(tree: &SysTree) -> Check {
    let name = "/dev/shm mount options";
    let Some(mounts) = tree.read("/proc/self/mounts") else { return Check::unknown(name) };
    // The last mount on a place is the one that shows.
    let mount = mounts.lines().rev().find(|line| line.split(' ').nth(1) == Some("/dev/shm"));
    let Some(mount) = mount else {
        return Check::warn(
            name,
            "not a mount of its own",
            "segments would lie on a disk if /dev/shm is a plain folder",
            "mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs /dev/shm",
        );
    };
    let mut fields = mount.split(' ').skip(2);
    let (kind, options) = (fields.next().unwrap_or(""), fields.next().unwrap_or(""));
    let value = format!("{kind} {options}");
    if options.split(',').any(|option| option == "ro") {
        return Check::fail(name, value, "segments are made there", "mount -o remount,rw /dev/shm");
    }
    if kind != "tmpfs" {
        let why = "segments should lie in memory";
        return Check::warn(name, value, why, "mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs /dev/shm");
    }
    Check::ok(name, value, "in memory and writable")
}

fn huge_pages(tree: &SysTree) -> Check {
    let name = "huge pages (2 MiB)";
    let folder = "/sys/kernel/mm/hugepages/hugepages-2048kB";
    let Some(all) = tree.number(&format!("{folder}/nr_hugepages")) else { return Check::unknown(name) };
    let free = tree.number(&format!("{folder}/free_hugepages")).unwrap_or(0);
    let value = format!("{all} reserved, {free} free");
    if all > 0 && free == 0 {
        return Check::warn(
            name,
            value,
            "somebody has them all: --huge-pages reserved would fall back to ordinary pages",
            format!("echo {} > /proc/sys/vm/nr_hugepages", all + 64),
        );
    }
    Check::ok(name, value, "wanted for --huge-pages reserved only; otherwise 0 is right")
}

/// The choice in brackets of a file such as `always [madvise] never`.
fn chosen(text: &str) -> &str {
    text.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map_or(text, |(chosen, _)| chosen)
}

fn shmem_huge(tree: &SysTree) -> Check {
    let name = "huge pages for shared memory";
    let path = SHMEM_ENABLED;
    let Some(text) = tree.read(path) else { return Check::unknown(name) };
    match chosen(&text) {
        "deny" => Check::warn(
            name,
            "deny",
            "the state cannot be put onto huge pages: more page faults and cache misses",
            format!("echo advise > {path}"),
        ),
        "never" => Check::warn(
            name,
            "never",
            "--huge-pages transparent has no effect; the state is put together to huge pages all the same (Linux 6.1)",
            format!("echo advise > {path}"),
        ),
        chosen => Check::ok(name, chosen, "--huge-pages transparent has an effect"),
    }
}

fn anonymous_huge(tree: &SysTree) -> Check {
    let name = "huge pages for own memory";
    let path = "/sys/kernel/mm/transparent_hugepage/enabled";
    let Some(text) = tree.read(path) else { return Check::unknown(name) };
    match chosen(&text) {
        "always" => Check::warn(
            name,
            "always",
            "the kernel may stop a shard to make a huge page",
            format!("echo madvise > {path}"),
        ),
        chosen => Check::ok(name, chosen, "no surprises by page merging"),
    }
}

fn locked_memory(tree: &SysTree) -> Check {
    let name = "locked memory (memlock)";
    match SessionLimit::read(tree, "Max locked memory") {
        Some(SessionLimit { soft: u64::MAX, .. }) => Check::ok(name, "unlimited", "memory could be locked"),
        Some(SessionLimit { soft, .. }) => Check::ok(
            name,
            format!("{} KiB", soft >> 10),
            "nothing is locked; matters only for who adds mlock",
        ),
        None => Check::unknown(name),
    }
}

fn overcommit(tree: &SysTree) -> Check {
    let name = "overcommit_memory";
    match tree.number("/proc/sys/vm/overcommit_memory") {
        Some(2) => Check::fail(
            name,
            "2",
            "regions reserve tens of GiB of address space and use little of it; strict accounting refuses that",
            "sysctl -w vm.overcommit_memory=0",
        ),
        Some(mode) => Check::ok(name, mode.to_string(), "address space may be reserved"),
        None => Check::unknown(name),
    }
}

fn node_memory(patient: &Patient) -> Check {
    let name = "free memory of nodes";
    let Some((topology, layout)) = patient.topology.as_ref().zip(patient.layout.as_ref()) else {
        return Check::unknown(name);
    };
    let free = |node: &phalanx::types::NodeId| topology.node(*node).map_or(0, |node| node.free_bytes >> 20);
    let value: Vec<String> =
        layout.spread.iter().map(|node| format!("node {node}: {} MiB", free(node))).collect();
    let value = value.join(", ");
    match layout.spread.iter().find(|node| free(node) < 256) {
        Some(node) => Check::warn(
            name,
            value,
            format!(
                "node {node} has less than 256 MiB free: its shards' memory would spill onto other nodes"
            ),
            "echo 1 > /proc/sys/vm/drop_caches",
        ),
        None => Check::ok(name, value, "room for the shards of each node"),
    }
}

fn several_nodes(patient: &Patient) -> bool {
    patient.topology.as_ref().is_some_and(|topology| topology.nodes.len() > 1)
}

fn numa_balancing(patient: &Patient) -> Check {
    let name = "numa_balancing";
    match patient.tree.number("/proc/sys/kernel/numa_balancing") {
        Some(0) => Check::ok(name, "0", "the kernel leaves pages where they were put"),
        Some(mode) if !several_nodes(patient) => {
            Check::ok(name, mode.to_string(), "without effect on one node")
        }
        Some(mode) => Check::warn(
            name,
            mode.to_string(),
            "the kernel unmaps pages now and then to see who uses them, and moves some: stalls in shards",
            "sysctl -w kernel.numa_balancing=0",
        ),
        None => Check::ok(name, "not built in", "the kernel leaves pages where they were put"),
    }
}

fn zone_reclaim(patient: &Patient) -> Check {
    let name = "zone_reclaim_mode";
    match patient.tree.number("/proc/sys/vm/zone_reclaim_mode") {
        Some(0) | None => Check::ok(name, "0", "a full node spills over at once"),
        Some(mode) if !several_nodes(patient) => {
            Check::ok(name, mode.to_string(), "without effect on one node")
        }
        Some(mode) => Check::warn(
            name,
            mode.to_string(),
            "a full node first throws out its page cache: stalls in shards",
            "sysctl -w vm.zone_reclaim_mode=0",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::check::Verdict;

    fn tree(text: &str) -> SysTree {
        SysTree::from_dump(text)
    }

    #[test]
    fn room_for_the_control_segment_must_be_there_unless_there_is_no_limit() {
        assert_eq!(shm_room(Ok((0, 0)), 96).verdict, Verdict::Ok, "no limit");
        assert_eq!(shm_room(Ok((1024, 96)), 96).verdict, Verdict::Ok);
        let full = shm_room(Ok((65_536, 95)), 96);
        assert_eq!((full.verdict, full.value.as_str()), (Verdict::Fail, "64 MiB, 0 MiB free"));
        assert!(full.mend.contains("remount"));
        let absent = shm_room(Err(Errno::ENOENT), 96);
        assert!(absent.verdict == Verdict::Fail && absent.mend.starts_with("mkdir -p /dev/shm"));
    }

    #[test]
    fn what_would_keep_shards_from_starting_fails_and_what_slows_them_warns() {
        let shm = |line: &str| shm_options(&tree(&format!("/proc/self/mounts\t{line}")));
        assert_eq!(shm("tmpfs /dev/shm tmpfs rw,nosuid 0 0").verdict, Verdict::Ok);
        let read_only = shm("tmpfs /dev/shm tmpfs ro 0 0");
        assert_eq!(
            (read_only.verdict, read_only.mend.as_str()),
            (Verdict::Fail, "mount -o remount,rw /dev/shm")
        );
        assert_eq!(shm("/dev/sda /dev/shm ext4 rw 0 0").verdict, Verdict::Warn);
        assert_eq!(shm("proc /proc proc rw 0 0").verdict, Verdict::Warn);
        let strict = tree("/proc/sys/vm/overcommit_memory\t2");
        assert_eq!(overcommit(&strict).verdict, Verdict::Fail);
        let huge = |choice: &str| shmem_huge(&tree(&format!("{SHMEM_ENABLED}\t{choice}")));
        assert_eq!(huge("always within_size advise [never] deny force").value, "never");
        assert_eq!(huge("always within_size [advise] never deny force").verdict, Verdict::Ok);
        let folder = "/sys/kernel/mm/hugepages/hugepages-2048kB";
        let pages = |all: u32, free: u32| {
            huge_pages(&tree(&format!("{folder}/nr_hugepages\t{all}\n{folder}/free_hugepages\t{free}")))
                .verdict
        };
        assert_eq!((pages(0, 0), pages(8, 8), pages(8, 0)), (Verdict::Ok, Verdict::Ok, Verdict::Warn));
    }
}
