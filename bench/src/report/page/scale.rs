//! From values to places on an axis, and the values that an axis names.

/// Marks on a linear axis, about.
const LINEAR_TICKS: f64 = 5.0;

/// An axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    /// Where the least value lies, and the greatest.
    from: f64,
    to: f64,
    log: bool,
}

impl Scale {
    /// From 0 to a round number at or above `high`.
    pub(super) fn linear(high: f64, from: f64, to: f64) -> Scale {
        let high = if high.is_finite() && high > 0.0 { high } else { 1.0 };
        let step = round_step(high / LINEAR_TICKS);
        Scale { low: 0.0, high: (high / step).ceil() * step, from, to, log: false }
    }

    /// From 0 to `high` exactly.
    pub(super) fn exact(high: f64, from: f64, to: f64) -> Scale {
        Scale { low: 0.0, high: high.max(f64::MIN_POSITIVE), from, to, log: false }
    }

    /// Powers of ten, or of two within a decade or two, around the positive ones of the values.
    pub(super) fn log(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Scale {
        let (mut low, mut high) = (f64::INFINITY, 0.0_f64);
        for value in values.filter(|value| value.is_finite() && *value > 0.0) {
            (low, high) = (low.min(value), high.max(value));
        }
        if low > high {
            (low, high) = (1.0, 10.0);
        }
        let margin = (high / low).powf(0.04).max(1.15);
        Scale { low: low / margin, high: high * margin, from, to, log: true }
    }

    /// Where a value lies; one outside lies at the nearer end.
    pub(super) fn at(&self, value: f64) -> f64 {
        let share = if self.log {
            (value.max(f64::MIN_POSITIVE) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.from + share.clamp(0.0, 1.0) * (self.to - self.from)
    }

    /// The values that the axis names, ascending.
    pub(super) fn ticks(&self) -> Vec<f64> {
        if self.log {
            return self.log_ticks();
        }
        let step = round_step((self.high - self.low) / LINEAR_TICKS);
        let ticks = (0..32).map(|count| f64::from(count) * step);
        ticks.take_while(|tick| *tick <= self.high * (1.0 + 1e-9)).collect()
    }

    fn log_ticks(&self) -> Vec<f64> {
        let decades = (self.high / self.low).log10();
        let factors: &[f64] = match decades {
            few if few < 1.2 => &[1.0, 1.5, 2.0, 3.0, 5.0, 7.0],
            few if few < 2.5 => &[1.0, 2.0, 5.0],
            _ => &[1.0],
        };
        let first = self.low.log10().floor();
        let powers = (0..24).map(|power| 10_f64.powf(first + f64::from(power)));
        let all = powers.flat_map(|power| factors.iter().map(move |factor| power * factor));
        all.filter(|tick| (self.low..=self.high).contains(tick)).collect()
    }
}

/// 1, 2 or 5 times a power of ten, at or above `step`.
fn round_step(step: f64) -> f64 {
    let power = 10_f64.powf(step.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|round| *round >= step * (1.0 - 1e-9))
        .unwrap_or(step)
}

/// A number in a few characters: `950`, `1.25 k`, `31 M`, `0.015`.
pub fn short(value: f64) -> String {
    let size = value.abs();
    let (scaled, suffix) = match size {
        giga if giga >= 1e9 => (value / 1e9, " G"),
        mega if mega >= 1e6 => (value / 1e6, " M"),
        kilo if kilo >= 1e3 => (value / 1e3, " k"),
        _ => (value, ""),
    };
    // Three digits that mean something.
    let digits = match scaled.abs() {
        hundreds if hundreds >= 100.0 => 0,
        tens if tens >= 10.0 => 1,
        ones if ones >= 1.0 => 2,
        zero if zero < 1e-9 => 0,
        _ => 3,
    };
    let text = format!("{scaled:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linear_axis_ends_at_a_round_number() {
        let scale = Scale::linear(870.0, 100.0, 0.0);
        assert_eq!(scale.ticks(), [0.0, 200.0, 400.0, 600.0, 800.0, 1000.0]);
        assert!((scale.at(0.0) - 100.0).abs() < 1e-9 && scale.at(1000.0).abs() < 1e-9);
        assert!((scale.at(500.0) - 50.0).abs() < 1e-9);
        assert!(Scale::linear(0.0, 0.0, 1.0).at(0.0).is_finite(), "nothing but zeros is drawn too");
    }

    #[test]
    fn a_log_axis_gives_each_decade_the_same_room() {
        let scale = Scale::log([0.01, 100.0].into_iter(), 0.0, 400.0);
        let [first, second, third] = [0.1, 1.0, 10.0].map(|value| scale.at(value));
        assert!((second - first - (third - second)).abs() < 1e-9);
        assert!(scale.ticks().len() >= 4, "{:?}", scale.ticks());
        assert!(Scale::log([3.0, 3.1].into_iter(), 0.0, 1.0).ticks().len() <= 6);
        assert!(Scale::log(std::iter::empty(), 0.0, 1.0).at(5.0).is_finite());
    }

    #[test]
    fn numbers_are_short() {
        let told = [0.0, 0.0153, 1.0, 12.34, 950.0, 1250.0, 31_400_000.0, 2e9].map(short);
        assert_eq!(told, ["0", "0.015", "1", "12.3", "950", "1.25 k", "31.4 M", "2 G"]);
    }
}
