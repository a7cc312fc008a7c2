//! `phalanx topology`: the host as a drawing, and where shards and memory would go on it.

mod drawing;

use crate::cli::{Format, Shards};
use crate::exit::Exit;
use crate::output::{print, print_error};
use crate::placement_options::PlacementOptions;
use clap::Args;
use drawing::drawing;
use phalanx::supervisor::{Placement, ProcessesConfig};
use phalanx::topology::{Allowance, Layout, LayoutOptions, SysTree, Topology, TopologyError};
use std::path::PathBuf;
use thiserror::Error;

/// Options of `phalanx topology`.
#[derive(Clone, Debug, Args)]
pub struct TopologyOptions {
    /// Shows where shards and every region would go with the options below. Starts nothing. Default: nodes, cores and caches
    /// only.
    #[arg(long)]
    pub plan: bool,

    /// Plans for this many shards. Default: auto, a shard on every place.
    #[arg(long, value_name = "N|auto", default_value = "auto", hide_default_value = true)]
    pub shards: Shards,

    /// Reads another host: a folder with a copy of its sys, or a dump as tools/numa-guest makes them. Everything that is
    /// online there may be used. Default: this host, and what this process may use of it.
    #[arg(long, value_name = "PATH")]
    pub sysfs_root: Option<PathBuf>,

    /// Where shards and memory go.
    #[command(flatten)]
    pub placement: PlacementOptions,

    /// Prints a drawing (text) or exactly one JSON object (json). Default: text.
    #[arg(long, value_enum, default_value_t = Format::Text, hide_default_value = true)]
    pub format: Format,
}

/// Why there is no drawing.
#[derive(Debug, Error)]
enum Refusal {
    #[error("cannot read {}: {cause}; name a folder that holds sys, or a dump", path.display())]
    Root { path: PathBuf, cause: std::io::Error },
    #[error(transparent)]
    Topology(#[from] TopologyError),
    #[error("cannot write the drawing: {0}; give standard output another place to go")]
    Output(#[from] std::io::Error),
}

/// Runs the command.
pub fn command(options: &TopologyOptions) -> Exit {
    match show(options) {
        Ok(()) => Exit::Ok,
        Err(error) => {
            print_error(&error);
            match error {
                Refusal::Root { .. } => Exit::Workload,
                Refusal::Topology(_) => Exit::Start,
                Refusal::Output(_) => Exit::Failed,
            }
        }
    }
}

fn show(options: &TopologyOptions) -> Result<(), Refusal> {
    let tree = match &options.sysfs_root {
        None => SysTree::host(),
        Some(path) => SysTree::open(path).map_err(|cause| Refusal::Root { path: path.clone(), cause })?,
    };
    let topology = Topology::read(&tree)?;
    let allowance = match &options.sysfs_root {
        None => Allowance::detect(&topology)?,
        Some(_) => Allowance::everything(&topology),
    };
    let placement = options.plan.then(|| plan(options, &topology, &allowance)).transpose()?;
    let text = match options.format {
        Format::Text => drawing(&topology, &allowance, placement.as_ref()),
        Format::Json => json(&topology, &allowance, placement.as_ref()),
    };
    Ok(print(&text)?)
}

fn plan(
    options: &TopologyOptions,
    topology: &Topology,
    allowance: &Allowance,
) -> Result<Placement, TopologyError> {
    let placement = options.placement.config();
    let shards = match options.shards {
        Shards::Auto => None,
        Shards::Count(count) => Some(count),
    };
    let wishes = LayoutOptions { shards, ..placement.layout.clone() };
    let layout = Layout::plan(topology, allowance, &wishes)?;
    let config = ProcessesConfig { shards: layout.seats.len(), placement, ..ProcessesConfig::default() };
    Ok(Placement::of(topology.clone(), layout, &config))
}

fn json(topology: &Topology, allowance: &Allowance, placement: Option<&Placement>) -> String {
    let plan = placement.map(|placement| {
        let costs = placement.costs();
        let row = |from| (0..costs.shards()).map(|to| costs.tenths(from, to)).collect::<Vec<_>>();
        serde_json::json!({
            "layout": placement.layout,
            "regions": placement.regions,
            "bound": placement.bound,
            "crowded_nodes": placement.crowded,
            "costs_tenths": (0..costs.shards()).map(row).collect::<Vec<_>>(),
        })
    });
    let object = serde_json::json!({
        "schema_version": 1,
        "topology": topology,
        "allowance": allowance,
        "plan": plan,
    });
    format!("{object}\n")
}
