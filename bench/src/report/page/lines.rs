//! Lines over a logarithmic number of something: solid where it was measured, dashed where it is predicted.

use crate::report::Spread;
use crate::report::page::figure::{Figure, Legend};
use crate::report::page::scale::{Scale, short};
use crate::report::page::svg::{Anchor, Svg, width_of};

const LEFT: f64 = 64.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 52.0;
/// Room between two labels at the ends of lines.
const LABEL_STEP: f64 = 15.0;

/// A point that was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Where.
    pub x: f64,
    /// What.
    pub y: Spread,
}

/// A line.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its name.
    pub name: String,
    /// Its colour, 1 to 6.
    pub colour: usize,
    /// Measured, ascending.
    pub measured: Vec<Point>,
    /// Predicted, ascending.
    pub predicted: Vec<(f64, f64)>,
}

/// Lines.
#[derive(Clone, Debug)]
pub struct LineChart {
    /// What is shown.
    pub title: String,
    /// What a reader should know.
    pub caption: String,
    /// What the vertical axis counts, with its unit.
    pub y_axis: String,
    /// What the horizontal axis counts.
    pub x_axis: String,
    /// Width in pixels.
    pub width: f64,
    /// Height in pixels.
    pub height: f64,
    /// The lines.
    pub lines: Vec<Line>,
}

impl LineChart {
    /// Draws it.
    pub fn figure(&self) -> Figure {
        let mut svg = Svg::new(self.width, self.height);
        let names = self.lines.iter().map(|line| width_of(&line.name)).fold(0.0, f64::max);
        let right = self.width - names - 18.0;
        let xs: Vec<f64> = self.xs();
        let x = Scale::log(xs.iter().copied(), LEFT + 8.0, right - 8.0);
        let y = Scale::linear(self.highest(), self.height - BOTTOM, TOP);
        for tick in y.ticks() {
            svg.line((LEFT, y.at(tick)), (right, y.at(tick)), if tick > 0.0 { "grid" } else { "base" });
            svg.text((LEFT - 8.0, y.at(tick) + 4.0), Anchor::End, "tick", &short(tick));
        }
        let mut last_end = f64::NEG_INFINITY;
        for &tick in &xs {
            let name = short(tick);
            let (middle, half) = (x.at(tick), width_of(&name) / 2.0);
            svg.line((middle, y.at(0.0)), (middle, y.at(0.0) + 5.0), "base");
            if middle - half > last_end + 4.0 {
                svg.text((middle, y.at(0.0) + 20.0), Anchor::Middle, "tick", &name);
                last_end = middle + half;
            }
        }
        svg.text((8.0, 16.0), Anchor::Start, "axis", &self.y_axis);
        svg.text((f64::midpoint(LEFT, right), self.height - 10.0), Anchor::Middle, "axis", &self.x_axis);
        for line in &self.lines {
            draw(&mut svg, line, x, y);
        }
        self.label_ends(&mut svg, right, y);
        let dashed = self.lines.iter().any(|line| !line.predicted.is_empty());
        let kinds = [Legend::solid("measured"), Legend::dashed("predicted by the model")];
        Figure {
            title: self.title.clone(),
            caption: self.caption.clone(),
            legend: if dashed { kinds.into() } else { Vec::new() },
            svg: svg.finish(&format!("{}: {} by {}", self.title, self.y_axis, self.x_axis)),
        }
    }

    /// Every place at which there is something, once, ascending.
    fn xs(&self) -> Vec<f64> {
        let all = self.lines.iter().flat_map(|line| {
            line.measured.iter().map(|point| point.x).chain(line.predicted.iter().map(|(x, _)| *x))
        });
        let mut xs: Vec<f64> = all.collect();
        xs.sort_by(f64::total_cmp);
        xs.dedup();
        xs
    }

    fn highest(&self) -> f64 {
        let all = self.lines.iter().flat_map(|line| {
            line.measured.iter().map(|point| point.y.max).chain(line.predicted.iter().map(|(_, y)| *y))
        });
        all.fold(0.0, f64::max)
    }

    /// Names each line beside its end, moved apart where they would lie on each other.
    fn label_ends(&self, svg: &mut Svg, right: f64, y: Scale) {
        let ends = self.lines.iter().filter_map(|line| {
            let measured = line.measured.last().map(|point| (point.x, point.y.median));
            let end = [measured, line.predicted.last().copied()]
                .into_iter()
                .flatten()
                .max_by(|one, other| one.0.total_cmp(&other.0))?;
            Some((y.at(end.1), line))
        });
        let mut ends: Vec<(f64, &Line)> = ends.collect();
        ends.sort_by(|one, other| one.0.total_cmp(&other.0));
        let lowest = self.height - BOTTOM - LABEL_STEP * ends.len().saturating_sub(1) as f64;
        let mut free = TOP.min(lowest);
        for (place, (end, line)) in ends.into_iter().enumerate() {
            let at = end.max(free).min(lowest + LABEL_STEP * place as f64);
            svg.text((right + 14.0, at + 4.0), Anchor::Start, "label", &line.name);
            svg.line((right + 2.0, at), (right + 10.0, at), &format!("key l{}", line.colour));
            free = at + LABEL_STEP;
        }
    }
}

fn draw(svg: &mut Svg, line: &Line, x: Scale, y: Scale) {
    let Line { name, colour, measured, predicted } = line;
    if predicted.len() > 1 {
        let points: Vec<(f64, f64)> = predicted.iter().map(|(at, value)| (x.at(*at), y.at(*value))).collect();
        svg.curve(&points, &format!("curve dashed l{colour}"), &format!("{name}, predicted"));
    }
    for (at, value) in predicted {
        let tip = format!("{name}, predicted for {}: {}", short(*at), short(*value));
        svg.circle((x.at(*at), y.at(*value)), 2.5, &format!("s{colour}"), &tip);
    }
    if measured.len() > 1 {
        let points: Vec<(f64, f64)> =
            measured.iter().map(|point| (x.at(point.x), y.at(point.y.median))).collect();
        svg.curve(&points, &format!("curve l{colour}"), &format!("{name}, measured"));
    }
    for Point { x: at, y: Spread { median, min, max } } in measured {
        svg.line((x.at(*at), y.at(*min)), (x.at(*at), y.at(*max)), "whisker");
        let tip = format!(
            "{name}, {}: {} (least {}, greatest {})",
            short(*at),
            short(*median),
            short(*min),
            short(*max)
        );
        svg.circle((x.at(*at), y.at(*median)), 4.5, &format!("point s{colour}"), &tip);
    }
}
