//! The option of how deeply cores may sleep, shared by the commands that execute blocks.

use clap::Args;
use phalanx::topology::IdleLatency;

/// How long cores may take to wake up.
#[derive(Clone, Copy, Debug, Args)]
pub struct IdleOptions {
    /// Has the kernel wake any core of the host within this time while blocks are executed: as the host is set up (any); 2 us, or
    /// 0 where the idle driver is haltpoll, in virtual machines (auto); or so many microseconds. The device that this is asked of,
    /// /dev/cpu_dma_latency, is root's mostly: without the right to it nothing changes. The sequential executor asks for nothing.
    /// Default: auto.
    #[arg(long, value_name = "any|auto|US", default_value = "auto", hide_default_value = true)]
    pub idle_latency: IdleLatency,
}
