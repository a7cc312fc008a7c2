//! Checks of cores: how fast they run, and who else runs on them.

use crate::doctor::check::Check;
use crate::doctor::patient::{Patient, own_groups};
use nix::errno::Errno;
use phalanx::topology::{IdleLatency, LATENCY_DEVICE, SysTree, format_list, idle_driver, parse_list};
use phalanx::types::CpuId;
use std::collections::{BTreeMap, BTreeSet};

const CPUS: &str = "/sys/devices/system/cpu";
/// Set in the flags of a thread that belongs to the kernel.
const KERNEL_THREAD: u64 = 0x0020_0000;
/// A bound that holds on every host.
const LOOSE_US: u32 = 1_000_000;
/// Most names in one value.
const NAMES_SHOWN: usize = 5;

/// All of them.
pub fn checks(patient: &Patient) -> Vec<Check> {
    vec![
        governor(patient),
        frequency(patient),
        idle_latency(&patient.tree, try_a_bound),
        threads(patient),
        isolation(patient),
        interrupts(patient),
        others(patient),
        clock_source(&patient.tree),
        watchdog(&patient.tree),
    ]
}

fn list(cpus: &BTreeSet<CpuId>) -> String {
    format_list(cpus.iter().map(|cpu| cpu.0))
}

fn governor(patient: &Patient) -> Check {
    let name = "CPU governor";
    let of = |cpu: &CpuId| patient.tree.read(&format!("{CPUS}/cpu{cpu}/cpufreq/scaling_governor"));
    let governors: BTreeSet<String> = patient.shard_cpus().iter().filter_map(of).collect();
    let value = governors.iter().cloned().collect::<Vec<_>>().join(", ");
    if governors.is_empty() {
        return Check::ok(
            name,
            "none",
            "the kernel does not govern frequencies here (a virtual machine, mostly)",
        );
    }
    if governors.iter().all(|governor| governor == "performance") {
        return Check::ok(name, value, "cores run at full speed");
    }
    Check::warn(
        name,
        value,
        "a shard that waits slows its core down, and the next value finds it slow",
        "cpupower frequency-set -g performance",
    )
}

fn frequency(patient: &Patient) -> Check {
    let name = "CPU frequency";
    let mhz = |cpu: &CpuId, file: &str| {
        Some(patient.tree.number(&format!("{CPUS}/cpu{cpu}/cpufreq/{file}"))? / 1000)
    };
    let limits: Vec<(u64, u64)> = patient
        .shard_cpus()
        .iter()
        .filter_map(|cpu| Some((mhz(cpu, "scaling_max_freq")?, mhz(cpu, "cpuinfo_max_freq")?)))
        .collect();
    let Some(&(limit, most)) = limits.iter().min_by_key(|(limit, _)| *limit) else {
        return Check::ok(name, "not shown", "the kernel does not govern frequencies here");
    };
    if limit < most {
        let why = format!("the cores could run at {most} MHz");
        return Check::warn(
            name,
            format!("limited to {limit} MHz"),
            why,
            format!("cpupower frequency-set -u {most}MHz"),
        );
    }
    Check::ok(name, format!("up to {limit} MHz"), "not limited")
}

/// Asks for a bound that every host keeps.
fn try_a_bound() -> std::io::Result<()> {
    IdleLatency::AtMostMicros(LOOSE_US).bound().try_hold()
}

/// `try_it` is called where a bound matters.
fn idle_latency(tree: &SysTree, try_it: impl FnOnce() -> std::io::Result<()>) -> Check {
    let name = "idle latency";
    let Some((driver, micros)) = idle_driver(tree).zip(IdleLatency::Auto.micros(tree)) else {
        let why = "the kernel has no idle driver here whose sleep could be bounded";
        return Check::ok(name, "no idle driver", why);
    };
    let Err(error) = try_it() else {
        let why = format!("cores wake up within {micros} us while blocks are executed");
        return Check::ok(name, format!("{driver}, may be bounded"), why);
    };
    let mend = match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOENT) => {
            format!("docker run --device {LATENCY_DEVICE}   # or as your containers are given devices")
        }
        Some(Errno::EPERM) => {
            format!("docker run --device {LATENCY_DEVICE}   # the container's device rules refuse it")
        }
        _ => format!(
            "chgrp cpu-latency {LATENCY_DEVICE}; chmod g+rw {LATENCY_DEVICE}   # for good: a udev rule, see docs/operations.md"
        ),
    };
    Check::warn(
        name,
        format!("{driver}, {LATENCY_DEVICE}: {error}"),
        "a core that sleeps deeply, or gives itself back to a hypervisor, wakes up late, and all others wait for its shard",
        mend,
    )
}

fn threads(patient: &Patient) -> Check {
    let name = "SMT";
    let state = patient.tree.read(&format!("{CPUS}/smt/control")).unwrap_or_else(|| "not shown".to_owned());
    let Some(topology) = &patient.topology else { return Check::unknown(name) };
    let cores: BTreeSet<CpuId> = topology.cpus.iter().map(|cpu| cpu.core).collect();
    if cores.len() == topology.cpus.len() {
        return Check::ok(name, state, "one thread per core is online");
    }
    Check::ok(
        name,
        state,
        "the second threads of shards' cores are left idle; keep other work off them, or use --smt",
    )
}

fn isolation(patient: &Patient) -> Check {
    let name = "isolated cores";
    // What a partition takes from others does not show in the list of isolated CPUs.
    let of_partition = |folder: &String| {
        let state = patient.tree.read(&format!("{folder}/cpuset.cpus.partition"));
        state.is_some_and(|state| state.trim() == "isolated")
    };
    if let Some(folder) = own_groups(&patient.tree).into_iter().find(of_partition) {
        let value = format!("{} in the isolated partition {folder}", list(&patient.shard_cpus()));
        return Check::ok(name, value, "nobody else is put on the shards' cores");
    }
    let isolated = patient.tree.read(&format!("{CPUS}/isolated")).and_then(|text| parse_list(&text));
    let isolated: BTreeSet<CpuId> = isolated.unwrap_or_default().into_iter().map(CpuId).collect();
    let shards = patient.shard_cpus();
    if shards.is_subset(&isolated) && !shards.is_empty() {
        return Check::ok(name, list(&isolated), "nobody else is put on the shards' cores");
    }
    let why = "the kernel may put other work on the shards' cores";
    Check::warn(
        name,
        list(&isolated),
        why,
        format!(
            "echo {} > /sys/fs/cgroup/<group>/cpuset.cpus; echo isolated > /sys/fs/cgroup/<group>/cpuset.cpus.partition",
            list(&shards)
        ),
    )
}

/// Interrupts whose line has counted on a CPU since boot: number and CPUs.
fn busy_interrupts(text: &str) -> BTreeMap<u32, BTreeSet<CpuId>> {
    let mut lines = text.lines();
    let header = lines.next().unwrap_or("");
    let cpus: Vec<CpuId> = header
        .split_whitespace()
        .filter_map(|word| word.strip_prefix("CPU")?.parse().ok().map(CpuId))
        .collect();
    let lines = lines.filter_map(|line| {
        let (number, counts) = line.split_once(':')?;
        let number = number.trim().parse().ok()?;
        let counts = counts.split_whitespace().map_while(|word| word.parse::<u64>().ok());
        let busy = cpus.iter().zip(counts).filter(|&(_, count)| count > 0).map(|(&cpu, _)| cpu).collect();
        Some((number, busy))
    });
    lines.collect()
}

fn interrupts(patient: &Patient) -> Check {
    let name = "interrupts on shard cores";
    let Some(text) = patient.tree.read("/proc/interrupts") else { return Check::unknown(name) };
    let shards = patient.shard_cpus();
    let aimed: Vec<u32> = busy_interrupts(&text)
        .into_iter()
        .filter(|(number, busy)| {
            let target = patient.tree.read(&format!("/proc/irq/{number}/smp_affinity_list"));
            let target = target.and_then(|text| parse_list(&text)).unwrap_or_default();
            busy.iter().any(|cpu| shards.contains(cpu) && target.contains(&cpu.0))
        })
        .map(|(number, _)| number)
        .collect();
    if aimed.is_empty() {
        return Check::ok(name, "none", "devices do not disturb shards");
    }
    let service = patient.layout.as_ref().map(|layout| list(&layout.service)).unwrap_or_default();
    if service == "none" {
        let why = "there is no core to keep them on";
        return Check::ok(name, format!("{} lines", aimed.len()), why);
    }
    let shown = format_list(aimed.iter().copied());
    Check::warn(
        name,
        format!("lines {shown}"),
        "a shard is held up by them, and its peers with it",
        format!(
            "systemctl stop irqbalance; for n in {}; do echo {service} > /proc/irq/$n/smp_affinity_list; done",
            aimed.iter().map(u32::to_string).collect::<Vec<_>>().join(" ")
        ),
    )
}

/// Last CPU of the thread of a line of `/proc/PID/task/TID/stat`, if it is at work and not the kernel's.
fn busy_cpu_of(stat: &str) -> Option<CpuId> {
    let (_, fields) = stat.rsplit_once(')')?;
    // The first of them is field 3, the state; the flags are field 9, the last CPU is field 39.
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    let number = |place: usize| fields.get(place)?.parse::<u64>().ok();
    let at_work = fields.first() == Some(&"R") && number(6)? & KERNEL_THREAD == 0;
    let cpu = u32::try_from(number(36)?).ok()?;
    at_work.then_some(CpuId(cpu))
}

/// Whether a thread of a process is at work on one of these CPUs. The first one of a busy program may sleep.
fn is_busy_on(tree: &SysTree, pid: u32, cpus: &BTreeSet<CpuId>) -> bool {
    let folder = format!("/proc/{pid}/task");
    tree.numbered(&folder, "").into_iter().any(|thread| {
        let stat = tree.read(&format!("{folder}/{thread}/stat"));
        stat.and_then(|stat| busy_cpu_of(&stat)).is_some_and(|cpu| cpus.contains(&cpu))
    })
}

fn others(patient: &Patient) -> Check {
    let name = "other processes on shard cores";
    let (tree, shards, own) = (&patient.tree, patient.shard_cpus(), std::process::id());
    let pids = tree.numbered("/proc", "").into_iter();
    let busy = pids.filter(|&pid| pid != own && is_busy_on(tree, pid, &shards));
    let others: Vec<String> = busy
        .map(|pid| format!("{} ({pid})", tree.read(&format!("/proc/{pid}/comm")).unwrap_or_default()))
        .collect();
    if others.is_empty() {
        return Check::ok(name, "none at work", "at this moment");
    }
    let shown: Vec<String> = others.iter().take(NAMES_SHOWN).cloned().collect();
    let more = if others.len() > NAMES_SHOWN {
        format!(" and {} more", others.len() - NAMES_SHOWN)
    } else {
        String::new()
    };
    Check::warn(
        name,
        format!("{}{more}", shown.join(", ")),
        "a shard shares its core with them, and all others wait for it",
        "taskset -acp <other cores> <pid>   # or AllowedCPUs= in their units",
    )
}

fn clock_source(tree: &SysTree) -> Check {
    let name = "clock source";
    let Some(source) = tree.read("/sys/devices/system/clocksource/clocksource0/current_clocksource") else {
        return Check::unknown(name);
    };
    match source.as_str() {
        "tsc" | "kvm-clock" | "arch_sys_counter" | "hyperv_clocksource_tsc_page" => {
            Check::ok(name, source, "the time is read without a system call")
        }
        _ => Check::warn(
            name,
            source,
            "reading the time is a system call, and waiting processes read it often",
            "echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource",
        ),
    }
}

fn watchdog(tree: &SysTree) -> Check {
    let name = "real-time throttling";
    match tree.read("/proc/sys/kernel/sched_rt_runtime_us").as_deref() {
        Some("0") => Check::warn(
            name,
            "0",
            "nobody may run first: deaths are noticed some milliseconds later",
            "sysctl -w kernel.sched_rt_runtime_us=950000",
        ),
        Some(text) => Check::ok(name, format!("{text} us"), "supervisor and coordinator may run first"),
        None => Check::unknown(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::check::Verdict;

    #[test]
    fn a_partition_that_the_kernel_granted_isolates_and_one_that_it_refused_does_not() {
        let verdict = |state: &str| {
            let text = format!("/proc/self/cgroup\t0::/a/b\n/sys/fs/cgroup/a/cpuset.cpus.partition\t{state}");
            let tree = SysTree::from_dump(&text);
            let patient = Patient { tree, topology: None, allowance: None, layout: None, trouble: None };
            isolation(&patient).verdict
        };
        assert_eq!(verdict("isolated"), Verdict::Ok);
        assert_eq!(verdict("isolated invalid (no CPUs)"), Verdict::Warn);
        assert_eq!(verdict("member"), Verdict::Warn);
    }

    #[test]
    fn who_may_not_bound_how_long_cores_take_to_wake_up_is_told_where_it_matters() {
        let tree = |driver: &str| {
            SysTree::from_dump(&format!("/sys/devices/system/cpu/cpuidle/current_driver\t{driver}"))
        };
        let answer = |errno: Option<Errno>| errno.map_or(Ok(()), |errno| Err(std::io::Error::from(errno)));
        for (driver, errno, verdict, mend) in [
            ("intel_idle", None, Verdict::Ok, ""),
            ("intel_idle", Some(Errno::EACCES), Verdict::Warn, "udev rule"),
            ("haltpoll", Some(Errno::EPERM), Verdict::Warn, "refuse it"),
            ("haltpoll", Some(Errno::ENOENT), Verdict::Warn, "given devices"),
            ("none", Some(Errno::EACCES), Verdict::Ok, ""),
        ] {
            let check = idle_latency(&tree(driver), || answer(errno));
            assert_eq!(check.verdict, verdict, "{driver} {errno:?}");
            assert!(check.mend.contains(mend), "{check:?}");
        }
        assert!(idle_latency(&tree("haltpoll"), || Ok(())).reason.contains("within 0 us"));
        idle_latency(&SysTree::from_dump(""), || panic!("asked although it does not matter"));
    }

    #[test]
    fn interrupts_are_found_by_the_counts_of_their_cores() {
        let text = "           CPU0       CPU2\n  9:          0         12  IO-APIC  9-fasteoi acpi\n 10: 0 0 x\nNMI: 4 5 n\n";
        let busy = busy_interrupts(text);
        assert_eq!(busy.get(&9), Some(&BTreeSet::from([CpuId(2)])));
        assert_eq!(busy.get(&10), Some(&BTreeSet::new()));
        assert_eq!(busy.len(), 2);
    }

    #[test]
    fn only_threads_at_work_that_are_not_the_kernels_count() {
        let line = |name: &str, state: &str, flags: u32| {
            format!("7 ({name}) {state} 1 7 7 0 -1 {flags} {}5 0", "0 ".repeat(29))
        };
        assert_eq!(busy_cpu_of(&line("a) b", "R", 4_194_304)), Some(CpuId(5)));
        assert_eq!(busy_cpu_of(&line("a", "S", 4_194_304)), None);
        assert_eq!(busy_cpu_of(&line("k", "R", 2_129_984)), None);
    }

    #[test]
    fn a_program_at_work_is_found_also_if_its_first_thread_sleeps() {
        let all: BTreeSet<CpuId> = (0..4096).map(CpuId).collect();
        let (stop, own) = (std::sync::atomic::AtomicBool::new(false), std::process::id());
        std::thread::scope(|scope| {
            // This thread itself waits for it, as a first one would.
            scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
            let found = scope.spawn(|| is_busy_on(&SysTree::host(), own, &all)).join();
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(found.unwrap());
        });
    }
}
