//! Who did what when: one row per process, a bar per span.

use crate::report::page::figure::{Figure, Legend};
use crate::report::page::scale::{Scale, short};
use crate::report::page::svg::{Anchor, Svg, width_of};

const WIDTH: f64 = 960.0;
const ROW: f64 = 34.0;
const BAR: f64 = 22.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 50.0;
/// Narrower bars would not be seen.
const BAR_MIN: f64 = 0.8;
/// Two spans of one kind that are nearer than this, in pixels, are drawn as one.
const MERGE_GAP: f64 = 0.4;

/// Something that took time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrackSpan {
    /// Which of the chart's kinds.
    pub kind: usize,
    /// Begin and end, in seconds from the chart's begin.
    pub start_s: f64,
    /// End.
    pub end_s: f64,
}

/// What one process did.
#[derive(Clone, Debug)]
pub struct TrackRow {
    /// Who.
    pub name: String,
    /// What, ascending and apart.
    pub spans: Vec<TrackSpan>,
}

/// Processes over time.
#[derive(Clone, Debug)]
pub struct TrackChart {
    /// What is shown.
    pub title: String,
    /// What a reader should know.
    pub caption: String,
    /// Name and colour (1 to 6, or 0 for idle) of each kind.
    pub kinds: Vec<(String, usize)>,
    /// Rows, from top to bottom.
    pub rows: Vec<TrackRow>,
}

impl TrackChart {
    /// Draws it.
    pub fn figure(&self) -> Figure {
        let height = TOP + ROW * self.rows.len() as f64 + BOTTOM;
        let mut svg = Svg::new(WIDTH, height);
        let left = 24.0 + self.rows.iter().map(|row| width_of(&row.name)).fold(0.0, f64::max);
        let right = WIDTH - 24.0;
        let ends = self.rows.iter().flat_map(|row| row.spans.iter().map(|span| span.end_s));
        let last_ms = ends.fold(0.0, f64::max) * 1e3;
        let (x, bottom) = (Scale::exact(last_ms, left, right), height - BOTTOM);
        for tick in x.ticks() {
            svg.line((x.at(tick), TOP), (x.at(tick), bottom), "grid");
            svg.text((x.at(tick), bottom + 18.0), Anchor::Middle, "tick", &short(tick));
        }
        svg.line((left, bottom), (right, bottom), "base");
        svg.text((f64::midpoint(left, right), height - 8.0), Anchor::Middle, "axis", "time, ms");
        for (place, row) in self.rows.iter().enumerate() {
            let middle = TOP + ROW * (place as f64 + 0.5);
            svg.text((left - 12.0, middle + 4.0), Anchor::End, "label", &row.name);
            self.bars(&mut svg, row, middle - BAR / 2.0, x);
        }
        Figure {
            title: self.title.clone(),
            caption: self.caption.clone(),
            legend: self.kinds.iter().map(|(name, colour)| Legend::filled(name, *colour)).collect(),
            svg: svg.finish(&format!("{}: what each process did over time", self.title)),
        }
    }

    fn bars(&self, svg: &mut Svg, row: &TrackRow, top: f64, x: Scale) {
        for TrackSpan { kind, start_s, end_s } in self.merged(row, x) {
            let Some((name, colour)) = self.kinds.get(kind) else { continue };
            let (from, to) = (x.at(start_s * 1e3), x.at(end_s * 1e3));
            let took_us = (end_s - start_s) * 1e6;
            let tip = format!("{}, {name}: {} us from {:.3} ms on", row.name, short(took_us), start_s * 1e3);
            svg.rect((from, top), ((to - from).max(BAR_MIN), BAR), &format!("s{colour}"), &tip);
        }
    }

    /// The spans, neighbours of one kind as one where nobody could see the gap.
    fn merged(&self, row: &TrackRow, x: Scale) -> Vec<TrackSpan> {
        let mut merged: Vec<TrackSpan> = Vec::new();
        for span in &row.spans {
            match merged.last_mut() {
                Some(last)
                    if last.kind == span.kind
                        && x.at(span.start_s * 1e3) - x.at(last.end_s * 1e3) < MERGE_GAP =>
                {
                    last.end_s = last.end_s.max(span.end_s);
                }
                Some(_) | None => merged.push(*span),
            }
        }
        merged
    }
}
