//! A report as one page for a browser: figures and tables in one file that fetches nothing and runs nothing.
//!
//! Pictures are SVG with classes instead of colours, so that one style sheet serves light and dark. Marks carry a
//! `<title>`, which browsers show when pointed at; every figure's numbers stand in a table, too.

mod bars;
mod figure;
mod lines;
mod ranges;
mod scale;
mod svg;
mod table;
mod tracks;

use crate::report::{BenchReport, Host};
use svg::escape;

pub use bars::{BarChart, BarGroup};
pub use figure::{Figure, Legend};
pub use lines::{Line, LineChart, Point};
pub use ranges::{RangeChart, RangePoint, RangeRow};
pub use scale::short;
pub use table::{Entry, Table};
pub use tracks::{TrackChart, TrackRow, TrackSpan};

/// Its whole style.
const STYLE: &str = include_str!("style.css");

/// A page in the making.
#[derive(Debug)]
pub struct Page {
    title: String,
    heading: String,
    body: String,
}

impl Page {
    /// A page about a report: where and how it ran stands at its top.
    pub fn new<R>(title: &str, report: &BenchReport<R>) -> Page {
        let Host { cores, model, kernel } = &report.host;
        let facts = [
            ("Host", format!("{model}, {cores} cores, Linux {kernel}")),
            ("Commit", report.commit.clone()),
            ("Command", report.command.clone()),
        ];
        let rows = facts.map(|(name, fact)| format!("<dt>{name}</dt><dd>{}</dd>\n", escape(&fact)));
        Page {
            title: title.to_owned(),
            heading: format!("<dl>\n{}</dl>\n", rows.concat()),
            body: String::new(),
        }
    }

    /// Begins a section; `about` is for the reader who sees such a page for the first time.
    pub fn section(&mut self, title: &str, about: &str) {
        self.body.push_str(&format!("<h2>{}</h2>\n<p>{}</p>\n", escape(title), escape(about)));
    }

    /// Adds a picture.
    pub fn figure(&mut self, figure: &Figure) {
        self.body.push_str(&figure.html());
    }

    /// Adds small pictures beside each other.
    pub fn figures(&mut self, figures: &[Figure]) {
        let all: String = figures.iter().map(Figure::html).collect();
        self.body.push_str(&format!("<div class=\"pictures\">\n{all}</div>\n"));
    }

    /// Adds a table; nothing if it has no rows.
    pub fn table(&mut self, table: &Table) {
        if !table.rows.is_empty() {
            self.body.push_str(&table.html());
        }
    }

    /// The whole file.
    pub fn html(&self) -> String {
        let (title, Page { heading, body, .. }) = (escape(&self.title), self);
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n{heading}{body}</main>\n</body>\n</html>\n"
        )
    }
}
