//! The trial's hold on its monkey.

use crate::chaos::book::Book;
use crate::chaos::error::ChaosError;
use crate::chaos::wire::{MARKER, Order};
use parking_lot::Mutex;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;

/// A running monkey. It waits for its order first, and for the end of its input when it is done. Dropping ends it.
#[derive(Debug)]
pub struct MonkeyLink {
    process: Child,
    orders: Option<ChildStdin>,
    reader: Option<JoinHandle<()>>,
}

impl MonkeyLink {
    /// Starts this program again as the monkey; what it reports is entered in `book`.
    ///
    /// # Errors
    /// When process or thread cannot be had.
    pub fn start(book: &Arc<Mutex<Book>>) -> Result<MonkeyLink, ChaosError> {
        let mut process = Command::new("/proc/self/exe")
            .env(MARKER, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| ChaosError::Monkey(error.to_string()))?;
        let (orders, reports) = (process.stdin.take(), process.stdout.take());
        let mut link = MonkeyLink { process, orders, reader: None };
        let Some(reports) = reports else { return Err(ChaosError::Monkey("it has no output".to_owned())) };
        let book = Arc::clone(book);
        link.reader = Some(std::thread::Builder::new().name("phx-reports".to_owned()).spawn(move || {
            for line in BufReader::new(reports).lines().map_while(Result::ok) {
                match serde_json::from_str(&line) {
                    Ok(event) => book.lock().enter(event),
                    Err(error) => book.lock().failed = Some(format!("cannot read its report: {error}")),
                }
            }
            let mut book = book.lock();
            if !book.done && book.failed.is_none() {
                book.failed = Some("it ended before it was done".to_owned());
            }
        })?);
        Ok(link)
    }

    /// Has it begin.
    ///
    /// # Errors
    /// When it is gone.
    pub fn order(&mut self, order: &Order) -> Result<(), ChaosError> {
        let line =
            serde_json::to_string(order).map_err(|error| ChaosError::Monkey(error.to_string()))? + "\n";
        let Some(orders) = &mut self.orders else { return Ok(()) };
        orders.write_all(line.as_bytes()).map_err(|error| ChaosError::Monkey(error.to_string()))
    }

    /// Has it stop early: whoever is stopped goes on. It stays until [`finish`](Self::finish).
    pub fn call_off(&mut self) {
        if let Some(orders) = &mut self.orders {
            // One that is gone has stopped too.
            let _ = orders.write_all(b"enough\n");
        }
    }

    /// Waits for its end.
    pub fn finish(&mut self) {
        self.orders = None;
        if let Some(reader) = self.reader.take() {
            // It cannot panic; what it has read is in the book.
            let _ = reader.join();
        }
        // Reaped in any case; how it ended it has reported itself.
        let _ = self.process.wait();
    }
}

impl Drop for MonkeyLink {
    fn drop(&mut self) {
        self.finish();
    }
}
