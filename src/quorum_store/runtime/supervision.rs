//! Watches the tasks of a validator: who returned, panicked or gives no sign of life is replaced, one for one; too many
//! replacements end the validator. Stops all of them in order.

use crate::quorum_store::runtime::commons::Commons;
use crate::quorum_store::runtime::drivers;
use crate::quorum_store::runtime::restart_limit::RestartLimit;
use crate::quorum_store::runtime::shutdown_report::{ShutdownReport, StepEnd};
use crate::quorum_store::runtime::vital::{TaskEnd, Vital, words_of};
use crate::quorum_store::validator::Told;
use crate::quorum_store::{Component, Restarts, ValidatorEnd, ValidatorId};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};

/// Who sends is stopped before who receives. What a stopped one is sent is dropped: store and log have what counts.
const STOP_ORDER: [Component; Component::ALL.len()] = [
    Component::NetworkListener,
    Component::Proposer,
    Component::BlockPipeline,
    Component::BatchGenerator,
    Component::BatchCoordinator,
    Component::BatchRequester,
    Component::ProofCoordinator,
    Component::ProofManager,
    Component::Mempool,
    Component::Coordinator,
];
/// Time to stop the others when the validator gives up, or nobody has a handle any more.
const GIVE_UP_DEADLINE: Duration = Duration::from_secs(5);
/// Time between two looks at signs of life.
const LOOK: Duration = Duration::from_millis(50);
/// Orders that may wait.
const ORDERS: usize = 64;

/// What the host asks for.
#[derive(Debug)]
pub enum Order {
    /// Kills a component.
    Kill(Component),
    /// Ends all of them.
    Stop { deadline: Duration, answer: oneshot::Sender<ShutdownReport> },
}

/// Why a task is no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blow {
    Killed,
    Hung,
}

#[derive(Debug)]
struct Running {
    id: Id,
    abort: AbortHandle,
    /// Set when it was ended from here.
    blow: Option<Blow>,
}

#[derive(Debug)]
struct Slot {
    vital: Arc<Vital>,
    running: Option<Running>,
}

/// Says that supervision is gone if nothing else was said.
#[derive(Debug)]
struct LastWords {
    validator: ValidatorId,
    end: watch::Sender<Option<ValidatorEnd>>,
    said: bool,
}

impl Drop for LastWords {
    fn drop(&mut self) {
        if !self.said {
            let validator = self.validator;
            self.end.send_replace(Some(ValidatorEnd::SupervisionLost { validator }));
        }
    }
}

#[derive(Debug)]
struct Supervision {
    commons: Arc<Commons>,
    runtime: Handle,
    slots: [Slot; Component::ALL.len()],
    tasks: JoinSet<TaskEnd>,
    limit: RestartLimit,
    restarts: watch::Sender<Restarts>,
    alive: watch::Sender<[bool; Component::ALL.len()]>,
}

/// Starts all components, and whoever watches them.
pub fn start(commons: &Arc<Commons>, runtime: &Handle) -> (mpsc::Sender<Order>, Told) {
    let (orders, to_do) = mpsc::channel(ORDERS);
    let (restarts, restarts_seen) = watch::channel(Restarts::default());
    let (alive, alive_seen) = watch::channel([false; Component::ALL.len()]);
    let (end, end_seen) = watch::channel(None);
    let config = commons.config.supervision;
    let slots = Component::ALL
        .map(|component| Slot { vital: Vital::new(component, config.hang_limit), running: None });
    let supervision = Supervision {
        commons: Arc::clone(commons),
        runtime: runtime.clone(),
        slots,
        tasks: JoinSet::new(),
        limit: RestartLimit::new(&config),
        restarts,
        alive,
    };
    let last_words = LastWords { validator: commons.seat.validator, end, said: false };
    runtime.spawn(supervision.run(to_do, last_words));
    (orders, Told { restarts: restarts_seen, alive: alive_seen, end: end_seen })
}

impl Supervision {
    async fn run(mut self, mut orders: mpsc::Receiver<Order>, mut last_words: LastWords) {
        Component::ALL.into_iter().for_each(|component| self.spawn(component));
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let end = loop {
            tokio::select! {
                order = orders.recv() => match order {
                    Some(Order::Kill(component)) => self.strike(component, Blow::Killed),
                    Some(Order::Stop { deadline, answer }) => {
                        let report = self.stop(deadline).await;
                        last_words.said = true;
                        orders.close();
                        // Who asked may have gone.
                        let _ = answer.send(report);
                        return;
                    }
                    None => {
                        self.stop(GIVE_UP_DEADLINE).await;
                        last_words.said = true;
                        return;
                    }
                },
                Some(joined) = self.tasks.join_next_with_id() => {
                    if let Err(end) = self.replace(joined) {
                        break end;
                    }
                }
                _ = looks.tick() => self.look(),
            }
        };
        tracing::error!(%end, "a validator ends");
        let report = self.stop(GIVE_UP_DEADLINE).await;
        last_words.end.send_replace(Some(end));
        last_words.said = true;
        while let Some(order) = orders.recv().await {
            match order {
                Order::Kill(_) => {}
                Order::Stop { answer, .. } => _ = answer.send(report.clone()),
            }
        }
    }

    fn slot(&mut self, component: Component) -> &mut Slot {
        &mut self.slots[component as usize]
    }

    fn spawn(&mut self, component: Component) {
        let life = self.slot(component).vital.live();
        let task = drivers::run(component, Arc::clone(&self.commons), life);
        let abort = self.tasks.spawn_on(task, &self.runtime);
        self.slot(component).running = Some(Running { id: abort.id(), abort, blow: None });
        self.alive.send_modify(|alive| alive[component as usize] = true);
    }

    /// Ends a component's task from here; its end then comes as any other.
    fn strike(&mut self, component: Component, blow: Blow) {
        if let Some(running) = &mut self.slot(component).running {
            running.blow.get_or_insert(blow);
            running.abort.abort();
        }
    }

    /// Looks for components without a sign of life, and such as do not read their control news.
    fn look(&mut self) {
        for component in Component::ALL {
            let slot = &self.slots[component as usize];
            if slot.running.as_ref().is_none_or(|running| running.blow.is_some()) {
                continue;
            }
            if let Some(late) = slot.vital.overdue() {
                tracing::warn!(validator = %self.commons.seat.validator, %component, ?late, "no sign of life");
                slot.vital.abandon_seat();
                self.strike(component, Blow::Hung);
            } else if self.commons.mailboxes.counts(component).is_some_and(|(_, overrun)| overrun) {
                tracing::warn!(validator = %self.commons.seat.validator, %component, "control news are left lying");
                self.strike(component, Blow::Hung);
            }
        }
    }

    /// Takes note of the end of a task: which component it was, and why it ended.
    fn bury(
        &mut self,
        joined: Result<(Id, TaskEnd), JoinError>,
    ) -> Option<(Component, Option<Blow>, TaskEnd)> {
        let (id, end) = match joined {
            Ok(ended) => ended,
            Err(error) => {
                let id = error.id();
                let end = match error.try_into_panic() {
                    Ok(panic) => TaskEnd::Panicked(words_of(&*panic)),
                    Err(_) => TaskEnd::Failed("it was aborted".to_owned()),
                };
                (id, end)
            }
        };
        let slot =
            self.slots.iter_mut().find(|slot| slot.running.as_ref().is_some_and(|one| one.id == id))?;
        let (component, blow) = (slot.vital.component, slot.running.take().and_then(|one| one.blow));
        self.commons.mailboxes.close(component);
        self.alive.send_modify(|alive| alive[component as usize] = false);
        Some((component, blow, end))
    }

    /// Replaces a task that ended.
    fn replace(&mut self, joined: Result<(Id, TaskEnd), JoinError>) -> Result<(), ValidatorEnd> {
        let Some((component, blow, end)) = self.bury(joined) else { return Ok(()) };
        let validator = self.commons.seat.validator;
        if let TaskEnd::Fatal(error) = end {
            return Err(ValidatorEnd::Executor { validator, error });
        }
        let cause = match (blow, &end) {
            (Some(Blow::Killed), _) => "it was killed".to_owned(),
            (Some(Blow::Hung), _) => "it hung".to_owned(),
            (None, TaskEnd::Panicked(words)) => format!("it panicked: {words}"),
            (None, TaskEnd::Failed(reason)) => reason.clone(),
            (None, TaskEnd::Stopped | TaskEnd::Fatal(_)) => "it returned".to_owned(),
        };
        tracing::warn!(%validator, %component, cause, "a component is replaced");
        self.restarts.send_modify(|restarts| {
            restarts.count(component);
            match (blow, &end) {
                (Some(Blow::Killed), _) => restarts.killed += 1,
                (Some(Blow::Hung), _) => restarts.hung += 1,
                (None, TaskEnd::Panicked(_)) => restarts.panicked += 1,
                (None, TaskEnd::Failed(_) | TaskEnd::Stopped | TaskEnd::Fatal(_)) => restarts.returned += 1,
            }
        });
        if let Err(restarts) = self.limit.note(Instant::now()) {
            let window = self.commons.config.supervision.restart_window;
            return Err(ValidatorEnd::GaveUp { validator, component, cause, restarts, window });
        }
        self.spawn(component);
        Ok(())
    }

    /// Ends all tasks in order, then closes the disk.
    async fn stop(&mut self, deadline: Duration) -> ShutdownReport {
        let end = Instant::now() + deadline;
        self.commons.ending.store(true, Ordering::Relaxed);
        self.commons.seat.network.detach(self.commons.seat.validator);
        let mut steps = Vec::new();
        for (done, component) in STOP_ORDER.into_iter().enumerate() {
            // Its share of what is left; the disk has one, too.
            let left = end.saturating_duration_since(Instant::now());
            let share = left / u32::try_from(STOP_ORDER.len() + 1 - done).unwrap_or(1);
            steps.push((component, self.stop_one(component, share).await));
        }
        let left = end.saturating_duration_since(Instant::now());
        ShutdownReport { steps, ..close_disk(&self.commons, left).await }
    }

    async fn stop_one(&mut self, component: Component, limit: Duration) -> StepEnd {
        let slot = self.slot(component);
        let Some(running) = slot.running.as_ref().filter(|running| running.blow.is_none()) else {
            return StepEnd::Dead;
        };
        let abort = running.abort.clone();
        slot.vital.stop();
        let until = tokio::time::Instant::now() + limit;
        while self.slot(component).running.is_some() {
            match tokio::time::timeout_at(until, self.tasks.join_next_with_id()).await {
                Ok(Some(joined)) => match self.bury(joined) {
                    Some((buried, _, end)) if buried == component && end != TaskEnd::Stopped => {
                        return StepEnd::Dead;
                    }
                    // Others may end, too; they are not replaced any more.
                    Some(_) | None => {}
                },
                Ok(None) => return StepEnd::Dead,
                Err(_) => {
                    tracing::warn!(validator = %self.commons.seat.validator, %component, "does not end in time and is given up");
                    abort.abort();
                    return StepEnd::GivenUp;
                }
            }
        }
        StepEnd::Stopped
    }
}

/// Closes the disk: nothing is written when this returns, unless a write that hangs keeps it open past the deadline.
pub async fn close_disk(commons: &Arc<Commons>, deadline: Duration) -> ShutdownReport {
    let shared = Arc::clone(commons);
    let closing = tokio::task::spawn_blocking(move || shared.seat.disk.close());
    let closed = tokio::time::timeout(deadline, closing).await;
    ShutdownReport { steps: Vec::new(), closed: matches!(closed, Ok(Ok(()))) }
}
