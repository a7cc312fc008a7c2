//! Memory that the hardware has lost: found when a shard has died of it, replaced where what it held can be made again.
//!
//! What a shard writes (outputs, rings, spans) is good for one round, and a round can be run again. What the coordinator writes
//! is sealed against everybody else's writing, holes included, and of the state there is no other copy in memory.

use crate::supervisor::incidents::MemoryIncident;
use crate::topology::{RegionKind, RegionPlan};
use nix::libc;
use phalanx_ipc::{ChildSlot, Control, EXITS_KEPT, lost_pages, monotonic_now, replace_pages};
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;

/// Knows whose deaths were looked at.
#[derive(Debug)]
pub(super) struct MemoryWatch {
    /// By shard.
    seen: Vec<Seen>,
}

/// What is known of the lives of a shard.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// How all lives up to this one ended is known.
    ended: u32,
    /// The last one that lost memory is known to have killed.
    killed: u32,
}

impl MemoryWatch {
    pub(super) fn new(shards: u32) -> MemoryWatch {
        MemoryWatch { seen: (0..shards).map(|_| Seen::default()).collect() }
    }

    /// Whether a shard has died since the last call of what may be a lost page. Cheap.
    pub(super) fn has_killed(&mut self, control: &Control) -> bool {
        let mut killed = false;
        for (shard, seen) in (0..control.shards()).zip(&mut self.seen) {
            killed |= control.slot(shard).is_some_and(|slot| seen.goes_on(slot));
        }
        killed
    }
}

impl Seen {
    /// Goes on to the newest life; whether lost memory has killed one since the last time.
    fn goes_on(&mut self, slot: &ChildSlot) -> bool {
        let newest = slot.generation.load(Ordering::Acquire);
        let kept = newest.saturating_sub(u32::try_from(EXITS_KEPT).unwrap_or(0) - 1);
        if self.ended.max(self.killed) > newest {
            // Somebody may have scribbled on the word: all that is kept is looked at anew.
            *self = Seen::default();
        }
        let (mut killed, mut all_ended) = (false, true);
        for life in self.ended.saturating_add(1).max(kept)..=newest {
            match died_of_memory(slot, life) {
                Some(true) if life > self.killed => (killed, self.killed) = (true, life),
                Some(_) => {}
                // Nobody will ever tell: its supervisor was lost.
                None if newest - life > 1 => {}
                None => all_ended = false,
            }
            if all_ended {
                self.ended = life;
            }
        }
        killed
    }
}

/// Whether a life has ended by a page that was lost; none while it is not known how, or whether, it has ended. One that could
/// not note it counts if it died of that signal.
fn died_of_memory(slot: &ChildSlot, life: u32) -> Option<bool> {
    let noted = slot.fault_of(life).map(|fault| fault.lost_page);
    noted.or_else(|| slot.exit_of(life).map(|raw| raw & 0x7f == libc::SIGBUS))
}

/// Looks over all regions and replaces lost pages where that can be done; tells what it found.
pub(super) fn mend<'a>(regions: impl Iterator<Item = (&'a RegionPlan, &'a OwnedFd)>) -> Vec<MemoryIncident> {
    let mut found = Vec::new();
    for (plan, file) in regions {
        let lost = match lost_pages(file) {
            Ok(lost) if lost.is_empty() => continue,
            Ok(lost) => lost,
            Err(error) => {
                tracing::error!(region = %plan.kind, %error, "a region cannot be looked over for lost memory");
                continue;
            }
        };
        let replaced = can_be_made_again(plan.kind) && is_replaced(file, &lost);
        let (region, shard, pages) = (plan.kind, plan.shard, lost.len());
        let incident = MemoryIncident { region, shard, pages, replaced, known_at: monotonic_now() };
        tracing::error!(%incident, "memory is lost");
        found.push(incident);
    }
    found
}

fn is_replaced(file: &OwnedFd, lost: &[usize]) -> bool {
    let replaced = replace_pages(file, lost);
    if let Err(error) = &replaced {
        tracing::error!(%error, "lost memory cannot be replaced");
    }
    replaced.is_ok()
}

/// Whether what lies in a region is made anew with every round.
fn can_be_made_again(kind: RegionKind) -> bool {
    match kind {
        RegionKind::Inbox | RegionKind::Outputs | RegionKind::Spans => true,
        RegionKind::Board | RegionKind::Arena | RegionKind::Overlay | RegionKind::Base => false,
    }
}

#[cfg(test)]
mod tests {
    //! What would break it: a look over all memory at every death, or none at a death of lost memory; one death looked at twice.

    use super::*;
    use phalanx_ipc::Fault;

    const BUS: Fault = Fault { signal: libc::SIGBUS, address: 1, from_outside: false, lost_page: true };

    #[test]
    fn only_deaths_of_lost_memory_are_looked_at_and_each_once() {
        let control = Control::create_private(2).unwrap();
        let mut watch = MemoryWatch::new(2);
        let slot = control.slot(1).unwrap();
        slot.generation.store(1, Ordering::Release);
        assert!(!watch.has_killed(&control), "it lives");
        slot.record_fault(1, Fault { lost_page: false, ..BUS });
        assert!(!watch.has_killed(&control), "the transaction's own fault");
        slot.generation.store(2, Ordering::Release);
        slot.record_fault(2, BUS);
        assert!(watch.has_killed(&control));
        slot.record_exit(2, libc::SIGBUS);
        assert!(!watch.has_killed(&control), "known already");
        slot.generation.store(3, Ordering::Release);
        slot.record_exit(3, libc::SIGKILL);
        assert!(!watch.has_killed(&control));
        slot.generation.store(4, Ordering::Release);
        slot.record_exit(4, libc::SIGBUS);
        assert!(watch.has_killed(&control), "it could not note it");
    }

    #[test]
    fn who_is_not_reaped_hides_no_death_after_it_and_none_is_counted_twice() {
        let control = Control::create_private(1).unwrap();
        let (mut watch, slot) = (MemoryWatch::new(1), control.slot(0).unwrap());
        slot.generation.store(3, Ordering::Release);
        slot.record_exit(1, 0);
        assert!(!watch.has_killed(&control), "the second has not ended as far as anybody knows");
        slot.record_fault(3, BUS);
        assert!(watch.has_killed(&control));
        slot.record_exit(2, libc::SIGKILL);
        assert!(!watch.has_killed(&control), "now it is known, and the third was told already");
        slot.generation.store(4, Ordering::Release);
        slot.record_exit(3, libc::SIGBUS);
        assert!(!watch.has_killed(&control));
        slot.record_fault(4, BUS);
        assert!(watch.has_killed(&control));
    }

    #[test]
    fn a_generation_that_somebody_scribbled_on_hides_no_death_after_it() {
        let control = Control::create_private(1).unwrap();
        let (mut watch, slot) = (MemoryWatch::new(1), control.slot(0).unwrap());
        for scribbled in [u32::MAX, u32::MAX - 1, 0, 77] {
            slot.generation.store(scribbled, Ordering::Release);
            assert!(!watch.has_killed(&control), "nobody has died");
        }
        slot.generation.store(5, Ordering::Release);
        slot.record_fault(5, BUS);
        assert!(watch.has_killed(&control));
    }
}
