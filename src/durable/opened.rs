//! Opening a state directory.

use crate::durable::appender::Appender;
use crate::durable::applier::{Applier, RecordReader};
use crate::durable::batch::Batch;
use crate::durable::cold::ColdStore;
use crate::durable::config::DurableConfig;
use crate::durable::directory::{self, DirectoryLock, log_of, store_of};
use crate::durable::error::DurableError;
use crate::durable::head::Head;
use crate::durable::journal::Journal;
use crate::durable::log_scan::{ScanOptions, Scanned, scan};
use crate::durable::progress::Shared;
use crate::durable::segment::DirectoryId;
use crate::durable::step::Steps;
use crate::durable::store::Store;
use crate::durable::syncer;
use crate::state::{BaseState, StateConfig, StateDigest};
use crate::types::BlockHash;
use phalanx_ipc::Region;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

/// A state directory that is open, with its state in memory: where a family of shards begins.
#[derive(Debug)]
pub struct DurableState {
    base: BaseState,
    head: Head,
    journal: Journal,
}

impl DurableState {
    /// Opens a state directory at its last durable block, or a later one; makes it from `genesis` if it is not there.
    ///
    /// With [`DurableConfig::cache_bytes`] only so much of the state is held in memory.
    ///
    /// Takes the time that it takes to read the state once, and to bring into the store what it lacked of the log, which
    /// [`DurableConfig::backlog_bytes`] bounds. An empty `genesis` is not compared with that of the directory.
    ///
    /// # Errors
    /// [`DurableError`].
    pub fn open<K: AsRef<[u8]>, E: AsRef<[u8]>>(
        config: &DurableConfig,
        memory: StateConfig,
        genesis: impl IntoIterator<Item = (K, E)>,
    ) -> Result<DurableState, DurableError> {
        DurableState::open_placed(config, memory, genesis, |_| {})
    }

    /// As [`open`](Self::open); `place` is shown the memory of the state while it is still empty, to say on which nodes it goes:
    /// [`Placement::place_state`](crate::supervisor::Placement::place_state).
    ///
    /// # Errors
    /// [`DurableError`].
    pub fn open_placed<K: AsRef<[u8]>, E: AsRef<[u8]>>(
        config: &DurableConfig,
        memory: StateConfig,
        genesis: impl IntoIterator<Item = (K, E)>,
        place: impl FnOnce(&Region),
    ) -> Result<DurableState, DurableError> {
        config.check()?;
        directory::make(&config.directory)?;
        let lock = DirectoryLock::take(&config.directory)?;
        let log = log_of(&config.directory);
        let home = store_of(&config.directory);
        // Shards find it by this name, wherever this process goes.
        let home = home.canonicalize().map_err(DurableError::io("look for", &home))?;
        let store = Arc::new(Store::open(&home, config.store_bytes)?);
        let head = match store.head()? {
            Some(head) => {
                same_genesis(&config.directory, &head, genesis)?;
                head
            }
            None => first_head(&store, &log, memory, genesis)?,
        };
        directory::sync(&config.directory)?;
        let options = ScanOptions {
            directory: head.directory,
            applied: head.sequence,
            everything: false,
            writable: true,
        };
        let mut scanned = scan(&log, &options)?;
        let steps = config.steps();
        let appender =
            Appender::open(log.clone(), head.directory, config.segment_bytes, &mut scanned, steps.clone())?;
        let shared = Arc::new(shared_of(&head, scanned));
        let mut applier = Applier {
            store: Arc::clone(&store),
            shared: Arc::clone(&shared),
            reader: RecordReader::new(log.clone()),
            head,
            keep_blocks: config.keep_blocks,
            steps: steps.clone(),
            batch: Batch::default(),
        };
        applier.catch_up()?;
        let empty = BaseState::create(memory)?;
        place(empty.region());
        let (head, base) = store.load(empty, config.cache_bytes)?;
        let threads = start_threads(&shared, applier, &steps)?;
        let reader = RecordReader::new(log);
        let cold = config.cache_bytes.map(|_| {
            let cold = ColdStore::of_owner(&store);
            let order = cold.order(config.store_bytes);
            (cold, order)
        });
        let journal = Journal {
            appender,
            store,
            shared,
            reader,
            last: head.block,
            backlog_bytes: config.backlog_bytes,
            cold,
            steps,
            threads,
            _lock: lock,
        };
        Ok(DurableState { base, head, journal })
    }

    /// Where the state stands.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The state, or of a cache what it holds.
    #[must_use]
    pub fn state(&self) -> &BaseState {
        &self.base
    }

    /// Calls `each` with every entry of the state, whether or not it is in memory.
    ///
    /// # Errors
    /// `Store`.
    pub fn for_each(&self, mut each: impl FnMut(&[u8], &[u8])) -> Result<(), DurableError> {
        let read = self.journal.store.check(
            |_, _| Ok(()),
            |(), key, value| {
                each(key, value);
                Ok(())
            },
        );
        read.map(|_| ())
    }

    pub(crate) fn into_parts(self) -> (BaseState, Journal) {
        (self.base, self.journal)
    }
}

/// All blocks that were read are durable: opening has synced them.
fn shared_of(head: &Head, scanned: Scanned) -> Shared {
    let last = scanned.blocks.last().map(|block| block.mark.height).or(head.height());
    Shared::new(scanned.last_sequence, last, head.height(), scanned.blocks, scanned.segments)
}

fn start_threads(
    shared: &Arc<Shared>,
    applier: Applier,
    steps: &Steps,
) -> Result<Vec<JoinHandle<()>>, DurableError> {
    let failed = |cause: std::io::Error| DurableError::Failed { cause: format!("no thread: {cause}") };
    let (of_log, steps) = (Arc::clone(shared), steps.clone());
    let log = std::thread::Builder::new().name("phx-log".to_owned());
    let log = log.spawn(move || syncer::run(&of_log, &steps)).map_err(failed)?;
    let store = std::thread::Builder::new().name("phx-store".to_owned());
    match store.spawn(move || applier.run()) {
        Ok(store) => Ok(vec![log, store]),
        Err(cause) => {
            shared.stop();
            // It has nothing to do.
            let _ = log.join();
            Err(failed(cause))
        }
    }
}

fn same_genesis<K: AsRef<[u8]>, E: AsRef<[u8]>>(
    directory: &Path,
    head: &Head,
    genesis: impl IntoIterator<Item = (K, E)>,
) -> Result<(), DurableError> {
    let (mut given, mut entries) = (StateDigest::default(), 0_u64);
    for (key, value) in genesis {
        given.insert(key.as_ref(), value.as_ref());
        entries += 1;
    }
    if entries == 0 || given == head.genesis {
        return Ok(());
    }
    Err(DurableError::OtherGenesis { directory: directory.to_owned(), found: head.genesis, given })
}

/// Fills a new store from the first state.
fn first_head<K: AsRef<[u8]>, E: AsRef<[u8]>>(
    store: &Store,
    log: &Path,
    memory: StateConfig,
    genesis: impl IntoIterator<Item = (K, E)>,
) -> Result<Head, DurableError> {
    if !crate::durable::log_scan::segments_in(log)?.is_empty() {
        // Its records change a state that is not there.
        return Err(DurableError::Missing { directory: log.to_owned(), sequence: 0 });
    }
    let base = BaseState::with_entries(memory, genesis)?;
    let head = new_head(None, base.digest(), base.digest())?;
    store.initialise(|put| {
        let mut result = Ok(());
        base.for_each(|key, value| {
            if result.is_ok() {
                result = put(key, value);
            }
        });
        result.map(|()| head)
    })
}

/// The head of a new directory.
pub(super) fn new_head(
    block: Option<(u64, BlockHash)>,
    digest: StateDigest,
    genesis: StateDigest,
) -> Result<Head, DurableError> {
    let source = Path::new("/dev/urandom");
    let mut directory = DirectoryId::default();
    let read = File::open(source).and_then(|mut file| file.read_exact(&mut directory));
    read.map_err(DurableError::io("read", source))?;
    Ok(Head { block, digest, sequence: 0, genesis, directory })
}
