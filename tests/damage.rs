//! Random bytes over everything that one shard can write: its output arena, its ends of the rings (cells and indices),
//! its doorbell, its slot of the control segment, while blocks run and after it died; and over the words in all slots from which
//! free work is claimed.
//!
//! What would break it: a length that is trusted, a loop over a count of a peer's, a dead shard whose lifeline looks held
//! for ever, a ring of a doorbell that a damaged word swallows for good, a slot that names a life that never was, a
//! process that is signalled because a slot names it. Once broken: a shard whose slot named another generation or was
//! never ready again stayed lost until the end; a scribbled doorbell word or the last index of a producer that was done
//! stalled the block until the stall limit.
//!
//! Negative controls, each of which made a test here fail: the supervisor does not look at slots; doorbells are not rung
//! again while nobody moves; indices are not put back; the reaped do not count as gone; a ring's tail is believed. (An
//! output's length believed in any one of the three places that check it did not: the next one finds it.)
//!
//! Outputs that are well-formed but wrong are outside the fault model (docs/architecture.md), so a block that was
//! executed under damage only has to return in time, with an output or a typed error; if the state's digest is not the
//! oracle's afterwards, the family is started anew. When the damage is over and its victim replaced, blocks must be the
//! oracle's again, and all other shards the same processes as before.
//!
//! The test damages through the descriptors that the supervisor holds for its shards, so the product needs no hook.
#![allow(missing_docs, reason = "a test program")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod common;

use common::{
    Dice, Hints, Scene, assert_same, children_of, comm_of, deadline, eventually, parent_of, prepare_with,
    seed, send_signal,
};
use nix::sys::signal::Signal;
use phalanx::executor::{BlockExecutor, BlockOutput, ExecuteError, JudgeAhead};
use phalanx::supervisor::Pacing;
use phalanx::types::PreparedBlock;
use phalanx::vm::ledger::LedgerVm;
use phalanx::{Phalanx, PhalanxBuilder};
use phalanx_ipc::{ChildSlot, InboxLayout, ring_bytes};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const SHARDS: usize = 4;
/// A shard that does nothing for this long is killed: short, so that a stalled round costs little.
const STALL: Duration = Duration::from_millis(250);
/// A call under damage gets this much, and must return within twice as much on a loaded host.
const UNDER_DAMAGE: Duration = Duration::from_secs(10);

// Offsets, as docs/layout.md has them.
const CONTROL_HEADER: u64 = 512;
const SLOT_GENERATION: u64 = 0;
const SLOT_STATE: u64 = 4;
const SLOT_PID: u64 = 8;
const SLOT_READY: u64 = 152;
const SLOT_DAMAGED: u64 = 256 + 6 * 8;
const SLOT_LIFELINES: u64 = 640;
const SLOT_CLAIMS: u64 = 2560;
const LIFELINES_BYTES: usize = 80;
const DOORBELL_BYTES: u64 = 256;
const RING_TAIL: u64 = 0;
const RING_HEAD: u64 = 128;
const RING_REQUEST: u64 = 256;
const RING_CELLS: u64 = 384;

/// Part of a file that one shard can write.
#[derive(Clone)]
struct Target {
    file: Arc<File>,
    name: &'static str,
    start: u64,
    bytes: u64,
}

impl Target {
    fn word(&self, at: u64) -> u64 {
        let mut word = [0; 8];
        self.file.read_exact_at(&mut word, self.start + at).unwrap();
        u64::from_le_bytes(word)
    }

    fn write(&self, at: u64, bytes: &[u8]) {
        self.file.write_all_at(bytes, self.start + at).unwrap();
    }

    fn set(&self, at: u64, word: u64) {
        self.write(at, &word.to_le_bytes());
    }

    fn set_half(&self, at: u64, word: u32) {
        self.write(at, &word.to_le_bytes());
    }

    /// One act of damage.
    fn scribble(&self, dice: &mut Dice) {
        // Most of a large part is never used.
        let reach = if dice.chance(90) { self.bytes.min(1 << 15) } else { self.bytes };
        let at = dice.next() % (reach / 8) * 8;
        let old = self.word(at);
        let extremes = [0, 1, 2, u64::MAX, u64::MAX - 1, 1 << 63, 1 << 32, u64::from(u32::MAX), 1 << 24];
        match dice.below(10) {
            0..3 => self.set(at, old ^ (1 << dice.below(64))),
            3..5 => self.set(at, dice.next()),
            5..7 => self.set(at, *dice.pick(&extremes)),
            7..9 => {
                let step = *dice.pick(&[1, 8, 16, 40, 1 << 32]);
                self.set(at, if dice.chance(50) { old.wrapping_add(step) } else { old.wrapping_sub(step) });
            }
            _ => {
                let length = usize::try_from((self.bytes - at).min(4096)).unwrap();
                let same = *dice.pick(&[0, 1, 0xff]);
                let random = dice.chance(50);
                let page: Vec<u8> =
                    (0..length).map(|_| if random { dice.next().to_le_bytes()[3] } else { same }).collect();
                self.write(at, &page);
            }
        }
    }
}

/// A running family and its memory.
struct Family {
    phalanx: Phalanx,
    supervisor: i32,
    layout: InboxLayout,
    control: Arc<File>,
    inboxes: Vec<Arc<File>>,
    outputs: Vec<Arc<File>>,
}

impl Family {
    fn launch(scene: &Scene, stall_limit: Duration, judge_ahead: JudgeAhead) -> Family {
        Family::of(scene, scene.builder(SHARDS).stall_limit(stall_limit).judge_ahead(judge_ahead))
    }

    fn of(scene: &Scene, builder: PhalanxBuilder<LedgerVm>) -> Family {
        let phalanx = scene.launch(builder.log("off"));
        let supervisor = parent_of(phalanx.health()[0].pid).unwrap();
        let maps = fs::read_to_string(format!("/proc/{supervisor}/maps")).unwrap();
        let segment = maps.lines().find_map(|line| Some(&line[line.find("/dev/shm/phalanx-")?..])).unwrap();
        let family = Family {
            layout: InboxLayout::for_budget(SHARDS, scene.memory.ring_budget_bytes),
            control: Arc::new(File::options().read(true).write(true).open(segment).unwrap()),
            inboxes: writable(supervisor, "phalanx-inbox"),
            outputs: writable(supervisor, "phalanx-outputs"),
            phalanx,
            supervisor,
        };
        assert_eq!((family.inboxes.len(), family.outputs.len()), (SHARDS, SHARDS));
        family
    }

    fn slot(&self, shard: usize) -> Target {
        let bytes = size_of::<ChildSlot>() as u64;
        let start = CONTROL_HEADER + shard as u64 * bytes;
        Target { file: Arc::clone(&self.control), name: "slot", start, bytes }
    }

    /// The words from which all shards claim free work.
    fn claims(&self) -> Vec<Target> {
        let slots = (0..SHARDS).map(|shard| self.slot(shard));
        slots
            .map(|slot| Target { name: "claims", start: slot.start + SLOT_CLAIMS, bytes: 8, ..slot })
            .collect()
    }

    fn ring(&self, consumer: usize, producer: usize) -> Target {
        let bytes = ring_bytes(self.layout.capacity) as u64;
        let start = DOORBELL_BYTES + producer as u64 * bytes;
        Target { file: Arc::clone(&self.inboxes[consumer]), name: "ring", start, bytes }
    }

    fn doorbell(&self, shard: usize) -> Target {
        Target { file: Arc::clone(&self.inboxes[shard]), name: "doorbell", start: 0, bytes: DOORBELL_BYTES }
    }

    fn outputs(&self, shard: usize) -> Target {
        let file = Arc::clone(&self.outputs[shard]);
        let bytes = file.metadata().unwrap().len();
        Target { file, name: "outputs", start: 0, bytes }
    }

    /// Everything that `victim` can write by the rule of one writer.
    fn targets(&self, victim: usize) -> Vec<Target> {
        let mut targets = vec![self.outputs(victim), self.slot(victim), self.doorbell(victim)];
        for peer in (0..SHARDS).filter(|&peer| peer != victim) {
            let own = self.ring(peer, victim);
            for (name, start, bytes) in [
                ("tail", RING_TAIL, 8),
                ("request", RING_REQUEST, 8),
                ("cells", RING_CELLS, own.bytes - RING_CELLS),
            ] {
                targets.push(Target { name, start: own.start + start, bytes, file: Arc::clone(&own.file) });
            }
            let other = self.ring(victim, peer);
            targets.push(Target { name: "head", start: other.start + RING_HEAD, bytes: 8, file: other.file });
        }
        targets
    }

    /// The shards as the kernel knows them; what a slot says is not believed here.
    fn pids(&self) -> BTreeMap<usize, i32> {
        let children = children_of(self.supervisor).into_iter();
        let named = children.filter_map(|pid| {
            let comm = comm_of(pid)?;
            Some((comm.strip_prefix("phx-shard-")?.parse().ok()?, pid))
        });
        named.filter(|&(_, pid)| common::state_of(pid) != Some('Z')).collect()
    }

    /// Ends the victim for good and waits until all shards are ready.
    fn replace(&self, victim: usize) {
        if let Some(&pid) = self.pids().get(&victim) {
            send_signal(pid, "phx-shard", Signal::SIGKILL);
            assert!(eventually(Duration::from_secs(10), || self.pids().get(&victim) != Some(&pid)));
        }
    }

    fn all_ready(&self) -> bool {
        self.phalanx.health().iter().all(|shard| shard.ready) && self.pids().len() == SHARDS
    }

    /// Damaged words of rings that each shard other than `victim` has noticed, counted from a word that may itself have
    /// been damaged in an earlier life.
    fn noticed(&self, victim: usize) -> Vec<u64> {
        let others = (0..SHARDS).filter(|&shard| shard != victim);
        others.map(|shard| self.slot(shard).word(SLOT_DAMAGED)).collect()
    }
}

/// The supervisor's memfds of this name that can be written, in the order in which it got them.
fn writable(supervisor: i32, name: &str) -> Vec<Arc<File>> {
    let mut files: Vec<(u64, Arc<File>)> = Vec::new();
    for fd in {
        let mut fds = common::fds_of(supervisor);
        fds.sort_unstable();
        fds
    } {
        let path = format!("/proc/{supervisor}/fd/{fd}");
        let named = fs::read_link(&path).is_ok_and(|link| link.to_string_lossy().contains(name));
        let Ok(file) = File::options().read(true).write(true).open(&path) else { continue };
        let inode = file.metadata().unwrap().ino();
        if named && files.iter().all(|&(known, _)| known != inode) {
            files.push((inode, Arc::new(file)));
        }
    }
    files.into_iter().map(|(_, file)| file).collect()
}

type Expected = Vec<(Arc<PreparedBlock>, BlockOutput)>;

/// Blocks whose hints are partly wrong, so that rounds, overlays and waits of all kinds occur.
fn blocks_of(scene: &mut Scene, dice: &mut Dice, sizes: &[usize]) -> Expected {
    let mut oracle = scene.oracle();
    sizes
        .iter()
        .map(|&size| {
            let block = scene.workload.next_block(size);
            let wrong = if dice.chance(50) { 0 } else { 10 };
            let hints = |dice: &mut Dice| if dice.chance(wrong) { Hints::Wrong } else { Hints::Right };
            let prepared = Arc::new(prepare_with(&scene.vm, &block, dice, hints));
            let output = oracle.execute(&prepared, deadline()).unwrap();
            (prepared, output)
        })
        .collect()
}

/// What came of the damage, over all blocks.
#[derive(Debug, Default)]
struct Tally {
    acts: BTreeMap<&'static str, u64>,
    calls: u64,
    errors: BTreeMap<String, u64>,
    /// Outside the fault model.
    wrong: u64,
    declared: u64,
    cut_short: u64,
    victims_replaced: u64,
    others_replaced: u64,
    noticed: u64,
    slowest: Duration,
}

/// Executes one block while `victim`'s memory is damaged; false if the state is not the oracle's afterwards.
fn under_damage(
    family: &Family,
    victim: usize,
    (block, expected): &(Arc<PreparedBlock>, BlockOutput),
    dice: &mut Dice,
    tally: &mut Tally,
    context: &str,
) -> bool {
    let before = family.pids();
    let noticed = family.noticed(victim);
    let (done, mut own) = (AtomicBool::new(false), Dice::new(dice.next()));
    let targets = family.targets(victim);
    let (pause, deadly) = (*dice.pick(&[0, 20, 200, 1_000]), dice.chance(30));
    let favourite = dice.chance(50).then(|| dice.pick(&targets).name);
    let stats = family.phalanx.stats();
    let (result, acts) = std::thread::scope(|scope| {
        let damager = scope.spawn(|| {
            let mut acts: BTreeMap<&'static str, u64> = BTreeMap::new();
            let targets: Vec<&Target> =
                targets.iter().filter(|target| favourite.is_none_or(|name| name == target.name)).collect();
            while !done.load(Ordering::Relaxed) {
                let target = own.pick(&targets);
                target.scribble(&mut own);
                *acts.entry(target.name).or_default() += 1;
                if deadly && own.chance(1) {
                    before.get(&victim).map(|&pid| send_signal(pid, "phx-shard", Signal::SIGKILL));
                }
                std::thread::sleep(Duration::from_micros(pause));
            }
            acts
        });
        let begun = Instant::now();
        let result = family.phalanx.execute(block, begun + UNDER_DAMAGE);
        let taken = begun.elapsed();
        done.store(true, Ordering::Relaxed);
        tally.slowest = tally.slowest.max(taken);
        assert!(taken < 2 * UNDER_DAMAGE, "{taken:?}: {context}");
        (result, damager.join().unwrap())
    });
    acts.iter().for_each(|(name, count)| *tally.acts.entry(name).or_default() += count);
    tally.calls += 1;
    let after = family.pids();
    tally.victims_replaced += u64::from(after.get(&victim) != before.get(&victim));
    tally.others_replaced +=
        before.iter().filter(|&(shard, pid)| *shard != victim && after.get(shard) != Some(pid)).count()
            as u64;
    let noticed_now = family.noticed(victim);
    tally.noticed += noticed_now.iter().zip(&noticed).map(|(now, then)| now.wrapping_sub(*then)).sum::<u64>();
    let now = family.phalanx.stats();
    tally.declared += now.stats.damaged - stats.stats.damaged;
    tally.cut_short += now.stats.rounds_cut_short - stats.stats.rounds_cut_short;
    family.replace(victim);
    match result {
        Ok(_) if family.phalanx.digest() != expected.digest() => {
            tally.wrong += 1;
            false
        }
        Ok(output) => {
            tally.wrong += u64::from(expected.first_difference(&output).is_some());
            true
        }
        Err(error) => {
            let name = format!("{error:?}").split([' ', '(', '{']).next().unwrap_or_default().to_owned();
            println!("{context}: {error}");
            *tally.errors.entry(name).or_default() += 1;
            // Neither can come of what a shard wrote.
            let foreign = matches!(error, ExecuteError::StatePoisoned { .. } | ExecuteError::System(_));
            assert!(!foreign, "{error}: {context}");
            // Nothing is committed: the same block again, undamaged.
            let again = family.phalanx.execute(block, deadline());
            let again = again.unwrap_or_else(|error| panic!("{error}: {context}"));
            assert_same(expected, &again, context);
            true
        }
    }
}

/// Episodes of damaged and undamaged blocks in turn.
fn damage(episodes: u64, signed: bool, sizes: &[usize]) -> Tally {
    let seed = seed();
    let mut tally = Tally::default();
    for episode in 0..episodes {
        let mut dice = Dice::new(seed ^ episode << 8);
        let mut scene = Scene::new(seed ^ episode, 60, signed);
        let blocks = blocks_of(&mut scene, &mut dice, sizes);
        let judge_ahead = if episode % 2 == 0 { JudgeAhead::Always } else { JudgeAhead::AfterRound };
        let family = Family::launch(&scene, STALL, judge_ahead);
        for (number, pair) in blocks.chunks(2).enumerate() {
            let victim = dice.below(SHARDS);
            let context = format!("episode {episode}, pair {number}, victim {victim}, PHALANX_SEED={seed}");
            if !under_damage(&family, victim, &pair[0], &mut dice, &mut tally, &context) {
                break;
            }
            assert!(
                eventually(Duration::from_secs(20), || family.all_ready()),
                "{context}: {:?} {:?}",
                family.phalanx.health(),
                family.pids()
            );
            let output = family.phalanx.execute(&pair[1].0, deadline());
            let output = output.unwrap_or_else(|error| panic!("{error}: {context}"));
            assert_same(&pair[1].1, &output, &context);
        }
    }
    println!("PHALANX_SEED={seed}: {tally:?}");
    // None, but that a starved one may be taken for hanging.
    assert!(tally.others_replaced <= tally.calls / 8, "PHALANX_SEED={seed}: {tally:?}");
    tally
}

#[test]
fn scribbles_over_one_shards_memory_harm_no_other_and_no_later_block() {
    let tally = damage(12, false, &[1_500, 300, 1_500, 300, 1_500, 300, 1_500, 300]);
    assert!(tally.calls >= 12 && tally.acts.len() >= 6, "{tally:?}");
    assert!(tally.declared > 0 && tally.victims_replaced > 0, "the damage had no effect: {tally:?}");
}

#[test]
fn scribbles_over_one_shards_memory_while_signed_blocks_run_harm_no_other() {
    // So few acts may all be harmless: then others.
    let tallies: Vec<Tally> = (0..5)
        .map(|_| damage(4, true, &[300, 50, 300, 50, 300, 50]))
        .take_while(|tally| tally.cut_short == 0 || tally.victims_replaced == 0)
        .collect();
    assert!(tallies.len() < 5, "the damage had no effect: {tallies:?}");
}

/// All shards claim from these words, so nobody knows who wrote what they say: a shard that leaves what another one has left is
/// replaced.
#[test]
fn scribbles_over_the_words_that_free_work_is_claimed_from_never_change_a_result() {
    scribble_over_claims(JudgeAhead::AfterRound);
}

#[test]
fn nor_do_they_if_one_of_two_outputs_is_judged_before_the_other_comes() {
    scribble_over_claims(JudgeAhead::Always);
}

fn scribble_over_claims(judge_ahead: JudgeAhead) {
    let seed = seed();
    let (mut dice, mut scene) = (Dice::new(seed), Scene::new(seed, 20_000, false));
    let blocks = blocks_of(&mut scene, &mut dice, &[2_000; 24]);
    let patient = Pacing { immediate: u32::MAX, intensity: u32::MAX, ..Pacing::default() };
    let builder = scene.builder(SHARDS).stall_limit(STALL).pacing(patient).judge_ahead(judge_ahead);
    let family = Family::of(&scene, builder);
    let (done, acts) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let targets = family.claims();
            while !done.load(Ordering::Relaxed) {
                let (target, word) = (dice.pick(&targets), targets[dice.below(SHARDS)].word(0));
                match dice.below(4) {
                    0 => target.scribble(&mut dice),
                    // What is done already is left again.
                    1 => target.set(0, word & !(0xf_ffff << 20)),
                    // More is left than there is.
                    2 => target.set(0, word | 0xf_ffff),
                    // Another one's work is left here.
                    _ => target.set(0, word),
                }
                acts.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_micros(*dice.pick(&[0, 20, 200])));
            }
        });
        let results: Vec<_> = blocks
            .iter()
            .map(|(block, _)| family.phalanx.execute(block, Instant::now() + UNDER_DAMAGE))
            .collect();
        done.store(true, Ordering::Relaxed);
        for (result, (_, expected)) in results.into_iter().zip(&blocks) {
            let output = result.unwrap_or_else(|error| panic!("{error}: PHALANX_SEED={seed}"));
            assert_same(expected, &output, &format!("PHALANX_SEED={seed}"));
        }
    });
    let stats = family.phalanx.stats().stats;
    println!(
        "{} acts, {} of {} rounds cut short, {} damaged",
        acts.into_inner(),
        stats.rounds_cut_short,
        stats.rounds,
        stats.damaged
    );
    assert!(stats.damaged > 0 && stats.rounds > 24, "the damage had no effect: {stats:?}");
}

/// Executes blocks as the oracle does until `done`; all calls take less than `limit` each.
fn execute_until(
    family: &Family,
    blocks: &[(Arc<PreparedBlock>, BlockOutput)],
    limit: Duration,
    context: &str,
    done: impl Fn() -> bool,
) {
    for (number, (block, expected)) in blocks.iter().enumerate() {
        let begun = Instant::now();
        let output = family.phalanx.execute(block, deadline());
        let output = output.unwrap_or_else(|error| panic!("{error}: {context}, block {number}"));
        assert_same(expected, &output, context);
        assert!(begun.elapsed() < limit, "{:?}: {context}, block {number}", begun.elapsed());
        if done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("{context}: not done after {} blocks: {:?}", blocks.len(), family.phalanx.health());
}

/// One damaged slot word each; the shard must be replaced, the others stay, and nobody else is harmed.
#[test]
fn a_shard_whose_slot_does_not_say_what_it_must_is_replaced_and_no_other_process_is_harmed() {
    let (mut scene, mut dice) = (Scene::new(41, 60, false), Dice::new(41));
    let blocks = blocks_of(&mut scene, &mut dice, &[200; 300]);
    let family = Family::launch(&scene, STALL, JudgeAhead::default());
    // A process that a damaged slot names must live on.
    let mut bystander = std::process::Command::new("sleep").arg("600").spawn().unwrap();
    let mut left = &blocks[..];
    type Act = fn(&Target, u32);
    let acts: [(&str, Act); 9] = [
        ("generation", |slot, _| slot.set_half(SLOT_GENERATION, 77)),
        ("generation 0", |slot, _| slot.set_half(SLOT_GENERATION, 0)),
        ("state", |slot, _| slot.set_half(SLOT_STATE, u32::MAX)),
        ("state down", |slot, _| slot.set_half(SLOT_STATE, 3)),
        ("pid of another process", |slot, other| slot.set_half(SLOT_PID, other)),
        ("ready generation", |slot, _| slot.set_half(SLOT_READY, 0)),
        ("another ready generation", |slot, _| slot.set_half(SLOT_READY, 9_999)),
        ("free lifelines", |slot, _| slot.write(SLOT_LIFELINES, &[0; LIFELINES_BYTES])),
        ("lifelines of dead owners", |slot, _| slot.write(SLOT_LIFELINES, &[0xff; LIFELINES_BYTES])),
    ];
    for (turn, (what, act)) in acts.into_iter().enumerate() {
        let victim = turn % SHARDS;
        assert!(eventually(Duration::from_secs(20), || family.all_ready()), "{what}");
        let before = family.pids();
        act(&family.slot(victim), bystander.id());
        let replaced = || family.all_ready() && family.pids().get(&victim) != before.get(&victim);
        let done = std::cell::Cell::new(0);
        execute_until(&family, left, UNDER_DAMAGE, what, || {
            done.set(done.get() + 1);
            replaced()
        });
        left = &left[done.get()..];
        let after = family.pids();
        assert!(
            before.iter().all(|(shard, pid)| *shard == victim || after.get(shard) == Some(pid)),
            "{what}: {before:?} {after:?}"
        );
    }
    assert!(bystander.try_wait().unwrap().is_none(), "a process that a slot named was ended");
    bystander.kill().unwrap();
    bystander.wait().unwrap();
}

/// The lifeline of a shard says for ever that its owner lives; only the reaper knows better. The successor comes far too
/// late to tell.
#[test]
fn a_dead_shard_whose_lifeline_looks_held_is_noticed_all_the_same() {
    let (mut scene, mut dice) = (Scene::new(42, 60, false), Dice::new(42));
    let blocks = blocks_of(&mut scene, &mut dice, &[400, 400]);
    let late =
        Pacing { immediate: 0, first_pause_ms: 600_000, longest_pause_ms: 600_000, ..Pacing::default() };
    for victim in 0..SHARDS {
        let family =
            Family::of(&scene, scene.builder(SHARDS).stall_limit(Duration::from_secs(40)).pacing(late));
        let pid = family.pids()[&victim];
        assert!(send_signal(pid, "phx-shard", Signal::SIGSTOP));
        assert!(eventually(Duration::from_secs(20), || common::state_of(pid) == Some('T')));
        family.slot(victim).write(SLOT_LIFELINES, &[1; LIFELINES_BYTES]);
        let begun = Instant::now();
        let handle = family.phalanx.submit(&blocks[0].0, deadline()).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        assert!(send_signal(pid, "phx-shard", Signal::SIGKILL));
        assert_same(&blocks[0].1, &handle.wait().unwrap(), &format!("victim {victim}"));
        assert!(begun.elapsed() < Duration::from_secs(20), "victim {victim}: {:?}", begun.elapsed());
        let output = family.phalanx.execute(&blocks[1].0, deadline()).unwrap();
        assert_same(&blocks[1].1, &output, "with one shard less");
    }
}

/// The stall limit is far beyond what a block may take here: nothing may rest on it.
#[test]
fn scribbled_doorbells_and_ring_indices_of_idle_shards_cost_a_moment_and_no_process() {
    let (mut scene, mut dice) = (Scene::new(43, 60, false), Dice::new(43));
    let blocks = blocks_of(&mut scene, &mut dice, &[400; 40]);
    let family = Family::launch(&scene, Duration::from_secs(40), JudgeAhead::default());
    let before = family.pids();
    for (turn, block) in blocks.chunks(1).enumerate() {
        std::thread::sleep(Duration::from_millis(15));
        for victim in 0..SHARDS {
            let word = *dice.pick(&[0, 2, u64::MAX, 1 << 40, dice.clone().next()]);
            match turn % 4 {
                // The sleeper looks awake to everyone.
                0 => family.doorbell(victim).set_half(0, u32::try_from(word >> 32).unwrap() & !1),
                1 => (0..SHARDS).for_each(|peer| family.ring(peer, victim).set(RING_TAIL, word)),
                2 => (0..SHARDS).for_each(|peer| family.ring(victim, peer).set(RING_HEAD, word)),
                _ => (0..SHARDS).for_each(|peer| family.ring(peer, victim).set(RING_REQUEST, word)),
            }
        }
        let limit = Duration::from_secs(20);
        execute_until(&family, block, limit, &format!("turn {turn}"), || true);
    }
    assert_eq!(family.pids(), before);
    println!("noticed {:?}", family.noticed(SHARDS));
}

/// As above, while blocks run: the last index of a producer that is done already must be put back by somebody.
#[test]
fn scribbled_ring_indices_under_way_cost_a_moment_and_no_process() {
    let (mut scene, mut dice) = (Scene::new(44, 60, false), Dice::new(44));
    let blocks = blocks_of(&mut scene, &mut dice, &[600; 60]);
    let family = Family::launch(&scene, Duration::from_secs(40), JudgeAhead::default());
    let before = family.pids();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut dice = Dice::new(45);
            while !done.load(Ordering::Relaxed) {
                let (left, right) = (dice.below(SHARDS), dice.below(SHARDS));
                let offset = *dice.pick(&[RING_TAIL, RING_HEAD]);
                family.ring(left, right).set(offset, dice.next());
                std::thread::sleep(Duration::from_micros(dice.next() % 300));
            }
        });
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for turn in 0..blocks.len() {
                let limit = Duration::from_secs(20);
                execute_until(&family, &blocks[turn..=turn], limit, &format!("turn {turn}"), || true);
            }
        }));
        done.store(true, Ordering::Relaxed);
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
    });
    assert_eq!(family.pids(), before);
    println!("noticed {:?}", family.noticed(SHARDS));
}
