//! What the tasks of one validator share.

use crate::quorum_store::effect::{Effect, GeneratorNews, Outbox, ProofNews, QueueNews};
use crate::quorum_store::runtime::agreement::Agreement;
use crate::quorum_store::runtime::clock::Clock;
use crate::quorum_store::runtime::commit_desk::CommitDesk;
use crate::quorum_store::runtime::ends::Ends;
use crate::quorum_store::runtime::fetch_desk::FetchDesk;
use crate::quorum_store::runtime::mailbox::{Mailbox, MailboxCounts};
use crate::quorum_store::runtime::tallies::Tallies;
use crate::quorum_store::{
    BackPressure, Batch, BatchDigest, BatchInfo, BatchStore, BlockExecutor, Component, CursorBoard, Disk,
    Epoch, FrameSink, Gate, Keys, Mempool, Message, Micros, Network, Payload, QuorumStoreConfig,
    ValidatorConfig, ValidatorId,
};
use parking_lot::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};
use tokio::sync::oneshot;

/// Who executes the blocks that a validator commits.
#[derive(Clone, Debug)]
pub enum Role {
    /// It does, and tells the others of the process what came of it.
    Executes(Arc<dyn BlockExecutor>),
    /// It takes over what the executing validator of the process came to.
    Follows,
}

/// For the batch requester.
#[derive(Debug)]
pub enum RequesterMail {
    /// A block needs this batch.
    Want(BatchInfo),
    /// A peer asks.
    Fetch(ValidatorId, BatchDigest, Epoch),
    /// A peer answers.
    Fetched(ValidatorId, Box<Batch>),
    /// A peer does not have it.
    NotFound(ValidatorId, BatchDigest, Epoch, Micros),
}

/// For the proof manager.
#[derive(Debug)]
pub enum ManagerMail {
    /// News of peers and components.
    News(QueueNews),
    /// The proposer wants a block's payload.
    Pull(oneshot::Sender<Result<Payload, Gate>>),
}

/// For the batch generator.
#[derive(Debug)]
pub enum GeneratorMail {
    /// News of components.
    News(GeneratorNews),
    /// The proposer wants the mempool's transactions, past the quorum store.
    Pull(oneshot::Sender<Result<Payload, Gate>>),
}

/// All mailboxes.
#[derive(Debug)]
pub struct Mailboxes {
    pub listener: Mailbox<(ValidatorId, Arc<[u8]>)>,
    pub generator: Mailbox<GeneratorMail>,
    pub batches: Mailbox<(ValidatorId, Vec<Batch>)>,
    pub requester: Mailbox<RequesterMail>,
    pub proofs: Mailbox<ProofNews>,
    pub manager: Mailbox<ManagerMail>,
}

impl Mailboxes {
    fn new(config: &ValidatorConfig, peers: usize) -> Mailboxes {
        let limits = config.mailboxes;
        Mailboxes {
            listener: Mailbox::new(limits, peers),
            generator: Mailbox::new(limits, peers),
            batches: Mailbox::new(limits, peers),
            requester: Mailbox::new(limits, peers),
            proofs: Mailbox::new(limits, peers),
            manager: Mailbox::new(limits, peers),
        }
    }

    /// What each dropped, and whether it is overrun.
    pub fn counts(&self, component: Component) -> Option<(MailboxCounts, bool)> {
        match component {
            Component::NetworkListener => Some((self.listener.counts(), self.listener.is_overrun())),
            Component::BatchGenerator => Some((self.generator.counts(), self.generator.is_overrun())),
            Component::BatchCoordinator => Some((self.batches.counts(), self.batches.is_overrun())),
            Component::BatchRequester => Some((self.requester.counts(), self.requester.is_overrun())),
            Component::ProofCoordinator => Some((self.proofs.counts(), self.proofs.is_overrun())),
            Component::ProofManager => Some((self.manager.counts(), self.manager.is_overrun())),
            Component::Mempool | Component::Coordinator | Component::Proposer | Component::BlockPipeline => {
                None
            }
        }
    }

    /// Nobody reads this component's mailbox any more.
    pub fn close(&self, component: Component) {
        match component {
            Component::NetworkListener => self.listener.close(),
            Component::BatchGenerator => self.generator.close(),
            Component::BatchCoordinator => self.batches.close(),
            Component::BatchRequester => self.requester.close(),
            Component::ProofCoordinator => self.proofs.close(),
            Component::ProofManager => self.manager.close(),
            Component::Mempool | Component::Coordinator | Component::Proposer | Component::BlockPipeline => {}
        }
    }
}

/// Whom a validator is, and with whom it works.
#[derive(Clone, Debug)]
pub struct ValidatorSeat {
    /// Which validator.
    pub validator: ValidatorId,
    /// Signs and checks.
    pub keys: Arc<dyn Keys>,
    /// What it keeps.
    pub disk: Arc<dyn Disk>,
    /// Frames to and from the others.
    pub network: Arc<dyn Network>,
    /// The order of blocks.
    pub agreement: Arc<Agreement>,
    /// Who executes.
    pub role: Role,
    /// The time.
    pub clock: Clock,
}

/// What the tasks of one validator share.
#[derive(Debug)]
pub struct Commons {
    pub seat: ValidatorSeat,
    pub config: ValidatorConfig,
    pub limits: Arc<QuorumStoreConfig>,
    pub store: Arc<BatchStore>,
    pub commits: CommitDesk,
    pub mempool: Mutex<Mempool>,
    /// Taken only with the mempool's lock held, or alone.
    pub ends: Mutex<Ends>,
    pub mailboxes: Mailboxes,
    pub fetches: FetchDesk,
    pub tallies: Tallies,
    /// What the proof manager said last.
    pub pressure: Mutex<BackPressure>,
    /// Set when it ends: nothing is taken in any more.
    pub ending: AtomicBool,
    board: Mutex<CursorBoard>,
}

impl Commons {
    pub fn new(
        seat: ValidatorSeat,
        config: ValidatorConfig,
        store: Arc<BatchStore>,
        commits: CommitDesk,
        mempool: Mempool,
    ) -> Commons {
        let limits = Arc::new(config.quorum_store.clone());
        let mailboxes = Mailboxes::new(&config, seat.keys.validators());
        Commons {
            seat,
            ends: Mutex::new(Ends::new(config.ends_remembered)),
            config,
            limits,
            store,
            commits,
            mempool: Mutex::new(mempool),
            mailboxes,
            fetches: FetchDesk::default(),
            tallies: Tallies::default(),
            pressure: Mutex::default(),
            ending: AtomicBool::new(false),
            board: Mutex::default(),
        }
    }

    pub fn now(&self) -> Micros {
        self.seat.clock.now()
    }

    pub fn board(&self) -> CursorBoard {
        *self.board.lock()
    }

    pub fn set_cursor(&self, component: Component, applied: u64) {
        self.board.lock().set(component, applied);
    }

    pub fn gate(&self) -> Gate {
        self.board().gate(self.commits.head(), self.limits.lag_limit)
    }

    /// Remembers what became of transactions that left the mempool.
    pub fn note_ends(&self, mempool: &mut Mempool) {
        let departures = mempool.take_departures();
        if !departures.is_empty() {
            let mut ends = self.ends.lock();
            departures.into_iter().for_each(|(hash, departure)| ends.note(hash, departure));
        }
    }

    /// Does what a component asks for. Never waits; what finds no room is counted where it was to go.
    pub fn dispatch(&self, effects: Outbox) {
        for effect in effects {
            match effect {
                Effect::Send(to, message) => {
                    if let Some(frame) = self.frame(&message) {
                        self.seat.network.send(self.seat.validator, to, frame);
                    }
                }
                Effect::Broadcast(message) => self.broadcast(&message),
                Effect::Generator(news) => self.tell_generator(news),
                Effect::Proofs(ProofNews::Signatures(from, signed)) => {
                    self.tell_proofs(from, ProofNews::Signatures(from, signed));
                }
                Effect::Queue(news) => self.tell_manager(news),
                Effect::Fetched(digest, end) => self.fetches.ended(digest, end),
            }
        }
    }

    fn frame(&self, message: &Message) -> Option<Arc<[u8]>> {
        match message.encode() {
            Ok(bytes) => Some(bytes.into()),
            Err(refusal) => {
                tracing::warn!(%refusal, "a message cannot be sent");
                Tallies::count(&self.tallies.encode_failures);
                None
            }
        }
    }

    fn broadcast(&self, message: &Message) {
        let own = self.seat.validator;
        let Some(frame) = self.frame(message) else { return };
        for to in (0_u16..).map(ValidatorId).take(self.seat.keys.validators()).filter(|&to| to != own) {
            self.seat.network.send(own, to, Arc::clone(&frame));
        }
    }

    // The mailboxes count what they refuse; a component that was not there is rebuilt from what the store and the log hold.

    pub fn tell_generator(&self, news: GeneratorNews) {
        let generator = &self.mailboxes.generator;
        let _ = match news {
            GeneratorNews::RemoteBatch(key, txns) => {
                let bytes = txns.len() as u64 * 100;
                generator.bulk(key.author, GeneratorMail::News(GeneratorNews::RemoteBatch(key, txns)), bytes)
            }
            GeneratorNews::BackPressure(pressure) => {
                *self.pressure.lock() = pressure;
                Ok(())
            }
            GeneratorNews::ProofsTimedOut(keys) => {
                generator.control(GeneratorMail::News(GeneratorNews::ProofsTimedOut(keys)))
            }
        };
    }

    /// Signatures of peers are bulk: they may be dropped, and the batch is told again.
    pub fn tell_proofs(&self, from: ValidatorId, news: ProofNews) {
        let ProofNews::Signatures(_, signed) = &news;
        let bytes = signed.len() as u64 * 300;
        let _ = if from == self.seat.validator {
            self.mailboxes.proofs.control(news)
        } else {
            self.mailboxes.proofs.bulk(from, news, bytes)
        };
    }

    /// Own proofs and batches are control, those of peers bulk.
    pub fn tell_manager(&self, news: QueueNews) {
        let own = self.seat.validator;
        let (from, bytes) = match &news {
            QueueNews::Proofs(from, proofs) => (*from, proofs.len() as u64 * 300),
            QueueNews::Batches(batches) => {
                let txns: usize = batches.iter().map(|(_, txns)| txns.len()).sum();
                (batches.first().map_or(own, |(info, _)| info.author), txns as u64 * 100)
            }
        };
        let _ = if from == own {
            self.mailboxes.manager.control(ManagerMail::News(news))
        } else {
            self.mailboxes.manager.bulk(from, ManagerMail::News(news), bytes)
        };
    }
}

/// Where the network delivers: the network listener's mailbox.
#[derive(Debug)]
pub struct Doorstep(pub Weak<Commons>);

impl FrameSink for Doorstep {
    fn deliver(&self, from: ValidatorId, frame: Arc<[u8]>) {
        let bytes = frame.len() as u64;
        if let Some(commons) = self.0.upgrade() {
            // The mailbox counts what it drops.
            let _ = commons.mailboxes.listener.bulk(from, (from, frame), bytes);
        }
    }
}
