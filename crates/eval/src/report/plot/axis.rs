//! Axes and the panel between them.

use super::svg::{Anchor, Sheet};

/// How values become places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Linear,
    /// Of positive values.
    Log,
}

/// An axis.
#[derive(Debug, Clone)]
pub(super) struct Axis {
    title: String,
    kind: Kind,
    low: f64,
    high: f64,
    ticks: Vec<(f64, String)>,
}

impl Axis {
    /// From 0 to a round number that no value is above, in at most `most` steps.
    pub(super) fn from_zero(title: &str, values: impl Iterator<Item = f64>, most: usize) -> Self {
        let highest = values.filter(|value| value.is_finite()).fold(0.0, f64::max);
        let step = round_step(if highest > 0.0 { highest } else { 1.0 } / most.max(1) as f64);
        let steps = (highest / step - 1e-9).ceil().max(1.0);
        let decimals = (-step.log10().floor()).clamp(0.0, 6.0) as usize;
        let tick = |index: usize| {
            let value = index as f64 * step;
            (value, if step >= 1.0 { short(value) } else { format!("{value:.decimals$}") })
        };
        let ticks = (0..=steps as usize).map(tick).collect();
        Self { title: title.to_owned(), kind: Kind::Linear, low: 0.0, high: steps * step, ticks }
    }

    /// Of positive values over several orders of magnitude: ticks at 1, 2 and 5 times the powers of ten.
    pub(super) fn log(title: &str, values: impl Iterator<Item = f64>) -> Self {
        let (mut low, mut high) = (f64::INFINITY, 0.0f64);
        for value in values.filter(|value| value.is_finite() && *value > 0.0) {
            (low, high) = (low.min(value), high.max(value));
        }
        if high <= 0.0 {
            (low, high) = (1.0, 10.0);
        }
        let (low, high) = (low / 1.6, high * 1.6);
        let powers = low.log10().floor() as i32..=high.log10().ceil() as i32;
        let all = |factors: &'static [f64]| {
            let values = powers.clone().flat_map(|power| factors.iter().map(move |factor| factor * 10f64.powi(power)));
            values.filter(|value| (low..=high).contains(value)).collect::<Vec<_>>()
        };
        let fine = all(&[1.0, 2.0, 5.0]);
        let values = if fine.len() <= 8 { fine } else { all(&[1.0]) };
        let ticks = values.into_iter().map(|value| (value, short(value))).collect();
        Self { title: title.to_owned(), kind: Kind::Log, low, high, ticks }
    }

    /// Of these values, a tick at each; places by the logarithm.
    pub(super) fn log_at(title: &str, values: &[f64]) -> Self {
        let whole = Self::log(title, values.iter().copied());
        Self { ticks: values.iter().map(|value| (*value, value.to_string())).collect(), ..whole }
    }

    /// Of names, one step each: the value of a name is its index.
    pub(super) fn names(title: &str, names: Vec<String>) -> Self {
        let high = names.len() as f64 - 0.5;
        let ticks = names.into_iter().enumerate().map(|(index, name)| (index as f64, name)).collect();
        Self { title: title.to_owned(), kind: Kind::Linear, low: -0.5, high, ticks }
    }

    /// Where a value lies, 0 at the lower end and 1 at the upper.
    fn share(&self, value: f64) -> f64 {
        let place = |value: f64| match self.kind {
            Kind::Linear => value,
            Kind::Log => value.max(f64::MIN_POSITIVE).ln(),
        };
        ((place(value) - place(self.low)) / (place(self.high) - place(self.low))).clamp(0.0, 1.0)
    }
}

/// The next of 1, 2, 5, 10, … times a power of ten.
fn round_step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    [1.0, 2.0, 2.5, 5.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= least * 0.999)
        .unwrap_or(10.0 * power)
}

/// A number as a tick shows it: 20k, 1.5M.
pub(super) fn short(value: f64) -> String {
    let (value, unit) = match value {
        v if v >= 1e9 => (v / 1e9, "G"),
        v if v >= 1e6 => (v / 1e6, "M"),
        v if v >= 1e3 => (v / 1e3, "k"),
        v => (v, ""),
    };
    format!("{}{unit}", (value * 1000.0).round() / 1000.0)
}

/// Where data is drawn.
pub(super) struct Panel {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) x: Axis,
    pub(super) y: Axis,
}

impl Panel {
    /// The place of a value of x.
    pub(super) fn across(&self, value: f64) -> f64 {
        self.left + self.width * self.x.share(value)
    }

    /// The place of a value of y.
    pub(super) fn up(&self, value: f64) -> f64 {
        self.top + self.height * (1.0 - self.y.share(value))
    }

    /// Draws both axes, their titles and a grid for y.
    pub(super) fn draw(&self, sheet: &mut Sheet) {
        let (right, bottom) = (self.left + self.width, self.top + self.height);
        for (value, label) in &self.y.ticks {
            let y = self.up(*value);
            sheet.line(&[(self.left, y), (right, y)], "grid");
            sheet.text(self.left - 8.0, y + 4.0, Anchor::End, "tick", label);
        }
        self.draw_x(sheet);
        sheet.upright(self.left - 44.0, self.top + self.height / 2.0, "quiet", &self.y.title);
        sheet.line(&[(self.left, bottom), (right, bottom)], "axis");
    }

    /// Draws the ticks and the title of x alone.
    pub(super) fn draw_x(&self, sheet: &mut Sheet) {
        let bottom = self.top + self.height;
        for (value, label) in &self.x.ticks {
            let x = self.across(*value);
            sheet.line(&[(x, bottom), (x, bottom + 5.0)], "axis");
            sheet.text(x, bottom + 18.0, Anchor::Middle, "tick", label);
        }
        sheet.text(self.left + self.width / 2.0, bottom + 38.0, Anchor::Middle, "quiet", &self.x.title);
    }

    /// Draws lines upwards from the ticks of x.
    pub(super) fn draw_x_grid(&self, sheet: &mut Sheet) {
        for (value, _) in &self.x.ticks {
            let x = self.across(*value);
            sheet.line(&[(x, self.top), (x, self.top + self.height)], "grid");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, label)| label.as_str()).collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(labels(&Axis::from_zero("", [0.43].into_iter(), 5)), ["0.0", "0.1", "0.2", "0.3", "0.4", "0.5"]);
        assert_eq!(labels(&Axis::from_zero("", [3200.0].into_iter(), 4)), ["0", "1k", "2k", "3k", "4k"]);
        assert_eq!(labels(&Axis::from_zero("", [0.0].into_iter(), 2)), ["0.0", "0.5"]);
        assert_eq!(labels(&Axis::log("", [900.0, 30_000.0].into_iter())), ["1k", "2k", "5k", "10k", "20k"]);
        assert_eq!(labels(&Axis::log_at("", &[256.0, 512.0])), ["256", "512"]);
    }

    #[test]
    fn places_stay_within_the_axis() {
        for axis in [
            Axis::from_zero("", [].into_iter(), 4),
            Axis::log("", [0.0].into_iter()),
            Axis::names("", vec!["a".into()]),
        ] {
            assert!([-1.0, 0.0, 1e30].into_iter().all(|value| (0.0..=1.0).contains(&axis.share(value))), "{axis:?}");
        }
    }
}
