//! `rtrb`.

use super::slots;
use crate::ring::{PeerError, Receiver, Sender, Source, ThreadTransport};
use rtrb::{Consumer, Producer, RingBuffer};

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
