//! Catches a panic of a virtual machine and keeps what it said and where.

use phalanx_ipc::leave_last_words;
use std::any::Any;
use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::Once;

/// What a panic said and where in the source, as in `panicked at src/vm.rs:7:5: out of range`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PanicNote(pub String);

/// The hook is installed once per process.
static HOOK: Once = Once::new();

thread_local! {
    /// What the panic that unwinds on this thread said. One that follows meanwhile does not replace it: the first is
    /// the cause.
    static NOTE: RefCell<Option<Noted>> = const { RefCell::new(None) };
}

struct Noted {
    note: PanicNote,
    /// Whether it is in the child slot too.
    in_slot: bool,
}

/// Runs `work`; a panic inside becomes a [`PanicNote`].
///
/// From the first call on, the process's panic hook notes what panics say. In a shard process the note is also left in
/// the child slot, in case that the process does not survive the panic, and nothing is printed; everywhere else the hook
/// that was there before runs as well.
///
/// # Errors
/// The note, when `work` panicked.
pub fn catch_panic<T>(work: impl FnOnce() -> T) -> Result<T, PanicNote> {
    HOOK.call_once(install_hook);
    // What an earlier panic said that somebody caught without asking.
    NOTE.set(None);
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| {
        let said = text_of(payload.as_ref());
        // A panic that is thrown on passes the hook by: then the note is of another one.
        let noted = NOTE.take().map(|noted| noted.note).filter(|note| note.0.ends_with(said));
        noted.unwrap_or_else(|| PanicNote(format!("panicked: {said}")))
    })
}

fn install_hook() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if !note_panic(info) {
            before(info);
        }
    }));
}

/// Keeps what a panic says, unless it follows another one; true if that is in the child slot.
fn note_panic(info: &PanicHookInfo<'_>) -> bool {
    let said = text_of(info.payload());
    let note = match info.location() {
        Some(place) => format!("panicked at {place}: {said}"),
        None => format!("panicked: {said}"),
    };
    let keep = |held: &RefCell<Option<Noted>>| {
        held.try_borrow_mut().is_ok_and(|mut held| {
            let first = held.get_or_insert_with(|| {
                let in_slot = leave_last_words(&note);
                Noted { note: PanicNote(note), in_slot }
            });
            first.in_slot
        })
    };
    // A thread that has all but ended has no place for a note, and nobody who asks for it.
    NOTE.try_with(keep).unwrap_or(false)
}

fn text_of(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    //! What would break it: a note of an earlier panic given out for a later one, a place that is not the panic's.
    //! Negative control run: without the reset at the start of `catch_panic` the third test fails.

    use super::*;

    fn note_of(work: impl FnOnce()) -> String {
        catch_panic(work).unwrap_err().0
    }

    #[test]
    fn a_note_says_what_and_where() {
        let line = line!() + 1;
        let note = note_of(|| panic!("boom {}", 7));
        assert!(note.starts_with("panicked at src/vm/panic.rs:"), "{note}");
        assert!(note.contains(&format!(":{line}:")) && note.ends_with(": boom 7"), "{note}");
    }

    #[test]
    fn a_panic_without_a_text_or_thrown_on_is_noted_too() {
        assert!(note_of(|| panic::panic_any(7)).ends_with(": no message"));
        assert_eq!(note_of(|| panic::resume_unwind(Box::new("thrown on"))), "panicked: thrown on");
        assert_eq!(catch_panic(|| 3), Ok(3));
    }

    #[test]
    fn a_panic_that_was_caught_by_somebody_else_leaves_no_note_for_the_next() {
        let _ = catch_unwind(|| panic!("caught elsewhere"));
        assert!(note_of(|| panic!("ours")).ends_with(": ours"));
        let _ = catch_unwind(|| panic!("the same"));
        let line = line!() + 1;
        let note = note_of(|| panic!("the same"));
        assert!(note.contains(&format!(":{line}:")), "{note}");
    }
}
