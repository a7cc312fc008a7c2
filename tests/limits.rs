//! Limits of the host: each gives a clear typed error (what, which, how much, what to do) or plain
//! success, never a hang, a crash or a leak; and when the limit is lifted the next block is the oracle's.
//!
//! What would break it: a resource taken before its failure can be told, an error that is logged and not returned, a
//! supervisor that ends because it cannot fork. Once broken: the reason
//! why a shard could not be made again was nowhere to be had; a process without descriptors took the owners of all
//! segments for dead and removed them. Negative controls: every failing call is followed by one that must succeed in
//! the same process when the limit is lifted.
//!
//! Tests that change limits of their process run in one of their own. What is not permitted on the host is skipped, and
//! says so.
#![allow(missing_docs, reason = "a test program")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod common;

use common::{
    PATIENCE, Scene, all_ready, alone, alone_under, assert_same, deadline, eventually, fds_of, kill_shard,
    launch, nothing_left, own_pid, parent_of, state_of, works,
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use phalanx::Phalanx;
use phalanx::executor::ExecuteError;
use phalanx::supervisor::{LaunchError, Processes, ProcessesConfig};
use phalanx_ipc::ProcessIdentity;
use std::fs::File;
use std::process::Command;
use std::time::{Duration, Instant};

fn supervisor_of(phalanx: &Phalanx) -> i32 {
    phalanx.health().iter().find_map(|shard| parent_of(shard.pid)).unwrap()
}

/// Sets a soft limit of another process; its hard limit stays.
fn limit(pid: i32, option: &str, soft: &str) {
    let status = Command::new("prlimit")
        .args(["--pid", &pid.to_string(), &format!("--{option}={soft}:")])
        .status()
        .unwrap();
    assert!(status.success(), "prlimit --{option}={soft}");
}

/// A mount namespace of its own with a /dev/shm of three pages.
const SMALL_SHM: [&str; 7] = [
    "unshare",
    "-m",
    "--propagation=private",
    "sh",
    "-c",
    "mount -t tmpfs -o size=12k,mode=1777 tmpfs /dev/shm && exec \"$@\"",
    "sh",
];

#[test]
fn a_full_dev_shm_is_a_clear_error_at_launch_and_room_again_is_enough() {
    alone_under("a_full_dev_shm_is_a_clear_error_at_launch_and_room_again_is_enough", &SMALL_SHM, || {
        let mut scene = Scene::new(51, 40, false);
        let config = scene.processes_config(2);
        let fds = fds_of(own_pid()).len();
        std::fs::write("/dev/shm/filler", vec![1; 12 << 10]).unwrap();
        let error = launch(&config, &scene).unwrap_err();
        println!("{error}");
        let text = error.to_string();
        assert!(text.contains("ENOSPC") && text.contains("/dev/shm") && text.contains("room"), "{text}");
        assert_eq!(std::fs::read_dir("/dev/shm").unwrap().count(), 1, "only the filler");
        nothing_left();
        assert_eq!(fds_of(own_pid()).len(), fds, "descriptors");
        std::fs::remove_file("/dev/shm/filler").unwrap();
        works(&mut scene, &config);
        assert_eq!(std::fs::read_dir("/dev/shm").unwrap().count(), 0);
    });
}

/// A user that has no other process and no privilege.
const NOBODY: [&str; 4] = ["setpriv", "--reuid=1961113", "--regid=1961113", "--clear-groups"];

#[test]
fn a_hard_limit_of_open_files_below_the_need_is_named_at_launch() {
    alone_under("a_hard_limit_of_open_files_below_the_need_is_named_at_launch", &NOBODY, || {
        let scene = Scene::new(52, 40, false);
        setrlimit(Resource::RLIMIT_NOFILE, 100, 100).unwrap();
        let error = launch(&scene.processes_config(4), &scene).unwrap_err().to_string();
        println!("{error}");
        assert!(error.contains("168 open files are needed") && error.contains("ulimit -Hn 168"), "{error}");
        nothing_left();
    });
}

/// Every place of the launch that takes a descriptor is made to fail once.
#[test]
fn a_launch_without_enough_descriptors_fails_clearly_at_every_step() {
    alone("a_launch_without_enough_descriptors_fails_clearly_at_every_step", || {
        let mut scene = Scene::new(53, 40, false);
        let config = ProcessesConfig { attach_limit: Duration::from_secs(5), ..scene.processes_config(2) };
        setrlimit(Resource::RLIMIT_NOFILE, 256, 256).unwrap();
        // Whoever cannot look must not take others for dead: the segment of a living process stays.
        let parent = ProcessIdentity::of(parent_of(own_pid()).unwrap()).unwrap();
        let foreign = format!("/dev/shm/phalanx-{}-{}-4000000000", parent.pid, parent.start_time);
        std::fs::write(&foreign, []).unwrap();
        let (mut failures, mut successes) = (0, 0);
        for free in 0..50 {
            let used = fds_of(own_pid()).len();
            let taken: Vec<File> =
                (0..256 - used - free).map_while(|_| File::open("/dev/null").ok()).collect();
            let begun = Instant::now();
            let outcome = launch(&config, &scene);
            let (took, error) = (begun.elapsed(), outcome.as_ref().err().map(ToString::to_string));
            drop(outcome);
            drop(taken);
            assert!(took < PATIENCE, "{free} free: {took:?}");
            match error {
                Some(text) => {
                    assert!(text.contains("open files"), "{free} free: {text}");
                    failures += 1;
                }
                None => successes += 1,
            }
            assert_eq!(fds_of(own_pid()).len(), used, "{free} free: descriptors left");
            assert!(
                std::fs::exists(&foreign).unwrap(),
                "{free} free: the segment of a living process is gone"
            );
            nothing_left();
        }
        std::fs::remove_file(&foreign).unwrap();
        println!("{failures} launches failed, {successes} succeeded");
        assert!(failures > 10 && successes > 0, "{failures} {successes}");
        works(&mut scene, &config);
    });
}

#[test]
fn a_supervisor_without_descriptors_lives_and_the_shard_comes_back_when_there_are_some() {
    let mut scene = Scene::new(54, 40, false);
    let blocks = scene.expected([200; 24]);
    let phalanx = scene.launch(scene.builder(2).log("off"));
    let supervisor = supervisor_of(&phalanx);
    let mut left = blocks.iter();
    let mut next = |context: &str| {
        let (block, expected) = left.next().unwrap();
        assert_same(expected, &phalanx.execute(block, deadline()).unwrap(), context);
    };
    next("before");
    let held = fds_of(supervisor);
    let highest = held.iter().copied().max().unwrap();
    assert_eq!(held.len(), usize::try_from(highest).unwrap() + 1, "no gap among {held:?}");
    // From "cannot even count its threads" to "the new shard lacks the last one".
    let mut told = 0;
    for more in [0, 1, 2, 3, 5, 8, 40] {
        limit(supervisor, "nofile", &(highest + 1 + more).to_string());
        let before = phalanx.health()[0].generation;
        kill_shard(&phalanx, 0);
        next("one shard is away");
        // The message of an earlier turn stays; a second generation tells that the first one failed, too.
        let failed = || {
            let shard = &phalanx.health()[0];
            shard.message.contains("open files") && shard.generation >= before + 2
        };
        assert!(
            eventually(PATIENCE, || failed() || phalanx.health()[0].ready),
            "{more}: {:?}",
            phalanx.health()
        );
        told += u32::from(failed());
        println!("{more} more descriptors: {:?}", phalanx.health()[0].message);
        next("still one shard is away");
        limit(supervisor, "nofile", "20000");
        assert!(eventually(PATIENCE, || all_ready(&phalanx)), "{more}: {:?}", phalanx.health());
        next("both are back");
    }
    assert!(told >= 4, "the limits were too high to be felt: {told}");
    assert_eq!(supervisor_of(&phalanx), supervisor);
    assert_eq!(phalanx.stats().supervisor_restarts, 0);
}

#[test]
fn a_launch_without_enough_address_space_is_a_clear_error_and_more_is_enough() {
    alone("a_launch_without_enough_address_space_is_a_clear_error_and_more_is_enough", || {
        let mut scene = Scene::new(55, 40, false);
        let config = ProcessesConfig { attach_limit: Duration::from_secs(5), ..scene.processes_config(2) };
        let pages: u64 =
            std::fs::read_to_string("/proc/self/statm").unwrap().split(' ').next().unwrap().parse().unwrap();
        let (_, hard) = getrlimit(Resource::RLIMIT_AS).unwrap();
        let (mut failures, mut successes) = (0, 0);
        for more in [128, 256, 512, 1_024, 1_300, 1_600, 2_048, 4_096, 16_384] {
            setrlimit(Resource::RLIMIT_AS, pages * 4096 + (more << 20), hard).unwrap();
            // The state itself is made by the caller here.
            let begun = Instant::now();
            let outcome = scene
                .try_state()
                .map_err(LaunchError::from)
                .and_then(|state| Processes::launch(&config, scene.vm.clone(), state));
            assert!(begun.elapsed() < PATIENCE, "{more} MiB: {:?}", begun.elapsed());
            match outcome {
                Ok(family) => {
                    drop(family);
                    successes += 1;
                }
                Err(error) => {
                    let text = error.to_string();
                    println!("{more} MiB: {text}");
                    assert!(text.contains("ENOMEM") && text.contains("ulimit -v"), "{more} MiB: {text}");
                    failures += 1;
                }
            }
            setrlimit(Resource::RLIMIT_AS, hard, hard).unwrap();
            nothing_left();
        }
        assert!(failures > 2 && successes > 0, "{failures} {successes}");
        works(&mut scene, &config);
    });
}

#[test]
fn an_unprivileged_supervisor_at_its_process_limit_lives_and_shards_come_back_when_it_is_lifted() {
    let name = "an_unprivileged_supervisor_at_its_process_limit_lives_and_shards_come_back_when_it_is_lifted";
    alone_under(name, &NOBODY, || {
        let mut scene = Scene::new(60, 40, false);
        let blocks = scene.expected([200; 5]);
        let (_, hard) = getrlimit(Resource::RLIMIT_NPROC).unwrap();
        // Not one process more than there are: the launch itself.
        setrlimit(Resource::RLIMIT_NPROC, 1, hard).unwrap();
        let error = launch(&scene.processes_config(2), &scene).unwrap_err().to_string();
        println!("{error}");
        assert!(error.contains("EAGAIN") && error.contains("limit of processes"), "{error}");
        nothing_left();
        setrlimit(Resource::RLIMIT_NPROC, hard, hard).unwrap();
        let phalanx = scene.phalanx(2);
        let supervisor = supervisor_of(&phalanx);
        let execute = |number: usize, context: &str| {
            let (block, expected) = &blocks[number];
            assert_same(expected, &phalanx.execute(block, deadline()).unwrap(), context);
        };
        execute(0, "before");
        limit(supervisor, "nproc", "1");
        kill_shard(&phalanx, 0);
        execute(1, "one shard is away");
        execute(2, "still");
        let told = || phalanx.health()[0].message.contains("limit of processes");
        assert!(eventually(PATIENCE, told), "{:?}", phalanx.health());
        kill_shard(&phalanx, 1);
        let begun = Instant::now();
        let error = phalanx.execute(&blocks[3].0, begun + Duration::from_secs(2)).unwrap_err();
        println!("{:?}: {error}", begun.elapsed());
        assert!(begun.elapsed() < PATIENCE);
        // On a starved host the caller may be faster than the coordinator, which gives up a little before the deadline.
        let told = matches!(&error, ExecuteError::NoShards(text) if text.contains("limit of processes"));
        assert!(told || matches!(error, ExecuteError::DeadlineExceeded { .. }), "{error}");
        assert_eq!(state_of(supervisor).map(|state| state == 'Z'), Some(false), "the supervisor lives");
        limit(supervisor, "nproc", &hard.to_string());
        assert!(eventually(PATIENCE, || all_ready(&phalanx)), "{:?}", phalanx.health());
        execute(3, "both are back");
        execute(4, "both are back");
        assert_eq!(supervisor_of(&phalanx), supervisor);
        drop(phalanx);
        nothing_left();
    });
}

/// Names a directory of a memory controller (cgroup v1 or v2) in which this test may make a group of its own.
const MEMORY_GROUP: &str = "PHALANX_TEST_MEMORY_GROUP";

/// Not part of every run: where a test may make control groups is for the host's operator to say.
#[test]
fn a_shard_that_its_memory_group_kills_is_replaced_and_the_block_is_the_oracles() {
    let Some(parent) = std::env::var_os(MEMORY_GROUP) else {
        println!("SKIPPED: set {MEMORY_GROUP} to a memory control group in which a test may make another");
        return;
    };
    let group = std::path::Path::new(&parent).join(format!("phalanx-limits-{}", own_pid()));
    std::fs::create_dir(&group).unwrap();
    let limit = ["memory.max", "memory.limit_in_bytes"].map(|name| group.join(name));
    let limit = limit.into_iter().find(|file| file.exists());
    let outcome = limit.map(|limit| {
        std::panic::catch_unwind(|| {
            let mut scene = Scene::new(62, 40, false);
            let blocks = scene.expected([20_000, 2_000]);
            let phalanx = scene.phalanx(2);
            let victim = phalanx.health()[0].clone();
            std::fs::write(&limit, "262144").unwrap();
            std::fs::write(group.join("cgroup.procs"), victim.pid.to_string()).unwrap();
            for (block, expected) in &blocks {
                assert_same(expected, &phalanx.execute(block, deadline()).unwrap(), "killed for its memory");
            }
            assert!(phalanx.health()[0].generation > victim.generation, "nobody was killed: too much memory");
        })
    });
    assert!(eventually(PATIENCE, || std::fs::remove_dir(&group).is_ok()), "group {} stays", group.display());
    match outcome {
        Some(Ok(())) => {}
        Some(Err(panic)) => std::panic::resume_unwind(panic),
        None => panic!("{MEMORY_GROUP} names no memory controller"),
    }
}
