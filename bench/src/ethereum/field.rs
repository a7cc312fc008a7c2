//! Fields of a JSON file, with the way to them: an error names file, field and what was expected.

use crate::ethereum::InputError;
use phalanx::vm::evm::revm::primitives::{Address, B256, Bytes, U256, hex};
use serde_json::Value;
use std::path::Path;

/// Longest piece of a wrong value that an error shows.
const SHOWN_CHARACTERS: usize = 40;

/// A value in a file.
#[derive(Clone, Debug)]
pub struct Field<'a> {
    file: &'a Path,
    way: String,
    /// `None` if it is not there.
    value: Option<&'a Value>,
}

/// Reads a JSON file.
///
/// # Errors
/// `Unreadable`, `NotJson`.
pub fn read_json(file: &Path) -> Result<Value, InputError> {
    let unreadable = |source| InputError::Unreadable { file: file.to_owned(), source };
    let text = std::fs::read(file).map_err(unreadable)?;
    serde_json::from_slice(&text).map_err(|source| InputError::NotJson { file: file.to_owned(), source })
}

impl<'a> Field<'a> {
    /// The whole of a file.
    #[must_use]
    pub fn whole(file: &'a Path, value: &'a Value) -> Field<'a> {
        Field { file, way: String::new(), value: Some(value) }
    }

    /// The member `name` of an object; it may be missing.
    #[must_use]
    pub fn get(&self, name: &str) -> Field<'a> {
        let way = if self.way.is_empty() { name.to_owned() } else { format!("{}.{name}", self.way) };
        Field { file: self.file, way, value: self.value.and_then(|value| value.get(name)) }
    }

    /// The field, unless it is missing or null.
    #[must_use]
    pub fn present(&self) -> Option<Field<'a>> {
        self.value.filter(|value| !value.is_null()).map(|_| self.clone())
    }

    /// An error that says what was expected here.
    #[must_use]
    pub fn wrong(&self, expected: &str) -> InputError {
        let found = match self.value {
            None => "nothing".to_owned(),
            Some(value) => {
                let text = value.to_string();
                let cut: String = text.chars().take(SHOWN_CHARACTERS).collect();
                if cut.len() < text.len() { format!("{cut}...") } else { cut }
            }
        };
        let field = if self.way.is_empty() { "the whole file".to_owned() } else { self.way.clone() };
        InputError::Field { file: self.file.to_owned(), field, expected: expected.to_owned(), found }
    }

    /// The items of a list.
    ///
    /// # Errors
    /// `Field`.
    pub fn items(&self) -> Result<Vec<Field<'a>>, InputError> {
        let items = self.value.and_then(Value::as_array).ok_or_else(|| self.wrong("a list"))?;
        let item = |(place, value)| Field {
            file: self.file,
            way: format!("{}[{place}]", self.way),
            value: Some(value),
        };
        Ok(items.iter().enumerate().map(item).collect())
    }

    /// The members of an object, with their names.
    ///
    /// # Errors
    /// `Field`.
    pub fn members(&self) -> Result<Vec<(&'a str, Field<'a>)>, InputError> {
        let members = self.value.and_then(Value::as_object).ok_or_else(|| self.wrong("an object"))?;
        Ok(members.keys().map(|name| (name.as_str(), self.get(name))).collect())
    }

    /// The text of a string, if it is one.
    #[must_use]
    pub fn text(&self) -> Option<&'a str> {
        self.value.and_then(Value::as_str)
    }

    /// The bytes of a hexadecimal string.
    ///
    /// # Errors
    /// `Field`.
    pub fn bytes(&self) -> Result<Bytes, InputError> {
        self.hex("a string of hexadecimal bytes beginning with 0x").map(Bytes::from)
    }

    /// An address.
    ///
    /// # Errors
    /// `Field`.
    pub fn address(&self) -> Result<Address, InputError> {
        let expected = "an address of 20 bytes in hexadecimal";
        Address::try_from(self.hex(expected)?.as_slice()).map_err(|_| self.wrong(expected))
    }

    /// A hash.
    ///
    /// # Errors
    /// `Field`.
    pub fn hash(&self) -> Result<B256, InputError> {
        let expected = "32 bytes in hexadecimal";
        B256::try_from(self.hex(expected)?.as_slice()).map_err(|_| self.wrong(expected))
    }

    /// A number of up to 256 bits: hexadecimal with 0x, or a JSON number.
    ///
    /// # Errors
    /// `Field`.
    pub fn number(&self) -> Result<U256, InputError> {
        let wrong = || self.wrong("a number of up to 256 bits in hexadecimal");
        match self.value {
            Some(Value::String(text)) => {
                let digits = text.strip_prefix("0x").ok_or_else(wrong)?;
                U256::from_str_radix(if digits.is_empty() { "0" } else { digits }, 16).map_err(|_| wrong())
            }
            Some(Value::Number(number)) => number.as_u64().map(U256::from).ok_or_else(wrong),
            Some(Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) | None => Err(wrong()),
        }
    }

    /// A number of up to 64 bits.
    ///
    /// # Errors
    /// `Field`.
    pub fn u64(&self) -> Result<u64, InputError> {
        u64::try_from(self.number()?).map_err(|_| self.wrong("a number of up to 64 bits in hexadecimal"))
    }

    /// A number of up to 128 bits.
    ///
    /// # Errors
    /// `Field`.
    pub fn u128(&self) -> Result<u128, InputError> {
        u128::try_from(self.number()?).map_err(|_| self.wrong("a number of up to 128 bits in hexadecimal"))
    }

    /// An address that is the name of a member.
    ///
    /// # Errors
    /// `Field`.
    pub fn address_in_name(&self, name: &str) -> Result<Address, InputError> {
        let bytes = hex::decode(name).unwrap_or_default();
        Address::try_from(bytes.as_slice()).map_err(|_| self.wrong("an address as the name of an account"))
    }

    fn hex(&self, expected: &str) -> Result<Vec<u8>, InputError> {
        let text = self.value.and_then(Value::as_str).filter(|text| text.starts_with("0x"));
        text.and_then(|text| hex::decode(text).ok()).ok_or_else(|| self.wrong(expected))
    }
}
