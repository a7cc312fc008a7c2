//! The coordinator's hold on its supervisor: start it, talk to it, notice its end, end it.

use crate::supervisor::audit::{AuditFinding, AuditMark};
use crate::supervisor::config::SupervisorImage;
use crate::supervisor::launch::{FamilyRegions, LaunchError};
use crate::supervisor::protocol::{Command, MARKER, MARKER_VALUE, Reply, send};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use phalanx_ipc::{Channel, ChannelError, MAX_FDS_PER_MESSAGE, spawn_image, state_of};
use std::cell::RefCell;
use std::os::fd::{AsFd, BorrowedFd};
use std::process::Child;
use std::time::{Duration, Instant};

/// A supervisor answers a ping within this time, or is taken for stopped.
const PONG_LIMIT: Duration = Duration::from_millis(200);
/// One that the kernel does not show as stopped is given this long: the host may be starved.
const STARVED_LIMIT: Duration = Duration::from_secs(2);
/// A supervisor that has just been started is given this long to answer for the first time.
const START_LIMIT: Duration = Duration::from_secs(10);
/// Time between pings while a round runs.
const PING_INTERVAL: Duration = Duration::from_millis(50);
/// How long an orderly stop may take.
const STOP_LIMIT: Duration = Duration::from_millis(800);

/// A ping not answered yet.
#[derive(Clone, Copy, Debug)]
struct Ping {
    number: u64,
    sent: Instant,
}

/// A running supervisor.
#[derive(Debug)]
pub(super) struct SupervisorLink {
    process: Child,
    channel: Channel,
    open_ping: Option<Ping>,
    pings: u64,
    /// Whether it has ever answered or made a shard: until then it may be busy making its virtual machine.
    answered: bool,
    last_heard: Instant,
    /// Commands that found no room in the socket.
    unsent: RefCell<Vec<Command>>,
    /// What its audits found, as far as nobody has taken it.
    findings: Vec<AuditFinding>,
    /// The last one, as far as nobody has taken it.
    audited: Option<AuditMark>,
    /// Whether it is killed and reaped.
    ended: bool,
}

impl SupervisorLink {
    /// Starts a supervisor and hands it everything.
    pub(super) fn start(
        image: &SupervisorImage,
        regions: &FamilyRegions,
    ) -> Result<SupervisorLink, LaunchError> {
        let (channel, theirs) = Channel::pair().map_err(LaunchError::resource)?;
        let process = spawn_image(&image.path(), (MARKER, MARKER_VALUE), theirs.into_fd())
            .map_err(LaunchError::resource)?;
        let mut link = SupervisorLink {
            process,
            channel,
            open_ping: None,
            pings: 0,
            answered: false,
            last_heard: Instant::now(),
            unsent: RefCell::default(),
            findings: Vec::new(),
            audited: None,
            ended: false,
        };
        if let Err(error) = link.hand_over(regions) {
            link.kill();
            return Err(error);
        }
        Ok(link)
    }

    fn hand_over(&self, regions: &FamilyRegions) -> Result<(), LaunchError> {
        let fds = regions.fds();
        let mut batches = fds.chunks(MAX_FDS_PER_MESSAGE);
        self.send_patiently(&regions.order, batches.next().unwrap_or(&[]))?;
        for batch in batches {
            self.send_patiently(&0_u8, batch)?;
        }
        Ok(())
    }

    /// Sends during the start, when the supervisor may not be reading yet.
    fn send_patiently<T: serde::Serialize>(
        &self,
        message: &T,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), LaunchError> {
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            match send(&self.channel, message, fds) {
                Err(ChannelError::WouldBlock) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                other => return other.map_err(LaunchError::resource),
            }
        }
    }

    /// Gives an order. Never waits; what finds no room is sent with the next call.
    pub(super) fn command(&self, command: Command) {
        self.unsent.borrow_mut().push(command);
        self.send_unsent();
    }

    fn send_unsent(&self) {
        let (channel, mut unsent) = (&self.channel, self.unsent.borrow_mut());
        let sent = unsent.iter().take_while(|command| send(channel, command, &[]).is_ok()).count();
        unsent.drain(..sent);
    }

    /// Whether the supervisor is there and answers; asks now and then. Never waits.
    pub(super) fn is_well(&mut self) -> bool {
        self.send_unsent();
        if !self.is_there() {
            return false;
        }
        let now = Instant::now();
        match self.open_ping {
            None if now.duration_since(self.last_heard) >= PING_INTERVAL => {
                self.pings += 1;
                self.open_ping = Some(Ping { number: self.pings, sent: now });
                self.command(Command::Ping(self.pings));
                true
            }
            None => true,
            Some(ping) => match now.duration_since(ping.sent) {
                waited if waited < PONG_LIMIT => true,
                waited => {
                    let limit = if self.answered { STARVED_LIMIT } else { START_LIMIT };
                    waited < limit && !self.is_stopped()
                }
            },
        }
    }

    /// Sleeps until the supervisor says something or hangs up, or `wake` is readable. No timeout.
    pub(super) fn sleep(&self, wake: BorrowedFd<'_>) {
        let watch = PollFlags::POLLIN;
        let mut fds = [PollFd::new(wake, watch), PollFd::new(self.channel.as_fd(), watch)];
        // Interrupted or refused: the caller looks again.
        let _ = poll(&mut fds, PollTimeout::NONE);
    }

    /// Whether the supervisor has not hung up. Does not ask whether it answers. Never waits.
    pub(super) fn is_there(&mut self) -> bool {
        !self.ended && self.hear()
    }

    /// Takes in replies; false if the supervisor hung up.
    fn hear(&mut self) -> bool {
        let (mut bytes, mut fds) = (Vec::new(), Vec::new());
        loop {
            match self.channel.recv(&mut bytes, &mut fds) {
                Ok(_) => {
                    self.last_heard = Instant::now();
                    match bcs::from_bytes(&bytes) {
                        Ok(Reply::Pong(number)) => {
                            if self.open_ping.is_some_and(|ping| ping.number == number) {
                                self.open_ping = None;
                                self.answered = true;
                            }
                        }
                        Ok(Reply::Found(finding)) => self.findings.push(finding),
                        Ok(Reply::Audited(mark)) => self.audited = Some(mark),
                        Err(error) => tracing::warn!(%error, "a reply is not understood"),
                    }
                }
                Err(ChannelError::WouldBlock) => return true,
                Err(_) => return false,
            }
        }
    }

    fn is_stopped(&self) -> bool {
        // It is not reaped before its end is noticed, so it has a state; one that cannot be read tells nothing.
        state_of(self.pid()).is_some_and(|state| matches!(state, 'T' | 't' | 'Z' | 'X'))
    }

    /// Takes what its audits found, and which was the last.
    pub(super) fn take_findings(&mut self) -> (Vec<AuditFinding>, Option<AuditMark>) {
        (std::mem::take(&mut self.findings), self.audited.take())
    }

    /// Whether the supervisor has shown that it works.
    pub(super) fn has_answered(&self) -> bool {
        self.answered
    }

    /// Notes that the supervisor has made a shard: as good as an answer.
    pub(super) fn note_answer(&mut self) {
        self.answered = true;
    }

    /// The supervisor's process id.
    pub(super) fn pid(&self) -> i32 {
        i32::try_from(self.process.id()).unwrap_or(0)
    }

    /// Kills the supervisor and reaps it; the kernel kills its shards with it. Returns how it ended, in words, the first
    /// time.
    pub(super) fn kill(&mut self) -> Option<String> {
        if std::mem::replace(&mut self.ended, true) {
            return None;
        }
        if let Ok(Some(status)) = self.process.try_wait() {
            return Some(format!("ended by {status}"));
        }
        let stopped = matches!(state_of(self.pid()), Some('T' | 't'));
        // A failure means that it is ending by itself: then there is only the reaping.
        let _ = self.process.kill();
        Some(match self.process.wait() {
            Ok(_) if stopped => "stopped, so that it did not answer, and killed".to_owned(),
            Ok(status) => format!("hung up or did not answer; ended by {status}"),
            Err(error) => format!("cannot be reaped: {error}"),
        })
    }

    /// Stops the supervisor and its shards in order, or kills it when that takes too long.
    pub(super) fn stop(&mut self) {
        if self.ended {
            return;
        }
        self.command(Command::Stop);
        let deadline = Instant::now() + STOP_LIMIT;
        while Instant::now() < deadline {
            match self.process.try_wait() {
                Ok(Some(_)) => {
                    self.ended = true;
                    return;
                }
                Ok(None) => {
                    // The socket hangs up when the supervisor exits; it is reaped on the next turn.
                    let _ = self.channel.poll(Some(Duration::from_millis(20)));
                }
                Err(_) => break,
            }
        }
        self.kill();
    }
}

/// No process is left behind, whichever way the coordinator comes to its end in order.
impl Drop for SupervisorLink {
    fn drop(&mut self) {
        self.stop();
    }
}
