//! Analysed code by its hash: found once per process, kept over all its blocks.

use parking_lot::RwLock;
use revm::bytecode::Bytecode;
use revm::primitives::B256;
use revm::primitives::map::B256Map;
use std::sync::Arc;

/// Bytes of code kept. Past it all is forgotten and found anew as it is needed.
const KEPT_BYTES_MAX: usize = 512 << 20;

/// Code that was analysed, shared by all machines of one process. What a hash stands for never changes, so a block that
/// uses it does not rest on it.
#[derive(Clone, Debug, Default)]
pub(super) struct CodeCache {
    shared: Arc<RwLock<Kept>>,
    /// What this machine has used: found without a lock.
    own: B256Map<Bytecode>,
    own_bytes: usize,
}

#[derive(Debug, Default)]
struct Kept {
    codes: B256Map<Bytecode>,
    bytes: usize,
}

impl CodeCache {
    /// The code with this hash, if anybody in this process has used it.
    pub(super) fn get(&mut self, hash: &B256) -> Option<Bytecode> {
        if let Some(code) = self.own.get(hash) {
            return Some(code.clone());
        }
        let code = self.shared.read().codes.get(hash).cloned()?;
        self.keep_own(*hash, code.clone());
        Some(code)
    }

    /// Keeps code under its hash. The caller answers for the hash.
    pub(super) fn put(&mut self, hash: B256, code: &Bytecode) {
        let mut shared = self.shared.write();
        if shared.bytes + code.len() > KEPT_BYTES_MAX {
            *shared = Kept::default();
        }
        if shared.codes.insert(hash, code.clone()).is_none() {
            shared.bytes += code.len();
        }
        drop(shared);
        self.keep_own(hash, code.clone());
    }

    fn keep_own(&mut self, hash: B256, code: Bytecode) {
        if self.own_bytes + code.len() > KEPT_BYTES_MAX {
            self.own.clear();
            self.own_bytes = 0;
        }
        self.own_bytes += code.len();
        self.own.insert(hash, code);
    }
}

#[cfg(test)]
mod tests {
    //! What would break: code analysed again by every machine of a process, or by every block.

    use super::*;
    use revm::primitives::Bytes;

    #[test]
    fn code_that_one_machine_used_is_there_for_all_of_the_process() {
        let mut first = CodeCache::default();
        let mut second = first.clone();
        let code = Bytecode::new_legacy(Bytes::from_static(&[0x5b, 0x00]));
        let hash = code.hash_slow();
        assert!(second.get(&hash).is_none());
        first.put(hash, &code);
        let found = second.get(&hash).unwrap();
        assert_eq!(
            found.bytecode().as_ptr(),
            code.bytecode().as_ptr(),
            "the same analysed bytes, not a copy"
        );
    }
}
