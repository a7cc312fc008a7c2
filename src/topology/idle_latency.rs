//! How long a core may take to wake up from idleness while blocks are executed.
//!
//! A shard that waits for a value, or for the next round, lets its core fall asleep. The deeper the sleep, the later it goes on:
//! 1 or 2 us from C1, up to some 300 us from the deepest state of a server's core (the tables of Linux's `drivers/idle/intel_idle.c`),
//! and later still where a virtual machine gives its CPU back to the host.

use crate::topology::{LatencyBound, SysTree};
use std::str::FromStr;

/// Who puts idle cores to sleep. There is no such file, or it says `none`, where the kernel has nothing to choose from.
const IDLE_DRIVER: &str = "/sys/devices/system/cpu/cpuidle/current_driver";
/// One of virtual machines: it looks for work, or halts and so leaves the machine, whatever time that is said to take.
const VIRTUAL_MACHINE: &str = "haltpoll";

/// Cores may halt (C1, of some C1E: 1 or 2 us), no more.
const HALTED_US: u32 = 2;
/// Cores do not halt: they look for work.
const AWAKE_US: u32 = 0;

/// How long any core of the host may take to wake up while blocks are executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum IdleLatency {
    /// As the host is set up: nothing is asked for.
    Any,
    /// What suits the host: 2 us, so that cores halt but sleep no deeper; 0 where the idle driver is `haltpoll` (in virtual machines),
    /// so that they stay. Nothing where the kernel has no idle driver.
    #[default]
    Auto,
    /// At most so many microseconds, up to [`i32::MAX`], which more counts as; 0 keeps every core awake.
    AtMostMicros(u32),
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

    /// The bound on this host, not held yet.
    #[must_use]
    pub fn bound(self) -> LatencyBound {
        LatencyBound::new(self, self.micros(&SysTree::host()))
    }

    /// The bound on this host, held from now on if this process may.
    #[must_use]
    pub fn held(self) -> LatencyBound {
        let mut bound = self.bound();
        bound.hold();
        bound
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

#[cfg(test)]
mod tests {
    //! What would break: a bound that cores of a physical host never reach but by burning power, or one that a virtual machine does
    //! not notice. tests/idle_latency.rs has the bound itself.

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
