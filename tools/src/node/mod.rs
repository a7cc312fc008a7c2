//! `phalanx node`: validators on this host, from client intake to committed block.
//!
//! One process holds all of it but the shards: the validators' components as supervised tasks, the coordinator of the shards, the
//! intake over HTTP, clients of its own, and an oracle that executes every block again.

mod book;
mod clients;
mod cluster;
mod commits;
mod ending;
mod error;
mod health;
mod home;
mod http;
mod intake;
mod latency;
mod ledger;
mod live_line;
mod memory;
#[allow(
    clippy::module_inception,
    reason = "the room is named after the command, the file after what it holds"
)]
mod node;
mod options;
mod oracle;
mod phalanx_executor;
mod plain;
mod report;
mod scratch;
mod session;
mod shard_killer;

use crate::cli::Format;
use crate::exit::Exit;
use crate::logging;
use crate::output::{print, print_error};
use crate::service::Service;
use crate::signals;
use error::NodeError;
use node::Node;
use report::Report;
use scratch::Scratch;
use std::sync::mpsc::channel;

pub use options::NodeOptions;

/// Runs the command.
pub fn command(options: &NodeOptions) -> Exit {
    let filter = if options.is_chaos() {
        logging::filter_of_chaos(options.verbose)
    } else {
        logging::filter(options.verbose)
    };
    phalanx::telemetry::log_to_stderr(&filter);
    match run(options, &filter) {
        Ok((report, exit)) => publish(&report, options.format, exit),
        Err(error) => fail(&error),
    }
}

fn run(options: &NodeOptions, filter: &str) -> Result<(Report, Exit), NodeError> {
    let (sender, stop) = channel();
    let on_first = move |signal| {
        // The receiver is gone only when the process ends anyway.
        let _ = sender.send(signal);
    };
    let scratch = Scratch::default();
    let left = scratch.clone();
    signals::watch_and_clean(on_first, move || left.remove())?;
    let service = Service::of_environment();
    let mut node = Node::start(options, filter, &scratch)?;
    service.ready(&format!("{} validators, {} shards", options.validators(), node.family.shards()));
    let session = session::run(&mut node, options, &stop, &service);
    service.stopping();
    let report = ending::finish(node, options, &session);
    for violation in &report.violations {
        print_error(violation);
    }
    let exit = ending::exit_of(&report, &session);
    Ok((report, exit))
}

fn publish(report: &Report, format: Format, exit: Exit) -> Exit {
    let text = match format {
        Format::Text => Ok(report.table()),
        Format::Json => report.json().map_err(std::io::Error::from),
    };
    match text.and_then(|text| print(&text)) {
        Ok(()) => exit,
        Err(error) => fail(&NodeError::Report(error)),
    }
}

fn fail(error: &NodeError) -> Exit {
    print_error(error);
    error.exit()
}
