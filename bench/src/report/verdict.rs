//! Ratios and what they should be.

use crate::report::median_ratio;
use serde::Serialize;
use std::fmt;

/// What a ratio should be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// This or more.
    AtLeast(f64),
    /// This or less.
    AtMost(f64),
}

impl Bound {
    /// Whether the value is what it should be.
    pub(crate) fn judge(self, value: f64) -> Verdict {
        let met = match self {
            Bound::AtLeast(least) => value >= least,
            Bound::AtMost(most) => value <= most,
        };
        if met { Verdict::Pass } else { Verdict::Miss }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bound::AtLeast(least) => write!(f, ">= {least}"),
            Bound::AtMost(most) => write!(f, "<= {most}"),
        }
    }
}

/// Whether a target is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    /// It is.
    Pass,
    /// It is not.
    Miss,
    /// Not known: a side of the ratio was not measured, or not as the target means it.
    Open,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Verdict::Pass => "PASS",
            Verdict::Miss => "MISS",
            Verdict::Open => "OPEN",
        })
    }
}

/// One thing measured against another, round by round.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ratio {
    /// What is divided by what.
    pub name: String,
    /// Median over the rounds; none if a side was not measured.
    pub median: Option<f64>,
    /// Lower end of the median's 95 % interval.
    pub low: Option<f64>,
    /// Upper end of it.
    pub high: Option<f64>,
    /// What it should be; none for one that is only told.
    pub target: Option<Bound>,
    /// Whether it is; none without a target.
    pub verdict: Option<Verdict>,
}

impl Ratio {
    /// The ratio of two series whose values belong together pair by pair.
    pub fn new(name: String, over: &[f64], under: &[f64], target: Option<Bound>) -> Ratio {
        let found = if over.len() == under.len() { median_ratio(over, under) } else { None };
        let verdict = target.map(|target| found.map_or(Verdict::Open, |(_, middle, _)| target.judge(middle)));
        let (low, median, high) =
            found.map_or((None, None, None), |(low, middle, high)| (Some(low), Some(middle), Some(high)));
        Ratio { name, median, low, high, target, verdict }
    }

    /// The same, not judged.
    pub fn left_open(self) -> Ratio {
        Ratio { verdict: self.target.map(|_| Verdict::Open), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(over: &[f64], target: Bound) -> Option<Verdict> {
        Ratio::new("a / b".to_owned(), over, &[1.0, 1.0, 1.0], Some(target)).verdict
    }

    #[test]
    fn a_target_is_met_at_its_very_value_and_open_when_a_side_is_missing() {
        assert_eq!(verdict(&[2.0, 2.0, 9.0], Bound::AtLeast(2.0)), Some(Verdict::Pass));
        assert_eq!(verdict(&[1.9, 1.9, 9.0], Bound::AtLeast(2.0)), Some(Verdict::Miss));
        assert_eq!(verdict(&[1.1, 1.1, 0.1], Bound::AtMost(1.1)), Some(Verdict::Pass));
        assert_eq!(verdict(&[1.2, 1.2, 0.1], Bound::AtMost(1.1)), Some(Verdict::Miss));
        assert_eq!(verdict(&[], Bound::AtMost(1.1)), Some(Verdict::Open));
        assert_eq!(Ratio::new(String::new(), &[1.0], &[2.0], None).verdict, None);
    }
}
