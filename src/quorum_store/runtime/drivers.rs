//! One task for each component: waits for mail, commits and time, lets the component take a turn on a thread that may block, and
//! does what it asks for.

mod batch_coordinator;
mod batch_generator;
mod batch_requester;
mod coordinator;
mod mempool;
mod network_listener;
mod proof_coordinator;
mod proof_manager;

use crate::quorum_store::effect::Outbox;
use crate::quorum_store::runtime::commons::Commons;
use crate::quorum_store::runtime::mailbox::Mailbox;
use crate::quorum_store::runtime::tallies::Tally;
use crate::quorum_store::runtime::vital::{Life, TaskEnd};
use crate::quorum_store::runtime::{pipeline, proposer};
use crate::quorum_store::{CommitStep, Component, Cursor};
use std::sync::Arc;
use std::time::Duration;

/// Bulk that a component takes in one turn at most: between turns it shows that it lives.
const BULK_PER_TURN: usize = 64;

/// A component that works in turns.
trait Driver: Send + Sized + 'static {
    /// What is put in its mailbox.
    type Mail: Send + 'static;

    /// Which it is.
    const COMPONENT: Component;

    /// Its mailbox, if it has one.
    fn mailbox(commons: &Commons) -> Option<&Mailbox<Self::Mail>>;

    /// A new life, from what store and log hold. May block.
    fn rebuild(commons: &Commons, out: &mut Outbox) -> Self;

    /// Reads the log to its end, hears its mail, and does what is due. May block.
    fn turn(&mut self, commons: &Commons, mail: Vec<Self::Mail>, out: &mut Outbox);

    /// What it counted.
    fn tally(&self) -> Tally {
        Tally::default()
    }

    /// Time between two turns without news.
    fn pause(_commons: &Commons) -> Duration {
        Duration::from_millis(100)
    }
}

/// The task of a component.
pub async fn run(component: Component, commons: Arc<Commons>, mut life: Life) -> TaskEnd {
    let ended = match component {
        Component::NetworkListener => drive::<network_listener::Listening>(&commons, &mut life).await,
        Component::BatchGenerator => drive::<batch_generator::Generating>(&commons, &mut life).await,
        Component::BatchCoordinator => drive::<batch_coordinator::Coordinating>(&commons, &mut life).await,
        Component::BatchRequester => drive::<batch_requester::Requesting>(&commons, &mut life).await,
        Component::ProofCoordinator => drive::<proof_coordinator::Proving>(&commons, &mut life).await,
        Component::ProofManager => drive::<proof_manager::Managing>(&commons, &mut life).await,
        Component::Mempool => drive::<mempool::Pooling>(&commons, &mut life).await,
        Component::Coordinator => drive::<coordinator::Storing>(&commons, &mut life).await,
        Component::Proposer => proposer::run(&commons, &mut life).await,
        Component::BlockPipeline => pipeline::run(&commons, &mut life).await,
    };
    ended.err().unwrap_or(TaskEnd::Stopped)
}

async fn drive<D: Driver>(commons: &Arc<Commons>, life: &mut Life) -> Result<(), TaskEnd> {
    let mut head = commons.commits.watch();
    // Before the store is read: what is told meanwhile is heard after it.
    if let Some(mailbox) = D::mailbox(commons) {
        mailbox.open();
    }
    life.take_seat(commons.config.supervision.hang_limit).await;
    commons.tallies.begin(D::COMPONENT);
    let shared = Arc::clone(commons);
    let begin = move || {
        let mut out = Outbox::new();
        let driver = D::rebuild(&shared, &mut out);
        shared.dispatch(out);
        driver
    };
    let mut driver = life.block(None, begin).await?;
    loop {
        let last = life.is_stopped();
        let (shared, ticket) = (Arc::clone(commons), life.ticket());
        let turn = move || {
            let mut out = Outbox::new();
            let mail = D::mailbox(&shared).map_or_else(Vec::new, |mailbox| mailbox.take(BULK_PER_TURN));
            driver.turn(&shared, mail, &mut out);
            if ticket.is_valid() {
                shared.tallies.set(D::COMPONENT, driver.tally());
                shared.dispatch(out);
            }
            driver
        };
        driver = life.block(None, turn).await?;
        if last {
            return Ok(());
        }
        tokio::select! {
            () = life.stopped() => {}
            () = news(D::mailbox(commons)) => {}
            // An error means that there will be no more commits.
            _ = head.changed(), if D::COMPONENT.has_cursor() => {}
            () = tokio::time::sleep(D::pause(commons)) => {}
        }
        life.beat();
    }
}

async fn news<M>(mailbox: Option<&Mailbox<M>>) {
    match mailbox {
        Some(mailbox) => mailbox.news().await,
        None => std::future::pending().await,
    }
}

/// Applies every step of the log behind a cursor.
fn catch_up<C>(
    commons: &Commons,
    component: &mut C,
    cursor: impl Fn(&C) -> Cursor,
    mut apply: impl FnMut(&mut C, &CommitStep),
) -> u64 {
    while let Some(step) = commons.commits.next(cursor(component)) {
        apply(component, &step);
    }
    cursor(component).applied()
}
