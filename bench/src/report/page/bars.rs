//! Grouped bars with whiskers.

use crate::report::Spread;
use crate::report::page::figure::{Figure, Legend};
use crate::report::page::scale::{Scale, short};
use crate::report::page::svg::{Anchor, Svg};

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 340.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 34.0;
/// Share of a group's room that its bars take, and the gap between two bars.
const GROUP_SHARE: f64 = 0.8;
const GAP: f64 = 2.0;
const BAR_MAX: f64 = 34.0;

/// A group of bars: its name, and a value for each series.
#[derive(Clone, Debug)]
pub struct BarGroup {
    /// Shown below the group.
    pub name: String,
    /// One per series, in the order of the chart's series; none leaves a gap.
    pub values: Vec<Option<Spread>>,
}

/// Bars in groups.
#[derive(Clone, Debug)]
pub struct BarChart {
    /// What is shown.
    pub title: String,
    /// What a reader should know.
    pub caption: String,
    /// What the axis counts, with its unit.
    pub axis: String,
    /// Name and colour (1 to 6) of each series.
    pub series: Vec<(String, usize)>,
    /// Groups, from left to right.
    pub groups: Vec<BarGroup>,
}

impl BarChart {
    /// Draws it.
    pub fn figure(&self) -> Figure {
        let mut svg = Svg::new(WIDTH, HEIGHT);
        let spreads = self.groups.iter().flat_map(|group| group.values.iter().flatten());
        let highest = spreads.map(|spread| spread.max).fold(0.0, f64::max);
        let y = Scale::linear(highest, HEIGHT - BOTTOM, TOP);
        for tick in y.ticks() {
            svg.line(
                (LEFT, y.at(tick)),
                (WIDTH - RIGHT, y.at(tick)),
                if tick > 0.0 { "grid" } else { "base" },
            );
            svg.text((LEFT - 8.0, y.at(tick) + 4.0), Anchor::End, "tick", &short(tick));
        }
        svg.text((8.0, 16.0), Anchor::Start, "axis", &self.axis);
        let room = (WIDTH - LEFT - RIGHT) / self.groups.len().max(1) as f64;
        let bar = (room * GROUP_SHARE / self.series.len().max(1) as f64 - GAP).clamp(1.0, BAR_MAX);
        for (place, group) in self.groups.iter().enumerate() {
            let middle = LEFT + room * (place as f64 + 0.5);
            let first = middle - (bar + GAP) * self.series.len() as f64 / 2.0;
            self.bars(&mut svg, group, (first, bar), y);
            svg.text((middle, HEIGHT - BOTTOM + 20.0), Anchor::Middle, "label", &group.name);
        }
        Figure {
            title: self.title.clone(),
            caption: self.caption.clone(),
            legend: self.series.iter().map(|(name, colour)| Legend::filled(name, *colour)).collect(),
            svg: svg.finish(&format!("{}: {}", self.title, self.axis)),
        }
    }

    fn bars(&self, svg: &mut Svg, group: &BarGroup, (first, bar): (f64, f64), y: Scale) {
        for (place, ((name, colour), value)) in self.series.iter().zip(&group.values).enumerate() {
            let Some(Spread { median, min, max }) = *value else { continue };
            let left = first + (bar + GAP) * place as f64 + GAP / 2.0;
            let tip = format!(
                "{}, {name}: {} (least {}, greatest {})",
                group.name,
                short(median),
                short(min),
                short(max)
            );
            let top = y.at(median);
            svg.rect((left, top), (bar, (y.at(0.0) - top).max(0.5)), &format!("s{colour}"), &tip);
            let middle = left + bar / 2.0;
            let reach = (bar / 4.0).min(4.0);
            svg.line((middle, y.at(min)), (middle, y.at(max)), "whisker");
            for end in [min, max] {
                svg.line((middle - reach, y.at(end)), (middle + reach, y.at(end)), "whisker");
            }
        }
    }
}
