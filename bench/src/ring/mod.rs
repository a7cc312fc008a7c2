//! The rings of `phalanx-ipc` beside what others use to pass messages between two ends on one host.
//!
//! Every transport is measured by the same code (`role`): one end sends, the other reads every word and verifies the
//! order; the ends have a core each. Transports take turns, round by round.

mod clock;
mod error;
mod job;
mod matrix;
mod message;
mod page;
mod patience;
mod peers;
mod processes;
mod role;
mod rows;
mod schedule;
mod table;
mod threads;
mod transport;

pub use error::PeerError;
pub use job::{Cores, Job, Measure, Payload, Publication, Sample};
pub use matrix::{PairRow, PairStep, matrix, matrix_table};
pub use message::{Source, Tally};
pub use page::page;
pub use peers::TransportName;
pub use processes::far_end_entry;
pub use rows::{LatencyRow, RingRow, ThroughputRow};
pub use schedule::{RingOptions, Step, run};
pub use table::table;
pub use transport::{Ends, Parcel, ProcessTransport, Receiver, Sender, ThreadTransport};
