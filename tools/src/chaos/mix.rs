//! Which faults occur, and how often each.

use crate::chaos::fault::FaultKind;
use std::fmt;
use std::str::FromStr;

/// Greatest weight of a kind.
const WEIGHT_MAX: u32 = 1_000_000;

/// Kinds and their weights. Not empty, no kind twice, no weight 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mix(Vec<(FaultKind, u32)>);

impl Default for Mix {
    /// Every kind that is lethal, and pauses.
    fn default() -> Mix {
        let kinds = FaultKind::ALL.into_iter().map(|kind| (kind, kind.default_weight()));
        Mix(kinds.filter(|&(_, weight)| weight > 0).collect())
    }
}

impl Mix {
    /// Sum of the weights.
    pub fn sum(&self) -> u32 {
        self.0.iter().map(|&(_, weight)| weight).sum()
    }

    /// The kind at a place from 0 to the sum of the weights.
    pub fn kind_at(&self, place: u32) -> FaultKind {
        let mut left = place;
        for &(kind, weight) in &self.0 {
            if left < weight {
                return kind;
            }
            left -= weight;
        }
        // Past the end: there is at least one kind.
        self.0.last().map_or(FaultKind::Kill, |&(kind, _)| kind)
    }
}

impl FromStr for Mix {
    type Err = String;

    /// Reads `name` or `name:weight`, separated by commas.
    fn from_str(text: &str) -> Result<Mix, String> {
        let mut kinds: Vec<(FaultKind, u32)> = Vec::new();
        for part in text.split(',').map(str::trim) {
            let (name, weight) = match part.split_once(':') {
                None => (part, None),
                Some((name, weight)) => (name, Some(weight)),
            };
            let kind: FaultKind = name.parse()?;
            let weight = match weight.map(str::parse) {
                None => kind.default_weight().max(1),
                Some(Ok(weight @ 1..=WEIGHT_MAX)) => weight,
                Some(Ok(_) | Err(_)) => {
                    return Err(format!("{part}: the weight is a number from 1 to {WEIGHT_MAX}"));
                }
            };
            if kinds.iter().any(|&(other, _)| other == kind) {
                return Err(format!("{kind} is named twice; name each kind once"));
            }
            kinds.push((kind, weight));
        }
        Ok(Mix(kinds))
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (kind, weight)) in self.0.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            write!(f, "{comma}{kind}:{weight}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_is_read_as_it_is_written() {
        for text in ["kill:1", "kill:3,pause:7", "supervisor-stop:1,term:1000000"] {
            assert_eq!(text.parse::<Mix>().unwrap().to_string(), text);
        }
        assert_eq!(Mix::default().to_string().parse::<Mix>().unwrap(), Mix::default());
        assert_eq!("kill,term".parse::<Mix>().unwrap().to_string(), "kill:20,term:1");
    }

    #[test]
    fn nonsense_in_a_mix_is_refused() {
        for text in ["", "kill,", "kil", "kill:0", "kill:x", "kill:1:2", "kill,kill", "kill:4294967295"] {
            assert!(text.parse::<Mix>().is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn every_place_has_the_kind_of_its_share() {
        let mix: Mix = "kill:2,pause:1,int:3".parse().unwrap();
        let drawn: Vec<&str> = (0..mix.sum()).map(|place| mix.kind_at(place).name()).collect();
        assert_eq!(drawn, ["kill", "kill", "pause", "int", "int", "int"]);
    }
}
