//! Rows of points with what lies around them, on one logarithmic axis: for values of very different size.

use crate::report::page::figure::{Figure, Legend};
use crate::report::page::scale::{Scale, short};
use crate::report::page::svg::{Anchor, Svg, width_of};

const WIDTH: f64 = 960.0;
const ROW: f64 = 24.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 50.0;
/// Room for the value beside the last point of a row.
const VALUE_ROOM: f64 = 130.0;

/// A point of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RangePoint {
    /// Which series.
    pub series: usize,
    /// The point.
    pub value: f64,
    /// Least and greatest of it.
    pub ends: (f64, f64),
}

/// A row.
#[derive(Clone, Debug)]
pub struct RangeRow {
    /// Its name.
    pub name: String,
    /// Whether it is what the chart is about.
    pub strong: bool,
    /// Its points.
    pub points: Vec<RangePoint>,
}

/// Rows of points.
#[derive(Clone, Debug)]
pub struct RangeChart {
    /// What is shown.
    pub title: String,
    /// What a reader should know.
    pub caption: String,
    /// What the axis counts, with its unit.
    pub axis: String,
    /// Name and colour (1 to 6) of each series.
    pub series: Vec<(String, usize)>,
    /// Whether a row's points are joined: they are percentiles of one distribution.
    pub joined: bool,
    /// Rows, from top to bottom.
    pub rows: Vec<RangeRow>,
}

impl RangeChart {
    /// Draws it.
    pub fn figure(&self) -> Figure {
        let height = TOP + ROW * self.rows.len() as f64 + BOTTOM;
        let mut svg = Svg::new(WIDTH, height);
        let left = 24.0 + self.rows.iter().map(|row| width_of(&row.name)).fold(0.0, f64::max);
        let right = WIDTH - VALUE_ROOM;
        let values =
            self.rows.iter().flat_map(|row| &row.points).flat_map(|it| [it.ends.0, it.ends.1, it.value]);
        let x = Scale::log(values, left, right);
        let bottom = height - BOTTOM;
        let mut last_end = f64::NEG_INFINITY;
        for tick in x.ticks() {
            svg.line((x.at(tick), TOP), (x.at(tick), bottom), "grid");
            let name = short(tick);
            let half = width_of(&name) / 2.0;
            if x.at(tick) - half > last_end + 4.0 {
                svg.text((x.at(tick), bottom + 18.0), Anchor::Middle, "tick", &name);
                last_end = x.at(tick) + half;
            }
        }
        svg.line((left, bottom), (right, bottom), "base");
        svg.text((f64::midpoint(left, right), height - 8.0), Anchor::Middle, "axis", &self.axis);
        for (place, row) in self.rows.iter().enumerate() {
            self.row(&mut svg, row, TOP + ROW * (place as f64 + 0.5), left, x);
        }
        Figure {
            title: self.title.clone(),
            caption: self.caption.clone(),
            legend: self.series.iter().map(|(name, colour)| Legend::dot(name, *colour)).collect(),
            svg: svg.finish(&format!("{}: {}", self.title, self.axis)),
        }
    }

    fn row(&self, svg: &mut Svg, row: &RangeRow, y: f64, left: f64, x: Scale) {
        let class = if row.strong { "label strong" } else { "label" };
        svg.text((left - 12.0, y + 4.0), Anchor::End, class, &row.name);
        if self.joined
            && let (Some(first), Some(last)) = (row.points.first(), row.points.last())
        {
            svg.line((x.at(first.value), y), (x.at(last.value), y), "joint");
        }
        let mut values = Vec::new();
        let mut end = left;
        for point in &row.points {
            let Some((name, colour)) = self.series.get(point.series) else { continue };
            let (low, high) = point.ends;
            svg.line((x.at(low), y), (x.at(high), y), "whisker");
            let tip = format!(
                "{}, {name}: {} (least {}, greatest {})",
                row.name,
                short(point.value),
                short(low),
                short(high)
            );
            svg.circle((x.at(point.value), y), 5.0, &format!("point s{colour}"), &tip);
            values.push(short(point.value));
            end = end.max(x.at(high)).max(x.at(point.value));
        }
        svg.text((end + 12.0, y + 4.0), Anchor::Start, "value", &values.join(" / "));
    }
}
