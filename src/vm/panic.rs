//! Catches a panic of a virtual machine and keeps what it said.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a panic said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PanicNote(pub String);

/// Runs `work`; a panic inside becomes a [`PanicNote`]. The process's panic hook still runs first.
///
/// # Errors
/// The note, when `work` panicked.
pub fn catch_panic<T>(work: impl FnOnce() -> T) -> Result<T, PanicNote> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| PanicNote(text_of(payload.as_ref())))
}

fn text_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("panic without a message")
        .to_owned()
}
