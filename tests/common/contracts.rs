//! Small contracts, assembled by hand, for blocks whose every transaction does something that is easily got wrong.

use phalanx::vm::evm::EvmAccount;
use phalanx::vm::evm::revm::primitives::{Address, Bytes, U256, hex};

/// Adds 1 to slot 0.
pub const COUNTER: Address = Address::repeat_byte(0xa1);
/// Puts the balance of the account named first in the input into slot 1.
pub const BALANCE_READER: Address = Address::repeat_byte(0xa2);
/// Puts its own balance into slot 2 (from Istanbul on).
pub const SELF_BALANCE_READER: Address = Address::repeat_byte(0xa3);
/// Destroys itself in favour of the account named first.
pub const DESTROYER: Address = Address::repeat_byte(0xa4);
/// Passes what it is paid on to the block's beneficiary.
pub const COINBASE_PAYER: Address = Address::repeat_byte(0xa5);
/// Pays the second word of the input to the account named first, and puts into slot 3 whether that went.
pub const FORWARDER: Address = Address::repeat_byte(0xa6);
/// Puts the code hash of the account named first into slot 4 (from Petersburg on).
pub const HASH_READER: Address = Address::repeat_byte(0xa7);
/// Writes slot 5 and takes it back.
pub const REVERTER: Address = Address::repeat_byte(0xa8);
/// Never ends.
pub const LOOPER: Address = Address::repeat_byte(0xa9);
/// Clears slot 6, which gives gas back.
pub const CLEARER: Address = Address::repeat_byte(0xaa);
/// Logs the first word of the input.
pub const LOGGER: Address = Address::repeat_byte(0xab);
/// Makes [`CHILD_RUNTIME`] with CREATE2 and salt 0 (from Petersburg on), and puts its address into slot 8.
pub const FACTORY2: Address = Address::repeat_byte(0xac);
/// Makes it with CREATE, and puts its address into slot 9.
pub const FACTORY: Address = Address::repeat_byte(0xad);

/// Code that returns code: adds 1 to slot 5, and is destroyed in favour of the account named first if there is input.
pub const CHILD_INIT: &str = "7260055460010160055536600e57005b600035ff6000526013600df3";

const CODES: [(Address, &str); 13] = [
    (COUNTER, "60005460010160005500"),
    (BALANCE_READER, "6000353160015500"),
    (SELF_BALANCE_READER, "4760025500"),
    (DESTROYER, "600035ff"),
    (COINBASE_PAYER, "600060006000600034415af100"),
    (FORWARDER, "60006000600060006020356000355af160035500"),
    (HASH_READER, "6000353f60045500"),
    (REVERTER, "600160055560006000fd"),
    (LOOPER, "5b600056"),
    (CLEARER, "600060065500"),
    (LOGGER, "60003560005260206000a000"),
    (FACTORY2, "7bINIT6000526000601c600434f560085500"),
    (FACTORY, "7bINIT600052601c600434f060095500"),
];

/// All contracts, each with some coins.
pub fn contracts() -> Vec<(Address, EvmAccount)> {
    let account = |(address, code): &(Address, &str)| {
        let code = code.replace("INIT", CHILD_INIT);
        let code = Bytes::from(hex::decode(code).unwrap());
        let storage = if *address == CLEARER { vec![(U256::from(6), U256::from(7))] } else { Vec::new() };
        (*address, EvmAccount { balance: U256::from(50), nonce: 1, code, storage })
    };
    CODES.iter().map(account).collect()
}

/// Where [`FACTORY2`] puts its child.
pub fn child() -> Address {
    FACTORY2.create2_from_code([0; 32], hex::decode(CHILD_INIT).unwrap())
}

/// Input of words.
pub fn words(words: &[U256]) -> Bytes {
    words.iter().flat_map(|word| word.to_be_bytes::<32>()).collect::<Vec<u8>>().into()
}

/// An address as a word.
pub fn word(address: Address) -> U256 {
    U256::from_be_bytes(address.into_word().0)
}
