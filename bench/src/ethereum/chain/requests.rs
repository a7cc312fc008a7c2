//! Requests to the beacon chain that a block brings forth (EIP-7685): deposits out of logs, withdrawals and consolidations
//! out of calls of the protocol.

use crate::ethereum::chain::Rejection;
use phalanx::vm::evm::revm::primitives::{Address, B256, Log, address, b256};
use sha2::{Digest, Sha256};

/// Where deposits are made (EIP-6110).
const DEPOSITS: Address = address!("00000000219ab540356cbb839cbe05303d7705fa");
const DEPOSIT_TOPIC: B256 = b256!("649bbc62d0e31342afea4e5cd82d4049e7e1ee912fc0889aa790803be39038c5");
/// Where withdrawals and consolidations are asked for (EIP-7002, EIP-7251).
pub(super) const WITHDRAWALS: Address = address!("00000961Ef480Eb55e80D19ad83579A64c007002");
pub(super) const CONSOLIDATIONS: Address = address!("0000BBdDc7CE488642fb579F8B00f3a590007251");

/// Parts of a deposit: offset of its length and its length, in the event's data.
const DEPOSIT_PARTS: [(usize, usize); 5] = [(160, 48), (256, 32), (320, 8), (384, 96), (512, 8)];
/// Length of the event's data.
const DEPOSIT_BYTES: usize = 576;
const WORD: usize = 32;

/// The requests of one block, without their types: deposits, withdrawals, consolidations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Requests(pub(super) [Vec<u8>; 3]);

impl Requests {
    /// Takes over the deposits among the logs of a transaction.
    ///
    /// # Errors
    /// [`Rejection::Deposit`].
    pub(super) fn take_deposits(&mut self, logs: &[Log]) -> Result<(), Rejection> {
        let deposits =
            logs.iter().filter(|log| log.address == DEPOSITS && log.topics().first() == Some(&DEPOSIT_TOPIC));
        for log in deposits {
            deposit(&log.data.data, &mut self.0[0]).ok_or(Rejection::Deposit)?;
        }
        Ok(())
    }

    /// SHA-256 over the hashes of the requests that there are.
    pub(super) fn hash(&self) -> B256 {
        let mut all = Sha256::new();
        for (kind, requests) in (0_u8..).zip(&self.0).filter(|(_, requests)| !requests.is_empty()) {
            let one = Sha256::new().chain_update([kind]).chain_update(requests);
            all.update(one.finalize());
        }
        B256::from_slice(&all.finalize())
    }
}

/// Appends the deposit that an event's data hold; `None` if they are laid out in another way.
fn deposit(data: &[u8], to: &mut Vec<u8>) -> Option<()> {
    if data.len() != DEPOSIT_BYTES {
        return None;
    }
    let number = |at: usize| {
        let (zeros, low) = data.get(at..at + WORD)?.split_last_chunk::<8>()?;
        zeros.iter().all(|&zero| zero == 0).then_some(u64::from_be_bytes(*low))
    };
    for (place, (offset, bytes)) in DEPOSIT_PARTS.into_iter().enumerate() {
        if number(place * WORD)? != offset as u64 || number(offset)? != bytes as u64 {
            return None;
        }
        to.extend_from_slice(data.get(offset + WORD..offset + WORD + bytes)?);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    //! The oracle of the empty hash is EIP-7685. What would break: a valid block refused for its requests.

    use super::*;
    use phalanx::vm::evm::revm::primitives::{Bytes, LogData};

    fn event() -> Vec<u8> {
        let mut data = vec![0; DEPOSIT_BYTES];
        for (part, (offset, bytes)) in (1_u8..).zip(DEPOSIT_PARTS) {
            let place = usize::from(part) * WORD;
            data[place - 8..place].copy_from_slice(&(offset as u64).to_be_bytes());
            data[offset + 24..offset + WORD].copy_from_slice(&(bytes as u64).to_be_bytes());
            data[offset + WORD..offset + WORD + bytes].fill(part);
        }
        data
    }

    fn log(address: Address, topic: B256, data: Vec<u8>) -> Log {
        Log { address, data: LogData::new_unchecked(vec![topic], Bytes::from(data)) }
    }

    #[test]
    fn no_requests_hash_to_the_hash_of_nothing() {
        let nothing = b256!("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(Requests::default().hash(), nothing);
        assert_ne!(Requests([vec![1], Vec::new(), Vec::new()]).hash(), nothing);
    }

    #[test]
    fn a_deposit_is_taken_out_of_its_event_and_nothing_out_of_others() {
        let mut requests = Requests::default();
        let logs = [
            log(DEPOSITS, DEPOSIT_TOPIC, event()),
            log(DEPOSITS, B256::ZERO, vec![1]),
            log(Address::ZERO, DEPOSIT_TOPIC, vec![2]),
        ];
        requests.take_deposits(&logs).unwrap();
        let parts = [(48, 1_u8), (32, 2), (8, 3), (96, 4), (8, 5)];
        let expected: Vec<u8> = parts.into_iter().flat_map(|(count, byte)| vec![byte; count]).collect();
        assert_eq!(requests.0[0], expected);
    }

    #[test]
    fn a_deposit_that_is_laid_out_in_another_way_is_refused() {
        for at in [31, 63, 191, 300] {
            let mut data = event();
            data[at] ^= u8::from(at != 300);
            let cut = if at == 300 { data[..at].to_vec() } else { data };
            let refused = Requests::default().take_deposits(&[log(DEPOSITS, DEPOSIT_TOPIC, cut)]);
            assert_eq!(refused, Err(Rejection::Deposit), "{at}");
        }
    }
}
