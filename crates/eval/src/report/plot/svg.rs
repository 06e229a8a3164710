//! A sheet of SVG. Written by hand rather than by a plotting library: colours come from classes, so that one file is
//! legible on a light and on a dark page, and no fonts are measured, so that the bytes are the same everywhere.

use super::style;

/// Where a text stands to its point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// Shapes of points, told apart without colour.
const SHAPES: usize = 6;

/// A sheet that is drawn on.
pub(super) struct Sheet {
    width: f64,
    height: f64,
    title: String,
    body: String,
}

/// A coordinate: two decimals, never a negative zero or a non-number.
fn number(value: f64) -> String {
    let rounded = if value.is_finite() { (value * 100.0).round() / 100.0 + 0.0 } else { 0.0 };
    rounded.to_string()
}

/// Text within XML.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            // XML 1.0 has no control characters.
            c if c.is_control() => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}

/// About how wide a text of the body's size is, in pixels; wide fonts have less. A bold one is a tenth wider.
pub(super) fn text_width(text: &str) -> f64 {
    7.1 * text.chars().count() as f64
}

impl Sheet {
    /// An empty sheet with a title and a line below it.
    pub(super) fn new(width: f64, height: f64, title: &str, subtitle: &str) -> Self {
        let mut sheet = Self { width, height, title: title.to_owned(), body: String::new() };
        sheet.text(20.0, 28.0, Anchor::Start, "title", title);
        sheet.text(20.0, 46.0, Anchor::Start, "quiet", subtitle);
        sheet
    }

    pub(super) fn text(&mut self, x: f64, y: f64, anchor: Anchor, class: &str, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "",
            Anchor::Middle => " text-anchor=\"middle\"",
            Anchor::End => " text-anchor=\"end\"",
        };
        let (x, y, text) = (number(x), number(y), escaped(text));
        self.body += &format!("<text x=\"{x}\" y=\"{y}\"{anchor} class=\"{class}\">{text}</text>\n");
    }

    /// Text that reads upwards, centred on its point.
    pub(super) fn upright(&mut self, x: f64, y: f64, class: &str, text: &str) {
        let (x, y, text) = (number(x), number(y), escaped(text));
        self.body += &format!(
            "<text transform=\"translate({x} {y}) rotate(-90)\" text-anchor=\"middle\" class=\"{class}\">{text}</text>\n"
        );
    }

    /// A line through points.
    pub(super) fn line(&mut self, points: &[(f64, f64)], class: &str) {
        let points: Vec<String> = points.iter().map(|(x, y)| format!("{},{}", number(*x), number(*y))).collect();
        self.body += &format!("<polyline points=\"{}\" class=\"{class}\"/>\n", points.join(" "));
    }

    pub(super) fn rectangle(&mut self, x: f64, y: f64, width: f64, height: f64, class: &str) {
        let [x, y, width, height] = [x, y, width.max(0.0), height.max(0.0)].map(number);
        self.body += &format!("<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" class=\"{class}\"/>\n");
    }

    /// A point in the shape of a series.
    pub(super) fn point(&mut self, x: f64, y: f64, series: usize) {
        let class = format!("mark {}", style::series(series));
        // Outlines of about equal area around the origin.
        let outline: &[(f64, f64)] = match series % SHAPES {
            0 => {
                let (x, y) = (number(x), number(y));
                self.body += &format!("<circle cx=\"{x}\" cy=\"{y}\" r=\"4.5\" class=\"{class}\"/>\n");
                return;
            }
            1 => &[(-4.0, -4.0), (4.0, -4.0), (4.0, 4.0), (-4.0, 4.0)],
            2 => &[(0.0, -5.6), (5.2, 4.0), (-5.2, 4.0)],
            3 => &[(0.0, -5.8), (5.8, 0.0), (0.0, 5.8), (-5.8, 0.0)],
            4 => &[(0.0, 5.6), (5.2, -4.0), (-5.2, -4.0)],
            _ => &[
                (-1.8, -5.4),
                (1.8, -5.4),
                (1.8, -1.8),
                (5.4, -1.8),
                (5.4, 1.8),
                (1.8, 1.8),
                (1.8, 5.4),
                (-1.8, 5.4),
                (-1.8, 1.8),
                (-5.4, 1.8),
                (-5.4, -1.8),
                (-1.8, -1.8),
            ],
        };
        let points: Vec<String> =
            outline.iter().map(|(dx, dy)| format!("{},{}", number(x + dx), number(y + dy))).collect();
        self.body += &format!("<polygon points=\"{}\" class=\"{class}\"/>\n", points.join(" "));
    }

    /// The file.
    pub(super) fn finish(self) -> String {
        let [width, height] = [self.width, self.height].map(number);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
             role=\"img\">\n<title>{}</title>\n<style>\n{}</style>\n<rect width=\"{width}\" height=\"{height}\" \
             class=\"page\"/>\n{}</svg>\n",
            escaped(&self.title),
            style::SHEET,
            self.body
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinates_are_short_and_finite() {
        assert_eq!([-0.001, 1.006, f64::NAN, f64::INFINITY].map(number), ["0", "1.01", "0", "0"]);
        assert_eq!(escaped("a<b & \"c\"\u{1}"), "a&lt;b &amp; &quot;c&quot; ");
    }
}
