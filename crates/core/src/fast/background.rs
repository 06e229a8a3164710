//! What every gate of a model is measured against, whatever Δ it belongs to: neutral prompts, and questions about things
//! never told. It depends on the layers below the fast weights alone, so one serves all gates of an engine.

/// Neutral prompts as directions from their mean, and questions about things never told.
#[derive(Debug, Clone, Default)]
pub(crate) struct Background {
    mean: Vec<f32>,
    neutral: Vec<Neutral>,
    unknown: Vec<Beside>,
    /// From the neutral prompts to the questions of `unknown`; of length 1, or empty where there are none.
    axis: Vec<f32>,
}

/// A neutral prompt.
#[derive(Debug, Clone)]
struct Neutral {
    direction: Vec<f32>,
    /// Cosine to the nearest of the other neutral prompts.
    to_neutral: f32,
}

/// A direction that can be compared beside the axis.
#[derive(Debug, Clone)]
pub(crate) struct Beside {
    pub(crate) direction: Vec<f32>,
    /// Its component along the axis.
    along: f32,
}

impl Background {
    /// From the hidden states of the neutral prompts.
    pub(crate) fn around(neutral: &[Vec<f32>]) -> Self {
        let mut mean = vec![0.0f32; neutral.first().map_or(0, Vec::len)];
        for state in neutral {
            for (m, s) in mean.iter_mut().zip(state) {
                *m += s / neutral.len() as f32;
            }
        }
        let directions: Vec<Vec<f32>> = neutral.iter().map(|state| direction(state, &mean)).collect();
        let neutral = directions.iter().enumerate().map(|(i, own)| {
            let others = directions.iter().enumerate().filter(|&(other, _)| other != i);
            let to_neutral = others.map(|(_, other)| cosine(own, other)).fold(-1.0, f32::max);
            Neutral { direction: own.clone(), to_neutral }
        });
        let neutral = neutral.collect();
        Self { mean, neutral, unknown: Vec::new(), axis: Vec::new() }
    }

    /// With the hidden states of questions about things never told, those of
    /// [`unknown_questions`](super::unknown::unknown_questions) in their order.
    pub(crate) fn with_unknown(mut self, states: &[Vec<f32>]) -> Self {
        let directions: Vec<Vec<f32>> = states.iter().map(|state| direction(state, &self.mean)).collect();
        self.axis = if directions.is_empty() { Vec::new() } else { mean_direction(&directions) };
        self.unknown = directions.into_iter().map(|direction| self.beside_axis(direction)).collect();
        self
    }

    /// How many neutral prompts there are.
    pub(crate) fn neutral(&self) -> usize {
        self.neutral.len()
    }

    /// How many questions about things never told there are.
    pub(crate) fn unknown(&self) -> usize {
        self.unknown.len()
    }

    /// A hidden state as a direction from the neutral prompts.
    pub(crate) fn place(&self, state: &[f32]) -> Beside {
        self.beside_axis(direction(state, &self.mean))
    }

    fn beside_axis(&self, direction: Vec<f32>) -> Beside {
        let along = cosine(&direction, &self.axis);
        Beside { direction, along }
    }

    /// Cosine to the neutral prompt that lies nearest to a direction.
    pub(crate) fn nearest_neutral(&self, of: &Beside) -> f32 {
        self.of_neutral(of).fold(-1.0, f32::max)
    }

    /// Cosine, beside the axis, to the nearest of the questions about things never told that count; `None` where none does.
    pub(crate) fn nearest_unknown(&self, of: &Beside, counts: &[bool]) -> Option<f32> {
        let counting = self.unknown.iter().zip(counts).filter(|&(_, counts)| *counts);
        counting.map(|(unknown, _)| of.nearness_to(unknown)).reduce(f32::max)
    }

    /// Raises each neutral prompt's cosine to the nearest of some directions where `to` is nearer.
    pub(crate) fn approach(&self, nearest: &mut [f32], to: &Beside) {
        nearest.iter_mut().zip(self.of_neutral(to)).for_each(|(nearest, this)| *nearest = nearest.max(this));
    }

    /// Cosine of each neutral prompt to a direction.
    fn of_neutral<'a>(&'a self, to: &'a Beside) -> impl Iterator<Item = f32> + 'a {
        self.neutral.iter().map(|neutral| cosine(&neutral.direction, &to.direction))
    }

    /// Cosine of each neutral prompt to the nearest of the others.
    pub(crate) fn among_neutral(&self) -> impl Iterator<Item = f32> {
        self.neutral.iter().map(|neutral| neutral.to_neutral)
    }
}

impl Beside {
    /// The cosine between two directions.
    pub(crate) fn cosine(&self, other: &Self) -> f32 {
        cosine(&self.direction, &other.direction)
    }

    /// The cosine between two directions once their components along the axis are taken away.
    pub(crate) fn nearness_to(&self, other: &Self) -> f32 {
        let (a, b) = (self.along, other.along);
        let lengths = ((1.0 - a * a) * (1.0 - b * b)).max(0.0).sqrt();
        (self.cosine(other) - a * b) / lengths.max(f32::MIN_POSITIVE)
    }
}

/// `state` less `mean`, scaled to length 1.
fn direction(state: &[f32], mean: &[f32]) -> Vec<f32> {
    let centred: Vec<f32> = state.iter().zip(mean).map(|(s, m)| s - m).collect();
    let length = centred.iter().map(|v| v * v).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    centred.into_iter().map(|v| v / length).collect()
}

/// The mean of directions, scaled to length 1.
fn mean_direction(of: &[Vec<f32>]) -> Vec<f32> {
    let mut sum = vec![0.0; of.first().map_or(0, Vec::len)];
    for direction in of {
        sum.iter_mut().zip(direction).for_each(|(sum, value)| *sum += value);
    }
    let none = vec![0.0; sum.len()];
    direction(&sum, &none)
}

/// Inner product of two directions.
fn cosine(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beside_an_axis_only_the_rest_counts() {
        // One neutral prompt: the mean is its state, so that directions are those of the states themselves.
        let background = Background::around(&[vec![0.0; 3]]).with_unknown(&[vec![1.0, 0.0, 0.0]]);
        let [axis, x, y] = [[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [0.6, 0.0, 0.8]].map(|state| background.place(&state));
        assert!(x.nearness_to(&y).abs() < 1e-6 && (x.nearness_to(&x) - 1.0).abs() < 1e-6);
        assert!((x.cosine(&y) - 0.36).abs() < 1e-6 && axis.nearness_to(&x).is_finite());
    }

    #[test]
    fn without_questions_about_things_never_told_there_is_no_axis() {
        let background = Background::around(&[vec![1.0, 0.0], vec![0.0, 1.0]]);
        let (x, y) = (background.place(&[3.0, 1.0]), background.place(&[-1.0, 2.0]));
        assert_eq!(background.nearest_unknown(&x, &[]), None);
        assert!((x.nearness_to(&y) - x.cosine(&y)).abs() < 1e-6);
        assert_eq!(background.among_neutral().count(), background.neutral());
    }
}
