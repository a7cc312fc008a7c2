//! The bounded channel of `crossbeam`.

use super::slots;
use crate::ring::{PeerError, Receiver as ReceivingEnd, Sender as SendingEnd, Source, ThreadTransport};
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, TrySendError, bounded};
use std::time::Duration;

/// A bounded channel between two threads.
#[derive(Debug)]
pub struct Crossbeam;

/// The receiving end, and what it found when it woke up.
#[derive(Debug)]
pub struct Woken<const W: usize> {
    channel: Receiver<[u64; W]>,
    found: Option<[u64; W]>,
}

impl ThreadTransport for Crossbeam {
    type Sender<const W: usize> = Sender<[u64; W]>;
    type Receiver<const W: usize> = Woken<W>;

    fn channel<const W: usize>() -> Result<(Self::Sender<W>, Self::Receiver<W>), PeerError> {
        let (sender, channel) = bounded(slots::<W>());
        Ok((sender, Woken { channel, found: None }))
    }

    fn batch<const W: usize>() -> usize {
        1
    }
}

impl<const W: usize> SendingEnd<W> for Sender<[u64; W]> {
    #[inline]
    fn send(&mut self, source: &mut Source<W>, _count: usize) -> Result<usize, PeerError> {
        match self.try_send(*source.message()) {
            Ok(()) => {
                source.advance();
                Ok(1)
            }
            Err(TrySendError::Full(_)) => Ok(0),
            Err(TrySendError::Disconnected(_)) => Err(PeerError::refused("send")("the receiver is gone")),
        }
    }
}

impl<const W: usize> ReceivingEnd<W> for Woken<W> {
    #[inline]
    fn receive(&mut self, each: &mut impl FnMut(&[u64; W])) -> Result<usize, PeerError> {
        if let Some(message) = self.found.take() {
            each(&message);
            return Ok(1);
        }
        match self.channel.try_recv() {
            Ok(message) => {
                each(&message);
                Ok(1)
            }
            Err(TryRecvError::Empty) => Ok(0),
            Err(TryRecvError::Disconnected) => Err(PeerError::refused("receive")("the sender is gone")),
        }
    }

    fn sleep(&mut self, limit: Duration) -> Result<(), PeerError> {
        match self.channel.recv_timeout(limit) {
            Ok(message) => {
                self.found = Some(message);
                Ok(())
            }
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Err(RecvTimeoutError::Disconnected) => Err(PeerError::refused("receive")("the sender is gone")),
        }
    }
}
