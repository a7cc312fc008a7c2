//! Channels: pairs of packet sockets that carry messages and descriptors between two processes.

use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

use crate::os::OsCause;

/// Most descriptors in one message (the kernel's own limit is 253).
pub const MAX_FDS_PER_MESSAGE: usize = 250;
/// Most bytes in one message.
pub const MAX_MESSAGE_BYTES: usize = 64 * 1024;

/// Room for the control part of a message, in bytes: one header and the kernel's limit of descriptors, so that no
/// descriptor is ever cut off for lack of room.
const CONTROL_BYTES: usize = 16 + 253 * size_of::<RawFd>() + 4;
/// The same, aligned as control messages must be.
type ControlSpace = [u64; CONTROL_BYTES.div_ceil(8)];

const _: () = assert!(size_of::<libc::cmsghdr>() == 16);

/// Why a message was not sent or received.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// Nothing to receive, or no room to send, right now.
    #[error("the channel is not ready; poll it and try again")]
    WouldBlock,
    /// The other end is closed: nothing sent from now on can arrive.
    #[error("the other end of the channel is closed; its process is gone")]
    PeerGone,
    /// The other end is closed and everything it sent has been received.
    #[error("the other end of the channel hung up; its process is gone")]
    HungUp,
    /// A message did not fit: bytes or descriptors of it are lost (those received are closed).
    #[error(
        "a message was cut to {bytes} bytes and {fds} descriptors; send at most {MAX_MESSAGE_BYTES} bytes and check \
         the limit of open files (ulimit -n)"
    )]
    Truncated {
        /// Bytes that arrived.
        bytes: usize,
        /// Descriptors that arrived.
        fds: usize,
    },
    /// A message that cannot be sent.
    #[error(
        "cannot send {bytes} bytes with {fds} descriptors; send 1 to {MAX_MESSAGE_BYTES} bytes and at most \
         {MAX_FDS_PER_MESSAGE} descriptors"
    )]
    BadSize {
        /// Bytes of the message.
        bytes: usize,
        /// Descriptors of the message.
        fds: usize,
    },
    /// The kernel refused a step.
    #[error("cannot {step} a channel: {cause}")]
    Os {
        /// The step that failed, as a verb.
        step: &'static str,
        /// What the kernel said.
        cause: OsCause,
    },
}

/// What was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Bytes of the message: the new length of the buffer.
    pub bytes: usize,
    /// Descriptors that came with it: the new length of their list.
    pub fds: usize,
}

/// What a poll saw. Both may be true: the other end sent something and then closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Readiness {
    /// A message can be received.
    pub readable: bool,
    /// The other end is closed.
    pub hung_up: bool,
}

/// One end of a pair. Messages arrive whole and in order, or not at all.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
}

impl Channel {
    /// Two connected ends, both close-on-exec.
    pub fn pair() -> Result<(Channel, Channel), ChannelError> {
        let made = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC);
        let (left, right) = made.map_err(|errno| ChannelError::Os { step: "make", cause: errno.into() })?;
        Ok((Channel { socket: left }, Channel { socket: right }))
    }

    /// The end that a descriptor is, which came from another process or over exec. Not checked: sends tell.
    pub fn from_fd(socket: OwnedFd) -> Channel {
        Channel { socket }
    }

    /// The end's descriptor, to pass it on.
    pub fn into_fd(self) -> OwnedFd {
        self.socket
    }

    /// Sends a message and copies of descriptors. Never waits: [`ChannelError::WouldBlock`] if the peer lags behind.
    pub fn send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), ChannelError> {
        if bytes.is_empty() || bytes.len() > MAX_MESSAGE_BYTES || fds.len() > MAX_FDS_PER_MESSAGE {
            return Err(ChannelError::BadSize { bytes: bytes.len(), fds: fds.len() });
        }
        let mut control: ControlSpace = [0; _];
        let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        let mut message = message_of(&mut part, &mut control);
        message.msg_controllen = 0;
        if !fds.is_empty() {
            fill_control(&mut message, fds);
        }
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: the message refers to one part, whose bytes the kernel only reads, and to the control space; all live
        // until the call returns.
        let sent = retry(|| unsafe { libc::sendmsg(self.socket.as_raw_fd(), &raw const message, flags) });
        match sent {
            Ok(_) => Ok(()),
            Err(Errno::EAGAIN) => Err(ChannelError::WouldBlock),
            Err(Errno::EPIPE | Errno::ECONNRESET | Errno::ENOTCONN) => Err(ChannelError::PeerGone),
            Err(errno) => Err(ChannelError::Os { step: "send on", cause: errno.into() }),
        }
    }

    /// Receives one message: replaces the contents of `buf` and `fds`. Never waits.
    ///
    /// Received descriptors are close-on-exec. Errors with [`ChannelError::HungUp`] when the other end is closed and
    /// everything it sent was received.
    pub fn recv(&self, buf: &mut Vec<u8>, fds: &mut Vec<OwnedFd>) -> Result<Received, ChannelError> {
        buf.clear();
        fds.clear();
        buf.reserve(MAX_MESSAGE_BYTES);
        let mut control: ControlSpace = [0; _];
        let mut part = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: MAX_MESSAGE_BYTES };
        let mut message = message_of(&mut part, &mut control);
        let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
        // SAFETY: the message refers to MAX_MESSAGE_BYTES of reserved room in `buf` and to the control space, with their
        // true sizes; all live until the call returns.
        let received = retry(|| unsafe { libc::recvmsg(self.socket.as_raw_fd(), &raw mut message, flags) });
        let bytes = match received {
            Ok(0) | Err(Errno::ECONNRESET) => return Err(ChannelError::HungUp),
            Ok(bytes) => bytes.min(MAX_MESSAGE_BYTES),
            Err(Errno::EAGAIN) => return Err(ChannelError::WouldBlock),
            Err(errno) => {
                return Err(ChannelError::Os { step: "receive on", cause: errno.into() });
            }
        };
        // SAFETY: the kernel wrote that many bytes into the reserved room.
        unsafe { buf.set_len(bytes) };
        take_fds(&message, fds);
        if message.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0 {
            let arrived = std::mem::take(fds).len();
            return Err(ChannelError::Truncated { bytes, fds: arrived });
        }
        Ok(Received { bytes, fds: fds.len() })
    }

    /// Waits until a message can be received, the other end is closed, or the time is up (then nothing is true).
    ///
    /// Without a timeout it waits for ever.
    pub fn poll(&self, timeout: Option<Duration>) -> Result<Readiness, ChannelError> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let limit = deadline.map_or(PollTimeout::NONE, |deadline| {
                let left = deadline.saturating_duration_since(Instant::now());
                let millis = left.as_nanos().div_ceil(1_000_000);
                i32::try_from(millis)
                    .ok()
                    .and_then(|millis| PollTimeout::try_from(millis).ok())
                    .unwrap_or(PollTimeout::MAX)
            });
            let mut fds = [PollFd::new(self.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, limit) {
                Ok(_) => {
                    let seen = fds[0].revents().unwrap_or(PollFlags::empty());
                    let hung_up =
                        seen.intersects(PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL);
                    return Ok(Readiness { readable: seen.contains(PollFlags::POLLIN), hung_up });
                }
                Err(Errno::EINTR) => {}
                Err(errno) => {
                    return Err(ChannelError::Os { step: "poll", cause: errno.into() });
                }
            }
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn message_of(part: &mut libc::iovec, control: &mut ControlSpace) -> libc::msghdr {
    libc::msghdr {
        msg_name: ptr::null_mut(),
        msg_namelen: 0,
        msg_iov: part,
        msg_iovlen: 1,
        msg_control: control.as_mut_ptr().cast(),
        msg_controllen: CONTROL_BYTES,
        msg_flags: 0,
    }
}

/// Writes one control message that carries the descriptors (1 to MAX_FDS_PER_MESSAGE of them).
fn fill_control(message: &mut libc::msghdr, fds: &[BorrowedFd<'_>]) {
    let payload = u32::try_from(size_of::<RawFd>() * fds.len()).unwrap_or(0);
    // SAFETY: msg_control points to an aligned ControlSpace, which has room for a header and 253 descriptors, and there
    // are at most 250; CMSG_FIRSTHDR is not null, since msg_controllen is set to more than a header first; CMSG_DATA and
    // the writes stay inside that room.
    unsafe {
        message.msg_controllen = libc::CMSG_SPACE(payload) as usize;
        let header = libc::CMSG_FIRSTHDR(message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(payload) as usize;
        let data = libc::CMSG_DATA(header).cast::<RawFd>();
        for (index, fd) in fds.iter().enumerate() {
            data.add(index).write_unaligned(fd.as_raw_fd());
        }
    }
}

/// Takes ownership of every descriptor in a received message.
fn take_fds(message: &libc::msghdr, fds: &mut Vec<OwnedFd>) {
    // SAFETY: the kernel filled msg_control and set msg_controllen to what it wrote; the CMSG functions walk inside that.
    // Each descriptor in an SCM_RIGHTS message was made for this process just now and belongs to nobody else.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while let Some(control) = header.as_ref() {
            if control.cmsg_level == libc::SOL_SOCKET && control.cmsg_type == libc::SCM_RIGHTS {
                let data = libc::CMSG_DATA(header).cast::<RawFd>();
                let payload = control.cmsg_len.saturating_sub(libc::CMSG_LEN(0) as usize);
                for index in 0..payload / size_of::<RawFd>() {
                    fds.push(OwnedFd::from_raw_fd(data.add(index).read_unaligned()));
                }
            }
            header = libc::CMSG_NXTHDR(message, header);
        }
    }
}

/// Repeats a call that a signal interrupted; gives its non-negative result.
fn retry(mut call: impl FnMut() -> isize) -> Result<usize, Errno> {
    loop {
        match usize::try_from(call()) {
            Ok(bytes) => return Ok(bytes),
            Err(_) if Errno::last_raw() == libc::EINTR => {}
            Err(_) => return Err(Errno::last()),
        }
    }
}
