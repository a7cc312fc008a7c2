//! Validators that run: real tasks on a real runtime, with LMDB on disk. What the simulation cannot show: mailboxes, supervision,
//! shutdown, and blocks on their way from the order to the commit.

mod deaths;
mod disk_rows;
mod endings;
mod fan_out;
mod flow;
mod parts;
mod restarts;
mod support;
