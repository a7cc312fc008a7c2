//! Pages: the unit in which the kernel maps and places memory.

use nix::unistd::{SysconfVar, sysconf};

/// Size of a page in bytes; 4096 if the system does not say.
pub(crate) fn page_size() -> usize {
    let answer = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    answer.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(4096)
}
