//! Measuring between this process and another one: this program, started again.
//!
//! A socket pair, which is the far process's standard input, carries the job and the descriptors there, and news back.

use crate::ring::patience::STALL_LIMIT;
use crate::ring::{Job, Parcel, Payload, PeerError, ProcessTransport, Sample, peers, role, threads};
use phalanx_ipc::{Channel, ChannelError, MAX_MESSAGE_BYTES};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// Carries the pid of the near process to the far one, and says that it is one.
const FAR_END_VARIABLE: &str = "PHALANX_BENCH_FAR_END";
/// Within this time the far process starts, and ends after its last word.
const FAR_END_LIMIT: Duration = STALL_LIMIT;

/// What the far process is to do.
#[derive(Debug, Serialize, Deserialize)]
struct Order {
    job: Job,
    text: String,
}

/// What the far process says.
#[derive(Debug, Serialize, Deserialize)]
enum News {
    /// It has its ends.
    Ready,
    /// It has played its part.
    Done(Option<Sample>),
    /// It could not.
    Failed(String),
}

/// Measures a transport between two processes.
///
/// # Errors
/// When it cannot be had or breaks, or when the far process fails or dies.
pub fn run<T: ProcessTransport>(job: &Job) -> Result<Sample, PeerError> {
    threads::near_alone(job, || match job.payload {
        Payload::B16 => run_words::<T, 2>(job),
        Payload::B64 => run_words::<T, 8>(job),
        Payload::B256 => run_words::<T, 32>(job),
        Payload::B4096 => run_words::<T, 512>(job),
    })
}

fn run_words<T: ProcessTransport, const W: usize>(job: &Job) -> Result<Sample, PeerError> {
    let mut process = FarProcess::start()?;
    let (mut ends, parcel) = T::open::<W>(job)?;
    process.order(job, parcel)?;
    let near = role::near(job, &mut ends, T::batch::<W>());
    let far = process.finish();
    drop(ends);
    // The far end's error first: it is the one that sees damage.
    let far = far?;
    near?.or(far).ok_or(PeerError::Panicked)
}

/// The far process. Killed and reaped when dropped.
struct FarProcess {
    child: Child,
    channel: Channel,
}

impl FarProcess {
    fn start() -> Result<FarProcess, PeerError> {
        let refused = PeerError::refused("start the far process");
        let (channel, its) = Channel::pair().map_err(PeerError::refused("make a socket pair"))?;
        let image = std::env::current_exe().map_err(PeerError::refused("find the own program"))?;
        let child = Command::new(image)
            .env(FAR_END_VARIABLE, std::process::id().to_string())
            .stdin(Stdio::from(its.into_fd()))
            .stdout(Stdio::null())
            .spawn();
        child.map(|child| FarProcess { child, channel }).map_err(refused)
    }

    /// Tells it what to do, and waits until it has its ends.
    fn order(&mut self, job: &Job, parcel: Parcel) -> Result<(), PeerError> {
        send(&self.channel, &Order { job: *job, text: parcel.text }, &parcel.fds)?;
        match receive(&self.channel)?.0 {
            News::Ready => Ok(()),
            News::Failed(cause) => Err(PeerError::FarEnd(cause)),
            News::Done(_) => Err(PeerError::FarEnd("it was done before it was ready".to_owned())),
        }
    }

    /// Hears what it has measured, and waits for its end.
    fn finish(&mut self) -> Result<Option<Sample>, PeerError> {
        let news = receive(&self.channel)?.0;
        let deadline = Instant::now() + FAR_END_LIMIT;
        while self.child.try_wait().map_err(PeerError::refused("wait for the far process"))?.is_none() {
            if Instant::now() > deadline {
                return Err(PeerError::Stalled {
                    what: "the far process's end",
                    limit_ms: FAR_END_LIMIT.as_millis(),
                });
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        match news {
            News::Done(sample) => Ok(sample),
            News::Failed(cause) => Err(PeerError::FarEnd(cause)),
            News::Ready => Err(PeerError::FarEnd("it was ready twice".to_owned())),
        }
    }
}

impl Drop for FarProcess {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to kill, and the handle knows it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Plays the far end if this process was started as one. The code to exit with then, at once; otherwise nothing.
///
/// Must be called first thing in `main` of every program that measures between processes.
pub fn far_end_entry() -> Option<ExitCode> {
    let parent = std::env::var(FAR_END_VARIABLE).ok()?;
    // An error has been told to the near end, if there is one.
    Some(if play(&parent).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn play(parent: &str) -> Result<(), PeerError> {
    let parent = parent.parse().map_err(PeerError::refused("read the parent's pid"))?;
    phalanx_ipc::die_with_parent(nix::unistd::Pid::from_raw(parent))
        .map_err(PeerError::refused("follow the near process"))?;
    let socket = std::io::stdin().as_fd().try_clone_to_owned();
    let channel = Channel::from_fd(socket.map_err(PeerError::refused("take the socket"))?);
    let (Order { job, text }, fds) = receive(&channel)?;
    let ready = || send(&channel, &News::Ready, &[]);
    let played = peers::accept(&job, Parcel { text, fds }, ready);
    let news = match &played {
        Ok(sample) => News::Done(*sample),
        Err(error) => News::Failed(error.to_string()),
    };
    send(&channel, &news, &[])?;
    played.map(drop)
}

/// The far process's part for one transport.
///
/// # Errors
/// When the ends cannot be had or break.
pub fn accept<T: ProcessTransport>(
    job: &Job,
    parcel: Parcel,
    ready: impl FnOnce() -> Result<(), PeerError>,
) -> Result<Option<Sample>, PeerError> {
    job.cores.map_or(Ok(()), |cores| phalanx_ipc::pin_current_thread(cores.far))?;
    match job.payload {
        Payload::B16 => accept_words::<T, 2>(job, parcel, ready),
        Payload::B64 => accept_words::<T, 8>(job, parcel, ready),
        Payload::B256 => accept_words::<T, 32>(job, parcel, ready),
        Payload::B4096 => accept_words::<T, 512>(job, parcel, ready),
    }
}

fn accept_words<T: ProcessTransport, const W: usize>(
    job: &Job,
    parcel: Parcel,
    ready: impl FnOnce() -> Result<(), PeerError>,
) -> Result<Option<Sample>, PeerError> {
    let mut ends = T::accept::<W>(job, parcel)?;
    ready()?;
    role::far(job, &mut ends)
}

fn send(channel: &Channel, message: &impl Serialize, fds: &[OwnedFd]) -> Result<(), PeerError> {
    let bytes = serde_json::to_vec(message).map_err(PeerError::refused("encode an order"))?;
    let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
    channel.send(&bytes, &fds).map_err(PeerError::refused("talk to the other process"))
}

fn receive<M: DeserializeOwned>(channel: &Channel) -> Result<(M, Vec<OwnedFd>), PeerError> {
    let deadline = Instant::now() + FAR_END_LIMIT;
    let (mut bytes, mut fds) = (Vec::with_capacity(MAX_MESSAGE_BYTES), Vec::new());
    loop {
        match channel.recv(&mut bytes, &mut fds) {
            Ok(_) => break,
            Err(ChannelError::WouldBlock) if Instant::now() < deadline => {
                let left = deadline.saturating_duration_since(Instant::now());
                channel.poll(Some(left)).map_err(PeerError::refused("wait for the other process"))?;
            }
            Err(ChannelError::WouldBlock) => {
                return Err(PeerError::Stalled {
                    what: "news of the other process",
                    limit_ms: FAR_END_LIMIT.as_millis(),
                });
            }
            Err(error) => return Err(PeerError::refused("hear the other process")(error)),
        }
    }
    let message = serde_json::from_slice(&bytes).map_err(PeerError::refused("decode an order"))?;
    Ok((message, fds))
}
