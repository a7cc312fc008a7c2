//! Tests of the quorum store. Each says what would break; the scenarios carry the numbers of the behaviour they follow.
#![allow(clippy::wildcard_enum_match_arm, reason = "tests look for one effect among all")]

mod batch_generator;
mod batch_store;
mod codec;
mod commit_log;
mod kill;
mod mempool;
mod peers;
mod proof_manager;
mod proofs;
mod simulation;
mod support;
