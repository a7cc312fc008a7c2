//! Checks of limits: of the session and of control groups.

use crate::doctor::check::Check;
use crate::doctor::patient::{Patient, own_groups};
use crate::doctor::session_limit::SessionLimit;
use phalanx::topology::{SysTree, format_list};

/// Descriptors of a supervisor beside those of shards, and per shard.
const FDS_BESIDE: u64 = 128;
const FDS_PER_SHARD: u64 = 10;
/// Priority that the supervisor asks for.
const PRIORITY_NEEDED: u64 = 3;

/// All of them.
pub fn checks(patient: &Patient) -> Vec<Check> {
    vec![
        placement(patient),
        open_files(patient),
        processes(patient),
        priority(patient),
        address_space(&patient.tree),
        group_memory(&patient.tree),
        group_processes(patient),
        quota(patient),
        cpuset(patient),
    ]
}

fn placement(patient: &Patient) -> Check {
    let name = "places for shards";
    let why = "one shard per physical core, a core per node kept free";
    match (&patient.layout, &patient.trouble) {
        (Some(layout), _) => {
            let value = format!(
                "{} on CPUs {}",
                layout.seats.len(),
                format_list(layout.cores().into_iter().collect::<std::collections::BTreeSet<_>>())
            );
            match layout.notes.first() {
                Some(note) => Check::warn(name, value, note.clone(), "phalanx topology --plan"),
                None => Check::ok(name, value, why),
            }
        }
        (None, trouble) => Check::fail(name, "none", trouble.clone().unwrap_or_default(), "phalanx topology"),
    }
}

/// Whether this process may exceed limits of its user.
fn is_root(tree: &SysTree) -> bool {
    let status = tree.read("/proc/self/status").unwrap_or_default();
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    // Real, effective, saved.
    ids.is_some_and(|ids| ids.split_whitespace().nth(1) == Some("0"))
}

fn open_files(patient: &Patient) -> Check {
    let name = "open files (nofile)";
    let needed = FDS_BESIDE + FDS_PER_SHARD * patient.shards() as u64;
    let why = format!(
        "{} shards need {needed}; the soft limit is raised up to the hard one by itself",
        patient.shards()
    );
    match SessionLimit::read(&patient.tree, "Max open files") {
        Some(limit) if limit.hard < needed => Check::fail(
            name,
            limit.to_string(),
            why,
            format!("ulimit -Hn {needed}   # or LimitNOFILE={needed} in the unit"),
        ),
        Some(limit) => Check::ok(name, limit.to_string(), why),
        None => Check::unknown(name),
    }
}

fn processes(patient: &Patient) -> Check {
    let name = "processes (nproc)";
    let needed = patient.shards() as u64 + 1;
    let why = format!("{needed} processes are made; the limit counts all of the user");
    match SessionLimit::read(&patient.tree, "Max processes") {
        Some(limit) if limit.soft < needed * 2 && !is_root(&patient.tree) => Check::fail(
            name,
            limit.to_string(),
            why,
            format!("ulimit -u {}   # or LimitNPROC= in the unit", needed * 8),
        ),
        Some(limit) => Check::ok(name, limit.to_string(), why),
        None => Check::unknown(name),
    }
}

fn priority(patient: &Patient) -> Check {
    let name = "real-time priority (rtprio)";
    let why = "with it a death is answered at once although every core is at work";
    match SessionLimit::read(&patient.tree, "Max realtime priority") {
        Some(limit) if limit.soft < PRIORITY_NEEDED && !is_root(&patient.tree) => {
            Check::warn(name, limit.to_string(), why, "ulimit -r 3   # or LimitRTPRIO=3 in the unit")
        }
        Some(limit) => Check::ok(name, limit.to_string(), why),
        None => Check::unknown(name),
    }
}

fn address_space(tree: &SysTree) -> Check {
    let name = "address space (as)";
    let why = "regions reserve tens of GiB and use little of it";
    match SessionLimit::read(tree, "Max address space") {
        Some(limit) if limit.soft < 128 << 30 => {
            Check::fail(name, limit.to_string(), why, "ulimit -v unlimited")
        }
        Some(limit) => Check::ok(name, limit.to_string(), why),
        None => Check::unknown(name),
    }
}

/// The smallest number that a file of this name holds on the way from this process's group to the root; with the folder.
fn tightest(tree: &SysTree, file: &str) -> Option<(u64, String)> {
    let folders = own_groups(tree).into_iter();
    folders.filter_map(|folder| Some((tree.number(&format!("{folder}/{file}"))?, folder))).min()
}

fn group_memory(tree: &SysTree) -> Check {
    let name = "control group memory.max";
    let why = "what blocks and state touch counts to the group of who touches it first";
    match tightest(tree, "memory.max") {
        None => Check::ok(name, "no limit", why),
        Some((bytes, folder)) if bytes < 1 << 30 => Check::warn(
            name,
            format!("{} MiB", bytes >> 20),
            format!("{why}; past it shards are killed"),
            format!("echo max > {folder}/memory.max   # or MemoryMax= in the unit"),
        ),
        Some((bytes, _)) => Check::ok(name, format!("{} MiB", bytes >> 20), why),
    }
}

fn group_processes(patient: &Patient) -> Check {
    let name = "control group pids.max";
    let needed = patient.shards() as u64 + 16;
    let why = format!("shards, supervisor and threads: about {needed}");
    match tightest(&patient.tree, "pids.max") {
        None => Check::ok(name, "no limit", why),
        Some((most, folder)) if most < needed => Check::fail(
            name,
            most.to_string(),
            why,
            format!("echo {} > {folder}/pids.max   # or TasksMax= in the unit", needed * 2),
        ),
        Some((most, _)) => Check::ok(name, most.to_string(), why),
    }
}

fn quota(patient: &Patient) -> Check {
    let name = "control group cpu.max";
    match patient.allowance.as_ref().and_then(|allowance| allowance.quota_cpus) {
        None => Check::ok(name, "no limit", "every shard may run all the time"),
        Some(quota) => Check::warn(
            name,
            format!("{quota:.2} CPUs"),
            "the affinity mask does not show it; more shards than that would be stopped in every period, and are refused",
            "echo max > /sys/fs/cgroup/<group>/cpu.max   # or CPUQuota= in the unit",
        ),
    }
}

fn cpuset(patient: &Patient) -> Check {
    let name = "allowed CPUs (affinity, cpuset)";
    let Some((topology, allowance)) = patient.topology.as_ref().zip(patient.allowance.as_ref()) else {
        return Check::unknown(name);
    };
    let value = format_list(allowance.cpus.iter().map(|cpu| cpu.0));
    let online = topology.cpus.len();
    let left_out = topology.cpus.iter().filter(|cpu| !allowance.cpus.contains(&cpu.id)).count();
    let memory = topology.nodes.iter().find(|node| {
        node.memory_bytes > 0
            && !allowance.memory.contains(&node.id)
            && topology.cpus_of(node.id).any(|cpu| allowance.cpus.contains(&cpu.id))
    });
    if let Some(node) = memory {
        return Check::warn(
            name,
            value,
            format!(
                "CPUs of node {} are allowed, its memory is not: shards there work on distant memory",
                node.id
            ),
            "echo <nodes> > /sys/fs/cgroup/<group>/cpuset.mems   # or AllowedMemoryNodes= in the unit",
        );
    }
    match left_out {
        0 => Check::ok(name, value, format!("all {online} CPUs")),
        _ => Check::ok(name, value, format!("{left_out} of {online} CPUs are left to others")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::check::Verdict;

    #[test]
    fn the_tightest_group_on_the_way_to_the_root_counts() {
        let tree = SysTree::from_dump(
            "/proc/self/cgroup\t0::/a/b\n/sys/fs/cgroup/a/memory.max\t1048576\n/sys/fs/cgroup/a/b/memory.max\tmax\n",
        );
        let check = group_memory(&tree);
        assert_eq!((check.verdict, check.value.as_str()), (Verdict::Warn, "1 MiB"));
        assert!(check.mend.starts_with("echo max > /sys/fs/cgroup/a/memory.max"));
        assert_eq!(group_memory(&SysTree::from_dump("/proc/self/cgroup\t0::/")).verdict, Verdict::Ok);
    }
}
