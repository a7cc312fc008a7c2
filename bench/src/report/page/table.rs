//! Tables of the page.

use crate::report::Verdict;
use crate::report::page::svg::escape;

/// A cell of a table.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// Words.
    Text(String),
    /// A number, shown as it is told.
    Number(String),
    /// Whether a target is met.
    Verdict(Option<Verdict>),
}

impl Entry {
    /// Words.
    pub fn text(text: impl ToString) -> Entry {
        Entry::Text(text.to_string())
    }

    /// A number with so many digits behind the point; nothing if there is none.
    pub fn number(value: Option<f64>, digits: usize) -> Entry {
        Entry::Number(value.map_or(String::new(), |value| format!("{value:.digits$}")))
    }

    fn html(&self) -> String {
        match self {
            Entry::Text(text) => format!("<td>{}</td>", escape(text)),
            Entry::Number(number) => format!("<td class=\"number\">{}</td>", escape(number)),
            Entry::Verdict(None) => "<td></td>".to_owned(),
            Entry::Verdict(Some(verdict)) => {
                let (class, sign) = match verdict {
                    Verdict::Pass => ("pass", "\u{2713}"),
                    Verdict::Miss => ("miss", "\u{2717}"),
                    Verdict::Open => ("open", "\u{2013}"),
                };
                format!("<td><span class=\"verdict {class}\">{sign} {verdict}</span></td>")
            }
        }
    }
}

/// A table.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// What it is about.
    pub title: String,
    /// Heads of its columns.
    pub columns: Vec<String>,
    /// Its rows.
    pub rows: Vec<Vec<Entry>>,
    /// Whether it is folded away at first.
    pub folded: bool,
}

impl Table {
    pub(super) fn html(&self) -> String {
        let heads: String =
            self.columns.iter().map(|head| format!("<th scope=\"col\">{}</th>", escape(head))).collect();
        let rows: String = self
            .rows
            .iter()
            .map(|row| format!("<tr>{}</tr>\n", row.iter().map(Entry::html).collect::<String>()))
            .collect();
        let title = escape(&self.title);
        let table = format!(
            "<div class=\"table\"><table>\n<caption>{title}</caption>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}</tbody></table></div>\n"
        );
        if self.folded { format!("<details><summary>{title}</summary>\n{table}</details>\n") } else { table }
    }
}
