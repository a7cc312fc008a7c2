//! Supervisors for the machine of this crate, beside the built-in ones.

use crate::ethereum::LoadingEvm;
use bcs::from_bytes;

/// First byte of what a supervisor makes this crate's machine from. Bytes of built-in machines begin with others.
const LOADING_EVM: u8 = 0xb1;

/// The bytes with the mark of this crate's machine in front.
pub(crate) fn mark(bytes: &[u8]) -> Vec<u8> {
    [&[LOADING_EVM], bytes].concat()
}

/// Call this first thing in `main` of a program that uses machines of this crate, instead of
/// [`phalanx::supervisor_entry`]: it serves as supervisor for the built-in ones, too.
pub fn supervisor_entry() {
    phalanx::supervisor_entry_by(|seat| match seat.vm_bytes().split_first() {
        Some((&LOADING_EVM, bytes)) => {
            let vm = LoadingEvm::new(from_bytes(bytes)?);
            Ok(seat.serve(vm))
        }
        Some(_) | None => seat.serve_built_in(),
    });
}
