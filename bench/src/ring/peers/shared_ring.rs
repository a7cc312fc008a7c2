//! The rings of `phalanx-ipc`, between two processes.
//!
//! A message of up to 64 bytes is one cell. A longer one lies in its sender's arena, and a cell says where: as shards do
//! with values that a cell cannot hold.

use super::slots;
use crate::ring::{Ends, Job, Parcel, PeerError, ProcessTransport, Receiver, Sender, Source};
use phalanx_ipc::{CELL_WORDS, Cell, Inbox, InboxLayout, Outlet, PeerReader, Region};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Messages per batched publication.
const BATCH: usize = 64;
/// Turns of a look for messages.
const TURNS: u32 = 64;
/// The number of the only producer.
const PRODUCER: usize = 0;

/// Rings with a doorbell, as shards use them, or without.
#[derive(Debug)]
pub struct SharedRing<const RUNG: bool>;

/// Ring and doorbell: the sender rings, the receiver looks at its inbox's news and may sleep.
pub type Rung = SharedRing<true>;
/// The ring alone: the receiver polls it.
pub type Polled = SharedRing<false>;

/// The sending end.
#[derive(Debug)]
pub struct Outgoing<const W: usize, const RUNG: bool> {
    outlet: Outlet,
    arena: Region,
    /// Where in the arena the next message goes.
    place: usize,
}

/// The receiving end.
#[derive(Debug)]
pub struct Incoming<const W: usize, const RUNG: bool> {
    inbox: Inbox,
    arena: PeerReader,
    bytes: Vec<u8>,
}

impl<const RUNG: bool> ProcessTransport for SharedRing<RUNG> {
    type Sender<const W: usize> = Outgoing<W, RUNG>;
    type Receiver<const W: usize> = Incoming<W, RUNG>;

    fn open<const W: usize>(
        _: &Job,
    ) -> Result<(Ends<Outgoing<W, RUNG>, Incoming<W, RUNG>>, Parcel), PeerError> {
        let (sender, there) = outgoing::<W, RUNG>()?;
        let (inbox, back) = (
            make("phalanx-bench-inbox", layout::<W>()?.bytes())?,
            make("phalanx-bench-arena", arena_bytes::<W>())?,
        );
        let (inbox_fd, arena_fd) = (writer_fd(&inbox)?, writer_fd(&back)?);
        let arena = back.reader_fd().and_then(PeerReader::map).map_err(PeerError::refused("map an arena"))?;
        let receiver = incoming(inbox, arena)?;
        let fds = there.into_iter().chain([inbox_fd, arena_fd]).collect();
        Ok((Ends { sender, receiver }, Parcel { text: String::new(), fds }))
    }

    fn accept<const W: usize>(
        _: &Job,
        parcel: Parcel,
    ) -> Result<Ends<Outgoing<W, RUNG>, Incoming<W, RUNG>>, PeerError> {
        let fds: [OwnedFd; 4] =
            parcel.fds.try_into().map_err(|_| PeerError::refused("take descriptors")("not four"))?;
        let [inbox, arena, outlet, own_arena] = fds;
        let map = |fd| Region::map_writer(fd).map_err(PeerError::refused("map a region"));
        let arena = PeerReader::map(arena).map_err(PeerError::refused("map an arena"))?;
        let receiver = incoming(map(inbox)?, arena)?;
        let outlet = attach::<W>(map(outlet)?)?;
        Ok(Ends { sender: Outgoing { outlet, arena: map(own_arena)?, place: 0 }, receiver })
    }

    fn batch<const W: usize>() -> usize {
        BATCH
    }
}

/// A sending end, and the descriptors of its inbox and its arena for the receiver.
fn outgoing<const W: usize, const RUNG: bool>() -> Result<(Outgoing<W, RUNG>, [OwnedFd; 2]), PeerError> {
    let inbox = make("phalanx-bench-inbox", layout::<W>()?.bytes())?;
    let arena = make("phalanx-bench-arena", arena_bytes::<W>())?;
    let fds = [writer_fd(&inbox)?, arena.reader_fd().map_err(PeerError::refused("re-open an arena"))?];
    Ok((Outgoing { outlet: attach::<W>(inbox)?, arena, place: 0 }, fds))
}

fn incoming<const W: usize, const RUNG: bool>(
    inbox: Region,
    arena: PeerReader,
) -> Result<Incoming<W, RUNG>, PeerError> {
    let inbox = Inbox::attach(inbox, layout::<W>()?).map_err(PeerError::refused("attach an inbox"))?;
    Ok(Incoming { inbox, arena, bytes: Vec::with_capacity(8 * W) })
}

fn attach<const W: usize>(inbox: Region) -> Result<Outlet, PeerError> {
    Outlet::attach(inbox, layout::<W>()?, PRODUCER).map_err(PeerError::refused("attach an outlet"))
}

fn layout<const W: usize>() -> Result<InboxLayout, PeerError> {
    InboxLayout::new(1, slots::<W>()).map_err(PeerError::refused("lay out an inbox"))
}

/// One more than the ring has cells: when the cell of a message is pushed, that of the message which was in the next
/// place has been released.
fn places<const W: usize>() -> usize {
    slots::<W>() + 1
}

fn arena_bytes<const W: usize>() -> usize {
    if W > CELL_WORDS { places::<W>() * 8 * W } else { 1 }
}

fn make(name: &str, bytes: usize) -> Result<Region, PeerError> {
    Region::create(name, bytes).map_err(PeerError::refused("make a region"))
}

fn writer_fd(region: &Region) -> Result<OwnedFd, PeerError> {
    region.writer_fd().map_err(PeerError::refused("duplicate a descriptor"))
}

impl<const W: usize, const RUNG: bool> Outgoing<W, RUNG> {
    /// The cell that carries a message or says where it is.
    #[inline]
    fn cell(&mut self, message: &[u64; W]) -> Result<Cell, PeerError> {
        let mut cell = Cell([0; CELL_WORDS]);
        if W <= CELL_WORDS {
            cell.0[..W].copy_from_slice(message);
            return Ok(cell);
        }
        let offset = self.place * 8 * W;
        let room = self.arena.slice_mut(offset, W).map_err(PeerError::refused("write to the arena"))?;
        room.copy_from_slice(message);
        (cell.0[0], cell.0[1]) = (message[0], offset as u64);
        Ok(cell)
    }
}

impl<const W: usize, const RUNG: bool> Sender<W> for Outgoing<W, RUNG> {
    #[inline]
    fn send(&mut self, source: &mut Source<W>, count: usize) -> Result<usize, PeerError> {
        let mut sent = 0;
        while sent < count {
            let cell = self.cell(source.message())?;
            if self.outlet.try_push(cell).is_err() {
                break;
            }
            self.place = if self.place + 1 == places::<W>() { 0 } else { self.place + 1 };
            source.advance();
            sent += 1;
        }
        if RUNG {
            self.outlet.publish();
        } else {
            self.outlet.publish_unrung();
        }
        Ok(sent)
    }
}

impl<const W: usize, const RUNG: bool> Receiver<W> for Incoming<W, RUNG> {
    #[inline]
    fn receive(&mut self, each: &mut impl FnMut(&[u64; W])) -> Result<usize, PeerError> {
        let Incoming { inbox, arena, bytes } = self;
        // As a shard that waits.
        if RUNG && inbox.spin(TURNS, || false).is_none() {
            return Ok(0);
        }
        let mut failure = None;
        let mut take = |_, cell: &Cell| {
            if W <= CELL_WORDS {
                each(&std::array::from_fn(|word| cell.0[word]));
                return;
            }
            bytes.clear();
            let copied = usize::try_from(cell.0[1]).map(|offset| arena.copy_out(offset, 8 * W, bytes));
            match copied {
                Ok(Ok(())) => match bytemuck::try_from_bytes(bytes) {
                    Ok(message) => each(message),
                    // A buffer that is not aligned to words costs a copy.
                    Err(_) => each(&bytemuck::pod_read_unaligned(bytes)),
                },
                Ok(Err(error)) => failure = Some(error.to_string()),
                Err(error) => failure = Some(error.to_string()),
            }
        };
        let drained = if RUNG { inbox.drain(&mut take) } else { inbox.drain_all(&mut take) };
        if let Some(cause) = failure {
            return Err(PeerError::refused("read a message")(cause));
        }
        match drained.corrupt {
            None => Ok(drained.cells),
            Some(_) => Err(PeerError::refused("receive")("the ring is damaged")),
        }
    }

    fn sleep(&mut self, limit: Duration) -> Result<(), PeerError> {
        self.inbox.wait(0, Some(limit), || false);
        Ok(())
    }
}
