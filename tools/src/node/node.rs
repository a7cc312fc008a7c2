//! A node: everything that runs, how it starts, how it ends.

use crate::cli::Shards;
use crate::node::book::Book;
use crate::node::clients::{Clients, LoadCounts, LoadOptions};
use crate::node::cluster::Cluster;
use crate::node::commits::{follow, recall};
use crate::node::error::NodeError;
use crate::node::health::HealthDesk;
use crate::node::home::Home;
use crate::node::http::{Desk, Server};
use crate::node::intake::Intake;
use crate::node::ledger::{NodeLedger, sequences};
use crate::node::options::NodeOptions;
use crate::node::oracle::{Oracle, OracleInbox};
use crate::node::phalanx_executor::PhalanxExecutor;
use crate::node::scratch::Scratch;
use crate::node::shard_killer::ShardKiller;
use crate::run::{Family, FirstState, oracle, oracle_from};
use parking_lot::Mutex;
use phalanx::Phalanx;
use phalanx::durable::{DurableConfig, DurableState};
use phalanx::executor::MemoryConfig;
use phalanx::quorum_store::BlockExecutor;
use phalanx::vm::ledger::Address;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use tokio::runtime::Runtime;

/// Threads of the runtime: the validators' tasks share them.
const WORKERS_MAX: usize = 4;

/// A node that runs.
#[derive(Debug)]
pub struct Node {
    pub(super) home: Home,
    pub(super) family: Arc<Family>,
    pub(super) executor: Arc<PhalanxExecutor>,
    pub(super) oracle: Option<Oracle>,
    pub(super) cluster: Arc<Cluster>,
    pub(super) book: Arc<Mutex<Book>>,
    pub(super) intake: Arc<Intake>,
    pub(super) health: Arc<HealthDesk>,
    pub(super) server: Server,
    pub(super) clients: Option<JoinHandle<()>>,
    pub(super) load: Arc<LoadCounts>,
    pub(super) shard_killer: Option<ShardKiller>,
    pub(super) resumed_after: Option<u64>,
    /// Height of the last commit before the start.
    pub(super) first_head: u64,
    /// Last: everything above has ended when it goes.
    pub(super) runtime: Runtime,
}

/// What a node's ledger begins with.
struct Opened<'a> {
    first: FirstState<'a>,
    resumed_after: Option<u64>,
    sequences: HashMap<Address, u64>,
    oracle: Option<(Oracle, OracleInbox)>,
}

impl Node {
    /// Starts everything, in the order in which the data flows back: shards, validators, clients. What it keeps is in `scratch` unless
    /// the options name a directory.
    ///
    /// # Errors
    /// [`NodeError`]; nothing is left running then.
    pub fn start(options: &NodeOptions, filter: &str, scratch: &Scratch) -> Result<Node, NodeError> {
        let home = Home::open(options, scratch)?;
        let ledger = NodeLedger::derive(options)?;
        let Opened { first, resumed_after, sequences, oracle } = open_ledger(options, &home, &ledger)?;
        let family = Arc::new(Family::default());
        let mut builder = Phalanx::builder(ledger.config).idle_latency(options.idle.idle_latency).log(filter);
        if let Shards::Count(count) = options.shards {
            builder = builder.shards(count);
        }
        family.launch(builder, first)?;
        let runtime = runtime()?;
        let (oracle, inbox) = oracle.unzip();
        let executor =
            Arc::new(PhalanxExecutor::new(Arc::clone(&family), ledger.config, !options.plain, inbox));
        let as_executor: Arc<dyn BlockExecutor> = Arc::clone(&executor) as Arc<dyn BlockExecutor>;
        let (sender, ends) = channel();
        let book = Arc::new(Mutex::new(Book::new(options.load.map(|_| sender))));
        let cluster = if options.plain {
            Cluster::plain(Arc::clone(&executor), Arc::clone(&book))?
        } else {
            Cluster::start(options, &home, as_executor, &sequences, runtime.handle())?
        };
        let cluster = Arc::new(cluster);
        home.keep(options)?;
        // The feed first: a block that is in both changes nothing.
        let feed = cluster.commits();
        recall(cluster.kept_commits(), &book);
        if let Some(feed) = feed {
            runtime.spawn(follow(feed, Arc::clone(&executor), Arc::clone(&book)));
        }
        let intake = Arc::new(Intake::new(ledger.config, Arc::clone(&cluster), Arc::clone(&book)));
        let health = HealthDesk::new(Arc::clone(&cluster), Arc::clone(&family), Arc::clone(&book));
        let health = Arc::new(health);
        let desk = Arc::new(Desk::new(Arc::clone(&intake), Arc::clone(&health)));
        let server = runtime.block_on(Server::start(options.listen, desk))?;
        let load = Arc::new(LoadCounts::default());
        let mut node = Node {
            home,
            family,
            executor,
            oracle,
            first_head: cluster.head(),
            cluster,
            book,
            intake,
            health,
            server,
            clients: None,
            load,
            shard_killer: None,
            resumed_after,
            runtime,
        };
        if options.kill_shards_every.is_some() {
            let segment = node.family.segment().unwrap_or_default();
            node.shard_killer = Some(ShardKiller::new(&segment, options.seed)?);
        }
        if let Some(rate) = options.load {
            let how = LoadOptions { rate, expire_after: options.expire_after, seed: options.seed };
            let (intake, load) = (Arc::clone(&node.intake), Arc::clone(&node.load));
            let clients = Clients::new(how, ledger.accounts, &sequences, intake, ends, load);
            let thread = std::thread::Builder::new().name("phx-clients".to_owned());
            node.clients = Some(thread.spawn(move || clients.run())?);
        }
        Ok(node)
    }
}

fn open_ledger<'a>(
    options: &NodeOptions,
    home: &Home,
    ledger: &'a NodeLedger,
) -> Result<Opened<'a>, NodeError> {
    if options.plain {
        let of = |()| Oracle::start(oracle(ledger.config, &ledger.genesis)?, 0);
        let oracle = (!options.no_verify).then_some(()).map(of).transpose()?;
        let first = FirstState::Genesis(&ledger.genesis);
        return Ok(Opened { first, resumed_after: None, sequences: HashMap::new(), oracle });
    }
    let genesis = ledger.genesis.iter().map(|(key, value)| (key, value));
    let state =
        DurableState::open(&DurableConfig::new(home.ledger()), MemoryConfig::default().state, genesis)?;
    let resumed_after = state.head().height();
    let of = |()| Oracle::start(oracle_from(ledger.config, &state)?, resumed_after.unwrap_or(0));
    let oracle = (!options.no_verify).then_some(()).map(of).transpose()?;
    let sequences = sequences(&state)?;
    Ok(Opened { first: FirstState::Durable(Box::new(state)), resumed_after, sequences, oracle })
}

fn runtime() -> Result<Runtime, NodeError> {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let workers = cores.clamp(2, WORKERS_MAX);
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    Ok(builder.worker_threads(workers).thread_name("phx-node").enable_all().build()?)
}
