//! One limit of the session that the doctor runs in.

use phalanx::topology::SysTree;
use std::fmt;

/// A limit; `u64::MAX` is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimit {
    /// What counts.
    pub soft: u64,
    /// Up to which it may be raised.
    pub hard: u64,
}

impl SessionLimit {
    /// The limit of this name in the kernel's table; `None` if that does not show it.
    pub fn read(tree: &SysTree, name: &str) -> Option<SessionLimit> {
        let table = tree.read("/proc/self/limits")?;
        let mut words = table.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace();
        let mut next = || match words.next()? {
            "unlimited" => Some(u64::MAX),
            number => number.parse().ok(),
        };
        Some(SessionLimit { soft: next()?, hard: next()? })
    }
}

impl fmt::Display for SessionLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |limit: u64| if limit == u64::MAX { "unlimited".to_owned() } else { limit.to_string() };
        f.write_str(&shown(self.soft))?;
        if self.hard != self.soft { write!(f, ", hard {}", shown(self.hard)) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::resource::{Resource, getrlimit};

    #[test]
    fn the_kernels_table_says_what_its_call_says() {
        for (name, resource) in [
            ("Max open files", Resource::RLIMIT_NOFILE),
            ("Max processes", Resource::RLIMIT_NPROC),
            ("Max realtime priority", Resource::RLIMIT_RTPRIO),
            ("Max address space", Resource::RLIMIT_AS),
            ("Max locked memory", Resource::RLIMIT_MEMLOCK),
        ] {
            let (soft, hard) = getrlimit(resource).unwrap();
            assert_eq!(
                SessionLimit::read(&SysTree::host(), name),
                Some(SessionLimit { soft, hard }),
                "{name}"
            );
        }
        assert_eq!(SessionLimit::read(&SysTree::host(), "Max nothing"), None);
        assert_eq!(SessionLimit { soft: 3, hard: u64::MAX }.to_string(), "3, hard unlimited");
    }
}
