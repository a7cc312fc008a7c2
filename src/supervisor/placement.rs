//! Where a family's shards and regions go, decided before anything is made.

use crate::executor::{CoordinatorMemory, ShardLimits};
use crate::supervisor::config::ProcessesConfig;
use crate::supervisor::launch::LaunchError;
use crate::topology::{
    Allowance, CostMatrix, Host, Layout, LayoutOptions, NODES_MAX, Placing, RegionKind, RegionPlan,
    RegionSizes, SysTree, Topology,
};
use crate::types::{CpuId, NodeId};
use phalanx_ipc::{InboxLayout, NodePolicy, Region, RegionError, gives_huge_pages};
use serde::Serialize;
use std::collections::BTreeSet;
use std::time::Duration;

/// Which pages regions are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HugePages {
    /// Ordinary ones; what is read most is put together to huge ones later, where the kernel has some.
    #[default]
    Ordinary,
    /// Huge ones where the kernel gives them at the touch (`shmem_enabled` is `advise`). Ordinary ones, and a warning, where it
    /// does not.
    Transparent,
    /// Inboxes of pages of 2 MiB from the kernel's reserve (`nr_hugepages`), all taken at the launch. Ordinary ones, and a
    /// warning, where the reserve is too small.
    Reserved,
}

impl HugePages {
    /// Whether regions of this kind are to be on huge pages.
    #[must_use]
    pub fn covers(self, kind: RegionKind) -> bool {
        match (self, kind) {
            (HugePages::Ordinary, _) | (_, RegionKind::Board | RegionKind::Spans) => false,
            (HugePages::Reserved, RegionKind::Inbox) => true,
            (
                HugePages::Reserved,
                RegionKind::Outputs | RegionKind::Arena | RegionKind::Overlay | RegionKind::Base,
            ) => false,
            (
                HugePages::Transparent,
                RegionKind::Inbox
                | RegionKind::Outputs
                | RegionKind::Arena
                | RegionKind::Overlay
                | RegionKind::Base,
            ) => true,
        }
    }
}

/// The kernel's setting of huge pages for shared memory.
const SHMEM_ENABLED: &str = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";

/// Where shards and memory go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacementConfig {
    /// Which cores are used, and how. [`LayoutOptions::shards`] is set by the number of shards.
    pub layout: LayoutOptions,
    /// Whether memory is bound to nodes; otherwise it is where it is touched first. Without effect on a host with one node.
    pub bind: bool,
    /// Which pages regions are made of.
    pub huge_pages: HugePages,
    /// Time between audits of pins and pages while blocks run, if there are any; 10 ms at least.
    pub audit_interval: Option<Duration>,
    /// Added to how much the kernel likes to kill shards for want of memory (`oom_score_adj`), 0 to 1000: a shard is
    /// replaced, a coordinator is not.
    pub oom_score_adj: i32,
    /// Touches a page of each inbox before it is bound, for the negative control of the placement tests.
    #[cfg(feature = "fail-points")]
    pub touch_first: bool,
}

impl Default for PlacementConfig {
    fn default() -> PlacementConfig {
        PlacementConfig {
            layout: LayoutOptions::default(),
            bind: true,
            huge_pages: HugePages::default(),
            audit_interval: Some(Duration::from_secs(1)),
            oom_score_adj: 300,
            #[cfg(feature = "fail-points")]
            touch_first: false,
        }
    }
}

/// What was decided for one family.
#[derive(Clone, Debug)]
pub struct Placement {
    /// The host.
    pub topology: Topology,
    /// The cores.
    pub layout: Layout,
    /// The regions, in the order of [`RegionPlan::of`].
    pub regions: Vec<RegionPlan>,
    /// Whether regions are bound: asked for, and there is more than one node to choose from.
    pub bound: bool,
    /// Nodes that lack the memory for what would be bound to them strictly.
    pub crowded: BTreeSet<NodeId>,
    /// Which pages were asked for.
    pub huge_pages: HugePages,
}

impl Placement {
    /// Decides for a family on this host. Looks at the host, makes nothing.
    ///
    /// # Errors
    /// [`LaunchError`] when options and host do not go together.
    pub fn plan(config: &ProcessesConfig) -> Result<Placement, LaunchError> {
        let topology = host_topology()?;
        let allowance = Allowance::detect(&topology)?;
        let options = LayoutOptions { shards: Some(config.shards), ..config.placement.layout.clone() };
        let layout = Layout::plan(&topology, &allowance, &options)?;
        Ok(Placement::of(topology, layout, config))
    }

    /// As [`plan`](Self::plan), of a layout that is there already.
    #[must_use]
    pub fn of(topology: Topology, layout: Layout, config: &ProcessesConfig) -> Placement {
        let sizes = sizes_of(config, layout.seats.len());
        let free = |node| topology.node(node).map_or(0, |node| node.free_bytes);
        let crowded = RegionPlan::crowded(&layout, sizes.inbox, free);
        let regions = RegionPlan::of(&layout, &sizes, &crowded);
        let with_memory = topology.nodes.iter().filter(|node| node.memory_bytes > 0).count();
        Placement {
            bound: config.placement.bind && with_memory > 1,
            huge_pages: config.placement.huge_pages,
            topology,
            layout,
            regions,
            crowded,
        }
    }

    /// The number of shards that suits this host, by [`LayoutOptions`] without one.
    ///
    /// # Errors
    /// [`LaunchError`] when options and host do not go together.
    pub fn auto_shards(config: &PlacementConfig) -> Result<usize, LaunchError> {
        let topology = host_topology()?;
        let allowance = Allowance::detect(&topology)?;
        let options = LayoutOptions { shards: None, ..config.layout.clone() };
        Ok(Layout::plan(&topology, &allowance, &options)?.seats.len())
    }

    /// The costs of communication between the shards.
    #[must_use]
    pub fn costs(&self) -> CostMatrix {
        CostMatrix::of(&self.topology, &self.layout)
    }

    /// What the kernel is told of a region of this kind, of this shard if it is one shard's.
    pub(super) fn policy(&self, kind: RegionKind, shard: Option<usize>) -> Option<NodePolicy> {
        let plan = self
            .regions
            .iter()
            .find(|plan| plan.kind == kind && plan.shard.map(|shard| shard.index()) == shard);
        plan.filter(|_| self.bound).map(|plan| policy_of(&plan.placing))
    }

    /// Says of a region where its pages go, and which. A kernel that refuses costs speed, not the launch.
    pub(crate) fn bind(&self, region: &Region, kind: RegionKind, shard: Option<usize>) {
        self.tell(kind, shard, region, |policy| region.place(policy));
    }

    /// As [`bind`](Self::bind), for a region of the calling process alone that has been touched.
    fn bind_touched(&self, region: &Region, kind: RegionKind) {
        self.tell(kind, None, region, |policy| region.place_and_move(policy));
    }

    /// Says where the memory of the base state goes, for one that is opened before the launch: show it this while it is empty
    /// ([`DurableState::open_placed`](crate::durable::DurableState::open_placed)). A kernel that refuses costs speed only.
    pub fn place_state(&self, region: &Region) {
        self.bind_touched(region, RegionKind::Base);
    }

    /// Binds the regions that the coordinator writes. The base state may have been filled already; it is this process's alone.
    pub(super) fn bind_shared(&self, memory: &CoordinatorMemory) {
        let [board, first, second, overlay, base] = memory.regions();
        self.bind(board, RegionKind::Board, None);
        self.bind(first, RegionKind::Arena, None);
        self.bind(second, RegionKind::Arena, None);
        self.bind(overlay, RegionKind::Overlay, None);
        self.bind_touched(base, RegionKind::Base);
    }

    fn tell(
        &self,
        kind: RegionKind,
        shard: Option<usize>,
        region: &Region,
        place: impl FnOnce(&NodePolicy) -> Result<(), RegionError>,
    ) {
        // Here too, and not only where shards map it: whoever touches a page first decides what page it is.
        if self.huge_pages == HugePages::Transparent
            && self.huge_pages.covers(kind)
            && let Err(error) = region.prefer_huge_pages()
        {
            tracing::warn!(region = %kind, shard, %error, "this region asks for no huge pages");
        }
        if let Some(policy) = self.policy(kind, shard)
            && let Err(error) = place(&policy)
        {
            tracing::warn!(region = %kind, shard, ?policy, %error, "memory is not placed; allow mbind to this process");
        }
    }

    /// Tells the log what is not as it could be.
    pub(super) fn tell_notes(&self) {
        if self.huge_pages == HugePages::Transparent {
            tell_of_huge_pages();
        }
        for note in self.topology.notes.iter().chain(&self.layout.notes) {
            tracing::info!(note, "placement");
        }
        for node in self.crowded.iter().filter(|_| self.bound) {
            let free = self.topology.node(*node).map_or(0, |node| node.free_bytes >> 20);
            tracing::warn!(node = %node, free_mib = free, "node lacks free memory; its rings may lie elsewhere: lower the ring budget, or free memory there");
        }
    }
}

/// Huge pages were asked for: says loudly if there are none to be had.
fn tell_of_huge_pages() {
    match gives_huge_pages() {
        Ok(true) => {}
        Ok(false) => {
            let tree = SysTree::host();
            let setting = tree.read(SHMEM_ENABLED).unwrap_or_else(|| "unknown".to_owned());
            tracing::warn!(
                shmem_enabled = setting.trim(),
                "transparent huge pages were asked for, and the kernel gives none: ordinary ones are taken; echo advise > {SHMEM_ENABLED}, and see that 2 MiB are free in one piece"
            );
        }
        Err(error) => tracing::warn!(%error, "whether there are huge pages cannot be tried"),
    }
}

/// The kernel's words for where a region goes.
pub(super) fn policy_of(placing: &Placing) -> NodePolicy {
    match placing {
        Placing::Only(node) => NodePolicy::Only(node.0),
        Placing::Near(node) => NodePolicy::Near(node.0),
        Placing::Spread(nodes) => NodePolicy::Spread(nodes.iter().map(|node| node.0).collect()),
    }
}

/// The host as `/sys` describes it, or one node with the allowed cores where there is no `/sys`.
fn host_topology() -> Result<Topology, LaunchError> {
    match Topology::read(&SysTree::host()) {
        Ok(topology) => Ok(topology),
        Err(error) => {
            tracing::warn!(%error, "the host's nodes are not known; it is taken for one node");
            let host = Host::detect()?;
            let cpus = host.all_cores().iter().filter_map(|&core| u32::try_from(core).ok()).map(CpuId);
            Ok(Topology::flat(cpus))
        }
    }
}

/// Greatest sizes of the regions of such a family.
fn sizes_of(config: &ProcessesConfig, shards: usize) -> RegionSizes {
    let limits = ShardLimits::of(&config.memory, config.timeline);
    let inbox = InboxLayout::for_budget(shards.max(1), config.memory.ring_budget_bytes).bytes();
    let bytes = limits.bytes(config.memory.state);
    RegionSizes {
        inbox: inbox as u64,
        outputs: limits.outputs.bytes() as u64,
        spans: bytes.spans,
        arena: bytes.arena,
        overlay: bytes.overlay,
        base: bytes.base,
    }
}

const _: () = assert!(NODES_MAX == 1024, "masks of nodes have so many bits");
