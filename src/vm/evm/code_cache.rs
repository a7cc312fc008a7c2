//! Analysed code by its hash: found once per process, kept over all its blocks.

use parking_lot::RwLock;
use revm::bytecode::Bytecode;
use revm::primitives::hardfork::SpecId;
use revm::primitives::map::B256Map;
use revm::primitives::{B256, Bytes};
use std::sync::Arc;

/// Bytes of code kept. Past it all is forgotten and found anew as it is needed.
const KEPT_BYTES_MAX: usize = 512 << 20;

/// Code as the rules of `spec` read it: what has the form of a delegation (EIP-7702) is one from Prague on; before, it is code like any
/// other, which nobody could deploy from London on.
#[must_use]
pub fn bytecode_of(spec: SpecId, code: Bytes) -> Bytecode {
    match Bytecode::new_eip7702_raw(code.clone()) {
        Ok(delegation) if spec.is_enabled_in(SpecId::PRAGUE) => delegation,
        Ok(_) | Err(_) => Bytecode::new_legacy(code),
    }
}

/// Code that was analysed, shared by all machines of one process. What a hash stands for never changes, so a block that
/// uses it does not rest on it. Of what can be read in two ways it keeps the delegation alone.
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
    /// The code with this hash as the rules of `spec` read it, if anybody in this process has used it so.
    pub(super) fn get(&mut self, spec: SpecId, hash: &B256) -> Option<Bytecode> {
        let is_right = |code: &Bytecode| !code.is_eip7702() || spec.is_enabled_in(SpecId::PRAGUE);
        if let Some(code) = self.own.get(hash) {
            return is_right(code).then(|| code.clone());
        }
        let code = self.shared.read().codes.get(hash).cloned()?;
        self.keep_own(*hash, code.clone());
        is_right(&code).then_some(code)
    }

    /// Keeps code under its hash. The caller answers for the hash.
    pub(super) fn put(&mut self, hash: B256, code: &Bytecode) {
        if !code.is_eip7702() && Bytecode::new_eip7702_raw(code.original_bytes()).is_ok() {
            return;
        }
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
    //! What would break: code analysed again by every machine of a process, or by every block; code of the form of a delegation that is
    //! read as whoever came first read it. Negative control run: with both forms kept the second test fails.

    use super::*;

    #[test]
    fn code_that_one_machine_used_is_there_for_all_of_the_process() {
        let mut first = CodeCache::default();
        let mut second = first.clone();
        let code = Bytecode::new_legacy(Bytes::from_static(&[0x5b, 0x00]));
        let hash = code.hash_slow();
        assert!(second.get(SpecId::PRAGUE, &hash).is_none());
        first.put(hash, &code);
        let found = second.get(SpecId::PRAGUE, &hash).unwrap();
        assert_eq!(
            found.bytecode().as_ptr(),
            code.bytecode().as_ptr(),
            "the same analysed bytes, not a copy"
        );
    }

    #[test]
    fn what_has_the_form_of_a_delegation_is_one_from_prague_on_whoever_kept_it_before() {
        let bytes = Bytes::from([&[0xef, 0x01, 0x00][..], &[7; 20]].concat());
        let both = [SpecId::CANCUN, SpecId::PRAGUE];
        let [code, delegation] = both.map(|spec| bytecode_of(spec, bytes.clone()));
        assert_eq!((code.is_eip7702(), delegation.is_eip7702()), (false, true));
        let hash = code.hash_slow();
        assert_eq!(hash, delegation.hash_slow());
        for first in [&code, &delegation] {
            let mut cache = CodeCache::default();
            cache.put(hash, first);
            cache.put(hash, if first.is_eip7702() { &code } else { &delegation });
            assert!(cache.get(SpecId::CANCUN, &hash).is_none_or(|found| !found.is_eip7702()));
            assert!(cache.get(SpecId::PRAGUE, &hash).is_none_or(|found| found.is_eip7702()));
            assert!(cache.get(SpecId::PRAGUE, &hash).is_some());
        }
        for odd in [vec![0xef, 0x01], vec![0xef; 23], [&[0xef, 0x01, 0x01][..], &[7; 20]].concat()] {
            assert!(!bytecode_of(SpecId::PRAGUE, odd.into()).is_eip7702());
        }
    }
}
