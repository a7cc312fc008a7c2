//! Reads a host from the kernel's files. Whatever is missing or contradicts itself is noted and made good by the next best
//! assumption; only a host without any CPU, or a node that no mask can name, is an error.

use crate::topology::TopologyError;
use crate::topology::cpu_list::{format_list, parse_list};
use crate::topology::model::{CoreKind, Cpu, DISTANCE_LOCAL, DISTANCE_REMOTE, Node, Topology};
use crate::topology::sys_tree::SysTree;
use crate::types::{CpuId, NodeId};
use std::collections::{BTreeMap, BTreeSet};

const CPUS: &str = "/sys/devices/system/cpu";
const NODES: &str = "/sys/devices/system/node";
/// Nodes that the kernel's masks can name.
pub const NODES_MAX: u32 = 1024;
/// Distances below this are no distances.
const DISTANCE_MIN: u32 = 10;

impl Topology {
    /// Reads the host that `tree` describes.
    ///
    /// # Errors
    /// `NoCpus` if it names none that is online, `Unreadable` for a list of CPUs that is none, `NodeBeyondRange`.
    pub fn read(tree: &SysTree) -> Result<Topology, TopologyError> {
        let mut reader = Reader { tree, notes: Vec::new() };
        let (online, offline) = reader.cpus()?;
        let ids = reader.nodes()?;
        let owners = reader.owners(&ids, &online)?;
        let distances = reader.distances(&ids);
        let nodes = ids.iter().map(|&id| reader.node(id, &ids, &distances)).collect();
        let slow = reader.slow_cpus(&online);
        let cpus = online.iter().map(|&id| reader.cpu(id, &online, &owners, &slow)).collect();
        let offline = offline.into_iter().map(CpuId).collect();
        Ok(Topology { nodes, cpus, offline, notes: reader.notes })
    }
}

struct Reader<'a> {
    tree: &'a SysTree,
    notes: Vec<String>,
}

impl Reader<'_> {
    fn note(&mut self, text: String) {
        self.notes.push(text);
    }

    fn list(&self, path: &str) -> Result<Option<BTreeSet<u32>>, TopologyError> {
        let Some(text) = self.tree.read(path) else { return Ok(None) };
        match parse_list(&text) {
            Some(numbers) => Ok(Some(numbers)),
            None => Err(TopologyError::Unreadable { path: path.to_owned(), text }),
        }
    }

    /// CPUs that are online, and those that are there but are not.
    fn cpus(&mut self) -> Result<(BTreeSet<u32>, BTreeSet<u32>), TopologyError> {
        let present = self.tree.numbered(CPUS, "cpu");
        let online = match self.list(&format!("{CPUS}/online"))? {
            Some(online) => online,
            None => {
                self.note(
                    "the kernel does not list the CPUs online; those not marked offline are taken".to_owned(),
                );
                let marked = |cpu: &u32| self.tree.number(&format!("{CPUS}/cpu{cpu}/online")) == Some(0);
                present.iter().copied().filter(|cpu| !marked(cpu)).collect()
            }
        };
        if online.is_empty() {
            return Err(TopologyError::NoCpus);
        }
        let mut offline: BTreeSet<u32> = present.difference(&online).copied().collect();
        if let Some(listed) = self.list(&format!("{CPUS}/offline"))? {
            offline.extend(listed.difference(&online).filter(|cpu| present.contains(cpu)));
        }
        Ok((online, offline))
    }

    fn nodes(&mut self) -> Result<Vec<NodeId>, TopologyError> {
        let folders = self.tree.numbered(NODES, "node");
        let ids = match self.list(&format!("{NODES}/online"))? {
            Some(online) if !online.is_empty() => online,
            Some(_) | None => folders,
        };
        if let Some(&node) = ids.iter().find(|&&node| node >= NODES_MAX) {
            return Err(TopologyError::NodeBeyondRange { node: NodeId(node) });
        }
        if ids.is_empty() {
            self.note(
                "the kernel shows no NUMA nodes; all CPUs and all memory are taken for node 0".to_owned(),
            );
            return Ok(vec![NodeId(0)]);
        }
        Ok(ids.into_iter().map(NodeId).collect())
    }

    /// The node of every CPU.
    fn owners(
        &mut self,
        ids: &[NodeId],
        online: &BTreeSet<u32>,
    ) -> Result<BTreeMap<u32, NodeId>, TopologyError> {
        let mut owners: BTreeMap<u32, NodeId> = BTreeMap::new();
        for &node in ids {
            let Some(claimed) = self.list(&format!("{NODES}/node{node}/cpulist"))? else { continue };
            for cpu in claimed.into_iter().filter(|cpu| online.contains(cpu)) {
                match owners.get(&cpu) {
                    Some(&first) => self.note(format!(
                        "CPU {cpu} is claimed by nodes {first} and {node}; it is taken for one of node {first}"
                    )),
                    None => {
                        owners.insert(cpu, node);
                    }
                }
            }
        }
        let orphans: Vec<u32> = online.iter().copied().filter(|cpu| !owners.contains_key(cpu)).collect();
        if !orphans.is_empty() {
            let home = ids.first().copied().unwrap_or_default();
            if self.tree.list(NODES).iter().any(|name| name.starts_with("node")) {
                self.note(format!(
                    "no node claims CPUs {}; they are taken for CPUs of node {home}",
                    format_list(orphans.iter().copied())
                ));
            }
            owners.extend(orphans.into_iter().map(|cpu| (cpu, home)));
        }
        Ok(owners)
    }

    /// The rows of the distance table as far as they are there. A row names the nodes that are online, in their order.
    fn distances(&mut self, ids: &[NodeId]) -> BTreeMap<(NodeId, NodeId), u32> {
        let mut table = BTreeMap::new();
        for &from in ids {
            let Some(text) = self.tree.read(&format!("{NODES}/node{from}/distance")) else { continue };
            let row: Vec<u32> = text.split_whitespace().map(|word| word.parse().unwrap_or(0)).collect();
            if row.len() != ids.len() {
                self.note(format!(
                    "node {from} names {} distances for {} nodes; those that are missing are assumed",
                    row.len(),
                    ids.len()
                ));
            }
            let valid = ids.iter().zip(row).filter(|&(_, distance)| distance >= DISTANCE_MIN);
            table.extend(valid.map(|(&to, distance)| ((from, to), distance)));
        }
        table
    }

    fn node(&self, id: NodeId, ids: &[NodeId], table: &BTreeMap<(NodeId, NodeId), u32>) -> Node {
        let folder = format!("{NODES}/node{id}");
        let info = self.tree.read(&format!("{folder}/meminfo"));
        // Without NUMA the host's own figures are those of its one node.
        let info = info.or_else(|| self.tree.read("/proc/meminfo").filter(|_| ids.len() == 1));
        let info = info.unwrap_or_default();
        let distance = |to: NodeId| {
            let known = table.get(&(id, to)).or_else(|| table.get(&(to, id)));
            known.copied().unwrap_or(if to == id { DISTANCE_LOCAL } else { DISTANCE_REMOTE })
        };
        let huge =
            |what| self.tree.number(&format!("{folder}/hugepages/hugepages-2048kB/{what}")).unwrap_or(0);
        let access =
            |what| self.tree.number(&format!("{folder}/access0/initiators/{what}")).filter(|&it| it > 0);
        Node {
            id,
            memory_bytes: memory_field(&info, "MemTotal"),
            free_bytes: memory_field(&info, "MemFree") + memory_field(&info, "Inactive(file)"),
            huge_pages: (huge("nr_hugepages"), huge("free_hugepages")),
            distances: ids.iter().map(|&to| (to, distance(to))).collect(),
            read_latency_ns: access("read_latency"),
            read_bandwidth_mbs: access("read_bandwidth"),
        }
    }

    /// CPUs that are slower than others, on hosts with several kinds of cores.
    fn slow_cpus(&self, online: &BTreeSet<u32>) -> BTreeSet<u32> {
        if let Some(text) = self.tree.read("/sys/devices/cpu_atom/cpus") {
            return parse_list(&text).unwrap_or_default();
        }
        let capacity = |cpu: u32| self.tree.number(&format!("{CPUS}/cpu{cpu}/cpu_capacity"));
        let greatest = online.iter().filter_map(|&cpu| capacity(cpu)).max().unwrap_or(0);
        online.iter().copied().filter(|&cpu| capacity(cpu).is_some_and(|it| it < greatest)).collect()
    }

    fn cpu(
        &self,
        id: u32,
        online: &BTreeSet<u32>,
        owners: &BTreeMap<u32, NodeId>,
        slow: &BTreeSet<u32>,
    ) -> Cpu {
        let folder = format!("{CPUS}/cpu{id}");
        let peers = |path: String| {
            let listed = self.tree.read(&path).and_then(|text| parse_list(&text));
            let listed = listed.filter(|listed| listed.contains(&id));
            listed.and_then(|listed| listed.into_iter().find(|cpu| online.contains(cpu)))
        };
        let core = peers(format!("{folder}/topology/core_cpus_list"))
            .or_else(|| peers(format!("{folder}/topology/thread_siblings_list")));
        let core = CpuId(core.unwrap_or(id));
        let level = |index: &u32| self.tree.number(&format!("{folder}/cache/index{index}/level"));
        let last = self.tree.numbered(&format!("{folder}/cache"), "index").into_iter().max_by_key(level);
        let cache = last.and_then(|index| peers(format!("{folder}/cache/index{index}/shared_cpu_list")));
        let package = self.tree.number(&format!("{folder}/topology/physical_package_id"));
        Cpu {
            id: CpuId(id),
            node: owners.get(&id).copied().unwrap_or_default(),
            package: package.and_then(|package| u32::try_from(package).ok()).unwrap_or(0),
            core,
            cache: cache.map_or(core, CpuId),
            kind: if slow.contains(&id) { CoreKind::Slow } else { CoreKind::Fast },
        }
    }
}

/// A field of a node's or the host's `meminfo`, in bytes; 0 if it is not there.
fn memory_field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.split_once(&format!("{name}:")));
    let kib = line.and_then(|(_, value)| value.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0).saturating_mul(1024)
}
