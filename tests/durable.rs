//! Blocks on a state directory: they are there when it is opened again, and what the disk refuses changes nothing.
//!
//! Oracle: the sequential executor, on exactly the blocks that must be there. What would break it: a state that changes before
//! the log has the block, a block that is executed twice, an error of the disk that is passed over, a file that others may
//! read. Negative controls: see docs/decisions/0011-log-before-state.md.

#![allow(missing_docs, reason = "a test program")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod common;

use common::{
    Refusals, Scene, alone_under, assert_same, deadline, eventually, own_pid, scratch, small_durable,
};
use phalanx::Phalanx;
use phalanx::durable::{DurableConfig, DurableError, Step, export, import, inspect, verify};
use phalanx::executor::{BlockOutput, ExecuteError};
use phalanx::types::{BlockHeader, PreparedBlock};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const ENOSPC: i32 = 28;
const EIO: i32 = 5;

type Expected = Vec<(Arc<PreparedBlock>, BlockOutput)>;

fn execute(phalanx: &Phalanx, blocks: &[(Arc<PreparedBlock>, BlockOutput)]) {
    for (block, expected) in blocks {
        let output = phalanx.execute(block, deadline()).unwrap();
        assert_same(expected, &output, "on a state directory");
        assert!(!output.is_recalled());
    }
}

fn durable_error(result: Result<BlockOutput, ExecuteError>) -> DurableError {
    match result {
        Err(ExecuteError::Durable(error)) => error,
        Err(error) => panic!("another error: {error}"),
        Ok(output) => panic!("it was executed: {:?}", output.stats()),
    }
}

/// The directory's state is that after `blocks`.
fn assert_holds(scene: &Scene, config: &DurableConfig, blocks: &[(Arc<PreparedBlock>, BlockOutput)]) {
    let state = scene.open(config).unwrap();
    let (block, output) = blocks.last().unwrap();
    assert_eq!(state.head().block, Some((output.height(), block.hash())));
    assert_eq!(state.head().digest, output.digest());
    assert_eq!(state.state().digest(), output.digest());
}

#[test]
fn a_run_goes_on_where_the_last_one_ended_and_knows_its_blocks() {
    let mut scene = Scene::new(901, 60, false);
    let blocks: Expected = scene.expected([150; 6]);
    let directory = scratch();
    let config = small_durable(&directory.path().join("state"));
    let phalanx = scene.durable(2, config.clone());
    assert_eq!(phalanx.durable_progress().unwrap().durable, None);
    execute(&phalanx, &blocks[..3]);
    let height = blocks[2].1.height();
    phalanx.wait_durable(height, deadline()).unwrap();
    assert_eq!(phalanx.durable_progress().unwrap().durable, Some(height));
    let early = phalanx.wait_durable(height + 1, Instant::now() + Duration::from_millis(20));
    assert!(matches!(early, Err(DurableError::NotYet { .. })), "{early:?}");
    drop(phalanx);

    let phalanx = scene.durable(3, config.clone());
    assert_eq!(phalanx.digest(), blocks[2].1.digest());
    for (block, expected) in &blocks[..3] {
        assert_recalled(expected, &phalanx.execute(block, deadline()).unwrap());
    }
    assert_eq!(phalanx.stats().blocks, 0, "nothing was executed twice");
    let header = BlockHeader { height, ..blocks[2].0.header().clone() };
    let error = durable_error(phalanx.execute(&Arc::new(PreparedBlock::new(header)), deadline()));
    assert!(matches!(error, DurableError::OtherBlock { .. }), "{error}");
    execute(&phalanx, &blocks[3..]);
    // Once more while the store may lack it.
    assert_recalled(&blocks[5].1, &phalanx.execute(&blocks[5].0, deadline()).unwrap());
    drop(phalanx);
    assert_holds(&scene, &config, &blocks);
    let report = verify(&config.directory, |_, _| {}).unwrap();
    assert_eq!((report.log_records, report.backlog_blocks, report.unfinished_bytes), (6, 0, 0));
}

fn assert_recalled(expected: &BlockOutput, recalled: &BlockOutput) {
    assert!(recalled.is_recalled());
    assert_eq!((recalled.height(), recalled.digest()), (expected.height(), expected.digest()));
    let outcomes = |output: &BlockOutput| -> Vec<_> {
        output.transactions().map(|txn| (txn.status(), txn.gas_used())).collect()
    };
    assert_eq!(outcomes(recalled), outcomes(expected));
}

#[test]
fn a_refused_append_changes_nothing_and_the_block_may_be_tried_again() {
    for step in [Step::AboutToAppend, Step::RecordHalfWritten, Step::RecordWritten] {
        let mut scene = Scene::new(902, 40, false);
        let blocks: Expected = scene.expected([100; 3]);
        let (directory, refusals) = (scratch(), Refusals::default());
        let config = DurableConfig {
            hook: Some(refusals.hook(step, ENOSPC)),
            ..small_durable(&directory.path().join("state"))
        };
        let phalanx = scene.durable(2, config.clone());
        execute(&phalanx, &blocks[..1]);
        refusals.arm(0, 2);
        for _ in 0..2 {
            let error = durable_error(phalanx.execute(&blocks[1].0, deadline()));
            assert!(error.to_string().contains("free some space there"), "{step:?}: {error}");
            assert_eq!(phalanx.digest(), blocks[0].1.digest());
        }
        execute(&phalanx, &blocks[1..]);
        drop(phalanx);
        assert_holds(&scene, &config, &blocks);
    }
}

#[test]
fn a_failed_apply_poisons_the_handle_and_the_log_has_the_block() {
    let mut scene = Scene::new(903, 40, false);
    let blocks: Expected = scene.expected([100; 3]);
    let (directory, refusals) = (scratch(), Refusals::default());
    let state = directory.path().join("state");
    let config = DurableConfig { hook: Some(refusals.hook(Step::Appended, EIO)), ..small_durable(&state) };
    let phalanx = scene.durable(2, config);
    execute(&phalanx, &blocks[..1]);
    refusals.arm(0, 1);
    for _ in 0..2 {
        let error = phalanx.execute(&blocks[1].0, deadline()).unwrap_err();
        assert!(matches!(error, ExecuteError::StatePoisoned { .. }), "{error}");
    }
    drop(phalanx);
    assert_holds(&scene, &small_durable(&state), &blocks[..2]);
    let phalanx = scene.durable(2, small_durable(&state));
    assert!(phalanx.execute(&blocks[1].0, deadline()).unwrap().is_recalled());
    execute(&phalanx, &blocks[2..]);
}

#[test]
fn a_disk_that_refuses_to_sync_or_to_store_ends_all_promises_until_the_directory_is_opened_again() {
    for (step, kept) in
        [(Step::AboutToSync, 2), (Step::Synced, 2), (Step::StorePut, 1), (Step::StoreCommitted, 1)]
    {
        let mut scene = Scene::new(904, 40, false);
        let blocks: Expected = scene.expected([100; 3]);
        let (directory, refusals) = (scratch(), Refusals::default());
        let state = directory.path().join("state");
        let config = DurableConfig { hook: Some(refusals.hook(step, EIO)), ..small_durable(&state) };
        let phalanx = scene.durable(2, config);
        // The store takes in what has come together in its own time: its first time must be the one that is refused.
        if kept == 1 {
            refusals.arm(0, 1);
        }
        execute(&phalanx, &blocks[..1]);
        let first = blocks[0].1.height();
        phalanx.wait_durable(first, deadline()).unwrap();
        if kept == 2 {
            refusals.arm(0, 1);
            execute(&phalanx, &blocks[1..2]);
            let error = phalanx.wait_durable(blocks[1].1.height(), deadline()).unwrap_err();
            assert!(matches!(error, DurableError::Failed { .. }), "{step:?}: {error}");
        }
        let mut failure = None;
        assert!(eventually(common::PATIENCE, || {
            failure = phalanx.execute(&blocks[0].0, deadline()).err();
            failure.is_some()
        }));
        let text = failure.unwrap().to_string();
        assert!(text.contains("durable state failed") && text.contains("open the directory again"), "{text}");
        drop(phalanx);
        assert_holds(&scene, &small_durable(&state), &blocks[..kept]);
    }
}

#[test]
fn one_process_at_a_time_has_a_directory_and_its_files_are_its_users_alone() {
    let mut scene = Scene::new(905, 40, false);
    let blocks: Expected = scene.expected([50; 2]);
    let directory = scratch();
    let config = small_durable(&directory.path().join("state"));
    let phalanx = scene.durable(1, config.clone());
    execute(&phalanx, &blocks);
    let start_time = phalanx_ipc::ProcessIdentity::current().unwrap().start_time;
    let error = scene.open(&config).unwrap_err();
    let DurableError::Locked { pid, start_time: found, .. } = error else { panic!("another: {error}") };
    assert_eq!((pid, found), (own_pid(), start_time));
    let mut files = 0;
    for_each_file(&config.directory, &mut |path| {
        let mode = path.metadata().unwrap().permissions().mode() & 0o777;
        let expected = if path.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode, expected, "{}", path.display());
        files += usize::from(path.is_file());
    });
    assert!(files >= 4, "lock, log, data and lock of the store: {files}");
    drop(phalanx);
    assert_holds(&scene, &config, &blocks);

    let other = Scene::new(906, 40, false);
    assert!(matches!(other.open(&config), Err(DurableError::OtherGenesis { .. })));
}

fn for_each_file(path: &Path, each: &mut impl FnMut(&Path)) {
    each(path);
    if path.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| for_each_file(&entry.unwrap().path(), each));
    }
}

#[test]
fn old_segments_are_removed_by_height_and_their_blocks_are_no_longer_known() {
    let mut scene = Scene::new(907, 60, false);
    let blocks: Expected = scene.expected([150; 12]);
    let directory = scratch();
    let config = DurableConfig {
        segment_bytes: 4 << 10,
        keep_blocks: 3,
        ..small_durable(&directory.path().join("state"))
    };
    for part in blocks.chunks(4) {
        let phalanx = scene.durable(2, config.clone());
        execute(&phalanx, part);
        drop(phalanx);
    }
    let phalanx = scene.durable(2, config.clone());
    let error = durable_error(phalanx.execute(&blocks[0].0, deadline()));
    assert!(matches!(error, DurableError::Passed { .. }), "{error}");
    for (block, expected) in &blocks[9..] {
        assert_recalled(expected, &phalanx.execute(block, deadline()).unwrap());
    }
    drop(phalanx);
    let report = inspect(&config.directory).unwrap();
    assert!(report.segments < 12 && report.kept_blocks < 12 && report.kept_blocks >= 3, "{report:?}");
    assert_holds(&scene, &config, &blocks);
    verify(&config.directory, |_, _| {}).unwrap();
}

#[test]
fn a_snapshot_makes_the_same_state_elsewhere_and_a_damaged_one_makes_none() {
    let mut scene = Scene::new(908, 60, false);
    let blocks: Expected = scene.expected([150; 4]);
    let directory = scratch();
    let first = small_durable(&directory.path().join("first"));
    let phalanx = scene.durable(2, first.clone());
    execute(&phalanx, &blocks[..2]);
    drop(phalanx);
    let (mut bytes, name) = (Vec::new(), Path::new("a stream"));
    let head = export(&first.directory, &mut bytes, name, |_, _| {}).unwrap();
    assert_eq!(head.block, Some((blocks[1].1.height(), blocks[1].0.hash())));

    let second = small_durable(&directory.path().join("second"));
    for place in (0..bytes.len()).step_by(bytes.len() / 97) {
        let mut damaged = bytes.clone();
        damaged[place] ^= 1;
        let flipped = import(&second, &mut damaged.as_slice(), name, |_, _| {});
        assert!(flipped.is_err(), "byte {place}");
        let cut = import(&second, &mut &bytes[..place], name, |_, _| {});
        assert!(matches!(cut, Err(DurableError::Damaged { .. })), "cut at {place}: {cut:?}");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(import(&second, &mut longer.as_slice(), name, |_, _| {}).is_err());
    assert!(matches!(inspect(&second.directory), Err(DurableError::NoState { .. })));
    assert_eq!(import(&second, &mut bytes.as_slice(), name, |_, _| {}).unwrap(), head);
    let again = import(&second, &mut bytes.as_slice(), name, |_, _| {});
    assert!(matches!(again, Err(DurableError::NotEmpty { .. })), "{again:?}");
    assert_holds(&scene, &second, &blocks[..2]);

    let phalanx = scene.durable(2, second.clone());
    let error = durable_error(phalanx.execute(&blocks[1].0, deadline()));
    assert!(matches!(error, DurableError::Passed { .. }), "its result is not in a snapshot: {error}");
    execute(&phalanx, &blocks[2..]);
    drop(phalanx);
    assert_holds(&scene, &second, &blocks);
}

#[test]
fn a_cut_or_damaged_log_and_a_damaged_store_are_named_when_the_directory_is_opened() {
    let mut scene = Scene::new(909, 40, false);
    let blocks: Expected = scene.expected([100; 3]);
    let directory = scratch();
    let config = small_durable(&directory.path().join("state"));
    let phalanx = scene.durable(2, config.clone());
    execute(&phalanx, &blocks);
    drop(phalanx);
    let segment = config.directory.join("log/00000000000000000001.log");
    let whole = fs::read(&segment).unwrap();
    let check = |bytes: &[u8], what: &str| {
        fs::write(&segment, bytes).unwrap();
        let error = scene.open(&config).unwrap_err();
        assert!(matches!(&error, DurableError::Damaged { path, .. } if *path == segment), "{what}: {error}");
        let error = verify(&config.directory, |_, _| {}).unwrap_err();
        assert!(matches!(&error, DurableError::Damaged { path, .. } if *path == segment), "{what}: {error}");
    };
    check(&whole[..whole.len() - 1], "cut");
    let mut flipped = whole.clone();
    flipped[2_000] ^= 16;
    check(&flipped, "flipped");
    // A new record that was never finished is no damage.
    fs::write(&segment, [&whole[..], b"PHXR"].concat()).unwrap();
    assert_eq!(verify(&config.directory, |_, _| {}).unwrap().unfinished_bytes, 4);
    assert_holds(&scene, &config, &blocks);
    assert_eq!(fs::read(&segment).unwrap().len(), whole.len());

    fs::remove_file(&segment).unwrap();
    assert!(matches!(scene.open(&config), Err(DurableError::Missing { .. })));
    fs::write(&segment, &whole).unwrap();
    let data = config.directory.join("store/data.mdb");
    let mut bytes = fs::read(&data).unwrap();
    // LMDB has no checksums, the digest finds it: a number in every copy of its page.
    let key = &scene.genesis[0].0;
    let places: Vec<usize> =
        (0..bytes.len() - key.len()).filter(|&place| bytes[place..].starts_with(key)).collect();
    assert!(!places.is_empty());
    places.iter().for_each(|place| bytes[place + key.len()] ^= 1);
    fs::write(&data, &bytes).unwrap();
    assert!(matches!(verify(&config.directory, |_, _| {}), Err(DurableError::Digest { .. })));
    assert!(matches!(scene.open(&config), Err(DurableError::Digest { .. })));
}

/// A mount namespace of its own, in which a small disk can be mounted.
const OWN_MOUNTS: [&str; 3] = ["unshare", "-m", "--propagation=private"];

/// Runs a program that must succeed.
fn run(program: &str, arguments: &[&str]) {
    let output = std::process::Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
}

#[test]
fn on_a_full_disk_blocks_are_refused_and_room_again_is_enough() {
    let name = "on_a_full_disk_blocks_are_refused_and_room_again_is_enough";
    alone_under(name, &OWN_MOUNTS, || {
        let mut scene = Scene::new(910, 60, false);
        let blocks: Expected = scene.expected([400; 30]);
        let directory = scratch();
        let disk = directory.path().to_str().unwrap();
        run("mount", &["-t", "tmpfs", "-o", "size=2m", "tmpfs", disk]);
        let config = small_durable(&directory.path().join("state"));
        let phalanx = scene.durable(2, config.clone());
        let ballast = directory.path().join("ballast");
        // What is left is enough for a few blocks.
        fs::write(&ballast, vec![1; (1 << 20) + (800 << 10)]).unwrap();
        let (mut done, mut refused) = (0, 0);
        for (block, expected) in &blocks {
            match phalanx.execute(block, deadline()) {
                Ok(output) => assert_same(expected, &output, "before the disk is full"),
                Err(ExecuteError::Durable(error)) => {
                    println!("{error}");
                    assert!(
                        error.to_string().contains("No space left") || error.to_string().contains("failed"),
                        "{error}"
                    );
                    assert_eq!(phalanx.digest(), blocks[done - 1].1.digest());
                    refused += 1;
                    break;
                }
                Err(error) => panic!("another error: {error}"),
            }
            done += 1;
        }
        assert!(refused == 1 && done > 0, "{done} blocks fit");
        drop(phalanx);
        fs::remove_file(&ballast).unwrap();
        let phalanx = scene.durable(2, config.clone());
        assert_eq!(phalanx.digest(), blocks[done - 1].1.digest());
        execute(&phalanx, &blocks[done..done + 1]);
        phalanx.wait_durable(blocks[done].1.height(), deadline()).unwrap();
        drop(phalanx);
        assert_holds(&scene, &config, &blocks[..=done]);
        run("mount", &["-o", "remount,ro", disk]);
        let error = scene.open(&config).unwrap_err();
        println!("{error}");
        assert!(error.to_string().contains("mount it writable"), "{error}");
        run("umount", &[disk]);
    });
}
