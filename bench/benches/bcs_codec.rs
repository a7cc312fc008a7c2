//! Encoding and decoding the ledger's transactions.

mod common;

use common::{BLOCK_SIZE, Transfers};
use criterion::{Criterion, Throughput};
use phalanx::vm::ledger::{SignedTransaction, TransactionError};
use std::error::Error;
use std::hint::black_box;

fn main() -> Result<(), Box<dyn Error>> {
    let encoded = Transfers::new()?.next_encoded()?;
    let decoded: Vec<SignedTransaction> = encoded
        .iter()
        .map(|bytes| SignedTransaction::decode(bytes))
        .collect::<Result<_, TransactionError>>()?;
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("bcs_codec");
    group.throughput(Throughput::Elements(BLOCK_SIZE as u64));
    group.bench_function("decode", |bencher| {
        bencher.iter(|| {
            encoded.iter().filter(|bytes| black_box(SignedTransaction::decode(bytes)).is_ok()).count()
        });
    });
    group.bench_function("encode", |bencher| {
        bencher.iter(|| decoded.iter().filter(|transaction| black_box(transaction.encode()).is_ok()).count());
    });
    group.finish();
    criterion.final_summary();
    Ok(())
}
