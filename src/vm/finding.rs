//! What a virtual machine knows of a transaction before its execution.

/// What a virtual machine found out about a transaction before its execution; the meaning is the machine's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Finding(pub u8);

impl Finding {
    /// Nothing was found out.
    pub const NOTHING: Finding = Finding(0);
}
