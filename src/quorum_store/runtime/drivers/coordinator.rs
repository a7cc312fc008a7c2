//! Drives the batch store: brings commits to it.

use super::Driver;
use crate::quorum_store::Component;
use crate::quorum_store::effect::Outbox;
use crate::quorum_store::runtime::commons::Commons;
use crate::quorum_store::runtime::mailbox::Mailbox;

#[derive(Debug)]
pub struct Storing;

impl Driver for Storing {
    type Mail = ();

    const COMPONENT: Component = Component::Coordinator;

    fn mailbox(_commons: &Commons) -> Option<&Mailbox<()>> {
        None
    }

    fn rebuild(_commons: &Commons, _out: &mut Outbox) -> Storing {
        Storing
    }

    fn turn(&mut self, commons: &Commons, _mail: Vec<()>, _out: &mut Outbox) {
        let store = &commons.store;
        // Never further than the mempool, which reads from the store what was committed.
        let pooled = commons.board().of(Component::Mempool);
        while let Some(step) = commons.commits.next(store.cursor()).filter(|step| step.sequence() <= pooled) {
            store.apply(&step);
        }
        commons.set_cursor(Self::COMPONENT, store.cursor().applied());
    }
}
