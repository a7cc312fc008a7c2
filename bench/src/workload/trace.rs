//! Recorded transfers, from a CSV file with the header `block,index,from,to,value_wei`.
//!
//! Addresses become accounts in the order in which they are first seen. One unit of the ledger is 10^12 wei (a
//! millionth of an ether), rounded down; see [`Trace::cap`] for the most that is moved.

use crate::workload::WorkloadError;
use crate::workload::pairs::Transfer;
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Wei per unit of the ledger.
const WEI_PER_UNIT: u128 = 1_000_000_000_000;

const HEADER: [&str; 5] = ["block", "index", "from", "to", "value_wei"];

/// Recorded transfers, in file order.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Trace {
    pub(super) transfers: Vec<Transfer>,
    pub(super) accounts: usize,
}

impl Trace {
    pub(super) fn open(path: &Path) -> Result<Trace, WorkloadError> {
        let file = File::open(path)
            .map_err(|source| WorkloadError::TraceUnreadable { path: path.to_owned(), source })?;
        Trace::read(file, path)
    }

    /// Reads transfers; `path` is for messages. Amounts are not capped yet: see [`cap`](Self::cap).
    pub(super) fn read(from: impl Read, path: &Path) -> Result<Trace, WorkloadError> {
        let mut reader = csv::Reader::from_reader(from);
        let bad_row =
            |line: u64, problem: String| WorkloadError::TraceRow { path: path.to_owned(), line, problem };
        let bad_csv = |error: csv::Error| {
            let line = error.position().map_or(1, csv::Position::line);
            bad_row(line, error.to_string())
        };
        let header = reader.headers().map_err(bad_csv)?;
        if header.iter().ne(HEADER) {
            let found: Vec<&str> = header.iter().collect();
            return Err(bad_row(1, format!("header is {}, not {}", found.join(","), HEADER.join(","))));
        }
        let mut seen = HashMap::new();
        let mut transfers = Vec::new();
        let mut record = csv::StringRecord::new();
        while reader.read_record(&mut record).map_err(bad_csv)? {
            let line = record.position().map_or(0, csv::Position::line);
            transfers.push(transfer_of(&record, &mut seen).map_err(|problem| bad_row(line, problem))?);
        }
        if transfers.is_empty() {
            return Err(WorkloadError::TraceEmpty { path: path.to_owned() });
        }
        Ok(Trace { transfers, accounts: seen.len() })
    }

    /// Lowers every amount to at most `limit`: so much that an account could make all the transfers by itself.
    pub(super) fn cap(&mut self, limit: u64) {
        for transfer in &mut self.transfers {
            transfer.amount = transfer.amount.min(limit);
        }
    }
}

fn transfer_of(record: &csv::StringRecord, seen: &mut HashMap<[u8; 20], u32>) -> Result<Transfer, String> {
    let mut account_at = |column: usize| {
        let text = record.get(column).unwrap_or_default();
        let address = parse_address(text)
            .ok_or_else(|| format!("{} is {text:?}, not 0x and 40 hexadecimal digits", HEADER[column]))?;
        let next =
            u32::try_from(seen.len()).map_err(|_| "more addresses than 32 bits can number".to_owned())?;
        Ok::<u32, String>(*seen.entry(address).or_insert(next))
    };
    let (from, to) = (account_at(2)?, account_at(3)?);
    for column in [0, 1] {
        let text = record.get(column).unwrap_or_default();
        text.parse::<u64>().map_err(|error| format!("{} is {text:?}: {error}", HEADER[column]))?;
    }
    let text = record.get(4).unwrap_or_default();
    let wei: u128 = text.parse().map_err(|error| format!("{} is {text:?}: {error}", HEADER[4]))?;
    Ok(Transfer { from, to, amount: u64::try_from(wei / WEI_PER_UNIT).unwrap_or(u64::MAX) })
}

fn parse_address(text: &str) -> Option<[u8; 20]> {
    let digits = text.strip_prefix("0x")?.as_bytes();
    if digits.len() != 40 {
        return None;
    }
    let mut address = [0; 20];
    for (byte, pair) in address.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        *byte = digit(0)? << 4 | digit(1)?;
    }
    Some(address)
}
