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
        while let Some(step) = commons.commits.next(store.cursor()) {
            store.apply(&step);
        }
        commons.set_cursor(Self::COMPONENT, store.cursor().applied());
    }
}
