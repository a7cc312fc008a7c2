//! The host that the doctor looks at, and what would be placed where on it.

use phalanx::topology::{Allowance, Layout, LayoutOptions, SysTree, Topology, TopologyError};
use phalanx::types::CpuId;
use std::collections::BTreeSet;

/// A host.
#[derive(Debug)]
pub struct Patient {
    /// Its files.
    pub tree: SysTree,
    /// What they say of nodes and CPUs; `None` if they make no sense.
    pub topology: Option<Topology>,
    /// What may be used of it.
    pub allowance: Option<Allowance>,
    /// Where shards would go.
    pub layout: Option<Layout>,
    /// Why they would go nowhere.
    pub trouble: Option<String>,
}

impl Patient {
    /// This host, with the wishes of a launch.
    pub fn examine(wishes: &LayoutOptions) -> Patient {
        Patient::of(SysTree::host(), Allowance::detect, wishes)
    }

    /// The host of these files, of which so much may be used.
    pub fn of(
        tree: SysTree,
        allowance: impl FnOnce(&Topology) -> Result<Allowance, TopologyError>,
        wishes: &LayoutOptions,
    ) -> Patient {
        let mut patient = Patient { tree, topology: None, allowance: None, layout: None, trouble: None };
        if let Err(error) = patient.look_at(allowance, wishes) {
            patient.trouble = Some(error.to_string());
        }
        patient
    }

    /// Finds out as much as can be.
    fn look_at(
        &mut self,
        allowance: impl FnOnce(&Topology) -> Result<Allowance, TopologyError>,
        wishes: &LayoutOptions,
    ) -> Result<(), TopologyError> {
        let topology = self.topology.insert(Topology::read(&self.tree)?);
        let allowance = self.allowance.insert(allowance(topology)?);
        self.layout = Some(Layout::plan(topology, allowance, wishes)?);
        Ok(())
    }

    /// Number of shards that would be made.
    pub fn shards(&self) -> usize {
        self.layout.as_ref().map_or(1, |layout| layout.seats.len())
    }

    /// The CPUs of those shards.
    pub fn shard_cpus(&self) -> BTreeSet<CpuId> {
        self.layout.iter().flat_map(|layout| layout.seats.iter().map(|seat| seat.cpu)).collect()
    }
}

/// Folders of the control groups of this process, from its own to the root.
pub fn own_groups(tree: &SysTree) -> Vec<String> {
    let groups = tree.read("/proc/self/cgroup").unwrap_or_default();
    let Some(path) = groups.lines().find_map(|line| line.strip_prefix("0::")) else { return Vec::new() };
    let ancestors = std::iter::successors(Some(path.trim_end_matches('/')), |path| {
        path.rfind('/').map(|end| &path[..end])
    });
    ancestors.map(|group| format!("/sys/fs/cgroup{group}")).collect()
}
