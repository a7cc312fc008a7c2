//! A picture with its title, caption and legend.

use crate::report::page::svg::escape;

/// What a colour or a stroke means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Legend {
    name: String,
    class: String,
}

impl Legend {
    fn new(name: &str, class: String) -> Legend {
        Legend { name: name.to_owned(), class }
    }

    /// A filled mark of this colour.
    pub(super) fn filled(name: &str, colour: usize) -> Legend {
        Legend::new(name, format!("swatch b{colour}"))
    }

    /// A point of this colour.
    pub(super) fn dot(name: &str, colour: usize) -> Legend {
        Legend::new(name, format!("swatch dot b{colour}"))
    }

    /// A solid line of any colour.
    pub(super) fn solid(name: &str) -> Legend {
        Legend::new(name, "stroke".to_owned())
    }

    /// A dashed line of any colour.
    pub(super) fn dashed(name: &str) -> Legend {
        Legend::new(name, "stroke broken".to_owned())
    }
}

/// A picture with what belongs to it.
#[derive(Clone, Debug)]
pub struct Figure {
    pub(super) title: String,
    pub(super) caption: String,
    pub(super) legend: Vec<Legend>,
    pub(super) svg: String,
}

impl Figure {
    pub(super) fn html(&self) -> String {
        let Figure { title, caption, legend, svg } = self;
        let keys: String = legend
            .iter()
            .map(|key| {
                format!(
                    "<li><span class=\"{}\" aria-hidden=\"true\"></span>{}</li>",
                    key.class,
                    escape(&key.name)
                )
            })
            .collect();
        let legend = if keys.is_empty() { keys } else { format!("<ul class=\"legend\">{keys}</ul>") };
        let (title, caption) = (escape(title), escape(caption));
        format!(
            "<figure>\n<h3>{title}</h3>\n{legend}\n<div class=\"picture\">{svg}</div>\n<figcaption>{caption}</figcaption>\n</figure>\n"
        )
    }
}
