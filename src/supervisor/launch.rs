//! Making the regions of a process family.

use crate::durable::ColdOrder;
use crate::executor::{
    CoordinatorMemory, ExecuteError, OutputArenaReader, ShardFds, ShardLimits, SpanReader, create_span_region,
};
use crate::supervisor::auditor::node_numbers;
use crate::supervisor::config::ProcessesConfig;
use crate::supervisor::placement::{HugePages, Placement};
use crate::supervisor::protocol::{AuditOrder, LaunchOrder, WireMemory};
use crate::telemetry::TimelineConfig;
use crate::topology::{Host, RegionKind, Spins, TopologyError};
use phalanx_ipc::{
    Control, InboxLayout, NodePolicy, OsCause, Outlet, Region, RegionError, nice_now, raise_fd_limit,
};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;
use thiserror::Error;

/// Why a process family could not be started.
#[derive(Debug, Error)]
pub enum LaunchError {
    /// This process is itself a supervisor image that went past its entry.
    #[error(
        "this process was started as a supervisor but its main did not call phalanx::supervisor_entry() first; add the call, or name another image"
    )]
    EntryMissing,
    /// More shards than can be, or none.
    #[error("{shards} shards were asked for; 1 to {} are possible", crate::MAX_SHARDS)]
    ShardCount {
        /// Number asked for.
        shards: usize,
    },
    /// Memory, descriptors or another resource could not be had.
    #[error("cannot start the shards: {0}")]
    Resource(String),
    /// The shards did not become ready.
    #[error("{ready} of {shards} shards were ready after {waited_ms} ms: {detail}")]
    NotReady {
        /// Shards ready.
        ready: usize,
        /// Shards asked for.
        shards: usize,
        /// Time waited.
        waited_ms: u128,
        /// What is known of the cause.
        detail: String,
    },
    /// No layout can be made on this host with these options.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// Executing failed before the first block.
    #[error(transparent)]
    Execute(#[from] ExecuteError),
}

impl LaunchError {
    pub(super) fn resource(error: impl std::fmt::Display) -> LaunchError {
        LaunchError::Resource(error.to_string())
    }
}

/// What the coordinator keeps of one shard.
#[derive(Debug)]
pub(super) struct ShardEnds {
    /// For its doorbell.
    pub(super) door: Outlet,
    pub(super) outputs: OutputArenaReader,
    /// None if no timeline is wanted.
    pub(super) spans: Option<SpanEnds>,
    inbox_fd: OwnedFd,
    outputs_fd: OwnedFd,
    outputs_reader_fd: OwnedFd,
}

impl ShardEnds {
    /// Has this process's mappings meet the regions' present pages: some have been replaced.
    pub(super) fn let_go(&self) -> Result<(), RegionError> {
        self.door.let_go()?;
        self.outputs.let_go()?;
        self.spans.as_ref().map_or(Ok(()), |spans| spans.reader.let_go())
    }
}

/// What the coordinator keeps of one shard's region for spans.
#[derive(Debug)]
pub(super) struct SpanEnds {
    pub(super) reader: SpanReader,
    fd: OwnedFd,
}

impl SpanEnds {
    fn create(config: TimelineConfig, place: usize, placement: &Placement) -> Result<SpanEnds, LaunchError> {
        let region = create_span_region(config).map_err(LaunchError::resource)?;
        placement.bind(&region, RegionKind::Spans, Some(place));
        let reader = region.reader_fd().and_then(|fd| SpanReader::map(fd, config));
        Ok(SpanEnds {
            reader: reader.map_err(LaunchError::resource)?,
            fd: region.writer_fd().map_err(LaunchError::resource)?,
        })
    }
}

/// Everything that a supervisor is given, kept to start another one.
#[derive(Debug)]
pub(super) struct FamilyRegions {
    pub(super) order: LaunchOrder,
    shared: ShardFds,
    pub(super) ends: Vec<ShardEnds>,
}

/// Descriptors that a supervisor holds at a time per shard, and a shard while it starts: four handed over, and as many
/// again duplicated while it maps.
const FDS_PER_SHARD: u64 = 10;
const FDS_BESIDE: u64 = 128;
/// Most spare cores that are named for the shards of one node: more than go away before somebody looks.
const SPARES_NAMED: usize = 64;
/// Least time between audits.
const AUDIT_INTERVAL_MIN: Duration = Duration::from_millis(10);

impl FamilyRegions {
    pub(super) fn create(
        config: &ProcessesConfig,
        control: &Control,
        memory: &CoordinatorMemory,
        placement: &Placement,
        cold: Option<ColdOrder>,
    ) -> Result<FamilyRegions, LaunchError> {
        let shards = config.shards;
        raise_fd_limit(FDS_BESIDE + FDS_PER_SHARD * shards as u64).map_err(LaunchError::resource)?;
        let host = Host::detect().map_err(ExecuteError::from)?;
        let limits = ShardLimits::of(&config.memory, config.timeline);
        let layout = InboxLayout::for_budget(shards, config.memory.ring_budget_bytes);
        let ends = (0..shards)
            .map(|place| shard_ends(place, layout, &limits, placement, config))
            .collect::<Result<Vec<_>, _>>()?;
        let shared = ShardFds::of(memory)?;
        let fds_each = 3 + usize::from(config.timeline.is_some());
        let order = LaunchOrder {
            control: control.os_id().unwrap_or_default().to_owned(),
            cores: placement.layout.cores(),
            heaps: heaps(placement),
            huge_pages: config.placement.huge_pages == HugePages::Transparent,
            oom_score_adj: config.placement.oom_score_adj,
            audit: audit_order(config, placement),
            ring_cells: layout.capacity as u64,
            memory: WireMemory::from(&config.memory),
            spins: Spins::adapted(&host, shards).turns(),
            run_first: config.run_first,
            nice: nice_now(),
            vm: config.vm.clone(),
            pacing: config.pacing,
            cold,
            timeline: config.timeline,
            log: config.log.clone(),
            fds: u32::try_from(5 + fds_each * shards).unwrap_or(u32::MAX),
        };
        Ok(FamilyRegions { order, shared, ends })
    }

    /// Descriptors of all regions, to look at them: in the order of [`Placement::regions`].
    pub(super) fn files(&self, memory: &CoordinatorMemory) -> Result<Vec<OwnedFd>, LaunchError> {
        let shared =
            memory.regions().into_iter().map(|region| region.reader_fd().map_err(LaunchError::resource));
        let copy = |fd: &OwnedFd| fd.try_clone().map_err(|error| LaunchError::resource(OsCause::from(error)));
        let own = self.ends.iter().flat_map(|ends| {
            let spans = ends.spans.as_ref().map(|spans| &spans.fd);
            [&ends.inbox_fd, &ends.outputs_fd].into_iter().chain(spans).map(copy)
        });
        shared.chain(own).collect()
    }

    /// All descriptors, in the order of [`LaunchOrder::fds`].
    pub(super) fn fds(&self) -> Vec<BorrowedFd<'_>> {
        let ShardFds { board, arenas: [first, second], overlay, base } = &self.shared;
        let shared = [board, first, second, overlay, base].map(AsFd::as_fd);
        let own = self.ends.iter().flat_map(|ends| {
            let spans = ends.spans.as_ref().map(|spans| spans.fd.as_fd());
            [ends.inbox_fd.as_fd(), ends.outputs_fd.as_fd(), ends.outputs_reader_fd.as_fd()]
                .into_iter()
                .chain(spans)
        });
        shared.into_iter().chain(own).collect()
    }
}

/// The nodes of the shards' own memory, if it is bound.
fn heaps(placement: &Placement) -> Vec<u32> {
    let seats = placement.layout.seats.iter().filter(|_| placement.bound);
    seats.map(|seat| seat.memory.0).collect()
}

fn audit_order(config: &ProcessesConfig, placement: &Placement) -> Option<AuditOrder> {
    let interval = config.placement.audit_interval?.max(AUDIT_INTERVAL_MIN);
    let layout = &placement.layout;
    let spares = layout.spread.iter().map(|&node| {
        let spares = layout.spares_near(&placement.topology, node).into_iter();
        (node.0, spares.take(SPARES_NAMED).map(|cpu| cpu.0).collect())
    });
    Some(AuditOrder {
        spares: spares.collect(),
        interval_ms: u64::try_from(interval.as_millis()).unwrap_or(u64::MAX),
        bound: placement.bound,
        nodes: node_numbers(layout.seats.iter().map(|seat| seat.memory)),
        spread: node_numbers(layout.spread.iter().copied()),
        home: layout.home.0,
    })
}

/// A region for rings, bound before anyone touches it.
fn make_inbox(
    place: usize,
    bytes: usize,
    placement: &Placement,
    config: &ProcessesConfig,
) -> Result<Region, LaunchError> {
    if config.placement.huge_pages == HugePages::Reserved {
        let policy = placement.policy(RegionKind::Inbox, Some(place)).unwrap_or(NodePolicy::Default);
        match Region::create_huge("phalanx-inbox", bytes, &policy) {
            Ok(region) => return Ok(region),
            Err(error) => {
                tracing::warn!(shard = place, bytes, %error, "no huge pages for its rings, ordinary ones are taken; raise nr_hugepages on its node");
            }
        }
    }
    let inbox = Region::create("phalanx-inbox", bytes).map_err(LaunchError::resource)?;
    #[cfg(feature = "fail-points")]
    if config.placement.touch_first {
        inbox.store_u64(bytes - 64, 0).map_err(LaunchError::resource)?;
    }
    placement.bind(&inbox, RegionKind::Inbox, Some(place));
    Ok(inbox)
}

fn shard_ends(
    place: usize,
    layout: InboxLayout,
    limits: &ShardLimits,
    placement: &Placement,
    config: &ProcessesConfig,
) -> Result<ShardEnds, LaunchError> {
    let inbox = make_inbox(place, layout.bytes(), placement, config)?;
    let inbox_fd = inbox.writer_fd().map_err(LaunchError::resource)?;
    // A shard sends nothing to itself: the ring that it would use gives the coordinator its doorbell.
    let door = Outlet::attach(inbox, layout, place).map_err(LaunchError::resource)?;
    // The mapping goes at once: the coordinator reads outputs through a read-only one.
    let outputs = Region::create("phalanx-outputs", limits.outputs.bytes()).map_err(LaunchError::resource)?;
    placement.bind(&outputs, RegionKind::Outputs, Some(place));
    let outputs_reader_fd = outputs.reader_fd().map_err(LaunchError::resource)?;
    let reader = outputs.reader_fd().map_err(LaunchError::resource)?;
    Ok(ShardEnds {
        door,
        outputs: OutputArenaReader::map(reader, limits.outputs).map_err(LaunchError::resource)?,
        spans: limits.timeline.map(|config| SpanEnds::create(config, place, placement)).transpose()?,
        inbox_fd,
        outputs_fd: outputs.writer_fd().map_err(LaunchError::resource)?,
        outputs_reader_fd,
    })
}
