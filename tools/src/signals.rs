//! SIGINT and SIGTERM: the first one asks for an orderly end, the second one ends the process.

use crate::exit::Exit;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::fmt;
use std::io;

/// Which signal asked for the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopSignal {
    /// SIGINT.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

impl StopSignal {
    /// How the command ends on it.
    pub const fn exit(self) -> Exit {
        match self {
            StopSignal::Interrupt => Exit::Interrupted,
            StopSignal::Terminate => Exit::Terminated,
        }
    }

    fn of(signal: i32) -> StopSignal {
        if signal == SIGTERM { StopSignal::Terminate } else { StopSignal::Interrupt }
    }
}

impl fmt::Display for StopSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StopSignal::Interrupt => "SIGINT",
            StopSignal::Terminate => "SIGTERM",
        })
    }
}

/// Calls `on_first` with the first signal, from a thread that sleeps until then; the second signal ends the process at
/// once, and the shards with it, since their supervisor sees its parent go.
///
/// # Errors
/// When handlers or the thread cannot be had.
pub fn watch(on_first: impl FnOnce(StopSignal) + Send + 'static) -> io::Result<()> {
    watch_and_clean(on_first, || {})
}

/// Likewise; between the second signal and the end `clean` is called, for which the end waits.
///
/// # Errors
/// As [`watch`].
pub fn watch_and_clean(
    on_first: impl FnOnce(StopSignal) + Send + 'static,
    clean: impl FnOnce() + Send + 'static,
) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    std::thread::Builder::new().name("phx-signals".to_owned()).spawn(move || {
        let mut arrivals = signals.forever().map(StopSignal::of);
        if let Some(first) = arrivals.next() {
            on_first(first);
        }
        if let Some(second) = arrivals.next() {
            clean();
            end_at_once(second.exit());
        }
    })?;
    Ok(())
}

/// Ends the process, whatever its threads do.
pub fn end_at_once(exit: Exit) -> ! {
    signal_hook::low_level::exit(i32::from(exit.code()))
}
