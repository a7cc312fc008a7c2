//! Options of where shards and memory go, shared by the commands that launch shards or plan them.

use crate::time::parse_time;
use clap::{Args, ValueEnum};
use phalanx::supervisor::{HugePages, PlacementConfig};
use phalanx::topology::{LayoutOptions, parse_list};
use phalanx::types::{CpuId, NodeId};
use std::collections::BTreeSet;
use std::time::Duration;

/// Where shards and memory go.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Placement")]
pub struct PlacementOptions {
    /// Puts shards on these CPUs only, as in 2-7,10; no core is kept free then. Default: all that this process may use.
    #[arg(long, value_name = "LIST", value_parser = parse_numbers)]
    pub cores: Option<Numbers>,

    /// Puts no shard on these CPUs. Default: none is left out.
    #[arg(long, value_name = "LIST", value_parser = parse_numbers)]
    pub exclude_cores: Option<Numbers>,

    /// Puts shards on CPUs of these NUMA nodes only. Default: all nodes.
    #[arg(long, value_name = "LIST", value_parser = parse_numbers)]
    pub nodes: Option<Numbers>,

    /// Puts at most this many shards on a node. Default: as many as it has cores.
    #[arg(long, value_name = "N")]
    pub shards_per_node: Option<usize>,

    /// Takes every hardware thread of a core for a place. Default: a physical core is one place.
    #[arg(long)]
    pub smt: bool,

    /// Keeps this many cores of each node for coordinator, supervisor and interrupts; at least one is left for shards, and with
    /// one or two cores in all none is kept. Shards that were asked for and find no other place take them. Default: 1.
    #[arg(long, value_name = "N", default_value = "1", hide_default_value = true)]
    pub service_cores: usize,

    /// Leaves memory where it is touched first. Default: regions are bound to the nodes of who uses them.
    #[arg(long)]
    pub no_bind: bool,

    /// Makes regions of ordinary pages (ordinary), of huge ones where the kernel gives them at the touch (transparent; see
    /// transparent_hugepage/shmem_enabled), or inboxes of pages from the kernel's reserve (reserved; see nr_hugepages).
    /// Where there are none, ordinary ones are taken, with a warning. Default: ordinary.
    #[arg(long, value_enum, default_value_t = PageKind::Ordinary, hide_default_value = true)]
    pub huge_pages: PageKind,

    /// Compares pins and a sample of pages with the plan this often while blocks run, and puts right what it can; 0s for never.
    /// Default: 1s.
    #[arg(long, value_name = "TIME", default_value = "1s", hide_default_value = true, value_parser = parse_interval)]
    pub audit_interval: Duration,
}

/// A list of numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbers(BTreeSet<u32>);

/// Which pages regions are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PageKind {
    /// Ordinary ones.
    Ordinary,
    /// Huge ones where the kernel gives them.
    Transparent,
    /// Huge ones from the reserve.
    Reserved,
}

/// Reads a list of numbers and ranges.
pub fn parse_numbers(text: &str) -> Result<Numbers, String> {
    match parse_list(text) {
        Some(numbers) if !numbers.is_empty() => Ok(Numbers(numbers)),
        Some(_) | None => Err("give numbers and ranges, as in 0-3,8".to_owned()),
    }
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    if text == "0" || text == "0s" { Ok(Duration::ZERO) } else { parse_time(text) }
}

impl Numbers {
    /// They, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        self.0.iter().copied()
    }
}

impl PlacementOptions {
    /// As the library takes it.
    pub fn config(&self) -> PlacementConfig {
        let cpus = |numbers: &Numbers| numbers.iter().map(CpuId).collect();
        PlacementConfig {
            layout: LayoutOptions {
                shards: None,
                cores: self.cores.as_ref().map(cpus),
                exclude_cores: self.exclude_cores.as_ref().map(cpus).unwrap_or_default(),
                nodes: self.nodes.as_ref().map(|nodes| nodes.iter().map(NodeId).collect()),
                shards_per_node: self.shards_per_node,
                smt: self.smt,
                service_cores: self.service_cores,
            },
            bind: !self.no_bind,
            huge_pages: match self.huge_pages {
                PageKind::Ordinary => HugePages::Ordinary,
                PageKind::Transparent => HugePages::Transparent,
                PageKind::Reserved => HugePages::Reserved,
            },
            audit_interval: Some(self.audit_interval).filter(|interval| !interval.is_zero()),
            ..PlacementConfig::default()
        }
    }
}
