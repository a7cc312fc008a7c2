//! The store behind the log: one LMDB environment with the state, its head, and where each kept block lies in the log.
//!
//! What a block changes, its row and the head are written in one transaction: the store always stands at a block.

use crate::durable::batch::{Batch, KEY_TAG};
use crate::durable::environment::{self, EnvironmentOptions};
use crate::durable::error::DurableError;
use crate::durable::head::{BadHead, BlockRow, Head, HeadRow, STORE_VERSION};
use crate::durable::log_scan::RecordPlace;
use crate::durable::record::BlockMark;
use crate::durable::step::{Step, Steps};
use crate::state::{BaseState, StateDigest};
use bytemuck::bytes_of;
use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, RoTxn, RwTxn, WithTls};
use std::ops::Bound;
use std::path::{Path, PathBuf};

const HEAD_KEY: &[u8] = b"head";
const META: &str = "meta";
const STATE: &str = "state";
const BLOCKS: &str = "blocks";
/// Processes and threads that may read at once.
const READERS: u32 = 512;

type Table<'e> = Database<'e, Bytes, Bytes>;

/// Entries of the state as of one moment. Pages that are freed meanwhile are kept for it.
pub(super) struct Entries<'s> {
    store: &'s Store,
    state: Table<'s>,
    txn: RoTxn<'s, WithTls>,
    tagged: Vec<u8>,
}

impl Entries<'_> {
    /// The value of a key; `None` if it has none.
    ///
    /// # Errors
    /// `Store`.
    pub(super) fn get(&mut self, key: &[u8]) -> Result<Option<&[u8]>, DurableError> {
        self.tagged.truncate(1);
        self.tagged.extend_from_slice(key);
        self.state.get(&self.txn, &self.tagged).map_err(self.store.failed("read an entry of"))
    }
}

/// The databases.
#[derive(Clone, Copy)]
struct Tables<'e> {
    meta: Table<'e>,
    state: Table<'e>,
    blocks: Table<'e>,
}

/// The store. Closed when dropped. A thread may have one reading transaction of it at a time, in a slot of LMDB's table that
/// it keeps for life.
#[derive(Debug)]
pub(super) struct Store {
    env: Env<WithTls>,
    directory: PathBuf,
}

impl Store {
    /// Opens the store in `directory`, which must be there; makes it if it is not there.
    ///
    /// # Errors
    /// `Store`.
    pub(super) fn open(directory: &Path, bytes: u64) -> Result<Store, DurableError> {
        let store = Store::open_as(directory, Some(bytes), false)?;
        // Slots of readers that died.
        let cleared = store.clear_dead_readers()?;
        tracing::debug!(cleared, "store is open");
        store.create_tables().map_err(store.failed("make the databases of"))?;
        Ok(store)
    }

    /// Opens the store for reading, beside the process that writes it.
    ///
    /// # Errors
    /// `Store`, `NoState`.
    pub(super) fn open_to_read(directory: &Path) -> Result<Store, DurableError> {
        if !directory.join("data.mdb").exists() {
            return Err(DurableError::NoState { directory: directory.to_owned() });
        }
        Store::open_as(directory, None, true)
    }

    /// Opens the store for a shard: for reading, as great as its owner has it. Frees the slots of those that died, and takes
    /// one for this thread: from now on reading waits for no lock.
    ///
    /// # Errors
    /// `Store`, `NoState`.
    pub(super) fn open_beside(directory: &Path, bytes: u64) -> Result<Store, DurableError> {
        let store = Store::open_as(directory, Some(bytes), true)?;
        store.clear_dead_readers()?;
        store.head()?.map(|_| ()).ok_or_else(|| DurableError::NoState { directory: directory.to_owned() })?;
        Ok(store)
    }

    fn open_as(directory: &Path, bytes: Option<u64>, read_only: bool) -> Result<Store, DurableError> {
        let options = EnvironmentOptions { bytes, databases: 3, readers: READERS, read_only };
        let directory = directory.to_owned();
        match environment::open(&directory, options) {
            Ok(env) => Ok(Store { env, directory }),
            Err(cause) => Err(DurableError::Store { step: "open", directory, cause }),
        }
    }

    fn failed(&self, step: &'static str) -> impl FnOnce(heed::Error) -> DurableError + use<> {
        let directory = self.directory.clone();
        move |cause| DurableError::Store { step, directory, cause }
    }

    fn create_tables(&self) -> Result<(), heed::Error> {
        let txn = self.env.write_txn()?;
        self.env.create_databases_and_commit(txn, |opener, txn| {
            for name in [META, STATE, BLOCKS] {
                opener.create_database::<Bytes, Bytes>(txn, Some(name))?;
            }
            Ok::<_, heed::Error>(CommitOrAbort::<(), ()>::Commit(()))
        })?;
        Ok(())
    }

    /// `None` if the databases are not there.
    fn tables(&self) -> Result<Option<Tables<'_>>, heed::Error> {
        let txn = self.env.read_txn()?;
        let opened = self.env.open_databases_and_commit(txn, |opener, txn| {
            let open = |name| opener.open_database::<Bytes, Bytes>(txn, Some(name));
            Ok::<_, heed::Error>(match (open(META)?, open(STATE)?, open(BLOCKS)?) {
                (Some(meta), Some(state), Some(blocks)) => CommitOrAbort::Commit((meta, state, blocks)),
                (_, _, _) => CommitOrAbort::Abort(()),
            })
        })?;
        Ok(opened.commit().map(|(meta, state, blocks)| Tables { meta, state, blocks }))
    }

    fn tables_or_none(&self) -> Result<Tables<'_>, DurableError> {
        let tables = self.tables().map_err(self.failed("open the databases of"))?;
        tables.ok_or_else(|| DurableError::NoState { directory: self.directory.clone() })
    }

    /// Where the state stands; `None` if there is none.
    ///
    /// # Errors
    /// `Store`, `Version`, `Damaged`.
    pub(super) fn head(&self) -> Result<Option<Head>, DurableError> {
        let Some(tables) = self.tables().map_err(self.failed("open the databases of"))? else {
            return Ok(None);
        };
        let txn = self.env.read_txn().map_err(self.failed("read"))?;
        self.head_in(&txn, &tables)
    }

    fn head_in(&self, txn: &RoTxn<'_, WithTls>, tables: &Tables<'_>) -> Result<Option<Head>, DurableError> {
        let row = tables.meta.get(txn, HEAD_KEY).map_err(self.failed("read the head of"))?;
        let path = || self.directory.join("data.mdb");
        match row.map(HeadRow::parse) {
            None => Ok(None),
            Some(Ok(head)) => Ok(Some(head)),
            Some(Err(BadHead::Version(found))) => {
                Err(DurableError::Version { path: path(), found, known: STORE_VERSION })
            }
            Some(Err(BadHead::Damaged)) => {
                Err(DurableError::damaged(&path(), 0, "the head's row has a wrong checksum"))
            }
        }
    }

    /// Fills a store that has no head, in one transaction.
    ///
    /// # Errors
    /// `Store`, or that of `fill`; nothing is in the store then.
    pub(super) fn initialise(
        &self,
        fill: impl FnOnce(&mut dyn FnMut(&[u8], &[u8]) -> Result<(), DurableError>) -> Result<Head, DurableError>,
    ) -> Result<Head, DurableError> {
        let tables = self.tables_or_none()?;
        let mut txn = self.env.write_txn().map_err(self.failed("begin to fill"))?;
        let mut tagged = vec![KEY_TAG];
        let head = fill(&mut |key, value| {
            tagged.truncate(1);
            tagged.extend_from_slice(key);
            tables.state.put(&mut txn, &tagged, value).map_err(self.failed("fill"))
        })?;
        tables.meta.put(&mut txn, HEAD_KEY, bytes_of(&HeadRow::of(&head))).map_err(self.failed("fill"))?;
        txn.commit().map_err(self.failed("fill"))?;
        Ok(head)
    }

    /// Brings in what several blocks changed and forgets the rows of blocks below `floor`, in one transaction.
    ///
    /// # Errors
    /// `Store`; nothing has changed then.
    pub(super) fn apply(
        &self,
        batch: &mut Batch,
        head: Head,
        floor: Option<u64>,
        steps: &Steps,
    ) -> Result<Head, DurableError> {
        batch.settle();
        let tables = self.tables_or_none()?;
        self.try_apply(tables, batch, head, floor, steps).map_err(self.failed("write"))
    }

    fn try_apply(
        &self,
        tables: Tables<'_>,
        batch: &Batch,
        head: Head,
        floor: Option<u64>,
        steps: &Steps,
    ) -> Result<Head, heed::Error> {
        let mut txn = self.env.write_txn()?;
        steps.pass(Step::StoreBegun)?;
        for (key, value) in batch.writes() {
            match value {
                Some(value) => tables.state.put(&mut txn, key, value)?,
                None => _ = tables.state.delete(&mut txn, key)?,
            }
        }
        let mut head = head;
        for block in batch.blocks() {
            let height = block.mark.height.to_be_bytes();
            tables.blocks.put(&mut txn, &height, bytes_of(&BlockRow::of(block)))?;
            head = head.after(block);
        }
        if let Some(floor) = floor {
            forget_below(&tables, &mut txn, floor)?;
        }
        tables.meta.put(&mut txn, HEAD_KEY, bytes_of(&HeadRow::of(&head)))?;
        steps.pass(Step::StorePut)?;
        txn.commit()?;
        steps.pass(Step::StoreCommitted)?;
        Ok(head)
    }

    /// The block at a height and where its record is; `None` if it has no row.
    ///
    /// # Errors
    /// `Store`.
    pub(super) fn block(&self, height: u64) -> Result<Option<(BlockMark, RecordPlace)>, DurableError> {
        let tables = self.tables_or_none()?;
        let txn = self.env.read_txn().map_err(self.failed("read"))?;
        let row = tables.blocks.get(&txn, &height.to_be_bytes()).map_err(self.failed("read a block of"))?;
        Ok(row.and_then(|row| BlockRow::parse(height, row)))
    }

    /// Number of entries of the state.
    ///
    /// # Errors
    /// `Store`, `NoState`.
    pub(super) fn entries(&self) -> Result<u64, DurableError> {
        let tables = self.tables_or_none()?;
        let txn = self.env.read_txn().map_err(self.failed("read"))?;
        tables.state.len(&txn).map_err(self.failed("count the entries of"))
    }

    /// Number of rows of blocks.
    ///
    /// # Errors
    /// `Store`, `NoState`.
    pub(super) fn kept_blocks(&self) -> Result<u64, DurableError> {
        let tables = self.tables_or_none()?;
        let txn = self.env.read_txn().map_err(self.failed("read"))?;
        tables.blocks.len(&txn).map_err(self.failed("count the blocks of"))
    }

    /// Reads the whole state, holds its digest against the head, and loads it into `empty`: all of it, or as into a cache of so
    /// many bytes what fits.
    ///
    /// # Errors
    /// `Digest`, `Store`, `State`, `NoState`.
    pub(super) fn load(
        &self,
        empty: BaseState,
        cache: Option<u64>,
    ) -> Result<(Head, BaseState), DurableError> {
        let mut base = None;
        let head = self.read_all(|head, _, entries| {
            base = Some(match cache {
                None => empty.filled(entries)?,
                Some(budget) => empty.filled_as_cache(budget, head.sequence, entries)?,
            });
            Ok(())
        })?;
        let base = base.ok_or_else(|| DurableError::NoState { directory: self.directory.clone() })?;
        self.expect(head.digest, base.digest())?;
        Ok((head, base))
    }

    /// Begins to read single entries as of now.
    ///
    /// # Errors
    /// `Store`, `NoState`.
    pub(super) fn read_entries(&self) -> Result<Entries<'_>, DurableError> {
        let state = self.tables_or_none()?.state;
        let txn = self.env.read_txn().map_err(self.failed("read"))?;
        Ok(Entries { store: self, state, txn, tagged: vec![KEY_TAG] })
    }

    /// Where it lies.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Reads every entry and holds the digest against the head. `begin` sees head and number of entries, `each` what it
    /// made of them and each entry.
    ///
    /// # Errors
    /// `Digest`, `Store`, `NoState`, or that of `begin` and `each`.
    pub(super) fn check<T>(
        &self,
        begin: impl FnOnce(&Head, u64) -> Result<T, DurableError>,
        mut each: impl FnMut(&mut T, &[u8], &[u8]) -> Result<(), DurableError>,
    ) -> Result<(Head, T), DurableError> {
        let (mut digest, mut made) = (StateDigest::default(), None);
        let head = self.read_all(|head, count, entries| {
            let made = made.insert(begin(head, count)?);
            for (key, value) in entries {
                digest.insert(key, value);
                each(made, key, value)?;
            }
            Ok(())
        })?;
        self.expect(head.digest, digest)?;
        let made = made.ok_or_else(|| DurableError::NoState { directory: self.directory.clone() })?;
        Ok((head, made))
    }

    fn expect(&self, expected: StateDigest, found: StateDigest) -> Result<(), DurableError> {
        if expected == found {
            return Ok(());
        }
        Err(DurableError::Digest { directory: self.directory.clone(), expected, found })
    }

    /// Hands head, number of entries and all entries, as of one moment, to `take`.
    fn read_all(
        &self,
        take: impl FnOnce(&Head, u64, &mut dyn Iterator<Item = (&[u8], &[u8])>) -> Result<(), DurableError>,
    ) -> Result<Head, DurableError> {
        let tables = self.tables_or_none()?;
        let txn = self.env.read_txn().map_err(self.failed("read"))?;
        let no_state = || DurableError::NoState { directory: self.directory.clone() };
        let head = self.head_in(&txn, &tables)?.ok_or_else(no_state)?;
        let count = tables.state.len(&txn).map_err(self.failed("count the entries of"))?;
        let mut rows = tables.state.iter(&txn).map_err(self.failed("read"))?;
        let mut error = None;
        let mut entries = std::iter::from_fn(|| match rows.next()? {
            Ok((key, value)) => Some((key.get(1..).unwrap_or(&[]), value)),
            Err(cause) => {
                error = Some(cause);
                None
            }
        });
        take(&head, count, &mut entries)?;
        match error {
            None => Ok(head),
            Some(cause) => Err(self.failed("read")(cause)),
        }
    }

    /// Bytes that the store takes on disk.
    ///
    /// # Errors
    /// `Store`.
    pub(super) fn disk_bytes(&self) -> Result<u64, DurableError> {
        self.env.real_disk_size().map_err(self.failed("look at"))
    }

    /// Frees the slots of readers whose process is gone; returns how many.
    ///
    /// # Errors
    /// `Store`.
    pub(super) fn clear_dead_readers(&self) -> Result<usize, DurableError> {
        self.env.clear_stale_readers().map_err(self.failed("look for dead readers of"))
    }
}

fn forget_below(tables: &Tables<'_>, txn: &mut RwTxn<'_>, floor: u64) -> Result<(), heed::Error> {
    let floor = floor.to_be_bytes();
    let below = (Bound::<&[u8]>::Unbounded, Bound::Excluded(floor.as_slice()));
    tables.blocks.delete_range(txn, &below)?;
    Ok(())
}
