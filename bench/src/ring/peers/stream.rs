//! What the kernel carries: stream sockets and pipes, between two processes.
//!
//! Their ends never block, so that they can be polled by spinning, which is faster than sleeping wherever the host has a
//! core to spare. Only where a sleeping receiver is measured, and where a writer finds no room, the kernel is asked to wait.

use crate::ring::patience::STALL_LIMIT;
use crate::ring::{Ends, Job, Parcel, PeerError, ProcessTransport, Receiver, Sender, Source};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};
use nix::unistd::{pipe2, read, write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Bytes of a batched write, and of every read.
const BUFFER_BYTES: usize = 64 << 10;
/// Bytes that the kernel may hold.
const KERNEL_BYTES: usize = 1 << 20;

/// A stream socket.
#[derive(Debug)]
pub struct UnixSocket;

/// A pipe in each direction.
#[derive(Debug)]
pub struct Pipe;

/// The writing end.
#[derive(Debug)]
pub struct Writer {
    fd: OwnedFd,
    buffer: Vec<u8>,
}

/// The reading end.
#[derive(Debug)]
pub struct Reader {
    fd: OwnedFd,
    /// Bytes of `buffer` that are filled: a part of a message, between two reads.
    filled: usize,
    /// In words, so that messages are aligned.
    buffer: Vec<u64>,
}

fn ends(writer: OwnedFd, reader: OwnedFd) -> Ends<Writer, Reader> {
    let sender = Writer { fd: writer, buffer: Vec::with_capacity(BUFFER_BYTES) };
    Ends { sender, receiver: Reader { fd: reader, filled: 0, buffer: vec![0; BUFFER_BYTES / 8] } }
}

fn two(parcel: Parcel) -> Result<[OwnedFd; 2], PeerError> {
    parcel.fds.try_into().map_err(|_| PeerError::refused("take descriptors")("not two"))
}

impl ProcessTransport for UnixSocket {
    type Sender<const W: usize> = Writer;
    type Receiver<const W: usize> = Reader;

    fn open<const W: usize>(_: &Job) -> Result<(Ends<Writer, Reader>, Parcel), PeerError> {
        let refused = || PeerError::refused("make a socket pair");
        let (near, far) = UnixStream::pair().map_err(refused())?;
        for socket in [&near, &far] {
            socket.set_nonblocking(true).map_err(refused())?;
            // A host that allows less gets less.
            let _ = setsockopt(socket, sockopt::SndBuf, &KERNEL_BYTES);
        }
        let copy = |socket: &UnixStream| socket.as_fd().try_clone_to_owned().map_err(refused());
        let parcel = Parcel { text: String::new(), fds: vec![copy(&far)?, far.into()] };
        Ok((ends(copy(&near)?, near.into()), parcel))
    }

    fn accept<const W: usize>(_: &Job, parcel: Parcel) -> Result<Ends<Writer, Reader>, PeerError> {
        let [writer, reader] = two(parcel)?;
        Ok(ends(writer, reader))
    }

    fn batch<const W: usize>() -> usize {
        BUFFER_BYTES / (8 * W)
    }
}

impl ProcessTransport for Pipe {
    type Sender<const W: usize> = Writer;
    type Receiver<const W: usize> = Reader;

    fn open<const W: usize>(_: &Job) -> Result<(Ends<Writer, Reader>, Parcel), PeerError> {
        let make = || -> Result<(OwnedFd, OwnedFd), PeerError> {
            let (reader, writer) =
                pipe2(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).map_err(PeerError::refused("make a pipe"))?;
            // A host that allows less gets less.
            let _ = fcntl(&writer, FcntlArg::F_SETPIPE_SZ(i32::try_from(KERNEL_BYTES).unwrap_or(i32::MAX)));
            Ok((reader, writer))
        };
        let (there, back) = (make()?, make()?);
        let parcel = Parcel { text: String::new(), fds: vec![back.1, there.0] };
        Ok((ends(there.1, back.0), parcel))
    }

    fn accept<const W: usize>(_: &Job, parcel: Parcel) -> Result<Ends<Writer, Reader>, PeerError> {
        let [writer, reader] = two(parcel)?;
        Ok(ends(writer, reader))
    }

    fn batch<const W: usize>() -> usize {
        BUFFER_BYTES / (8 * W)
    }
}

impl<const W: usize> Sender<W> for Writer {
    fn send(&mut self, source: &mut Source<W>, count: usize) -> Result<usize, PeerError> {
        self.buffer.clear();
        for _ in 0..count {
            self.buffer.extend_from_slice(bytemuck::bytes_of(source.message()));
            source.advance();
        }
        let mut left = self.buffer.as_slice();
        while !left.is_empty() {
            match write(&self.fd, left) {
                Ok(written) => left = left.get(written..).unwrap_or_default(),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => {
                    if !wait_for(self.fd.as_fd(), PollFlags::POLLOUT, STALL_LIMIT)? {
                        return Err(PeerError::Stalled {
                            what: "room to write",
                            limit_ms: STALL_LIMIT.as_millis(),
                        });
                    }
                }
                Err(errno) => return Err(PeerError::refused("write")(errno)),
            }
        }
        Ok(count)
    }
}

impl<const W: usize> Receiver<W> for Reader {
    fn receive(&mut self, each: &mut impl FnMut(&[u64; W])) -> Result<usize, PeerError> {
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut self.buffer);
        let room = bytes.get_mut(self.filled..).unwrap_or_default();
        match read(&self.fd, room) {
            Ok(0) => return Err(PeerError::refused("read")("the writer is gone")),
            Ok(bytes) => self.filled += bytes,
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(0),
            Err(errno) => return Err(PeerError::refused("read")(errno)),
        }
        let whole = self.filled / (8 * W);
        let (messages, _) = self.buffer.as_chunks::<W>();
        messages.iter().take(whole).for_each(each);
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut self.buffer);
        bytes.copy_within(whole * 8 * W..self.filled, 0);
        self.filled -= whole * 8 * W;
        Ok(whole)
    }

    fn sleep(&mut self, limit: Duration) -> Result<(), PeerError> {
        wait_for(self.fd.as_fd(), PollFlags::POLLIN, limit).map(drop)
    }
}

/// True if the descriptor became ready, or its other end closed, within the limit.
fn wait_for(fd: BorrowedFd<'_>, ready: PollFlags, limit: Duration) -> Result<bool, PeerError> {
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(fd, ready)], timeout) {
            Ok(found) => return Ok(found > 0),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(PeerError::refused("poll")(errno)),
        }
    }
}
