//! Newtypes for every id, so that the compiler catches a swap.

use bytemuck::{Pod, Zeroable};
use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable, Serialize, Deserialize,
        )]
        #[repr(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl $name {
            /// The id as an array index.
            #[must_use]
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }
    };
}

id! {
    /// A logical CPU of the host, by the kernel's number.
    CpuId(u32)
}
id! {
    /// A NUMA node of the host, by the kernel's number: below 1024, and not dense.
    NodeId(u32)
}
id! {
    /// A shard: dense from 0, below [`crate::MAX_SHARDS`].
    ShardId(u32)
}
id! {
    /// A transaction's place in its block, dense from 0.
    TxnIndex(u32)
}
id! {
    /// The n-th execution of one transaction, from 1.
    Incarnation(u32)
}
id! {
    /// A key's dense number within one block: valid only together with that block's plan.
    KeyId(u32)
}
id! {
    /// The n-th life of one shard process, from 1.
    Generation(u32)
}

impl KeyId {
    /// Stands in an output record for "no id: the key's bytes follow".
    pub const UNKNOWN: KeyId = KeyId(u32::MAX);
}

/// One sweep of sharded execution. Never reused over the life of an executor, so it is the only tag a message needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
#[repr(transparent)]
pub struct RoundId(pub u64);

impl fmt::Display for RoundId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Who wrote the value that a read saw: the base state, or one incarnation of one transaction of this block.
///
/// Word layout: `(txn index + 1) << 32 | incarnation`; 0 is the base state. Origins of one key therefore order by
/// txn index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
#[repr(transparent)]
pub struct Origin(pub u64);

impl Origin {
    /// The value stood in the base state when the block began (or the key was absent there).
    pub const BASE: Origin = Origin(0);

    /// The value was written by `incarnation` of `txn`.
    #[must_use]
    pub const fn written_by(txn: TxnIndex, incarnation: Incarnation) -> Origin {
        Origin(((txn.0 as u64 + 1) << 32) | incarnation.0 as u64)
    }

    /// The writing transaction, or `None` for the base state.
    #[must_use]
    pub const fn txn(self) -> Option<TxnIndex> {
        match (self.0 >> 32) as u32 {
            0 => None,
            above => Some(TxnIndex(above - 1)),
        }
    }
}
