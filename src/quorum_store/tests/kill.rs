//! SIGKILL of a process that writes a validator's disk, again and again.
//!
//! What would break: a batch id that is handed out twice, a commit that was told and is not there, a log with a hole.
//! PHALANX_SEED chooses the moments, PHALANX_KILLS their number.

use super::support::*;
use crate::quorum_store::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

const DIRECTORY: &str = "PHALANX_QUORUM_KILL_DIRECTORY";

fn open(directory: &Path) -> (Arc<dyn Disk>, CommitLog) {
    let disk: Arc<dyn Disk> = Arc::new(LmdbDisk::open(directory, 64 << 20).unwrap());
    let log = CommitLog::open(Arc::clone(&disk), secs(20)).unwrap();
    (disk, log)
}

fn batch_of(sequence: u64) -> Batch {
    batch(0, sequence, 0, START.plus(secs(sequence)), &[txn(sequence, 0, 1)])
}

/// The part of the process that is killed: without the variable it does nothing. Says what is done, once it is.
#[test]
fn the_writer_that_is_killed_writes() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let (disk, mut log) = open(Path::new(&directory));
    loop {
        let sequence = log.head() + 1;
        let id = disk.reserve_ids(Epoch(1), 3, START).unwrap();
        println!("\nid {}", id.number);
        disk.put_batches(&[Arc::new(batch_of(sequence))]).unwrap();
        println!("\nbatch {sequence}");
        let (timestamp, batches) = (START.plus(secs(sequence)), vec![batch_of(sequence).info]);
        disk.stage(&OrderedBlock { height: sequence, timestamp, batches: batches.clone() }).unwrap();
        println!("\nstaged {sequence}");
        let content = Committed::Block { height: sequence, batches, exceptions: Vec::new() };
        log.append(CommitEntry { sequence, timestamp, content }).unwrap();
        println!("\ncommitted {sequence}");
    }
}

/// What one life said.
#[derive(Debug, Default)]
struct Said {
    ids: Vec<u64>,
    batch: u64,
    staged: u64,
    committed: u64,
}

fn live_and_die(directory: &Path, after: Duration) -> Said {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["quorum_store::tests::kill::the_writer_that_is_killed_writes", "--exact", "--nocapture"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let output = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut said = Said::default();
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let Some((what, number)) = line.split_once(' ') else { continue };
            let Ok(number) = number.parse() else { continue };
            match what {
                "id" => said.ids.push(number),
                "batch" => said.batch = number,
                "staged" => said.staged = number,
                "committed" => said.committed = number,
                _ => {}
            }
        }
        said
    });
    std::thread::sleep(after);
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap()
}

#[test]
fn whenever_the_writer_of_a_disk_is_killed_all_that_it_said_is_there_and_no_id_comes_twice() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let (seed, kills) =
        (number("PHALANX_SEED").unwrap_or_else(any_seed), number("PHALANX_KILLS").unwrap_or(20));
    println!("PHALANX_SEED={seed} PHALANX_KILLS={kills}");
    let (directory, mut random) = (tempfile::tempdir().unwrap(), ChaCha8Rng::seed_from_u64(seed));
    let (mut last_id, mut committed, mut said_something, mut lives) = (None, 0, 0, 0);
    // Where a life of 150 ms gets nothing committed, further ones last longer.
    let mut longer = Duration::from_millis(150);
    while lives < kills || committed == 0 && longer < Duration::from_secs(20) {
        let mut after = Duration::from_millis(random.random_range(20..150));
        if lives >= kills {
            longer *= 2;
            after = longer;
        }
        lives += 1;
        let said = live_and_die(directory.path(), after);
        for &id in &said.ids {
            assert!(last_id.is_none_or(|last| id >= last + 3), "PHALANX_SEED={seed}: {id} after {last_id:?}");
            last_id = Some(id);
        }
        let (disk, log) = open(directory.path());
        assert!(
            log.head() >= said.committed.max(committed),
            "PHALANX_SEED={seed}: {} of {said:?}",
            log.head()
        );
        committed = log.head();
        for sequence in committed.saturating_sub(5).max(1)..=said.batch.max(committed) {
            let digest = batch_of(sequence).info.digest;
            assert!(
                disk.batch(&digest).unwrap().is_some_and(|one| one.holds()),
                "PHALANX_SEED={seed}: {sequence}"
            );
        }
        let staged: Vec<u64> = disk.staged().unwrap().iter().map(|block| block.height).collect();
        assert!(staged.is_empty() || staged == [committed + 1], "PHALANX_SEED={seed}: {staged:?}");
        assert!(said.staged <= committed || staged == [said.staged], "PHALANX_SEED={seed}: {said:?}");
        said_something += u64::from(!said.ids.is_empty());
    }
    println!("{said_something} of {lives} lives said something, {committed} commits");
    assert!(
        committed > 0 && said_something > 0,
        "PHALANX_SEED={seed}: too little was written to prove anything"
    );
}
