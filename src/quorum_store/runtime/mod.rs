//! What makes the state machines a node: tasks that drive them, mailboxes between them, the supervision that restarts them, and
//! the way of a block from its proposal to its commit.

pub(super) mod agreement;
pub(super) mod clock;
pub(super) mod commit_desk;
pub(super) mod commit_feed;
pub(super) mod committee;
pub(super) mod commons;
mod drivers;
pub(super) mod ends;
mod fetch_desk;
pub(super) mod local_network;
pub(super) mod mailbox;
pub(super) mod pipeline;
mod proposer;
mod restart_limit;
pub(super) mod shutdown_report;
pub(super) mod supervision;
pub(super) mod tallies;
mod vital;
