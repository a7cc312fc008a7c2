//! Publish-subscribe of `iceoryx2`, between two processes.
//!
//! Lossless: no overflow, and a sample that no subscriber took is sent again. A sleeping receiver waits for its event
//! service, which the sender then notifies after each sample.

use crate::ring::{Ends, Job, Measure, Parcel, PeerError, ProcessTransport, Receiver, Sender, Source};
use iceoryx2::port::{listener::Listener, notifier::Notifier, publisher::Publisher, subscriber::Subscriber};
use iceoryx2::prelude::{
    BackpressureStrategy, Config, FileName, LogLevel, Node, NodeBuilder, Path, SemanticString, ServiceName,
    SignalHandlingMode, ipc, set_log_level,
};
use iceoryx2::service::port_factory::{event, publish_subscribe};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Samples that a subscriber's buffer holds.
const BUFFER_SAMPLES: usize = 256;

/// Publish-subscribe.
#[derive(Debug)]
pub struct Iceoryx;

/// Where the library's segments of shared memory have their names.
const SEGMENTS: &str = "/dev/shm";

/// The folder in which the library keeps its files, and segments whose names begin with its name; the near end removes both. The library
/// leaves those that belong to all nodes, and all of them if an end is killed.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    is_own: bool,
}

impl Folder {
    fn prefix(&self) -> String {
        format!("{}_", self.path.file_name().unwrap_or_default().to_string_lossy())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.is_own {
            return;
        }
        // What cannot be removed stays: no measurement fails for it.
        let _ = std::fs::remove_dir_all(&self.path);
        let prefix = self.prefix();
        for entry in std::fs::read_dir(SEGMENTS).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(&prefix) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

/// The sending end. Ports go before the node, the node before the folder.
#[derive(Debug)]
pub struct Publishing<const W: usize> {
    publisher: Publisher<ipc::Service, [u64; W], ()>,
    /// None where the receiver does not sleep.
    notifier: Option<Notifier<ipc::Service>>,
    _node: Node<ipc::Service>,
    _folder: Folder,
}

/// The receiving end.
#[derive(Debug)]
pub struct Subscribing<const W: usize> {
    subscriber: Subscriber<ipc::Service, [u64; W], ()>,
    listener: Listener<ipc::Service>,
    _node: Node<ipc::Service>,
}

impl ProcessTransport for Iceoryx {
    type Sender<const W: usize> = Publishing<W>;
    type Receiver<const W: usize> = Subscribing<W>;

    fn open<const W: usize>(job: &Job) -> Result<(Ends<Publishing<W>, Subscribing<W>>, Parcel), PeerError> {
        static OPENED: AtomicU32 = AtomicU32::new(0);
        let number = OPENED.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("phalanx-bench-{}-{number}", std::process::id()));
        let text = path.to_string_lossy().into_owned();
        let folder = Folder { path, is_own: true };
        Ok((attach(job, folder, ["there", "back"])?, Parcel { text, fds: Vec::new() }))
    }

    fn accept<const W: usize>(
        job: &Job,
        parcel: Parcel,
    ) -> Result<Ends<Publishing<W>, Subscribing<W>>, PeerError> {
        let folder = Folder { path: PathBuf::from(parcel.text), is_own: false };
        attach(job, folder, ["back", "there"])
    }

    fn batch<const W: usize>() -> usize {
        1
    }
}

/// Publishes to the first service and subscribes to the second.
fn attach<const W: usize>(
    job: &Job,
    folder: Folder,
    [to, from]: [&str; 2],
) -> Result<Ends<Publishing<W>, Subscribing<W>>, PeerError> {
    set_log_level(LogLevel::Fatal);
    let mut config = Config::default();
    let root = Path::new(folder.path.to_string_lossy().as_bytes());
    config.global.set_root_path(&root.map_err(refused("name a folder"))?);
    let prefix = FileName::new(folder.prefix().as_bytes());
    config.global.prefix = prefix.map_err(refused("name segments"))?;
    let node = || {
        NodeBuilder::new()
            .config(&config)
            .signal_handling_mode(SignalHandlingMode::Disabled)
            .create::<ipc::Service>()
            .map_err(refused("make a node"))
    };
    let (near, other) = (node()?, node()?);
    let publisher = service::<W>(&near, to)?
        .publisher_builder()
        .backpressure_strategy(BackpressureStrategy::DiscardData)
        .create()
        .map_err(refused("make a publisher"))?;
    let notifier = bell(&near, to)?.notifier_builder().create().map_err(refused("make a notifier"))?;
    let notifier = (job.measure == Measure::Wake).then_some(notifier);
    let subscriber =
        service::<W>(&other, from)?.subscriber_builder().create().map_err(refused("make a subscriber"))?;
    let listener = bell(&other, from)?.listener_builder().create().map_err(refused("make a listener"))?;
    Ok(Ends {
        sender: Publishing { publisher, notifier, _node: near, _folder: folder },
        receiver: Subscribing { subscriber, listener, _node: other },
    })
}

fn service<const W: usize>(
    node: &Node<ipc::Service>,
    name: &str,
) -> Result<publish_subscribe::PortFactory<ipc::Service, [u64; W], ()>, PeerError> {
    let name = ServiceName::new(name).map_err(refused("name a service"))?;
    node.service_builder(&name)
        .publish_subscribe::<[u64; W]>()
        .enable_safe_overflow(false)
        .subscriber_max_buffer_size(BUFFER_SAMPLES)
        .open_or_create()
        .map_err(refused("make a service"))
}

fn bell(node: &Node<ipc::Service>, name: &str) -> Result<event::PortFactory<ipc::Service>, PeerError> {
    let name = ServiceName::new(&format!("{name}-bell")).map_err(refused("name a service"))?;
    node.service_builder(&name).event().open_or_create().map_err(refused("make an event service"))
}

/// The library's errors say more in their debug form.
fn refused<E: std::fmt::Debug>(step: &'static str) -> impl FnOnce(E) -> PeerError {
    move |error| PeerError::refused(step)(format!("{error:?}"))
}

impl<const W: usize> Sender<W> for Publishing<W> {
    fn send(&mut self, source: &mut Source<W>, _count: usize) -> Result<usize, PeerError> {
        let sample = self.publisher.loan_uninit().map_err(refused("loan a sample"))?;
        let taken = sample.write_payload(*source.message()).send().map_err(refused("send a sample"))?;
        if taken == 0 {
            return Ok(0);
        }
        source.advance();
        if let Some(notifier) = &self.notifier {
            notifier.notify().map_err(refused("notify"))?;
        }
        Ok(1)
    }
}

impl<const W: usize> Receiver<W> for Subscribing<W> {
    fn receive(&mut self, each: &mut impl FnMut(&[u64; W])) -> Result<usize, PeerError> {
        match self.subscriber.receive().map_err(refused("receive a sample"))? {
            None => Ok(0),
            Some(sample) => {
                each(&sample);
                Ok(1)
            }
        }
    }

    fn sleep(&mut self, limit: Duration) -> Result<(), PeerError> {
        // Several samples may have been one event.
        if self.subscriber.has_samples().map_err(refused("look for a sample"))? {
            return Ok(());
        }
        self.listener.timed_wait(|_| (), limit).map(drop).map_err(refused("wait for an event"))
    }
}
