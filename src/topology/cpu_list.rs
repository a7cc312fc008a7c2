//! Lists of numbers as the kernel writes them: `0-3,8,10-11`.

use std::collections::BTreeSet;
use std::fmt::Write;

/// Numbers above this are no CPUs or nodes of any kernel.
const NUMBER_MAX: u32 = 1 << 16;

/// Reads a list of numbers and ranges, as in `0-3,8`; an empty text is an empty list. `None` if it is no such list, a range
/// runs backwards, or a number is above 65536.
#[must_use]
pub fn parse_list(text: &str) -> Option<BTreeSet<u32>> {
    let mut numbers = BTreeSet::new();
    let text = text.trim();
    if text.is_empty() {
        return Some(numbers);
    }
    for part in text.split(',') {
        let (first, last) = part.trim().split_once('-').unwrap_or((part.trim(), part.trim()));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        if first > last || last > NUMBER_MAX {
            return None;
        }
        numbers.extend(first..=last);
    }
    Some(numbers)
}

/// Writes numbers, ascending, as the kernel does; `none` if there are none.
#[must_use]
pub fn format_list(numbers: impl IntoIterator<Item = u32>) -> String {
    let mut text = String::new();
    let mut numbers = numbers.into_iter().peekable();
    while let Some(first) = numbers.next() {
        let mut last = first;
        while let Some(next) = numbers.next_if(|&next| next == last + 1) {
            last = next;
        }
        let comma = if text.is_empty() { "" } else { "," };
        // Writing to a string cannot fail.
        let _ = match last - first {
            0 => write!(text, "{comma}{first}"),
            _ => write!(text, "{comma}{first}-{last}"),
        };
    }
    if text.is_empty() { "none".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_the_kernel_writes_them_and_nothing_else_is() {
        assert_eq!(parse_list("0-2,8\n"), Some(BTreeSet::from([0, 1, 2, 8])));
        assert_eq!(parse_list("\n"), Some(BTreeSet::new()));
        for bad in ["x", "3-1", "1,,2", "-1", "0-99999999", "1-"] {
            assert_eq!(parse_list(bad), None, "{bad}");
        }
        assert_eq!(format_list([0, 1, 2, 8, 10, 11]), "0-2,8,10-11");
        assert_eq!(format_list([]), "none");
    }
}
