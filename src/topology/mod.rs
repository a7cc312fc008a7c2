//! The host's cores, as far as this process may use them.

mod host;

pub use host::{Host, Spins, TopologyError};
