//! Which CPU each shard is on, beside the one that was planned: pins that were lost are put back, and a shard whose CPU went
//! away gets a spare one.
//!
//! A CPU that goes offline and a cpuset that changes widen or replace a pin without a word, and mostly do not give it back.

use crate::supervisor::audit::{AuditSubject, Remedy};
use crate::types::{CpuId, ShardId};
use phalanx_ipc::{allowed_cores_of, cpu_time_of, last_core_of, pin};
use std::collections::BTreeMap;
use std::time::Duration;

/// Most CPUs that a finding names.
const CPUS_NAMED: usize = 16;

/// What the kernel is asked about the place of a process, and told.
pub(super) trait Pins {
    /// The CPUs that it may run on; `None` if it is gone.
    fn allowed(&self, pid: i32) -> Option<Vec<u32>>;
    /// Pins it to one CPU; whether that took.
    fn pin(&self, pid: i32, cpu: CpuId) -> bool;
    /// The CPU that it ran on last.
    fn last(&self, pid: i32) -> Option<CpuId>;
    /// The CPU time that it has used.
    fn used(&self, pid: i32) -> Option<Duration>;
}

/// The kernel of this host.
#[derive(Debug)]
pub(super) struct HostPins;

impl Pins for HostPins {
    fn allowed(&self, pid: i32) -> Option<Vec<u32>> {
        let allowed = allowed_cores_of(pid).ok()?;
        Some(allowed.into_iter().filter_map(|cpu| u32::try_from(cpu).ok()).collect())
    }

    fn pin(&self, pid: i32, cpu: CpuId) -> bool {
        pin(pid, cpu.index()).is_ok()
    }

    fn last(&self, pid: i32) -> Option<CpuId> {
        last_core_of(pid).and_then(|cpu| u32::try_from(cpu).ok()).map(CpuId)
    }

    fn used(&self, pid: i32) -> Option<Duration> {
        cpu_time_of(pid)
    }
}

/// Where a shard is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Whereabouts {
    /// On its planned CPU, as far as is known.
    #[default]
    Home,
    /// On a spare one.
    Away { cpu: CpuId },
    /// Nobody could pin this process: told once for these CPUs.
    Adrift { pid: i32, allowed: Vec<u32> },
}

/// A shard that was seen on another CPU than its mask allows.
#[derive(Clone, Copy, Debug)]
struct Stray {
    pid: i32,
    used: Duration,
    told: bool,
}

/// One shard, as an audit looks at it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watched<'a> {
    pub(super) shard: ShardId,
    pub(super) pid: i32,
    pub(super) planned: CpuId,
    /// The best first.
    pub(super) spares: &'a [u32],
}

/// The places of all shards.
#[derive(Debug, Default)]
pub(super) struct PinWatch {
    places: BTreeMap<ShardId, Whereabouts>,
    strays: BTreeMap<ShardId, Stray>,
}

impl PinWatch {
    /// The CPU that the next life of a shard is to begin on.
    pub(super) fn seat(&self, shard: ShardId, planned: CpuId) -> CpuId {
        match self.places.get(&shard) {
            Some(Whereabouts::Away { cpu }) => *cpu,
            Some(Whereabouts::Home | Whereabouts::Adrift { .. }) | None => planned,
        }
    }

    /// Looks at one shard, and puts it where it belongs or onto a spare core if it may run elsewhere. Tells of a change once.
    pub(super) fn look(&mut self, kernel: &impl Pins, shard: Watched<'_>) -> Option<(AuditSubject, Remedy)> {
        let Watched { shard: id, pid, planned, .. } = shard;
        // A process that is gone has no affinity; its death is somebody else's affair.
        let found = kernel.allowed(pid)?;
        let place = self.places.get(&id).cloned().unwrap_or_default();
        if found == [planned.0] {
            return match place {
                Whereabouts::Home => self.look_for_stray(kernel, shard),
                Whereabouts::Away { .. } => self.settle(kernel, shard, Whereabouts::Home, found),
                Whereabouts::Adrift { allowed, .. } => self.settle(kernel, shard, Whereabouts::Home, allowed),
            };
        }
        if kernel.pin(pid, planned) {
            return self.settle(kernel, shard, Whereabouts::Home, found);
        }
        if let Whereabouts::Away { cpu } = place
            && found == [cpu.0]
        {
            return self.look_for_stray(kernel, shard);
        }
        let last = kernel.last(pid);
        if let Some(cpu) = self.spare_for(kernel, shard) {
            self.places.insert(id, Whereabouts::Away { cpu });
            return Some((pin_subject(shard, &found, last), Remedy::Moved { to: cpu }));
        }
        // The kernel may have clipped the mask meanwhile.
        let allowed = kernel.allowed(pid).unwrap_or(found);
        let adrift = Whereabouts::Adrift { pid, allowed: allowed.clone() };
        let known = self.places.insert(id, adrift.clone());
        (known.as_ref() != Some(&adrift)).then(|| (pin_subject(shard, &allowed, last), Remedy::Nothing))
    }

    fn settle(
        &mut self,
        kernel: &impl Pins,
        shard: Watched<'_>,
        place: Whereabouts,
        was: Vec<u32>,
    ) -> Option<(AuditSubject, Remedy)> {
        self.places.insert(shard.shard, place);
        self.strays.remove(&shard.shard);
        Some((pin_subject(shard, &was, kernel.last(shard.pid)), Remedy::Restored))
    }

    /// Pins a shard to the first of its spares that nobody has and the kernel grants.
    fn spare_for(&self, kernel: &impl Pins, shard: Watched<'_>) -> Option<CpuId> {
        let is_taken = |cpu: &CpuId| {
            self.places.iter().any(|(&other, place)| {
                other != shard.shard && matches!(place, Whereabouts::Away { cpu: taken } if taken == cpu)
            })
        };
        let mut free = shard.spares.iter().copied().map(CpuId).filter(|cpu| !is_taken(cpu));
        free.find(|&cpu| kernel.pin(shard.pid, cpu))
    }

    /// A shard that sleeps is still where it ran last, whatever its pin says. So only one that has run since it was seen there
    /// with the right pin is astray.
    fn look_for_stray(&mut self, kernel: &impl Pins, shard: Watched<'_>) -> Option<(AuditSubject, Remedy)> {
        let Watched { shard: id, pid, planned, .. } = shard;
        let seat = self.seat(id, planned);
        // Time first: what is used after it was used where the pin says.
        let (used, last) = (kernel.used(pid)?, kernel.last(pid)?);
        let known = self.strays.get(&id).copied().filter(|known| known.pid == pid);
        if last == seat {
            let told = self.strays.remove(&id).is_some_and(|known| known.told && known.pid == pid);
            return told.then_some((AuditSubject::Stray { shard: id, pid, seat, last }, Remedy::Restored));
        }
        let astray = known.is_some_and(|known| used > known.used);
        let told = known.is_some_and(|known| known.told);
        self.strays.insert(id, Stray { pid, used, told: told || astray });
        if !astray {
            return None;
        }
        // Has the kernel move it, if anything can.
        kernel.pin(pid, seat);
        (!told).then_some((AuditSubject::Stray { shard: id, pid, seat, last }, Remedy::Nothing))
    }
}

fn pin_subject(shard: Watched<'_>, allowed: &[u32], last: Option<CpuId>) -> AuditSubject {
    let Watched { shard, pid, planned, .. } = shard;
    let allowed = allowed.iter().copied().take(CPUS_NAMED).map(CpuId).collect();
    AuditSubject::Pin { shard, pid, planned, allowed, last }
}

#[cfg(test)]
mod tests {
    //! The kernel is played by a table. What would break them: a spare given to two shards, a shard that does not come home,
    //! a finding told with every audit, a sleeper taken for astray. `tests/numa.rs` does the same with real CPUs in a guest.

    use super::*;
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    /// CPUs that can be had, and what each process is allowed.
    #[derive(Default)]
    struct Table {
        online: BTreeSet<u32>,
        masks: RefCell<BTreeMap<i32, Vec<u32>>>,
        last: BTreeMap<i32, u32>,
        used: BTreeMap<i32, u64>,
    }

    impl Pins for Table {
        fn allowed(&self, pid: i32) -> Option<Vec<u32>> {
            self.masks.borrow().get(&pid).cloned()
        }
        fn pin(&self, pid: i32, cpu: CpuId) -> bool {
            let granted = self.online.contains(&cpu.0);
            if granted {
                self.masks.borrow_mut().insert(pid, vec![cpu.0]);
            }
            granted
        }
        fn last(&self, pid: i32) -> Option<CpuId> {
            self.last.get(&pid).copied().map(CpuId)
        }
        fn used(&self, pid: i32) -> Option<Duration> {
            self.used.get(&pid).copied().map(Duration::from_millis)
        }
    }

    impl Table {
        /// As the kernel does it: who had only that CPU may run on all others.
        fn lose(&mut self, cpu: u32) {
            self.online.remove(&cpu);
            for mask in self.masks.borrow_mut().values_mut().filter(|mask| **mask == [cpu]) {
                *mask = self.online.iter().copied().collect();
            }
        }
    }

    /// Shard n is process 100 + n, planned for CPU n; CPUs 0 to 7.
    fn table(shards: u32) -> Table {
        let masks = (0..shards).map(|shard| (100 + shard.cast_signed(), vec![shard])).collect();
        Table { online: (0..8).collect(), masks: RefCell::new(masks), ..Table::default() }
    }

    fn look(watch: &mut PinWatch, kernel: &Table, shard: u32, spares: &[u32]) -> Option<Remedy> {
        let pid = 100 + shard.cast_signed();
        let watched = Watched { shard: ShardId(shard), pid, planned: CpuId(shard), spares };
        watch.look(kernel, watched).map(|(_, remedy)| remedy)
    }

    fn mask(kernel: &Table, shard: u32) -> Vec<u32> {
        kernel.masks.borrow()[&(100 + shard.cast_signed())].clone()
    }

    #[test]
    fn a_shard_whose_core_went_away_gets_a_spare_of_its_own_and_comes_home_with_the_core() {
        let (mut kernel, mut watch) = (table(3), PinWatch::default());
        (0..3).for_each(|shard| assert_eq!(look(&mut watch, &kernel, shard, &[6, 7]), None));
        kernel.lose(1);
        kernel.lose(2);
        let moved = |to| Some(Remedy::Moved { to: CpuId(to) });
        assert_eq!(look(&mut watch, &kernel, 1, &[6, 7]), moved(6));
        assert_eq!(look(&mut watch, &kernel, 2, &[6, 7]), moved(7), "each its own");
        assert_eq!((mask(&kernel, 1), mask(&kernel, 2)), (vec![6], vec![7]));
        assert_eq!(watch.seat(ShardId(2), CpuId(2)), CpuId(7), "the next life begins there");
        (0..3).for_each(|shard| assert_eq!(look(&mut watch, &kernel, shard, &[6, 7]), None, "told once"));
        // The spare goes away too, and there is no other.
        kernel.lose(7);
        assert_eq!(look(&mut watch, &kernel, 2, &[6, 7]), Some(Remedy::Nothing));
        assert_eq!(look(&mut watch, &kernel, 2, &[6, 7]), None, "told once");
        kernel.online.insert(1);
        assert_eq!(look(&mut watch, &kernel, 1, &[6, 7]), Some(Remedy::Restored));
        assert_eq!(mask(&kernel, 1), [1]);
        // What shard 1 gave back is shard 2's now.
        assert_eq!(look(&mut watch, &kernel, 2, &[6, 7]), moved(6));
        kernel.online.insert(2);
        assert_eq!(look(&mut watch, &kernel, 2, &[6, 7]), Some(Remedy::Restored));
        assert_eq!((mask(&kernel, 2), look(&mut watch, &kernel, 2, &[6, 7])), (vec![2], None));
    }

    #[test]
    fn a_pin_that_somebody_changed_is_put_back_and_a_kernel_that_remembers_it_is_told_as_well() {
        let (mut kernel, mut watch) = (table(2), PinWatch::default());
        kernel.masks.borrow_mut().insert(101, vec![0, 1]);
        assert_eq!(look(&mut watch, &kernel, 1, &[6]), Some(Remedy::Restored));
        assert_eq!((mask(&kernel, 1), look(&mut watch, &kernel, 1, &[6])), (vec![1], None));
        kernel.lose(1);
        assert_eq!(look(&mut watch, &kernel, 1, &[]), Some(Remedy::Nothing));
        kernel.online.insert(1);
        kernel.masks.borrow_mut().insert(101, vec![1]);
        assert_eq!(look(&mut watch, &kernel, 1, &[]), Some(Remedy::Restored));
        assert_eq!(look(&mut watch, &kernel, 5, &[6]), None, "no such process");
    }

    #[test]
    fn only_who_has_run_elsewhere_is_astray_and_not_who_sleeps() {
        let (mut kernel, mut watch) = (table(1), PinWatch::default());
        (kernel.last, kernel.used) = ([(100, 5)].into(), [(100, 10)].into());
        for _ in 0..3 {
            assert_eq!(look(&mut watch, &kernel, 0, &[6]), None, "asleep since before it was pinned");
        }
        kernel.used.insert(100, 20);
        assert_eq!(look(&mut watch, &kernel, 0, &[6]), Some(Remedy::Nothing));
        kernel.used.insert(100, 30);
        assert_eq!(look(&mut watch, &kernel, 0, &[6]), None, "told once");
        kernel.last.insert(100, 0);
        assert_eq!(look(&mut watch, &kernel, 0, &[6]), Some(Remedy::Restored));
        assert_eq!(look(&mut watch, &kernel, 0, &[6]), None);
    }
}
