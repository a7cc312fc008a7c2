//! Who is to blame when the first transaction in line keeps failing: the transaction, or somebody outside.
//!
//! Only that one is ever suspected: everything before it is accepted, so it was sure to run on accepted values. What it
//! does by itself counts, and twice is poison: a panic, a fault of its own, an exit, a hang. A SIGKILL, a SIGSTOP, a
//! fault signal that another process sent or memory that the hardware lost never counts, however often it is seen. But a
//! transaction whose shards are killed for want of memory, or stopped, over and over is most likely the cause of that too, and
//! going on would not end before the deadline: then the block is given up with the last death named, which is no verdict. So it
//! is with shards that die of lost memory over and over.

use crate::executor::error::DeathCause;
use crate::types::TxnIndex;
use nix::libc;
use phalanx_ipc::Fault;

/// Failures by itself that make a transaction poison.
const POISON_LIMIT: u32 = 2;
/// Deaths by SIGSTOP at the same transaction that are answered by another try. Each takes a stall limit.
const STOPS_MAX: u32 = 8;
/// Deaths by SIGKILL at the same transaction, with the kernel short of memory meanwhile, that are answered by another
/// try. Each takes as long as it takes to fill the memory.
const OUT_OF_MEMORY_MAX: u32 = 3;

/// Deaths by memory that the hardware has lost, at the same transaction, that are answered by another try. A shard dies
/// once of a page that is replaced then; who goes on dying has lost what is not replaced.
const LOST_PAGES_MAX: u32 = 8;

/// What is to be done about the first transaction in line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Blame {
    /// Try again.
    Nobody,
    /// It is poison; what it does.
    Poison(String),
    /// Somebody stops or kills its shards again and again; nothing says who.
    GiveUp,
}

/// What is known of the death of a shard that executed the first transaction in line.
#[derive(Clone, Debug)]
pub(super) struct Evidence<'a> {
    pub(super) cause: &'a DeathCause,
    /// The fatal signal that it noted.
    pub(super) fault: Option<Fault>,
    /// What it said of its own end.
    pub(super) last_words: Option<String>,
    /// Processes that the kernel has killed for want of memory until now.
    pub(super) oom_kills: Option<u64>,
}

/// What the first transaction in line has done so far.
#[derive(Debug, Default)]
pub(super) struct Suspicion {
    txn: Option<TxnIndex>,
    by_itself: u32,
    stops: u32,
    out_of_memory: u32,
    lost_pages: u32,
    /// The kernel's count at the last SIGKILL.
    oom_kills: Option<u64>,
}

enum Doer {
    Transaction,
    /// It was killed, perhaps by the kernel.
    Killer,
    Stopper,
    Hardware,
    Somebody,
}

impl Suspicion {
    /// `txn`, the first in line, panicked on accepted values.
    pub(super) fn panicked(&mut self, txn: TxnIndex, note: &str) -> Blame {
        self.turn_to(txn);
        self.count(format!("it {note}"))
    }

    /// A shard died while it executed `txn`, the first in line.
    pub(super) fn died(&mut self, txn: TxnIndex, evidence: &Evidence<'_>) -> Blame {
        self.turn_to(txn);
        match doer_of(evidence) {
            Doer::Transaction => self.count(deed_of(evidence)),
            Doer::Killer => {
                let more = self.oom_kills.zip(evidence.oom_kills).is_some_and(|(then, now)| now > then);
                self.oom_kills = evidence.oom_kills;
                self.out_of_memory += u32::from(more);
                if self.out_of_memory > OUT_OF_MEMORY_MAX { Blame::GiveUp } else { Blame::Nobody }
            }
            Doer::Stopper => {
                self.stops += 1;
                if self.stops > STOPS_MAX { Blame::GiveUp } else { Blame::Nobody }
            }
            Doer::Hardware => {
                self.lost_pages += 1;
                if self.lost_pages > LOST_PAGES_MAX { Blame::GiveUp } else { Blame::Nobody }
            }
            Doer::Somebody => Blame::Nobody,
        }
    }

    /// What another transaction did is forgotten: it is accepted by now.
    fn turn_to(&mut self, txn: TxnIndex) {
        if self.txn != Some(txn) {
            *self = Suspicion { txn: Some(txn), ..Suspicion::default() };
        }
    }

    fn count(&mut self, deed: String) -> Blame {
        self.by_itself += 1;
        if self.by_itself >= POISON_LIMIT { Blame::Poison(deed) } else { Blame::Nobody }
    }
}

fn doer_of(evidence: &Evidence<'_>) -> Doer {
    match evidence.cause {
        DeathCause::Exit(_) | DeathCause::Hang { .. } => Doer::Transaction,
        DeathCause::Stopped { .. } => Doer::Stopper,
        DeathCause::Late { .. }
        | DeathCause::Damage(_)
        | DeathCause::SupervisorLost
        | DeathCause::Unknown => Doer::Somebody,
        DeathCause::Signal(signal) => match *signal {
            libc::SIGKILL => Doer::Killer,
            libc::SIGSEGV | libc::SIGBUS | libc::SIGILL | libc::SIGFPE | libc::SIGABRT => {
                match evidence.fault.filter(|fault| fault.signal == *signal) {
                    Some(fault) if fault.from_outside => Doer::Somebody,
                    Some(fault) if fault.lost_page => Doer::Hardware,
                    Some(_) | None => Doer::Transaction,
                }
            }
            // What the kernel sends for what a process does.
            libc::SIGSYS | libc::SIGTRAP | libc::SIGXCPU | libc::SIGXFSZ => Doer::Transaction,
            _ => Doer::Somebody,
        },
    }
}

fn deed_of(evidence: &Evidence<'_>) -> String {
    let cause = evidence.cause;
    let address = match evidence.fault {
        Some(Fault { signal, address, .. }) if *cause == DeathCause::Signal(signal) && address != 0 => {
            format!(" at address {address:#x}")
        }
        Some(_) | None => String::new(),
    };
    let words = evidence.last_words.as_ref().map(|words| format!(" ({words})")).unwrap_or_default();
    match cause {
        DeathCause::Hang { .. } => format!("it hangs: {cause}{words}"),
        DeathCause::Signal(_)
        | DeathCause::Exit(_)
        | DeathCause::Stopped { .. }
        | DeathCause::Late { .. }
        | DeathCause::Damage(_)
        | DeathCause::SupervisorLost
        | DeathCause::Unknown => format!("it ends its shard by {cause}{address}{words}"),
    }
}

#[cfg(test)]
mod tests {
    //! What would break it: an outside kill that counts, a count that one transaction inherits from another, a give-up
    //! that never comes or comes too early.

    use super::*;
    use std::time::Duration;

    const FIRST: TxnIndex = TxnIndex(3);

    fn evidence(cause: &DeathCause) -> Evidence<'_> {
        Evidence { cause, fault: None, last_words: None, oom_kills: Some(0) }
    }

    fn is_poison(blame: &Blame) -> bool {
        matches!(blame, Blame::Poison(_))
    }

    #[test]
    fn what_a_transaction_does_by_itself_is_poison_the_second_time() {
        let stalled = Duration::from_millis(100);
        for cause in [
            DeathCause::Signal(libc::SIGSEGV),
            DeathCause::Signal(libc::SIGABRT),
            DeathCause::Signal(libc::SIGSYS),
            DeathCause::Exit(0),
            DeathCause::Hang { stalled },
        ] {
            let mut suspicion = Suspicion::default();
            assert_eq!(suspicion.died(FIRST, &evidence(&cause)), Blame::Nobody, "{cause}");
            assert!(is_poison(&suspicion.died(FIRST, &evidence(&cause))), "{cause}");
        }
        let mut suspicion = Suspicion::default();
        assert_eq!(suspicion.panicked(FIRST, "panicked: a"), Blame::Nobody);
        assert_eq!(suspicion.panicked(FIRST, "panicked: b"), Blame::Poison("it panicked: b".to_owned()));
    }

    #[test]
    fn what_others_do_is_never_poison_and_does_not_wipe_what_the_transaction_did() {
        let waited = Duration::from_secs(1);
        let mut suspicion = Suspicion::default();
        assert_eq!(suspicion.died(FIRST, &evidence(&DeathCause::Exit(1))), Blame::Nobody);
        let sent = Fault { signal: libc::SIGSEGV, address: 0, from_outside: true, lost_page: false };
        for _ in 0..1_000 {
            for cause in [
                DeathCause::Signal(libc::SIGKILL),
                DeathCause::Signal(libc::SIGSEGV),
                DeathCause::Signal(libc::SIGHUP),
                DeathCause::Late { waited },
                DeathCause::Damage("x".to_owned()),
                DeathCause::Unknown,
            ] {
                let evidence = Evidence { fault: Some(sent), ..evidence(&cause) };
                assert_eq!(suspicion.died(FIRST, &evidence), Blame::Nobody, "{cause}");
            }
        }
        assert!(is_poison(&suspicion.died(FIRST, &evidence(&DeathCause::Exit(1)))));
    }

    #[test]
    fn another_transaction_starts_with_a_clean_sheet() {
        let mut suspicion = Suspicion::default();
        for txn in (0..100).map(TxnIndex) {
            assert_eq!(suspicion.died(txn, &evidence(&DeathCause::Exit(1))), Blame::Nobody, "{txn}");
        }
    }

    #[test]
    fn stops_at_one_transaction_without_end_are_given_up_and_so_are_kills_for_want_of_memory() {
        let stopped = DeathCause::Stopped { stalled: Duration::from_secs(1) };
        let mut suspicion = Suspicion::default();
        let tries = (1..).find(|_| suspicion.died(FIRST, &evidence(&stopped)) == Blame::GiveUp);
        assert_eq!(tries, Some(STOPS_MAX + 1));

        let killed = DeathCause::Signal(libc::SIGKILL);
        let (mut suspicion, mut kills) = (Suspicion::default(), 40);
        let tries = (1..).find(|_| {
            kills += 1;
            let evidence = Evidence { oom_kills: Some(kills), ..evidence(&killed) };
            suspicion.died(FIRST, &evidence) == Blame::GiveUp
        });
        // The first one only shows where the kernel's count stands.
        assert_eq!(tries, Some(OUT_OF_MEMORY_MAX + 2));
    }

    #[test]
    fn memory_that_the_hardware_lost_is_not_the_transactions_deed_and_deaths_of_it_have_an_end() {
        let cause = DeathCause::Signal(libc::SIGBUS);
        let lost = Fault { signal: libc::SIGBUS, address: 0x1000, from_outside: false, lost_page: true };
        let mut suspicion = Suspicion::default();
        for _ in 0..LOST_PAGES_MAX {
            let evidence = Evidence { fault: Some(lost), ..evidence(&cause) };
            assert_eq!(suspicion.died(FIRST, &evidence), Blame::Nobody);
        }
        let evidence = Evidence { fault: Some(lost), ..evidence(&cause) };
        assert_eq!(suspicion.died(FIRST, &evidence), Blame::GiveUp);
    }

    #[test]
    fn a_deed_names_address_and_last_words() {
        let cause = DeathCause::Signal(libc::SIGSEGV);
        let fault =
            Some(Fault { signal: libc::SIGSEGV, address: 0x18, from_outside: false, lost_page: false });
        let mut suspicion = Suspicion::default();
        let evidence = Evidence { fault, last_words: Some("panicked: a".to_owned()), ..evidence(&cause) };
        suspicion.died(FIRST, &evidence);
        let said = "it ends its shard by signal 11 at address 0x18 (panicked: a)";
        assert_eq!(suspicion.died(FIRST, &evidence), Blame::Poison(said.to_owned()));
    }
}
