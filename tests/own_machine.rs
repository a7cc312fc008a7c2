//! A program with a virtual machine of its own that is also the image of its supervisor: keys, values and outputs over
//! the limits, on the process executor.
//!
//! What would break it: a limit that holds in one executor and not in another, a hint with an impossible key that
//! reaches the planner, an output that is longer than the room for it, an entry hook that does not come first. Negative
//! control: each limit is met exactly by one transaction, which must succeed, and exceeded by one.
//!
//! The test harness's own `main` could not call the hook, so this program has none.
#![allow(missing_docs, reason = "a test program")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod common;

use common::{assert_same, deadline, small_memory};
use phalanx::executor::{BlockExecutor, BlockOutput, ExecuteError, Sequential};
use phalanx::state::{BaseState, StateConfig, StateError};
use phalanx::supervisor::{Processes, ProcessesConfig, SupervisorImage};
use phalanx::types::{
    AccessMode, Block, BlockHeader, HintWriter, LimitExceeded, MAX_KEY_BYTES, MAX_OUTPUT_BYTES,
    MAX_VALUE_BYTES, PreparedBlock, StatusCode,
};
use phalanx::vm::{Outcome, StateView, Vm};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What a transaction does.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Step {
    /// Sets the value of a key, of these lengths.
    Set { key_bytes: u32, value_bytes: u32 },
    /// Reads a key of this length.
    Read { key_bytes: u32 },
    /// Sets so many keys to values of this length each.
    Flood { count: u32, value_bytes: u32 },
    /// Emits an event of this length.
    Event { bytes: u32 },
}

/// Executes steps; the status tells which limit was exceeded.
#[derive(Clone)]
struct Steps;

fn key_of(bytes: u32) -> Vec<u8> {
    vec![b'k'; bytes as usize]
}

fn flood_key(number: u32) -> Vec<u8> {
    let mut key = vec![b'f'; 40];
    key[..4].copy_from_slice(&number.to_le_bytes());
    key
}

fn code_of(result: Result<(), LimitExceeded>) -> u16 {
    match result {
        Ok(()) => 0,
        Err(LimitExceeded::Key { .. }) => 1,
        Err(LimitExceeded::Value { .. }) => 2,
        Err(LimitExceeded::Output { .. }) => 3,
        Err(LimitExceeded::Interval { .. } | LimitExceeded::NotANumber) => 4,
    }
}

impl Vm for Steps {
    fn begin_block(&mut self, _: &BlockHeader) {}

    fn declare(&self, _: &BlockHeader, transaction: &[u8], hint: &mut HintWriter<'_>) {
        match bcs::from_bytes(transaction) {
            Ok(Step::Set { key_bytes, .. }) => hint.access(&key_of(key_bytes), AccessMode::Write),
            Ok(Step::Read { key_bytes }) => hint.access(&key_of(key_bytes), AccessMode::Read),
            Ok(Step::Flood { count, .. }) => {
                (0..count).for_each(|number| hint.access(&flood_key(number), AccessMode::Write));
            }
            Ok(Step::Event { .. }) | Err(_) => {}
        }
    }

    fn execute(&mut self, transaction: &[u8], view: &mut dyn StateView) -> Outcome {
        let status = match bcs::from_bytes(transaction) {
            Ok(Step::Set { key_bytes, value_bytes }) => {
                code_of(view.set(&key_of(key_bytes), &vec![7; value_bytes as usize]))
            }
            Ok(Step::Read { key_bytes }) => {
                u16::try_from(view.read(&key_of(key_bytes)).map_or(0, <[u8]>::len) % 60_000).unwrap_or(0)
            }
            Ok(Step::Flood { count, value_bytes }) => {
                let value = vec![3; value_bytes as usize];
                code_of((0..count).try_for_each(|number| view.set(&flood_key(number), &value)))
            }
            Ok(Step::Event { bytes }) => code_of(view.event(1, &vec![5; bytes as usize])),
            Err(_) => 99,
        };
        Outcome { status: StatusCode(status), gas_used: 1 }
    }

    fn status_name(&self, _: StatusCode) -> &'static str {
        "step"
    }
}

fn prepare(steps: &[Step]) -> Arc<PreparedBlock> {
    let transactions = steps.iter().map(|step| bcs::to_bytes(step).unwrap()).collect();
    Arc::new(PreparedBlock::prepare(&Steps, &Block { header: BlockHeader::default(), transactions }).unwrap())
}

fn state(config: StateConfig) -> BaseState {
    BaseState::with_entries(config, [(b"a", b"b")]).unwrap()
}

fn config() -> ProcessesConfig {
    let mut memory = small_memory();
    memory.state.heap_bytes = 1 << 30;
    memory.output_arena_bytes = 32 << 20;
    ProcessesConfig {
        shards: 2,
        image: SupervisorImage::Own,
        memory,
        log: "error".to_owned(),
        ..ProcessesConfig::default()
    }
}

fn launch(config: &ProcessesConfig) -> Processes {
    Processes::launch(config, Steps, state(config.memory.state)).unwrap()
}

/// Executes the steps on both executors; they must agree.
fn both(processes: &mut Processes, oracle: &mut Sequential<Steps>, steps: &[Step]) -> BlockOutput {
    let block = prepare(steps);
    let expected = oracle.execute(&block, deadline()).unwrap();
    let output = processes.execute(&block, deadline()).unwrap();
    assert_same(&expected, &output, &format!("{:?}", &steps[..steps.len().min(4)]));
    output
}

fn statuses(output: &BlockOutput) -> Vec<u16> {
    output.transactions().map(|transaction| transaction.status().0).collect()
}

const KEY: u32 = 256;
const VALUE: u32 = 1 << 20;
const OUTPUT: u32 = 4 << 20;
const _: () = assert!(KEY as usize == MAX_KEY_BYTES && VALUE as usize == MAX_VALUE_BYTES);
const _: () = assert!(OUTPUT as usize == MAX_OUTPUT_BYTES);

fn keys_values_and_events_over_their_limits_get_a_status_and_hints_of_them_are_left_out() {
    let config = config();
    let (mut processes, mut oracle) = (launch(&config), Sequential::new(Steps, state(config.memory.state)));
    let set = |key_bytes, value_bytes| Step::Set { key_bytes, value_bytes };
    let steps = [
        set(KEY, 8),
        set(KEY + 1, 8),
        set(65_536, 8),
        set(1 << 20, 8),
        set(0, 8),
        Step::Read { key_bytes: KEY },
        Step::Read { key_bytes: KEY + 1 },
        Step::Read { key_bytes: 1 << 20 },
        set(10, VALUE),
        set(10, VALUE + 1),
        set(11, 1 << 26),
        Step::Read { key_bytes: 10 },
        Step::Event { bytes: OUTPUT / 2 },
        Step::Event { bytes: OUTPUT + 1 },
    ];
    let output = both(&mut processes, &mut oracle, &steps);
    let long = u16::try_from(VALUE % 60_000).unwrap();
    assert_eq!(statuses(&output), [0, 1, 1, 1, 0, 8, 0, 0, 0, 2, 2, long, 0, 3]);
    let output = both(&mut processes, &mut oracle, &[Step::Read { key_bytes: 10 }]);
    assert_eq!(statuses(&output), [long], "the next block sees what was committed");
}

fn outputs_that_fill_their_arena_end_the_round_and_not_the_block() {
    let config = config();
    let (mut processes, mut oracle) = (launch(&config), Sequential::new(Steps, state(config.memory.state)));
    let just = Step::Flood { count: 3, value_bytes: VALUE };
    let over = Step::Flood { count: 4, value_bytes: VALUE };
    // 30 outputs of 3 MiB and more over two arenas that hold 24 MiB each.
    let steps: Vec<Step> = (0..40).map(|number| if number % 4 == 3 { over } else { just }).collect();
    let output = both(&mut processes, &mut oracle, &steps);
    let expected: Vec<u16> = (0..40).map(|number| if number % 4 == 3 { 3 } else { 0 }).collect();
    assert_eq!(statuses(&output), expected);
    assert!(output.stats().rounds > 1, "negative control: {:?}", output.stats());
    both(&mut processes, &mut oracle, &[just, over, Step::Read { key_bytes: 1 }]);
}

fn values_that_fill_the_heap_of_the_state_fail_the_block_and_smaller_ones_still_work() {
    let mut config = config();
    config.memory.state.heap_bytes = 4 << 20;
    let ample = StateConfig { heap_bytes: 1 << 30, ..config.memory.state };
    let (mut processes, mut oracle) = (launch(&config), Sequential::new(Steps, state(ample)));
    let before = processes.digest();
    let steps: Vec<Step> = (1..9).map(|key_bytes| Step::Set { key_bytes, value_bytes: VALUE }).collect();
    let error = processes.execute(&prepare(&steps), deadline()).unwrap_err();
    assert!(matches!(error, ExecuteError::State(StateError::HeapFull { .. })), "{error}");
    assert_eq!(processes.digest(), before, "nothing is applied");
    both(&mut processes, &mut oracle, &[Step::Set { key_bytes: 3, value_bytes: 1_000 }]);
}

fn a_block_without_transactions_is_an_empty_output() {
    let config = config();
    let mut processes = launch(&config);
    let before = processes.digest();
    for _ in 0..3 {
        let output = processes.execute(&prepare(&[]), deadline()).unwrap();
        assert!(output.is_empty() && output.transactions().next().is_none());
        assert_eq!((output.digest(), processes.digest()), (before, before));
    }
}

fn main() {
    phalanx::supervisor_entry_with(|_: &[u8]| Ok(Steps));
    let tests: [(&str, fn()); 4] = [
        (
            "keys_values_and_events_over_their_limits_get_a_status_and_hints_of_them_are_left_out",
            keys_values_and_events_over_their_limits_get_a_status_and_hints_of_them_are_left_out,
        ),
        (
            "outputs_that_fill_their_arena_end_the_round_and_not_the_block",
            outputs_that_fill_their_arena_end_the_round_and_not_the_block,
        ),
        (
            "values_that_fill_the_heap_of_the_state_fail_the_block_and_smaller_ones_still_work",
            values_that_fill_the_heap_of_the_state_fail_the_block_and_smaller_ones_still_work,
        ),
        ("a_block_without_transactions_is_an_empty_output", a_block_without_transactions_is_an_empty_output),
    ];
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    for (name, test) in tests {
        if arguments.iter().any(|argument| argument == "--list") {
            println!("{name}: test");
        } else if filter.is_none_or(|filter| name.contains(filter.as_str())) {
            test();
            println!("test {name} ... ok");
        }
    }
}
