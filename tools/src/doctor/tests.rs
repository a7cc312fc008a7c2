//! Every check on made-up hosts: a healthy one, of which nothing is said, and the same one with one thing wrong.
//!
//! What would break them: a file that is read under another name, a comparison the wrong way round, a verdict without a reason
//! or a command. Each row is its own negative control: the same check must find the healthy host well.

use super::*;
use crate::doctor::memory::SHMEM_ENABLED;
use phalanx::topology::{Allowance, SysTree, quota_of};
use phalanx::types::NodeId;

/// Four nodes of two cores, well set up, with a shard on each odd CPU.
const HEALTHY: &str = concat!(
    include_str!("../../../tests/data/numa/4n.txt"),
    "/sys/devices/system/cpu/isolated\t1,3,5,7\n",
    "/sys/devices/system/cpu/smt/control\tnotsupported\n",
    "/sys/devices/system/cpu/cpu1/cpufreq/scaling_governor\tperformance\n",
    "/sys/devices/system/cpu/cpu1/cpufreq/scaling_max_freq\t3000000\n",
    "/sys/devices/system/cpu/cpu1/cpufreq/cpuinfo_max_freq\t3000000\n",
    "/sys/devices/system/clocksource/clocksource0/current_clocksource\ttsc\n",
    "/sys/kernel/mm/transparent_hugepage/shmem_enabled\talways within_size [advise] never deny force\n",
    "/sys/kernel/mm/transparent_hugepage/enabled\talways [madvise] never\n",
    "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages\t8\n",
    "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages\t8\n",
    "/proc/interrupts\t  CPU0 CPU1\\n 5: 9 0 x\n",
    "/proc/irq/5/smp_affinity_list\t0\n",
    "/proc/7/comm\tbusy\n",
    "/proc/7/task/7/stat\t7 (first) S 1 7 7 0 -1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 3 0\n",
    "/proc/self/cgroup\t0::/a\n",
    "/sys/fs/cgroup/a/memory.max\tmax\n",
    "/sys/fs/cgroup/a/pids.max\t1000\n",
    "/sys/fs/cgroup/a/cpu.max\tmax 100000\n",
    "/proc/self/limits\tMax processes 1000 1000\\nMax open files 1024 1048576\\nMax locked memory 65536 65536\\n\
     Max address space unlimited unlimited\\nMax realtime priority 3 3\n",
    "/proc/self/mounts\ttmpfs /dev/shm tmpfs rw,nosuid,nodev 0 0\n",
    "/proc/self/status\tUid:\\t1000\\t1000\\t1000\\t1000\n",
    "/proc/sys/kernel/core_pattern\t/var/crash/core.%p\n",
    "/proc/sys/kernel/numa_balancing\t0\n",
    "/proc/sys/kernel/osrelease\t6.12.1\n",
    "/proc/sys/kernel/sched_rt_runtime_us\t950000\n",
    "/proc/sys/kernel/yama/ptrace_scope\t1\n",
    "/proc/sys/vm/overcommit_memory\t0\n",
    "/proc/sys/vm/zone_reclaim_mode\t0\n",
);

/// What the real host says, whatever the files are.
const OF_THIS_HOST: [&str; 6] =
    ["/dev/shm size", "idle latency", "pidfd", "robust futex", "memfd and its seals", "mbind and move_pages"];

/// The checks of the healthy host with other lines; of its memory these nodes may not be used.
fn examined(lines: &str, wishes: &LayoutOptions, forbidden: &[u32]) -> Vec<Check> {
    let tree = SysTree::from_dump(&format!("{HEALTHY}{lines}\n"));
    let quota_cpus = quota_of(&tree);
    let allowance = |topology: &phalanx::topology::Topology| {
        let mut allowance = Allowance { quota_cpus, ..Allowance::everything(topology) };
        allowance.memory.retain(|node| !forbidden.contains(&node.0));
        Ok(allowance)
    };
    let checks = examine(&Patient::of(tree, allowance, wishes));
    checks.into_iter().filter(|check| !OF_THIS_HOST.contains(&check.name)).collect()
}

fn find(checks: &[Check], name: &str) -> Check {
    checks.iter().find(|check| check.name == name).unwrap_or_else(|| panic!("no check {name}")).clone()
}

/// Asserts that a check comes out so, with these words in its value and its command, and well on the healthy host.
fn assert_found(checks: &[Check], name: &str, verdict: Verdict, value: &str, mend: &str) {
    let check = find(checks, name);
    assert_eq!(check.verdict, verdict, "{check:?}");
    assert!(check.value.contains(value) && check.mend.contains(mend), "{check:?}");
    assert!(!check.value.is_empty() && !check.reason.is_empty() && !check.mend.is_empty(), "{check:?}");
    let healthy = find(&examined("", &LayoutOptions::default(), &[]), name);
    assert_eq!(healthy.verdict, Verdict::Ok, "{healthy:?}");
}

#[test]
fn nothing_is_said_of_a_healthy_host() {
    let checks = examined("", &LayoutOptions::default(), &[]);
    assert!(checks.len() >= 29, "{}", checks.len());
    for check in checks {
        assert_eq!((check.verdict, check.mend.as_str()), (Verdict::Ok, ""), "{check:?}");
        assert!(!check.value.is_empty() && !check.reason.is_empty(), "{check:?}");
        assert_ne!(check.value, "unknown", "{check:?}");
    }
}

#[test]
fn each_thing_that_is_wrong_is_found_with_its_value_and_the_command_that_mends_it() {
    use Verdict::{Fail, Warn};
    let shmem = |choice: &str| format!("{SHMEM_ENABLED}\talways within_size advise {choice} force");
    let (never, deny) = (shmem("[never] deny"), shmem("never [deny]"));
    let busy = format!("/proc/7/task/8/stat\t8 (worker) R 1 7 7 0 -1 0 {}3 0", "0 ".repeat(29));
    for (lines, name, verdict, value, mend) in [
        ("/proc/self/limits\tMax open files 100 167", "open files (nofile)", Fail, "167", "LimitNOFILE=168"),
        ("/proc/self/limits\tMax processes 9 9", "processes (nproc)", Fail, "9", "ulimit -u 40"),
        (
            "/proc/self/limits\tMax realtime priority 2 9",
            "real-time priority (rtprio)",
            Warn,
            "2, hard 9",
            "ulimit -r 3",
        ),
        (
            "/proc/self/limits\tMax address space 1073741824 unlimited",
            "address space (as)",
            Fail,
            "1073741824",
            "ulimit -v",
        ),
        (
            "/sys/fs/cgroup/a/memory.max\t104857600",
            "control group memory.max",
            Warn,
            "100 MiB",
            "/sys/fs/cgroup/a/memory.max",
        ),
        (
            "/sys/fs/cgroup/a/pids.max\t19",
            "control group pids.max",
            Fail,
            "19",
            "echo 40 > /sys/fs/cgroup/a/pids.max",
        ),
        ("/sys/fs/cgroup/a/cpu.max\t250000 100000", "control group cpu.max", Warn, "2.50 CPUs", "cpu.max"),
        (
            "/sys/fs/cgroup/a/cpu.max\t250000 100000",
            "places for shards",
            Warn,
            "2 on CPUs 1,3",
            "topology --plan",
        ),
        (
            "/proc/self/mounts\ttmpfs /dev/shm tmpfs ro 0 0",
            "/dev/shm mount options",
            Fail,
            "ro",
            "remount,rw",
        ),
        (
            "/proc/self/mounts\tproc /proc proc rw 0 0",
            "/dev/shm mount options",
            Warn,
            "not a mount",
            "mount -t tmpfs",
        ),
        (
            "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages\t0",
            "huge pages (2 MiB)",
            Warn,
            "0 free",
            "echo 72",
        ),
        (&never, "huge pages for shared memory", Warn, "never", "echo advise"),
        (&deny, "huge pages for shared memory", Warn, "deny", "echo advise"),
        (
            "/sys/kernel/mm/transparent_hugepage/enabled\t[always] madvise never",
            "huge pages for own memory",
            Warn,
            "always",
            "echo madvise",
        ),
        ("/proc/sys/vm/overcommit_memory\t2", "overcommit_memory", Fail, "2", "vm.overcommit_memory=0"),
        (
            "/sys/devices/system/node/node1/meminfo\tNode 1 MemTotal: 390000 kB\\nNode 1 MemFree: 9000 kB",
            "free memory of nodes",
            Warn,
            "node 1: 8 MiB",
            "drop_caches",
        ),
        ("/proc/sys/kernel/numa_balancing\t1", "numa_balancing", Warn, "1", "kernel.numa_balancing=0"),
        ("/proc/sys/vm/zone_reclaim_mode\t1", "zone_reclaim_mode", Warn, "1", "vm.zone_reclaim_mode=0"),
        (
            "/sys/devices/system/cpu/cpu3/cpufreq/scaling_governor\tpowersave",
            "CPU governor",
            Warn,
            "powersave",
            "-g performance",
        ),
        (
            "/sys/devices/system/cpu/cpu1/cpufreq/scaling_max_freq\t1500000",
            "CPU frequency",
            Warn,
            "1500 MHz",
            "-u 3000MHz",
        ),
        ("/sys/devices/system/cpu/isolated\t1,3", "isolated cores", Warn, "1,3", "echo 1,3,5,7"),
        (
            "/proc/interrupts\t  CPU0 CPU1\\n 5: 9 8 x\n/proc/irq/5/smp_affinity_list\t0-1",
            "interrupts on shard cores",
            Warn,
            "lines 5",
            "echo 0,2,4,6 > /proc/irq",
        ),
        (&busy, "other processes on shard cores", Warn, "busy (7)", "taskset"),
        (
            "/sys/devices/system/clocksource/clocksource0/current_clocksource\thpet",
            "clock source",
            Warn,
            "hpet",
            "echo tsc",
        ),
        (
            "/proc/sys/kernel/sched_rt_runtime_us\t0",
            "real-time throttling",
            Warn,
            "0",
            "sched_rt_runtime_us=950000",
        ),
        ("/proc/sys/kernel/osrelease\t5.4.0", "kernel release", Fail, "5.4.0", "newer kernel"),
        ("/proc/sys/kernel/core_pattern\tcore", "core pattern", Warn, "core", "kernel.core_pattern="),
    ] {
        assert_found(&examined(lines, &LayoutOptions::default(), &[]), name, verdict, value, mend);
    }
}

#[test]
fn wishes_that_the_host_cannot_grant_fail_with_the_reason() {
    let name = "places for shards";
    let wish = |wishes: LayoutOptions, lines: &str| find(&examined(lines, &wishes, &[]), name);
    let default = LayoutOptions::default;
    let absent = wish(LayoutOptions { nodes: Some([NodeId(9)].into()), ..default() }, "");
    assert_eq!((absent.verdict, absent.value.as_str()), (Verdict::Fail, "none"));
    assert!(absent.reason.contains("node 9 does not exist"), "{absent:?}");
    let quota = "/sys/fs/cgroup/a/cpu.max\t250000 100000";
    let starved = wish(LayoutOptions { shards: Some(4), ..default() }, quota);
    assert!(starved.verdict == Verdict::Fail && starved.reason.contains("cpu.max"), "{starved:?}");
    let full = wish(LayoutOptions { shards: Some(8), ..default() }, "");
    assert!(full.verdict == Verdict::Warn && full.reason.contains("interrupts"), "{full:?}");
    let name = "allowed CPUs (affinity, cpuset)";
    assert_found(&examined("", &default(), &[1]), name, Verdict::Warn, "0-7", "AllowedMemoryNodes=");
}

#[test]
fn what_matters_only_to_others_is_told_and_not_held_against_the_host() {
    let checks = |lines: &str| examined(lines, &LayoutOptions::default(), &[]);
    for (lines, name, value) in [
        ("/proc/self/limits\tMax locked memory 65536 65536", "locked memory (memlock)", "64 KiB"),
        ("/proc/self/limits\tMax locked memory unlimited unlimited", "locked memory (memlock)", "unlimited"),
        ("/proc/sys/kernel/yama/ptrace_scope\t3", "ptrace scope", "3"),
        ("/sys/devices/system/cpu/smt/control\ton", "SMT", "on"),
        (
            "/proc/self/status\tUid:\\t0\\t0\\t0\\t0\n/proc/self/limits\tMax processes 9 9",
            "processes (nproc)",
            "9",
        ),
        ("/proc/sys/kernel/core_pattern\t|/bin/collect %p", "core pattern", "to /bin/collect"),
    ] {
        let check = find(&checks(lines), name);
        assert_eq!((check.verdict, check.value.as_str()), (Verdict::Ok, value), "{check:?}");
    }
    // Without a file the check says that it does not know.
    let bare = examine(&Patient::of(
        SysTree::from_dump("/sys/devices/system/cpu/online\t0"),
        |topology| Ok(Allowance::everything(topology)),
        &LayoutOptions::default(),
    ));
    for name in
        ["open files (nofile)", "locked memory (memlock)", "clock source", "core pattern", "kernel release"]
    {
        let check = find(&bare, name);
        assert_eq!((check.verdict, check.value.as_str()), (Verdict::Ok, "unknown"), "{check:?}");
    }
}
