//! One SVG picture, written element by element.

use std::fmt::{Display, Write};

/// Where a text's place is on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// A picture. Colours come from the page's style sheet, by class.
#[derive(Debug)]
pub(super) struct Svg {
    body: String,
    width: f64,
    height: f64,
}

/// About how wide a text is, in pixels: enough to keep room for it.
pub(super) fn width_of(text: &str) -> f64 {
    text.chars().count() as f64 * 7.0
}

/// Text that cannot be taken for markup.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

impl Svg {
    pub(super) fn new(width: f64, height: f64) -> Svg {
        Svg { body: String::new(), width, height }
    }

    fn put(&mut self, element: impl Display) {
        // Writing to a string cannot fail.
        let _ = write!(self.body, "{element}");
    }

    /// Something that is measured, with what it says when pointed at.
    fn mark(&mut self, name: &str, attributes: impl Display, class: &str, tip: &str) {
        self.put(format_args!(
            "<{name} class=\"mark {class}\" {attributes}><title>{}</title></{name}>\n",
            escape(tip)
        ));
    }

    pub(super) fn rect(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), class: &str, tip: &str) {
        let place =
            format_args!("x=\"{x:.2}\" y=\"{y:.2}\" width=\"{width:.2}\" height=\"{height:.2}\"").to_string();
        self.mark("rect", place, class, tip);
    }

    pub(super) fn circle(&mut self, (x, y): (f64, f64), radius: f64, class: &str, tip: &str) {
        self.mark("circle", format_args!("cx=\"{x:.2}\" cy=\"{y:.2}\" r=\"{radius:.1}\""), class, tip);
    }

    /// A line through measured or predicted points.
    pub(super) fn curve(&mut self, points: &[(f64, f64)], class: &str, tip: &str) {
        let mut path = String::new();
        for (place, (x, y)) in points.iter().enumerate() {
            let _ = write!(path, "{}{x:.2} {y:.2}", if place == 0 { "M" } else { "L" });
        }
        self.mark("path", format_args!("d=\"{path}\""), class, tip);
    }

    /// A line that is no mark: an axis, the grid, a whisker.
    pub(super) fn line(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64), class: &str) {
        self.put(format_args!(
            "<line class=\"{class}\" x1=\"{x1:.2}\" y1=\"{y1:.2}\" x2=\"{x2:.2}\" y2=\"{y2:.2}\"/>\n"
        ));
    }

    pub(super) fn text(&mut self, (x, y): (f64, f64), anchor: Anchor, class: &str, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        self.put(format_args!(
            "<text class=\"{class}\" x=\"{x:.2}\" y=\"{y:.2}\" text-anchor=\"{anchor}\">{}</text>\n",
            escape(text)
        ));
    }

    /// The element, named for those who cannot see it.
    pub(super) fn finish(self, name: &str) -> String {
        let Svg { body, width, height } = self;
        format!(
            "<svg viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" height=\"{height:.0}\" role=\"img\" aria-label=\"{}\">\n{body}</svg>\n",
            escape(name)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_cannot_become_markup() {
        let mut svg = Svg::new(10.0, 10.0);
        svg.rect((0.0, 0.0), (1.0, 1.0), "s1", "</title><script>alert(1)</script>");
        svg.text((0.0, 0.0), Anchor::Start, "label", "a & <b>");
        let text = svg.finish("\"quoted\"");
        assert!(!text.contains("<script") && text.contains("a &amp; &lt;b&gt;"), "{text}");
        assert!(text.contains("aria-label=\"&quot;quoted&quot;\""), "{text}");
    }
}
