//! Supervisors for the machines of this crate, beside the built-in ones.

use crate::ethereum::LoadingEvm;
use crate::executor::BenchVm;
use bcs::from_bytes;

/// A machine of this crate: the first byte of what a supervisor makes it from. Bytes of built-in machines begin with
/// others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum MachineKind {
    /// A ledger with a switch for measurements.
    Bench = 0xb0,
    /// An EVM whose state can be loaded by transactions.
    LoadingEvm = 0xb1,
}

impl MachineKind {
    /// The bytes with the mark of this machine in front.
    pub(crate) fn mark(self, bytes: &[u8]) -> Vec<u8> {
        [&[self as u8], bytes].concat()
    }

    /// The machine and its own bytes; `None` if it is none of this crate.
    pub(crate) fn of(bytes: &[u8]) -> Option<(MachineKind, &[u8])> {
        let (&mark, rest) = bytes.split_first()?;
        let kinds = [MachineKind::Bench, MachineKind::LoadingEvm];
        kinds.into_iter().find(|&kind| kind as u8 == mark).map(|kind| (kind, rest))
    }
}

/// Call this first thing in `main` of a program that uses machines of this crate, instead of
/// [`phalanx::supervisor_entry`]: it serves as supervisor for the built-in ones, too.
pub fn supervisor_entry() {
    phalanx::supervisor_entry_by(|seat| match MachineKind::of(seat.vm_bytes()) {
        Some((MachineKind::Bench, bytes)) => {
            let vm = BenchVm::from_bytes(bytes)?;
            Ok(seat.serve(vm))
        }
        Some((MachineKind::LoadingEvm, bytes)) => {
            let vm = LoadingEvm::new(from_bytes(bytes)?);
            Ok(seat.serve(vm))
        }
        None => seat.serve_built_in(),
    });
}
