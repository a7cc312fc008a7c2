//! What a two-ended transport can do, and the two ways to get one.

use crate::ring::{Job, PeerError, Source};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// The end that sends messages of `W` words.
pub trait Sender<const W: usize> {
    /// Sends up to `count` messages of the source and makes them visible at once. Answers how many there was room for.
    ///
    /// # Errors
    /// When the transport is broken.
    fn send(&mut self, source: &mut Source<W>, count: usize) -> Result<usize, PeerError>;
}

/// The end that receives messages of `W` words.
pub trait Receiver<const W: usize> {
    /// Hands over what is there, without waiting. Answers how many messages that was.
    ///
    /// # Errors
    /// When the transport is broken.
    fn receive(&mut self, each: &mut impl FnMut(&[u64; W])) -> Result<usize, PeerError>;

    /// Sleeps until there is something, or for no reason, but no longer than the limit.
    ///
    /// # Errors
    /// When the transport is broken, or its receivers cannot sleep.
    fn sleep(&mut self, _limit: Duration) -> Result<(), PeerError> {
        Err(PeerError::Unsupported("its receiver cannot sleep"))
    }
}

/// What one party holds: both directions.
#[derive(Debug)]
pub struct Ends<S, R> {
    /// To the other party.
    pub sender: S,
    /// From the other party.
    pub receiver: R,
}

/// A transport between two threads.
pub trait ThreadTransport {
    /// Its sending end.
    type Sender<const W: usize>: Sender<W> + Send;
    /// Its receiving end.
    type Receiver<const W: usize>: Receiver<W> + Send;

    /// One direction.
    ///
    /// # Errors
    /// When it cannot be had.
    fn channel<const W: usize>() -> Result<(Self::Sender<W>, Self::Receiver<W>), PeerError>;

    /// Messages per batched publication.
    fn batch<const W: usize>() -> usize;
}

/// What the far process needs to get hold of its ends.
#[derive(Debug, Default)]
pub struct Parcel {
    /// Names, if any.
    pub text: String,
    /// Descriptors, if any.
    pub fds: Vec<OwnedFd>,
}

/// A transport between two processes.
pub trait ProcessTransport {
    /// Its sending end.
    type Sender<const W: usize>: Sender<W>;
    /// Its receiving end.
    type Receiver<const W: usize>: Receiver<W>;

    /// Makes both directions; the far process gets its ends from the parcel.
    ///
    /// # Errors
    /// When they cannot be had.
    #[allow(clippy::type_complexity, reason = "two ends and a parcel are what it is")]
    fn open<const W: usize>(
        job: &Job,
    ) -> Result<(Ends<Self::Sender<W>, Self::Receiver<W>>, Parcel), PeerError>;

    /// The far process's ends.
    ///
    /// # Errors
    /// When they cannot be had.
    fn accept<const W: usize>(
        job: &Job,
        parcel: Parcel,
    ) -> Result<Ends<Self::Sender<W>, Self::Receiver<W>>, PeerError>;

    /// Messages per batched publication.
    fn batch<const W: usize>() -> usize;
}
