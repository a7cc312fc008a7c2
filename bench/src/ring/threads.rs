//! Measuring between two threads of this process.

use crate::ring::{Ends, Job, Payload, PeerError, Sample, ThreadTransport, role};
use std::thread::{Builder, scope};

/// Measures a transport between two threads.
///
/// # Errors
/// When it cannot be had or breaks.
pub fn run<T: ThreadTransport>(job: &Job) -> Result<Sample, PeerError> {
    match job.payload {
        Payload::B16 => run_words::<T, 2>(job),
        Payload::B64 => run_words::<T, 8>(job),
        Payload::B256 => run_words::<T, 32>(job),
        Payload::B4096 => run_words::<T, 512>(job),
    }
}

fn run_words<T: ThreadTransport, const W: usize>(job: &Job) -> Result<Sample, PeerError> {
    let (there, here) = (T::channel::<W>()?, T::channel::<W>()?);
    let mut near = Ends { sender: there.0, receiver: here.1 };
    let mut far = Ends { sender: here.0, receiver: there.1 };
    both(job, move || role::near(job, &mut near, T::batch::<W>()), move || role::far(job, &mut far))
}

/// Runs both parts, each in a thread of its own on its own core, and gives the sample of the one that measured.
///
/// # Errors
/// The far end's first: it is the one that sees damage.
pub fn both(
    job: &Job,
    near: impl FnOnce() -> Result<Option<Sample>, PeerError> + Send,
    far: impl FnOnce() -> Result<Option<Sample>, PeerError> + Send,
) -> Result<Sample, PeerError> {
    let (near_core, far_core) = (job.cores.map(|cores| cores.near), job.cores.map(|cores| cores.far));
    scope(|threads| {
        let start = |name: &str| Builder::new().name(name.to_owned());
        let far = start("phx-far").spawn_scoped(threads, move || pinned(far_core, far));
        let near = start("phx-near").spawn_scoped(threads, move || pinned(near_core, near));
        let near = near.map(|thread| thread.join());
        let far = far.map_err(PeerError::refused("start a thread"))?.join();
        let near = near.map_err(PeerError::refused("start a thread"))?;
        let far = far.map_err(|_| PeerError::Panicked)??;
        let near = near.map_err(|_| PeerError::Panicked)??;
        near.or(far).ok_or(PeerError::Panicked)
    })
}

/// Runs the near part alone, in a thread on its core.
///
/// # Errors
/// Its own.
pub fn near_alone(
    job: &Job,
    near: impl FnOnce() -> Result<Sample, PeerError> + Send,
) -> Result<Sample, PeerError> {
    let core = job.cores.map(|cores| cores.near);
    scope(|threads| {
        let near =
            Builder::new().name("phx-near".to_owned()).spawn_scoped(threads, move || pinned(core, near));
        near.map_err(PeerError::refused("start a thread"))?.join().map_err(|_| PeerError::Panicked)?
    })
}

fn pinned<A>(core: Option<usize>, run: impl FnOnce() -> Result<A, PeerError>) -> Result<A, PeerError> {
    core.map_or(Ok(()), phalanx_ipc::pin_current_thread)?;
    run()
}
