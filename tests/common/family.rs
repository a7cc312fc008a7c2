//! A family's beginning and end, as the tests of limits look at them.

use super::{
    PATIENCE, Scene, assert_same, children_of, deadline, eventually, segments_of, send_signal, state_of,
};
use nix::sys::signal::Signal;
use phalanx::Phalanx;
use phalanx::executor::BlockExecutor;
use phalanx::supervisor::{LaunchError, Processes, ProcessesConfig};

pub fn own_pid() -> i32 {
    i32::try_from(std::process::id()).unwrap()
}

pub fn launch(config: &ProcessesConfig, scene: &Scene) -> Result<Processes, LaunchError> {
    Processes::launch(config, scene.vm.clone(), scene.state())
}

/// A family starts, executes the scene's next block as the oracle does, and leaves nothing.
pub fn works(scene: &mut Scene, config: &ProcessesConfig) {
    let blocks = scene.expected([200]);
    let mut processes = launch(config, scene).unwrap();
    let output = processes.execute(&blocks[0].0, deadline()).unwrap();
    assert_same(&blocks[0].1, &output, "after the limit is lifted");
    drop(processes);
    nothing_left();
}

pub fn nothing_left() {
    assert_eq!(children_of(own_pid()), Vec::<i32>::new(), "processes");
    assert_eq!(segments_of(own_pid()), Vec::<String>::new(), "segments");
}

pub fn kill_shard(phalanx: &Phalanx, shard: usize) {
    let pid = phalanx.health()[shard].pid;
    assert!(send_signal(pid, "phx-shard", Signal::SIGKILL));
    assert!(eventually(PATIENCE, || state_of(pid).is_none_or(|state| state == 'Z')));
}

pub fn all_ready(phalanx: &Phalanx) -> bool {
    phalanx.health().iter().all(|shard| shard.ready)
}
