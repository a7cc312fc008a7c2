//! The entry of an image that was started to be the supervisor.

use crate::executor::{ExecuteError, ShardFds};
use crate::supervisor::protocol::{LaunchOrder, MARKER, MARKER_VALUE};
use crate::supervisor::shard_process::{FamilyFds, OneShardFds};
use crate::supervisor::supervisor_loop::{StopCause, Supervisor};
use crate::supervisor::turns;
use crate::telemetry::name_process;
use crate::vm::evm::EvmVm;
use crate::vm::ledger::LedgerVm;
use crate::vm::{BuiltInVm, Vm};
use phalanx_ipc::{
    Channel, ChannelError, Control, SPAWN_SOCKET_FD, SignalFd, SignalSetup, close_all_fds_except, fail_point,
};
use std::error::Error;
use std::io::Write;
use std::os::fd::{FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// How long a supervisor waits for its launch order.
const ORDER_LIMIT: Duration = Duration::from_secs(10);

/// Whether this process was started to be a supervisor.
#[must_use]
pub fn is_supervisor_image() -> bool {
    std::env::var_os(MARKER).is_some()
}

/// Call this first thing in `main`, before any thread starts: if the process was started as a supervisor for a built-in
/// virtual machine (ledger or EVM) it never returns, otherwise it returns at once.
pub fn supervisor_entry() {
    supervisor_entry_by(SupervisorSeat::serve_built_in);
}

/// As [`supervisor_entry`] for a virtual machine of your own: `make` builds it from the bytes that the coordinator's
/// [`ProcessesConfig`](crate::supervisor::ProcessesConfig) holds for it.
pub fn supervisor_entry_with<V: Vm>(make: impl FnOnce(&[u8]) -> Result<V, Box<dyn Error>>) {
    supervisor_entry_by(|seat| {
        let vm = make(seat.vm_bytes())?;
        Ok(seat.serve(vm))
    });
}

/// As [`supervisor_entry`] for one of several machines: `choose` looks at the bytes, makes the machine that they stand
/// for, and has the seat serve with it.
pub fn supervisor_entry_by(choose: impl FnOnce(SupervisorSeat) -> Result<Served, Box<dyn Error>>) {
    if !is_supervisor_image() {
        return;
    }
    let code = match take_seat().and_then(choose) {
        Ok(Served(StopCause::Asked | StopCause::HungUp)) => 0,
        Ok(Served(StopCause::Broken)) => 1,
        Err(error) => {
            tracing::error!(%error, "supervisor cannot start");
            // Standard error may be closed; there is nobody else to tell.
            let _ = writeln!(std::io::stderr(), "phx-supervisor: cannot start: {error}");
            1
        }
    };
    std::process::exit(code);
}

/// A supervisor that has its order and lacks only its virtual machine.
#[derive(Debug)]
pub struct SupervisorSeat {
    order: LaunchOrder,
    fds: FamilyFds,
    control: Control,
    channel: Channel,
    signals: SignalFd,
}

/// A supervisor has come to its end.
#[derive(Debug)]
pub struct Served(StopCause);

impl SupervisorSeat {
    /// The bytes from which the machine is made.
    #[must_use]
    pub fn vm_bytes(&self) -> &[u8] {
        &self.order.vm
    }

    /// Serves with the built-in machine that the bytes stand for.
    ///
    /// # Errors
    /// When they stand for none.
    pub fn serve_built_in(self) -> Result<Served, Box<dyn Error>> {
        match BuiltInVm::from_bytes(self.vm_bytes())? {
            BuiltInVm::Ledger(config) => Ok(self.serve(LedgerVm::new(config))),
            BuiltInVm::Evm(config) => Ok(self.serve(EvmVm::new(config))),
        }
    }

    /// Starts shards with this machine and looks after them until the coordinator asks for the end or is gone.
    pub fn serve<V: Vm>(self, vm: V) -> Served {
        let SupervisorSeat { order, fds, control, channel, signals } = self;
        let control_name = order.control.clone();
        if order.run_first {
            turns::as_supervisor();
        }
        tracing::debug!(shards = order.cores.len(), "supervisor starts");
        let cause = Supervisor::new(order, fds, control, channel, vm).run(&signals);
        if cause == StopCause::HungUp {
            // The coordinator is gone and cannot remove its segment.
            if let Err(error) = Control::unlink(&control_name) {
                tracing::warn!(%error, "control segment is left");
            }
        }
        tracing::debug!(?cause, "supervisor ends");
        Served(cause)
    }
}

fn take_seat() -> Result<SupervisorSeat, Box<dyn Error>> {
    if std::env::var(MARKER).as_deref() != Ok(MARKER_VALUE) {
        return Err("the image is of another version than its coordinator; install both together".into());
    }
    // What the coordinator's program left open over exec is none of a supervisor's business.
    close_all_fds_except(&[SPAWN_SOCKET_FD])?;
    SignalSetup::child()?;
    let signals = SignalFd::for_children()?;
    // SAFETY: spawn_image left the socket at this descriptor, open over exec, and nothing else here owns it.
    #[allow(unsafe_code, reason = "the descriptor is inherited by number")]
    let socket = unsafe { OwnedFd::from_raw_fd(SPAWN_SOCKET_FD) };
    let channel = Channel::from_fd(socket);
    let mut inherited = Vec::new();
    let order = receive_order(&channel, &mut inherited)?;
    crate::telemetry::log_to_stderr(&order.log);
    name_process("phx-supervisor");
    let control = Control::open_named(&order.control)?;
    // SAFETY: the supervisor and its shards keep the control segment mapped as long as they pass any step: the last one is
    // before `Supervisor::run` returns, and without that none is passed.
    #[cfg(feature = "fail-points")]
    #[allow(unsafe_code, reason = "fail points keep a pointer to the control segment")]
    unsafe {
        phalanx_ipc::attach_fail_points(&control);
    }
    fail_point("order received");
    let fds = sort_fds(inherited, &order)?;
    Ok(SupervisorSeat { order, fds, control, channel, signals })
}

fn receive_order(channel: &Channel, inherited: &mut Vec<OwnedFd>) -> Result<LaunchOrder, Box<dyn Error>> {
    let deadline = Instant::now() + ORDER_LIMIT;
    let (mut bytes, mut fds) = (Vec::new(), Vec::new());
    let mut order: Option<LaunchOrder> = None;
    loop {
        match channel.recv(&mut bytes, &mut fds) {
            Ok(_) => {
                inherited.append(&mut fds);
                if order.is_none() {
                    order = Some(bcs::from_bytes(&bytes)?);
                }
            }
            Err(ChannelError::WouldBlock) => {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err("no launch order came".into());
                }
                channel.poll(Some(left))?;
            }
            Err(error) => return Err(error.into()),
        }
        match &order {
            Some(whole) if inherited.len() >= whole.fds as usize => break,
            Some(_) | None => {}
        }
    }
    order.ok_or_else(|| "no launch order came".into())
}

fn sort_fds(inherited: Vec<OwnedFd>, order: &LaunchOrder) -> Result<FamilyFds, Box<dyn Error>> {
    let mut fds = inherited.into_iter();
    let mut next = || fds.next().ok_or_else(|| ExecuteError::system("too few descriptors came"));
    let shared = ShardFds { board: next()?, arenas: [next()?, next()?], overlay: next()?, base: next()? };
    let mut own = Vec::with_capacity(order.cores.len());
    for _ in 0..order.cores.len() {
        own.push(OneShardFds {
            inbox: next()?,
            outputs: next()?,
            outputs_reader: next()?,
            spans: if order.timeline.is_some() { Some(next()?) } else { None },
        });
    }
    Ok(FamilyFds { shared, shards: own })
}
