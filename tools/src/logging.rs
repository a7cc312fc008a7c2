//! How much the command and its shards log.

/// The variable that sets the filter when no `-v` is given.
const FILTER_VARIABLE: &str = "RUST_LOG";

/// The log filter for this many `-v`, for all processes of the family.
pub fn filter(verbose: u8) -> String {
    let environment = std::env::var(FILTER_VARIABLE).ok().filter(|text| !text.is_empty());
    filter_of(verbose, environment)
}

/// As [`filter`] for a command that causes deaths: what is a warning elsewhere is its daily business.
pub fn filter_of_chaos(verbose: u8) -> String {
    match verbose.checked_sub(1) {
        Some(less) => filter_of(less, None),
        None => std::env::var(FILTER_VARIABLE)
            .ok()
            .filter(|text| !text.is_empty())
            .unwrap_or_else(|| "error".to_owned()),
    }
}

fn filter_of(verbose: u8, environment: Option<String>) -> String {
    match (verbose, environment) {
        (0, Some(filter)) => filter,
        (0, None) => "warn".to_owned(),
        (1, _) => "info".to_owned(),
        (2.., _) => "debug".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_counts_more_than_the_environment() {
        let environment = || Some("phalanx=trace".to_owned());
        assert_eq!(filter_of(0, environment()), "phalanx=trace");
        assert_eq!(filter_of(0, None), "warn");
        assert_eq!(filter_of(1, environment()), "info");
        assert_eq!(filter_of(9, None), "debug");
    }
}
