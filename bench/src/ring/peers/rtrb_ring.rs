//! `rtrb`.

use super::slots;
use crate::ring::{PeerError, Receiver, Sender, Source, ThreadTransport};
use rtrb::{Consumer, Producer, RingBuffer};

/// Turns that a paced reader waits after each chunk.
const PACE: u32 = 16;
/// Messages per chunk.
const CHUNK: usize = 64;

/// A ring of `rtrb` between two threads.
#[derive(Debug)]
pub struct Rtrb;

impl ThreadTransport for Rtrb {
    type Sender<const W: usize> = Producer<[u64; W]>;
    type Receiver<const W: usize> = Consumer<[u64; W]>;

    fn channel<const W: usize>() -> Result<(Self::Sender<W>, Self::Receiver<W>), PeerError> {
        Ok(RingBuffer::new(slots::<W>()))
    }

    fn batch<const W: usize>() -> usize {
        CHUNK
    }
}

/// The same with a reader that keeps a distance from the writer, whose line each look takes away.
#[derive(Debug)]
pub struct Paced;

/// A reading end, and how many turns it waits before it looks.
#[derive(Debug)]
pub struct PacedReader<const W: usize> {
    ring: Consumer<[u64; W]>,
    wait: u32,
}

impl ThreadTransport for Paced {
    type Sender<const W: usize> = Producer<[u64; W]>;
    type Receiver<const W: usize> = PacedReader<W>;

    fn channel<const W: usize>() -> Result<(Self::Sender<W>, Self::Receiver<W>), PeerError> {
        let (sender, ring) = RingBuffer::new(slots::<W>());
        Ok((sender, PacedReader { ring, wait: 0 }))
    }

    fn batch<const W: usize>() -> usize {
        CHUNK
    }
}

impl<const W: usize> Receiver<W> for PacedReader<W> {
    #[inline]
    fn receive(&mut self, each: &mut impl FnMut(&[u64; W])) -> Result<usize, PeerError> {
        for _ in 0..std::mem::take(&mut self.wait) {
            std::hint::spin_loop();
        }
        let received = self.ring.receive(each)?;
        self.wait = if received > 0 { PACE } else { 0 };
        Ok(received)
    }
}

impl<const W: usize> Sender<W> for Producer<[u64; W]> {
    #[inline]
    fn send(&mut self, source: &mut Source<W>, count: usize) -> Result<usize, PeerError> {
        if count == 1 {
            let sent = self.push(*source.message()).is_ok();
            if sent {
                source.advance();
            }
            return Ok(usize::from(sent));
        }
        let count = count.min(self.slots());
        let Ok(chunk) = self.write_chunk_uninit(count) else { return Ok(0) };
        let next = std::iter::from_fn(|| {
            let message = *source.message();
            source.advance();
            Some(message)
        });
        Ok(chunk.fill_from_iter(next.take(count)))
    }
}

impl<const W: usize> Receiver<W> for Consumer<[u64; W]> {
    #[inline]
    fn receive(&mut self, each: &mut impl FnMut(&[u64; W])) -> Result<usize, PeerError> {
        // Chunks give room back early enough for the producer to go on.
        let count = self.slots().min(CHUNK);
        let Ok(chunk) = self.read_chunk(count) else { return Ok(0) };
        let (first, second) = chunk.as_slices();
        first.iter().chain(second).for_each(each);
        chunk.commit_all();
        Ok(count)
    }
}
