//! One validator of a simulation: the components of a node, each of which may be dead.

use super::super::support::*;
use super::world::Plant;
use crate::quorum_store::*;
use crate::vm::ledger::Address;
use std::collections::HashMap;
use std::sync::Arc;

/// Components that a schedule may kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Generator,
    BatchCoordinator,
    Proofs,
    Manager,
}

impl Part {
    pub const ALL: [Part; 4] = [Part::Generator, Part::BatchCoordinator, Part::Proofs, Part::Manager];
}

#[derive(Debug)]
pub struct Validator {
    pub id: ValidatorId,
    pub count: usize,
    pub config: Arc<QuorumStoreConfig>,
    pub keys: Arc<dyn Keys>,
    pub disk: Arc<MemoryDisk>,
    pub store: Arc<BatchStore>,
    pub log: CommitLog,
    pub mempool: Mempool,
    pub listener: NetworkListener,
    pub requester: BatchRequester,
    pub generator: Option<BatchGenerator>,
    pub coordinator: Option<BatchCoordinator>,
    pub proofs: Option<ProofCoordinator>,
    pub manager: Option<ProofManager>,
    /// News that found nobody; each is counted.
    pub lost: u64,
    /// Whether the commit fan-out of the original is dead.
    pub fan_out_dead: bool,
    /// A planted fault.
    pub ids_go_back: bool,
}

pub const WINDOW: std::time::Duration = secs(20);

impl Validator {
    pub fn new(id: u16, count: usize, config: &Arc<QuorumStoreConfig>, now: Micros) -> Validator {
        let disk = Arc::new(MemoryDisk::default());
        let keys: Arc<dyn Keys> = Arc::new(HashKeys { own: ValidatorId(id), count });
        Validator::open(ValidatorId(id), count, Arc::clone(config), keys, disk, (now, HashMap::new()))
    }

    fn open(
        id: ValidatorId,
        count: usize,
        config: Arc<QuorumStoreConfig>,
        keys: Arc<dyn Keys>,
        disk: Arc<MemoryDisk>,
        (now, next): (Micros, HashMap<Address, u64>),
    ) -> Validator {
        let as_disk: Arc<dyn Disk> = Arc::clone(&disk) as Arc<dyn Disk>;
        let log = CommitLog::open(Arc::clone(&as_disk), WINDOW).unwrap();
        let store = Arc::new(BatchStore::open(as_disk, (*config).clone(), log.time()).unwrap());
        let mut validator = Validator {
            id,
            count,
            listener: NetworkListener::new(count, config.peer_frames_per_s),
            requester: BatchRequester::new(id, Epoch(1), Arc::clone(&store), Arc::clone(&config)),
            mempool: Mempool::new(config.mempool, next),
            config,
            keys,
            disk,
            store,
            log,
            generator: None,
            coordinator: None,
            proofs: None,
            manager: None,
            lost: 0,
            fan_out_dead: false,
            ids_go_back: false,
        };
        let mut out = Vec::new();
        Part::ALL.into_iter().for_each(|part| validator.start(part, now, &mut out));
        validator
    }

    /// Dies with everything that is not on disk, and begins again.
    pub fn crash(self, now: Micros, next: HashMap<Address, u64>) -> Validator {
        let Validator { id, count, config, keys, mut disk, ids_go_back, .. } = self;
        if ids_go_back {
            // Its batches are lost, too: a store that has them refuses the second use of a number.
            let (fresh, kept) = (MemoryDisk::default(), disk.commits().unwrap());
            kept.entries.iter().for_each(|entry| fresh.append_commit(entry, kept.collapsed).unwrap());
            disk = Arc::new(fresh);
        }
        let mut opened = Validator::open(id, count, config, keys, disk, (now, next));
        opened.ids_go_back = ids_go_back;
        if ids_go_back {
            opened.start(Part::Generator, now, &mut Vec::new());
        }
        opened
    }

    pub fn kill(&mut self, part: Part) {
        match part {
            Part::Generator => self.generator = None,
            Part::BatchCoordinator => self.coordinator = None,
            Part::Proofs => self.proofs = None,
            Part::Manager => self.manager = None,
        }
    }

    pub fn start(&mut self, part: Part, now: Micros, out: &mut Outbox) {
        let (keys, store, config) =
            (Arc::clone(&self.keys), Arc::clone(&self.store), Arc::clone(&self.config));
        let (validator, epoch) = (self.id, Epoch(1));
        match part {
            Part::Generator => {
                let ids = if self.ids_go_back {
                    let fresh = MemoryDisk::default();
                    fresh.reserve_ids(epoch, 0, Micros(0)).unwrap();
                    Arc::new(fresh)
                } else {
                    Arc::clone(&self.disk)
                };
                let disk = ids as Arc<dyn Disk>;
                let seat = GeneratorSeat { validator, epoch, keys, store, disk, config };
                self.generator = Some(BatchGenerator::rebuild(seat, now, out));
            }
            Part::BatchCoordinator => {
                self.coordinator =
                    Some(BatchCoordinator::new(validator, epoch, keys, store, config, TxnFilter::Off));
            }
            Part::Proofs => {
                self.proofs =
                    Some(ProofCoordinator::rebuild(ProofSeat { validator, keys, store, config }, now, out));
            }
            Part::Manager => {
                let seat = ManagerSeat { validator, epoch, keys, store, config };
                self.manager = Some(ProofManager::rebuild(seat, now, now.0, out));
            }
        }
    }

    pub fn board(&self) -> CursorBoard {
        let mut board = CursorBoard::default();
        board.set(Component::Mempool, self.mempool.cursor().applied());
        board.set(Component::Coordinator, self.store.cursor().applied());
        board.set(Component::BatchGenerator, self.generator.as_ref().map_or(0, |one| one.cursor().applied()));
        board.set(Component::ProofCoordinator, self.proofs.as_ref().map_or(0, |one| one.cursor().applied()));
        board.set(Component::ProofManager, self.manager.as_ref().map_or(0, |one| one.cursor().applied()));
        board
    }

    pub fn gate(&self) -> Gate {
        self.board().gate(self.log.head(), self.config.lag_limit)
    }

    /// Every component that lives reads the log up to its end, or as far as `most` steps go. `doubled` applies each step twice.
    pub fn catch_up(&mut self, most: usize, doubled: bool, plant: Plant, out: &mut Outbox) {
        for _ in 0..most {
            let Some(step) = self.log.next(self.store.cursor()) else { break };
            self.store.apply(&step);
            assert!(!doubled || !self.store.apply(&step), "applied twice");
        }
        for _ in 0..most {
            let Some(step) = self.log.next(self.mempool.cursor()) else { break };
            self.mempool.apply(&step, &self.store);
        }
        if let Some(proofs) = &mut self.proofs {
            for _ in 0..most {
                let Some(step) = self.log.next(proofs.cursor()) else { break };
                proofs.apply(&step);
                assert!(!doubled || !proofs.apply(&step), "applied twice");
            }
        }
        if let Some(manager) = &mut self.manager {
            for _ in 0..most {
                let Some(step) = self.log.next(manager.cursor()) else { break };
                manager.apply(&plant.on_manager(step.clone()), out);
                assert!(!doubled || !manager.apply(&step, out), "applied twice");
            }
        }
        if let Some(generator) = &mut self.generator {
            for _ in 0..most {
                // Not before the mempool: what is released must not be pulled again.
                let ahead = generator.cursor().applied() >= self.mempool.cursor().applied();
                let Some(step) = self.log.next(generator.cursor()).filter(|_| !ahead) else { break };
                generator.apply(&plant.on_generator(step.clone()));
                assert!(!doubled || !generator.apply(&step), "applied twice");
            }
        }
    }

    /// As [`catch_up`](Self::catch_up), while one component hangs.
    pub fn catch_up_but(&mut self, hung: Option<Part>, out: &mut Outbox) {
        let (generator, proofs, manager) = match hung {
            Some(Part::Generator) => (self.generator.take(), None, None),
            Some(Part::Proofs) => (None, self.proofs.take(), None),
            Some(Part::Manager) => (None, None, self.manager.take()),
            Some(Part::BatchCoordinator) | None => (None, None, None),
        };
        self.catch_up(usize::MAX, false, Plant::Nothing, out);
        self.generator = generator.or(self.generator.take());
        self.proofs = proofs.or(self.proofs.take());
        self.manager = manager.or(self.manager.take());
    }

    /// The fan-out of the original: proof coordinator, proof manager, generator, one after the other. A dead one ends it, or,
    /// by the patch that was suggested for it, is skipped.
    pub fn fan_out(&mut self, entry: &Arc<CommitEntry>, go_on: bool, out: &mut Outbox) {
        // As ever: these two are not part of it.
        while let Some(step) = self.log.next(self.store.cursor()) {
            self.store.apply(&step);
        }
        while let Some(step) = self.log.next(self.mempool.cursor()) {
            self.mempool.apply(&step, &self.store);
        }
        if self.fan_out_dead {
            return;
        }
        let step = |applied: u64| {
            CommitStep::Entry(Arc::new(CommitEntry { sequence: applied + 1, ..CommitEntry::clone(entry) }))
        };
        let mut sent = [false; 3];
        if let Some(proofs) = &mut self.proofs {
            sent[0] = proofs.apply(&step(proofs.cursor().applied()));
        }
        if let Some(manager) = self.manager.as_mut().filter(|_| go_on || sent[0]) {
            sent[1] = manager.apply(&step(manager.cursor().applied()), out);
        }
        if let Some(generator) = self.generator.as_mut().filter(|_| go_on || sent[0] && sent[1]) {
            sent[2] = generator.apply(&step(generator.cursor().applied()));
        }
        self.fan_out_dead = !go_on && sent != [true; 3];
    }

    pub fn tick(&mut self, now: Micros, out: &mut Outbox) {
        self.mempool.expire(now);
        let gate = self.gate();
        if let Some(generator) = &mut self.generator {
            generator.tick(now, gate, &self.mempool, out);
        }
        if let Some(proofs) = &mut self.proofs {
            proofs.tick(now, out);
        }
        if let Some(manager) = &mut self.manager {
            manager.tick(now, out);
        }
        self.requester.tick(now, out);
    }

    pub fn frame(&mut self, now: Micros, from: ValidatorId, frame: &[u8], out: &mut Outbox) {
        match self.listener.receive(now, from, frame) {
            Ok(Incoming::Batches(batches)) => match &mut self.coordinator {
                Some(coordinator) => coordinator.receive(now, from, batches, out),
                None => self.lost += 1,
            },
            Ok(Incoming::Signatures(signed)) => {
                self.news(now, Effect::Proofs(ProofNews::Signatures(from, signed)), out)
            }
            Ok(Incoming::Proofs(proofs)) => {
                self.news(now, Effect::Queue(QueueNews::Proofs(from, proofs)), out)
            }
            Ok(Incoming::Fetch(digest, epoch)) => self.requester.serve(from, digest, epoch, out),
            Ok(Incoming::Fetched(batch)) => self.requester.fetched(now, from, batch, out),
            Ok(Incoming::NotFound(digest, epoch, committed)) => {
                self.requester.not_found(from, digest, epoch, committed, out);
            }
            Err(_) => {}
        }
    }

    /// News for a component of this validator; lost if it is dead.
    pub fn news(&mut self, now: Micros, effect: Effect, out: &mut Outbox) {
        let heard = match effect {
            Effect::Generator(news) => self.generator.as_mut().map(|generator| generator.hear(now, news)),
            Effect::Proofs(ProofNews::Signatures(from, signed)) => {
                self.proofs.as_mut().map(|proofs| proofs.receive(now, from, &signed, out))
            }
            Effect::Queue(news) => self.manager.as_mut().map(|manager| manager.hear(now, news, out)),
            Effect::Fetched(..) | Effect::Send(..) | Effect::Broadcast(_) => Some(()),
        };
        self.lost += u64::from(heard.is_none());
    }
}
