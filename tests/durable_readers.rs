//! Processes that read the store beside its owner, and die: inside a read, inside LMDB's own locks, with a lifeline in hand.
//!
//! What would break it: a lifeline that displaces LMDB's robust mutex from libc's list, or the other way round, so that a
//! death leaves one of them locked for ever; slots of dead readers that hold back old pages and fill the table. Oracle: the
//! sequential executor, the lifeline's own word, and LMDB's count of dead readers. Negative control, part of the first
//! test: as long as the owner stores nothing, the dead reader's slot is found by another process.

#![allow(missing_docs, reason = "a test program")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod common;

use common::{
    Apart, PATIENCE, Scene, apart_with, assert_same, deadline, eventually, is_apart, scratch, small_durable,
};
use heed::types::Bytes;
use heed::{CommitOrAbort, Env, EnvFlags, EnvOpenOptions, WithoutTls};
use phalanx::Phalanx;
use phalanx::executor::BlockOutput;
use phalanx::types::PreparedBlock;
use phalanx_ipc::{Control, LifelineState};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const CHILD: &str = "a_process_beside_the_owner";

fn variable(name: &str) -> String {
    std::env::var(name).unwrap()
}

fn open(directory: &str, flags: EnvFlags) -> Env<WithoutTls> {
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    options.max_dbs(3).max_readers(512);
    // SAFETY: LMDB alone writes the files, with its locks on; flags are none or READ_ONLY.
    #[allow(unsafe_code, reason = "LMDB maps its file")]
    let env = unsafe { options.flags(flags).open(Path::new(directory).join("store")) };
    env.unwrap()
}

/// Reads the head in transactions without end, each with a slot of its own.
fn read_for_ever(env: &Env<WithoutTls>) -> ! {
    let txn = env.read_txn().unwrap();
    let opened = env.open_databases_and_commit(txn, |opener, txn| {
        let meta = opener.open_database::<Bytes, Bytes>(txn, Some("meta"))?.unwrap();
        Ok::<_, heed::Error>(CommitOrAbort::<_, ()>::Commit(meta))
    });
    let meta = opened.unwrap().unwrap_commit();
    loop {
        let txn = env.read_txn().unwrap();
        assert!(meta.get(&txn, b"head").unwrap().is_some());
    }
}

fn sleep_for_ever() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}

#[test]
fn a_process_beside_the_owner() {
    if !is_apart() {
        return;
    }
    let directory = variable("PHALANX_STATE");
    let lifeline = |control: &Control| control.slot(0).unwrap().lifeline(1).hold().unwrap();
    match variable("PHALANX_ROLE").as_str() {
        "reader" => {
            let env = open(&directory, EnvFlags::READ_ONLY);
            let _txn = env.read_txn().unwrap();
            println!("child ready");
            sleep_for_ever();
        }
        "counter" => {
            let env = open(&directory, EnvFlags::READ_ONLY);
            println!("child found {}", env.clear_stale_readers().unwrap());
        }
        "storm" => {
            let control = Control::open_named(&variable("PHALANX_CONTROL")).unwrap();
            lifeline(&control);
            let env = open(&directory, EnvFlags::READ_ONLY);
            println!("child ready");
            read_for_ever(&env);
        }
        role => {
            let control = Control::open_named(&variable("PHALANX_CONTROL")).unwrap();
            let env = open(&directory, EnvFlags::empty());
            if role == "lifeline first" {
                lifeline(&control);
            }
            let _txn = env.write_txn().unwrap();
            if role == "lock first" {
                lifeline(&control);
            }
            println!("child ready");
            sleep_for_ever();
        }
    }
}

fn child(role: &str, directory: &Path, control: Option<&Control>) -> Apart {
    let variables = [
        ("PHALANX_ROLE", role.to_owned()),
        ("PHALANX_STATE", directory.to_str().unwrap().to_owned()),
        ("PHALANX_CONTROL", control.and_then(Control::os_id).unwrap_or("none").to_owned()),
    ];
    apart_with(CHILD, &variables)
}

/// Executes a block and waits until it is in the store.
fn store(phalanx: &Phalanx, (block, expected): &(Arc<PreparedBlock>, BlockOutput)) {
    assert_same(expected, &phalanx.execute(block, deadline()).unwrap(), "beside readers");
    phalanx.wait_stored(expected.height(), deadline()).unwrap();
}

/// Readers that LMDB finds dead.
fn dead_readers(directory: &Path) -> u32 {
    child("counter", directory, None).line("child found").parse().unwrap()
}

#[test]
fn a_killed_readers_slot_is_freed_when_the_owner_stores_the_next_block() {
    let mut scene = Scene::new(921, 40, false);
    let blocks = scene.expected([60; 3]);
    let directory = scratch();
    let config = small_durable(&directory.path().join("state"));
    let phalanx = scene.durable(1, config.clone());
    store(&phalanx, &blocks[0]);
    let dies = || {
        let mut reader = child("reader", &config.directory, None);
        reader.line("child ready");
        reader.kill();
    };
    dies();
    assert_eq!(dead_readers(&config.directory), 1, "nobody has looked yet");
    dies();
    store(&phalanx, &blocks[1]);
    // The owner looks right behind the transaction.
    store(&phalanx, &blocks[2]);
    assert_eq!(dead_readers(&config.directory), 0);
}

#[test]
fn a_death_inside_the_stores_own_lock_frees_lock_and_lifeline_in_either_order() {
    let mut scene = Scene::new(922, 40, false);
    let blocks = scene.expected([60; 5]);
    let directory = scratch();
    let config = small_durable(&directory.path().join("state"));
    let mut stored = 0;
    for role in ["lifeline first", "lock first"] {
        let phalanx = scene.durable(1, config.clone());
        store(&phalanx, &blocks[stored]);
        drop(phalanx);
        let control = Control::create_named(1).unwrap();
        let lifeline = control.slot(0).unwrap().lifeline(1);
        lifeline.reset().unwrap();
        let mut holder = child(role, &config.directory, Some(&control));
        holder.line("child ready");
        assert_eq!(lifeline.probe(), LifelineState::Held, "{role}");
        holder.kill();
        assert!(eventually(PATIENCE, || lifeline.probe() == LifelineState::Gone), "{role}");
        let phalanx = scene.durable(1, config.clone());
        store(&phalanx, &blocks[stored + 1]);
        drop(phalanx);
        stored += 2;
    }
}

#[test]
fn readers_that_are_killed_while_they_come_and_go_disturb_nobody() {
    let mut scene = Scene::new(923, 40, false);
    let blocks = scene.expected([20; 24]);
    let directory = scratch();
    let config = small_durable(&directory.path().join("state"));
    let phalanx = scene.durable(1, config.clone());
    store(&phalanx, &blocks[0]);
    for (round, block) in blocks.iter().enumerate().skip(1) {
        let control = Control::create_named(1).unwrap();
        let lifeline = control.slot(0).unwrap().lifeline(1);
        lifeline.reset().unwrap();
        let mut reader = child("storm", &config.directory, Some(&control));
        reader.line("child ready");
        std::thread::sleep(Duration::from_micros(137 * round as u64));
        reader.kill();
        assert!(eventually(PATIENCE, || lifeline.probe() == LifelineState::Gone), "round {round}");
        assert_same(&block.1, &phalanx.execute(&block.0, deadline()).unwrap(), "while readers die");
    }
    let last = blocks.last().unwrap().1.height();
    phalanx.wait_stored(last, deadline()).unwrap();
    drop(phalanx);
    let state = scene.open(&config).unwrap();
    assert_eq!(state.state().digest(), blocks.last().unwrap().1.digest());
}
