//! What of the host this process may use: its affinity mask and cpuset, the nodes whose memory it may take, its CPU quota.

use crate::topology::TopologyError;
use crate::topology::cpu_list::parse_list;
use crate::topology::model::Topology;
use crate::topology::sys_tree::SysTree;
use crate::types::{CpuId, NodeId};
use phalanx_ipc::allowed_cores;
use serde::Serialize;
use std::collections::BTreeSet;

/// What of a host may be used.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Allowance {
    /// CPUs of the affinity mask, in which cpuset and taskset count.
    pub cpus: BTreeSet<CpuId>,
    /// Nodes whose memory may be taken.
    pub memory: BTreeSet<NodeId>,
    /// CPUs' worth of time per period, by the tightest `cpu.max` on the way to the root group; `None` without a limit. The
    /// affinity mask does not show it.
    pub quota_cpus: Option<f64>,
}

impl Allowance {
    /// Everything that is online.
    #[must_use]
    pub fn everything(topology: &Topology) -> Allowance {
        Allowance {
            cpus: topology.cpus.iter().map(|cpu| cpu.id).collect(),
            memory: topology.nodes.iter().map(|node| node.id).collect(),
            quota_cpus: None,
        }
    }

    /// What the calling thread may use of the host that it runs on.
    ///
    /// # Errors
    /// `Affinity` when the kernel does not tell the mask.
    pub fn detect(topology: &Topology) -> Result<Allowance, TopologyError> {
        let tree = SysTree::host();
        let cpus = allowed_cores()?.into_iter().filter_map(|core| u32::try_from(core).ok()).map(CpuId);
        let memory = tree.read("/proc/self/status").and_then(|status| {
            let line = status.lines().find_map(|line| line.strip_prefix("Mems_allowed_list:"))?;
            parse_list(line)
        });
        let memory = memory.map(|nodes| nodes.into_iter().map(NodeId).collect());
        Ok(Allowance {
            cpus: cpus.collect(),
            memory: memory.unwrap_or_else(|| topology.nodes.iter().map(|node| node.id).collect()),
            quota_cpus: quota_of(&tree),
        })
    }
}

/// The tightest CPU quota of this process's groups, of either version of control groups.
#[must_use]
pub fn quota_of(tree: &SysTree) -> Option<f64> {
    let groups = tree.read("/proc/self/cgroup")?;
    let quotas = groups.lines().flat_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next().unwrap_or(""), parts.next().unwrap_or("/"));
        let first = controllers.split(',').any(|name| name == "cpu");
        let mounts: &[&str] = match (controllers, first) {
            ("", _) => &["/sys/fs/cgroup", "/sys/fs/cgroup/unified"],
            (_, true) => &["/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"],
            (_, false) => &[],
        };
        let found: Vec<f64> = mounts
            .iter()
            .flat_map(|mount| ancestors(path).map(move |group| format!("{mount}{group}")))
            .filter_map(|group| quota_of_group(tree, &group))
            .collect();
        found
    });
    quotas.min_by(f64::total_cmp)
}

/// A group's path and those of all above it, without a slash at the end.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path.trim_end_matches('/')), |path| path.rfind('/').map(|end| &path[..end]))
}

fn quota_of_group(tree: &SysTree, group: &str) -> Option<f64> {
    let (quota, period) = match tree.read(&format!("{group}/cpu.max")) {
        Some(text) => {
            let mut words = text.split_whitespace();
            (words.next()?.parse::<f64>().ok()?, words.next()?.parse::<f64>().ok()?)
        }
        None => {
            let number = |file| tree.read(&format!("{group}/{file}"))?.parse::<f64>().ok();
            (number("cpu.cfs_quota_us")?, number("cpu.cfs_period_us")?)
        }
    };
    // -1 is no limit.
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tightest_quota_on_the_way_to_the_root_counts() {
        let tree = SysTree::from_dump(
            "/proc/self/cgroup\t0::/a/b\n/sys/fs/cgroup/a/cpu.max\t150000 100000\n/sys/fs/cgroup/a/b/cpu.max\tmax 100000\n",
        );
        assert_eq!(quota_of(&tree), Some(1.5));
        let none = SysTree::from_dump("/proc/self/cgroup\t0::/\n/sys/fs/cgroup/cpu.max\tmax 100000\n");
        assert_eq!(quota_of(&none), None);
        let first = SysTree::from_dump(
            "/proc/self/cgroup\t2:cpu,cpuacct:/x\n/sys/fs/cgroup/cpu/x/cpu.cfs_quota_us\t50000\n/sys/fs/cgroup/cpu/x/cpu.cfs_period_us\t100000\n",
        );
        assert_eq!(quota_of(&first), Some(0.5));
    }
}
