//! Examines transactions some time before they are executed, many at once.

use crate::partition::AHEAD_MAX;
use crate::vm::{Finding, Vm, catch_panic};
use std::collections::VecDeque;

/// What is known about the next transactions of one worker.
#[derive(Debug, Default)]
pub(super) struct Examination {
    /// In the order of the transactions, the next one first.
    findings: VecDeque<Finding>,
    batch: Vec<Finding>,
    /// Transactions examined since somebody asked.
    examined: u64,
}

impl Examination {
    /// Forgets everything: other transactions come now.
    pub(super) fn clear(&mut self) {
        self.findings.clear();
    }

    /// The finding about the first of `upcoming`, which is then behind. If there is none yet, as many of them are examined as
    /// `vm` likes to see at once; the next calls then have theirs.
    pub(super) fn next<'t, V: Vm>(
        &mut self,
        vm: &mut V,
        upcoming: impl Iterator<Item = &'t [u8]>,
    ) -> Finding {
        if self.findings.is_empty() {
            self.go_ahead(vm, upcoming);
        }
        self.findings.pop_front().unwrap_or_default()
    }

    /// Passes over the next transaction: somebody else executes it.
    pub(super) fn skip(&mut self) {
        self.findings.pop_front();
    }

    /// Transactions examined since this was called last.
    pub(super) fn take_examined(&mut self) -> u64 {
        std::mem::take(&mut self.examined)
    }

    /// Examines some more of `upcoming`, of which the first is the one that [`next`](Self::next) would tell about; false if
    /// nothing is left to do, or enough is known.
    pub(super) fn go_ahead<'t, V: Vm>(
        &mut self,
        vm: &mut V,
        upcoming: impl Iterator<Item = &'t [u8]>,
    ) -> bool {
        let at_once = vm.examines_at_once();
        if at_once == 0 || self.findings.len() >= AHEAD_MAX {
            return false;
        }
        let transactions: Vec<&[u8]> = upcoming.skip(self.findings.len()).take(at_once).collect();
        if transactions.is_empty() {
            return false;
        }
        examine(vm, &transactions, &mut self.batch);
        self.findings.extend(&self.batch);
        self.examined += transactions.len() as u64;
        true
    }
}

/// Leaves one finding per transaction; none of them says anything if the machine panics.
pub(super) fn examine<V: Vm>(vm: &mut V, transactions: &[&[u8]], findings: &mut Vec<Finding>) {
    findings.clear();
    findings.resize(transactions.len(), Finding::NOTHING);
    if let Err(note) = catch_panic(|| vm.examine(transactions, findings)) {
        tracing::warn!(message = note.0, "examining transactions panicked; they are executed without");
        findings.fill(Finding::NOTHING);
    }
}

#[cfg(test)]
mod tests {
    //! What would break it: a finding handed out for another transaction. Negative control run: without the reset in `clear`
    //! every test here fails.

    use super::*;
    use crate::types::{BlockHeader, HintWriter, StatusCode};
    use crate::vm::{Outcome, StateView};

    /// Finds the first byte of each transaction, three at a time, and panics at a 9.
    #[derive(Clone, Default)]
    struct FirstByte {
        calls: usize,
    }

    impl Vm for FirstByte {
        fn begin_block(&mut self, _: &BlockHeader) {}
        fn declare(&self, _: &BlockHeader, _: &[u8], _: &mut HintWriter<'_>) {}
        fn execute(&mut self, _: &[u8], _: &mut dyn StateView) -> Outcome {
            Outcome { status: StatusCode::SUCCESS, gas_used: 0 }
        }
        fn examines_at_once(&self) -> usize {
            3
        }
        fn examine(&mut self, transactions: &[&[u8]], findings: &mut [Finding]) {
            self.calls += 1;
            for (transaction, finding) in transactions.iter().zip(findings) {
                assert_ne!(transaction[0], 9);
                *finding = Finding(transaction[0]);
            }
        }
        fn status_name(&self, _: StatusCode) -> &'static str {
            "done"
        }
    }

    fn all(examination: &mut Examination, vm: &mut FirstByte, block: &[[u8; 1]]) -> Vec<u8> {
        let upcoming = |from: usize| block[from..].iter().map(|transaction| &transaction[..]);
        (0..block.len()).map(|from| examination.next(vm, upcoming(from)).0).collect()
    }

    #[test]
    fn every_transaction_gets_its_own_finding_three_at_a_time() {
        let (mut examination, mut vm) = (Examination::default(), FirstByte::default());
        let block = [[1], [2], [3], [4], [5], [6], [7]];
        assert_eq!(all(&mut examination, &mut vm, &block), [1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(vm.calls, 3);
    }

    #[test]
    fn who_has_time_examines_more_until_enough_is_known_or_nothing_is_left() {
        let (mut examination, mut vm) = (Examination::default(), FirstByte::default());
        let block: Vec<[u8; 1]> = (0..400_u32).map(|number| [u8::try_from(number % 9).unwrap()]).collect();
        let upcoming = |from: usize| block[from..].iter().map(|transaction| &transaction[..]);
        let mut found = vec![examination.next(&mut vm, upcoming(0)).0];
        while examination.go_ahead(&mut vm, upcoming(1)) {}
        let known = examination.findings.len();
        assert!((AHEAD_MAX..AHEAD_MAX + 3).contains(&known), "{known}");
        for from in 1..block.len() {
            found.push(examination.next(&mut vm, upcoming(from)).0);
            // Whoever waits for something before every seventh.
            if from % 7 == 0 {
                examination.go_ahead(&mut vm, upcoming(from + 1));
            }
        }
        assert_eq!(found, block.concat());
        assert!(!examination.go_ahead(&mut vm, upcoming(block.len())), "nothing is left");
    }

    #[test]
    fn what_was_found_is_forgotten_with_the_round() {
        let (mut examination, mut vm) = (Examination::default(), FirstByte::default());
        let block = [[1], [2]];
        assert_eq!(examination.next(&mut vm, block.iter().map(|transaction| &transaction[..])), Finding(1));
        examination.clear();
        assert_eq!(all(&mut examination, &mut vm, &[[5], [6]]), [5, 6]);
    }

    #[test]
    fn a_panic_leaves_nothing_found() {
        let (mut examination, mut vm) = (Examination::default(), FirstByte::default());
        assert_eq!(all(&mut examination, &mut vm, &[[1], [9], [3], [4]]), [0, 0, 0, 4]);
    }
}
