//! Plain transfers between accounts without code, which are most of many blocks: their outcome follows from a few numbers,
//! without an EVM.

use crate::types::{LimitExceeded, StatusCode};
use crate::vm::Outcome;
use crate::vm::evm::account_note::{AccountNote, ESCROW_MAX, NonceUse};
use crate::vm::evm::settle::Settlement;
use revm::context::{BlockEnv, CfgEnv, TxEnv};
use revm::context_interface::{Cfg, Transaction};
use revm::handler::EthPrecompiles;
use revm::primitives::hardfork::SpecId;
use revm::primitives::{Address, U256};

/// What a transfer costs since the first block, and until Amsterdam.
const TRANSFER_GAS: u64 = 21_000;

/// Numbers of a transfer that the state has yet to allow.
#[derive(Clone, Copy, Debug)]
struct Transfer {
    from: Address,
    to: Address,
    value: U256,
    /// What the sender must have.
    needed: U256,
    /// What the gas costs it.
    fee: U256,
    reward: U256,
}

impl Settlement<'_, '_> {
    /// Does a transfer if this is one, without an EVM. `None` for everything else, and for a transfer of which there is
    /// more to say than that it went: nothing is decided then.
    pub(super) fn transfer(
        &mut self,
        tx: &TxEnv,
        block: &BlockEnv,
        cfg: &CfgEnv,
        precompiles: &EthPrecompiles,
    ) -> Option<Result<Outcome, LimitExceeded>> {
        let transfer = Transfer::of(tx, block, cfg)?;
        if precompiles.contains(&transfer.to) {
            return None;
        }
        let from = self.database.account(transfer.from)?;
        let to = self.database.account_but_nonce(transfer.to)?;
        let bare = |note: &AccountNote| !note.code.has_code() && !note.balance_exact;
        if !bare(&from) || !bare(&to) || from.nonce != tx.nonce || from.balance < transfer.needed {
            return None;
        }
        let outcome = Outcome { status: StatusCode::SUCCESS, gas_used: TRANSFER_GAS };
        Some(self.leave(transfer, from, &to, block.beneficiary).map(|()| outcome))
    }

    fn leave(
        &mut self,
        transfer: Transfer,
        mut from: AccountNote,
        to: &AccountNote,
        beneficiary: Address,
    ) -> Result<(), LimitExceeded> {
        from.note_needed(transfer.needed);
        from.note_nonce(NonceUse::Sender);
        let spent = transfer.fee.saturating_add(transfer.value);
        self.put_balance(&from, from.balance.saturating_sub(spent))?;
        self.put_nonce(&from, from.nonce + 1)?;
        self.put_balance(to, to.balance.saturating_add(transfer.value))?;
        // Who earns nothing is touched by it, which the others of the transfer are already.
        if transfer.reward.is_zero() && [transfer.from, transfer.to].contains(&beneficiary) {
            return Ok(());
        }
        self.credit(beneficiary, transfer.reward)
    }
}

impl Transfer {
    /// The numbers of a transaction that is a transfer and keeps the rules which do not depend on the state.
    fn of(tx: &TxEnv, block: &BlockEnv, cfg: &CfgEnv) -> Option<Transfer> {
        let (spec, to) = (cfg.spec, *tx.kind.to()?);
        let type_known = match tx.tx_type {
            0 => true,
            1 => spec.is_enabled_in(SpecId::BERLIN),
            2 => spec.is_enabled_in(SpecId::LONDON),
            _ => false,
        };
        let plain = type_known
            && tx.data.is_empty()
            && tx.access_list.0.is_empty()
            && !tx.value.is_zero()
            && tx.value <= ESCROW_MAX
            && tx.nonce != u64::MAX
            && tx.chain_id.is_none_or(|id| id == cfg.chain_id)
            && (tx.tx_type == 0 || tx.chain_id.is_some())
            && !spec.is_enabled_in(SpecId::AMSTERDAM);
        let whole_header = (!spec.is_enabled_in(SpecId::MERGE) || block.prevrandao.is_some())
            && (!spec.is_enabled_in(SpecId::CANCUN) || block.blob_excess_gas_and_price.is_some());
        let gas_fits = tx.gas_limit >= TRANSFER_GAS
            && tx.gas_limit <= block.gas_limit
            && tx.gas_limit <= cfg.tx_gas_limit_cap();
        let base_fee = u128::from(block.basefee);
        let pays = tx.gas_price >= base_fee && tx.gas_priority_fee.is_none_or(|fee| fee <= tx.gas_price);
        // Who pays itself is left to the EVM.
        if !(plain && whole_header && gas_fits && pays && tx.caller != to) {
            return None;
        }
        let price = tx.effective_gas_price(base_fee);
        let london = spec.is_enabled_in(SpecId::LONDON);
        let earned = if london { price.saturating_sub(base_fee) } else { price };
        let gas = U256::from(TRANSFER_GAS);
        Some(Transfer {
            from: tx.caller,
            to,
            value: tx.value,
            needed: tx.max_balance_spending().ok()?,
            fee: U256::from(price).saturating_mul(gas),
            reward: U256::from(earned).saturating_mul(gas),
        })
    }
}
