//! How long a core may take to wake up from idleness, as asked of the kernel while blocks are executed.
//!
//! A shard that waits for a value, or for the next round, lets its core fall asleep. The deeper the sleep, the later it goes on:
//! 50 to 200 us from the deepest state of a server's core, and as long where a virtual machine gives its CPU back to the host.
//! The kernel's CPU latency quality of service (PM QoS, `/dev/cpu_dma_latency`) bounds that for as long as a file is open: it ends
//! with the process, however that ends.

use crate::topology::SysTree;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::str::FromStr;

/// What is asked is written here, as four bytes in the host's order: microseconds.
pub const LATENCY_DEVICE: &str = "/dev/cpu_dma_latency";
/// Who puts idle cores to sleep. There is no such file, or it says `none`, where the kernel has nothing to choose from.
const IDLE_DRIVER: &str = "/sys/devices/system/cpu/cpuidle/current_driver";
/// That of virtual machines: its one state leaves the machine, whatever time it says that this takes.
const VIRTUAL_MACHINE: &str = "haltpoll";

/// Cores may halt (C1, 1 or 2 us), no more.
const HALTED_US: u32 = 2;
/// Cores do not halt: they look for work.
const AWAKE_US: u32 = 0;

/// How long any core of the host may take to wake up while blocks are executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum IdleLatency {
    /// As the host is set up: nothing is asked for.
    Any,
    /// What suits the host: 2 us, so that cores halt but sleep no deeper; in virtual machines whose idle driver is `haltpoll` 0, so
    /// that they stay. Nothing where the kernel has no idle driver.
    #[default]
    Auto,
    /// At most so many microseconds; 0 keeps every core awake.
    AtMostMicros(u32),
}

/// A bound that is asked of the kernel for some time. It ends with this, or with the process; of several, the tightest one holds.
#[derive(Debug)]
pub struct LatencyRequest {
    /// In microseconds; `None` if there is nothing to ask for, or the kernel refused.
    micros: Option<u32>,
    /// Open while the bound holds.
    file: Option<File>,
}

impl IdleLatency {
    /// The bound in microseconds on the host that `tree` describes; `None` if there is nothing to ask for.
    #[must_use]
    pub fn micros(self, tree: &SysTree) -> Option<u32> {
        match (self, idle_driver(tree).as_deref()) {
            (IdleLatency::Any, _) | (IdleLatency::Auto, None) => None,
            (IdleLatency::Auto, Some(VIRTUAL_MACHINE)) => Some(AWAKE_US),
            (IdleLatency::Auto, Some(_)) => Some(HALTED_US),
            (IdleLatency::AtMostMicros(micros), _) => Some(micros),
        }
    }

    /// What can be asked of this host; nothing is asked yet.
    #[must_use]
    pub fn request(self) -> LatencyRequest {
        LatencyRequest { micros: self.micros(&SysTree::host()), file: None }
    }

    /// Asks the kernel for it at once. The bound holds as long as the answer is there.
    #[must_use]
    pub fn ask(self) -> LatencyRequest {
        let mut request = self.request();
        request.hold();
        request
    }
}

impl LatencyRequest {
    /// Has the bound hold from now on. Without the right to it (the device is root's) everything stays as it is, and shards wake up
    /// later: `phalanx doctor` tells. Never waits; costs nothing where it holds already, or was refused.
    pub fn hold(&mut self) {
        let Some(micros) = self.micros.filter(|_| self.file.is_none()) else { return };
        match ask_kernel(micros) {
            Ok(file) => self.file = Some(file),
            Err(error) => {
                tracing::debug!(%error, micros, "cores may sleep as deeply as the host lets them; shards wake up later");
                self.micros = None;
            }
        }
    }

    /// Ends the bound until it is asked for again.
    pub fn release(&mut self) {
        self.file = None;
    }

    /// Whether the kernel was asked, and agreed.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.file.is_some()
    }
}

impl FromStr for IdleLatency {
    type Err = String;

    fn from_str(text: &str) -> Result<IdleLatency, String> {
        let micros = || text.parse().ok().filter(|&micros: &u32| i32::try_from(micros).is_ok());
        match text {
            "any" => Ok(IdleLatency::Any),
            "auto" => Ok(IdleLatency::Auto),
            _ => micros()
                .map(IdleLatency::AtMostMicros)
                .ok_or_else(|| format!("give any, auto, or microseconds from 0 to {}", i32::MAX)),
        }
    }
}

/// Who puts idle cores to sleep, if the kernel has a choice.
#[must_use]
pub fn idle_driver(tree: &SysTree) -> Option<String> {
    tree.read(IDLE_DRIVER).filter(|driver| driver != "none")
}

fn ask_kernel(micros: u32) -> std::io::Result<File> {
    let mut file = OpenOptions::new().write(true).open(LATENCY_DEVICE)?;
    file.write_all(&i32::try_from(micros).unwrap_or(i32::MAX).to_ne_bytes())?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    //! What would break: a bound that cores of a physical host never reach but by burning power, or one that a virtual machine does
    //! not notice. tests/idle_latency.rs has the request itself.

    use super::*;

    #[test]
    fn cores_of_a_host_may_halt_and_those_of_a_virtual_machine_stay_awake() {
        let bound = |wish: IdleLatency, driver: &str| {
            let tree = SysTree::from_dump(&format!("{IDLE_DRIVER}\t{driver}\\n"));
            wish.micros(&tree)
        };
        for (driver, micros) in
            [("intel_idle", Some(2)), ("acpi_idle", Some(2)), ("haltpoll", Some(0)), ("none", None)]
        {
            assert_eq!(bound(IdleLatency::Auto, driver), micros, "{driver}");
            assert_eq!(bound(IdleLatency::Any, driver), None, "{driver}");
            assert_eq!(bound(IdleLatency::AtMostMicros(50), driver), Some(50), "{driver}");
        }
        assert_eq!(IdleLatency::Auto.micros(&SysTree::from_dump("")), None);
    }

    #[test]
    fn wishes_are_read_and_what_the_kernel_cannot_hold_is_refused() {
        let read = |text: &str| text.parse::<IdleLatency>().ok();
        assert_eq!(read("any"), Some(IdleLatency::Any));
        assert_eq!(read("auto"), Some(IdleLatency::Auto));
        assert_eq!(read("0"), Some(IdleLatency::AtMostMicros(0)));
        assert_eq!(read("2147483647"), Some(IdleLatency::AtMostMicros(2_147_483_647)));
        for wrong in ["2147483648", "-1", "", "2us"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
