//! Checks of the kernel: what it can do, and how it is set.

use crate::doctor::check::Check;
use crate::doctor::patient::Patient;
use phalanx::topology::SysTree;
use phalanx_ipc::{Control, LifelineState, NodePolicy, ProcessHandle, ProcessIdentity, Region};

/// Bytes of the regions made to see whether it can be done.
const PROBE_BYTES: usize = 4096;

/// All of them.
pub fn checks(patient: &Patient) -> Vec<Check> {
    vec![
        release(&patient.tree),
        pidfd(opened()),
        robust_futex(held()),
        memfd_seals(sealed()),
        placing(placed()),
        ptrace_scope(&patient.tree),
        core_pattern(&patient.tree),
    ]
}

/// Version of the kernel: 6.12 of "6.12.1-amd64".
fn version_of(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn release(tree: &SysTree) -> Check {
    let name = "kernel release";
    let Some(release) = tree.read("/proc/sys/kernel/osrelease") else { return Check::unknown(name) };
    match version_of(&release) {
        Some(version) if version < (5, 10) => {
            Check::fail(name, release, "Linux 5.10 is the oldest that will do", "install a newer kernel")
        }
        Some(version) if version < (5, 16) => Check::warn(
            name,
            release,
            "without futex_waitv (5.16) the coordinator looks for deaths instead of being woken by them",
            "install a kernel from 6.1 on",
        ),
        Some(version) if version < (6, 1) => Check::warn(
            name,
            release,
            "the state is not put together to huge pages (6.1)",
            "install a kernel from 6.1 on",
        ),
        Some(_) => Check::ok(name, release, "has all that is used"),
        None => Check::unknown(name),
    }
}

/// Opens this process by its identity; none if it has none.
fn opened() -> Option<Result<(), String>> {
    let opened = ProcessIdentity::current().map(ProcessHandle::open);
    opened.map(|opened| opened.map(drop).map_err(|error| error.to_string()))
}

fn pidfd(opened: Option<Result<(), String>>) -> Check {
    let name = "pidfd";
    match opened {
        Some(Ok(())) => Check::ok(name, "works", "chaos and tools signal to the process that they mean"),
        Some(Err(error)) => {
            Check::warn(name, error, "chaos cannot inject faults", "allow pidfd_open in the seccomp profile")
        }
        None => Check::fail(
            name,
            "/proc does not show this process",
            "processes cannot be told apart",
            "mount -t proc proc /proc",
        ),
    }
}

/// What a lifeline looks like whose holder is gone; `Free` if nobody could hold it.
fn held() -> Result<LifelineState, String> {
    let control = Control::create_private(1).map_err(|error| error.to_string())?;
    let slot = control.slot(0).ok_or("no slot")?;
    slot.lifeline(1).reset().map_err(|error| error.to_string())?;
    let held = std::thread::scope(|scope| {
        let held = scope.spawn(|| slot.lifeline(1).hold().map(drop).is_ok()).join();
        held.unwrap_or(false)
    });
    Ok(if held { slot.lifeline(1).probe() } else { LifelineState::Free })
}

fn robust_futex(held: Result<LifelineState, String>) -> Check {
    let name = "robust futex";
    let why = "a death is known by the lock that the kernel gives back";
    match held {
        // The thread that held it is gone: that must show.
        Ok(LifelineState::Gone) => Check::ok(name, "works", why),
        Ok(state @ (LifelineState::Free | LifelineState::Held)) => Check::fail(
            name,
            format!("{state:?}"),
            why,
            "allow set_robust_list and futex in the seccomp profile",
        ),
        Err(error) => Check::fail(name, error, why, "allow memfd_create and futex in the seccomp profile"),
    }
}

fn sealed() -> Result<(), String> {
    let sealed = Region::create("phalanx-doctor", PROBE_BYTES).and_then(|region| region.seal_writes());
    sealed.map_err(|error| error.to_string())
}

fn memfd_seals(sealed: Result<(), String>) -> Check {
    let name = "memfd and its seals";
    let why = "all shared memory but the control segment is made of them";
    match sealed {
        Ok(()) => Check::ok(name, "work", why),
        Err(error) => Check::fail(name, error, why, "allow memfd_create and fcntl in the seccomp profile"),
    }
}

/// Nodes of the pages of a region that is bound and touched.
fn placed() -> Result<Vec<u32>, String> {
    let pages = Region::create("phalanx-doctor", PROBE_BYTES).and_then(|region| {
        region.place(&NodePolicy::Default)?;
        region.store_u64(0, 1)?;
        region.pages(None, 0)
    });
    pages.map(|pages| pages.iter().map(|page| page.node).collect()).map_err(|error| error.to_string())
}

fn placing(placed: Result<Vec<u32>, String>) -> Check {
    let name = "mbind and move_pages";
    let why = "memory is put on nodes, and looked at there";
    match placed {
        Ok(nodes) => {
            let nodes: Vec<String> = nodes.iter().map(u32::to_string).collect();
            Check::ok(name, format!("work (a page of this process is on node {})", nodes.join(",")), why)
        }
        Err(error) => Check::warn(
            name,
            error,
            "memory stays where it is touched first",
            "allow mbind, set_mempolicy and move_pages in the seccomp profile (or give CAP_SYS_NICE)",
        ),
    }
}

fn ptrace_scope(tree: &SysTree) -> Check {
    let name = "ptrace scope";
    match tree.number("/proc/sys/kernel/yama/ptrace_scope") {
        None => Check::ok(name, "not restricted", "a debugger may look into a shard that hangs"),
        Some(scope @ 0..=1) => {
            Check::ok(name, scope.to_string(), "a debugger started for it may look into a shard")
        }
        Some(scope) => Check::ok(
            name,
            scope.to_string(),
            "only root may look into a shard that hangs: `gdb -p` as root; nothing that runs needs it",
        ),
    }
}

fn core_pattern(tree: &SysTree) -> Check {
    let name = "core pattern";
    let Some(pattern) = tree.read("/proc/sys/kernel/core_pattern") else { return Check::unknown(name) };
    if let Some(command) = pattern.strip_prefix('|') {
        let command = command.split_whitespace().next().unwrap_or("").to_owned();
        return Check::ok(
            name,
            format!("to {command}"),
            "shared memory is left out of dumps, so they are small",
        );
    }
    if !pattern.starts_with('/') {
        return Check::warn(
            name,
            pattern,
            "dumps of shards fall into the working directory of the coordinator",
            "sysctl -w kernel.core_pattern=/var/crash/core.%e.%p",
        );
    }
    Check::ok(name, pattern, "shared memory is left out of dumps, so they are small")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::check::Verdict;

    #[test]
    fn releases_are_compared_as_numbers() {
        assert_eq!(version_of("6.12.117+deb12-cloud-amd64"), Some((6, 12)));
        let verdict =
            |text: &str| release(&SysTree::from_dump(&format!("/proc/sys/kernel/osrelease\t{text}"))).verdict;
        assert_eq!((verdict("5.4.0"), verdict("5.10.0")), (Verdict::Fail, Verdict::Warn));
        assert_eq!(
            (verdict("6.0.9"), verdict("6.1.0-56"), verdict("x")),
            (Verdict::Warn, Verdict::Ok, Verdict::Ok)
        );
    }

    #[test]
    fn what_this_kernel_does_for_the_tests_the_doctor_finds_working_and_what_none_does_it_does_not() {
        for check in [pidfd(opened()), robust_futex(held()), memfd_seals(sealed())] {
            assert_eq!(check.verdict, Verdict::Ok, "{check:?}");
        }
        let refused = || "Operation not permitted".to_owned();
        for (check, verdict) in [
            (pidfd(Some(Err(refused()))), Verdict::Warn),
            (pidfd(None), Verdict::Fail),
            (robust_futex(Err(refused())), Verdict::Fail),
            // A kernel that does not give the lock back.
            (robust_futex(Ok(LifelineState::Held)), Verdict::Fail),
            (memfd_seals(Err(refused())), Verdict::Fail),
            (placing(Err(refused())), Verdict::Warn),
        ] {
            assert_eq!(check.verdict, verdict, "{check:?}");
            assert!(!check.value.is_empty() && !check.mend.is_empty(), "{check:?}");
        }
    }
}
