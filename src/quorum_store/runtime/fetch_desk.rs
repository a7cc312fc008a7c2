//! Batches that the block pipeline waits for, and those that came.

use crate::quorum_store::{BatchDigest, FetchEnd};
use parking_lot::Mutex;
use std::collections::HashMap;
use tokio::sync::Notify;

#[derive(Debug, Default)]
pub struct FetchDesk {
    wanted: Mutex<HashMap<BatchDigest, Option<FetchEnd>>>,
    news: Notify,
}

impl FetchDesk {
    /// From now on these are waited for, and no others.
    pub fn want(&self, digests: impl IntoIterator<Item = BatchDigest>) {
        *self.wanted.lock() = digests.into_iter().map(|digest| (digest, None)).collect();
    }

    /// A fetch ended. What nobody waits for is dropped: the store has it.
    pub fn ended(&self, digest: BatchDigest, end: FetchEnd) {
        if let Some(place) = self.wanted.lock().get_mut(&digest) {
            *place = Some(end);
            self.news.notify_one();
        }
    }

    /// How the fetch of a batch ended, once.
    pub fn take(&self, digest: &BatchDigest) -> Option<FetchEnd> {
        self.wanted.lock().get_mut(digest).and_then(Option::take)
    }

    /// Returns when a fetch ended since the last time, or earlier.
    pub async fn news(&self) {
        self.news.notified().await;
    }
}
