//! Token sequences on their way into the model: checked, and packed into rows of equal length.
//!
//! A row holds one sequence or several. What a sequence has in common with the beginning of the row's first one (a system
//! prompt, a conversation so far) is there once, and read by both; besides, no token sees another sequence's. Rows are
//! padded at their end, where causal attention keeps the padding from everything else. Sequences of a row share a Δ, each
//! with its own gate.

use tmem_core::model::ModelConfig;

use crate::LearnError;

/// A token whose log-probability is wanted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Target {
    /// Position in the sequence that predicts it: the token itself stands, or would stand, at the next one.
    pub position: usize,
    /// The token.
    pub token: u32,
    /// Weight of its loss.
    pub weight: f32,
    /// Where the loss has a penalty for leaving a reference model.
    pub reference: Option<Reference>,
}

/// What a token's probability is held to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reference {
    /// The token's log-probability under the reference model.
    pub log_probability: f32,
    /// Weight of the penalty.
    pub weight: f32,
}

/// A position at which the whole distribution is held to that of the base model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Anchor {
    /// Position in the sequence.
    pub position: usize,
    /// Weight of KL(base ‖ current) there.
    pub weight: f32,
}

/// The fast weights that a sequence is computed under.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FastUse {
    /// Index into [`FastWeights`](super::FastWeights).
    pub delta: usize,
    /// Scale of Δ: 0 is the frozen model, 1 all of it.
    pub gate: f32,
}

/// One sequence of tokens and what is asked of it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sequence {
    /// The tokens that are read. The last target need not be among them.
    pub tokens: Vec<u32>,
    /// What is predicted.
    pub targets: Vec<Target>,
    /// Where the distribution is held to the base model's.
    pub anchors: Vec<Anchor>,
    /// Its fast weights; `None` is Δ = 0.
    pub fast: Option<FastUse>,
}

impl Sequence {
    /// A prompt and its answer, every token of which is a target of weight `weight`.
    pub fn answered(prompt: &[u32], answer: &[u32], weight: f32) -> Self {
        let mut tokens = prompt.to_vec();
        tokens.extend(answer.iter().take(answer.len().saturating_sub(1)));
        let target = |(i, &token): (usize, &u32)| Target {
            position: (prompt.len() + i).saturating_sub(1),
            token,
            weight,
            reference: None,
        };
        Self { tokens, targets: answer.iter().enumerate().map(target).collect(), anchors: Vec::new(), fast: None }
    }

    /// The same sequence under Δ number `delta`.
    #[must_use]
    pub fn under(self, delta: usize, gate: f32) -> Self {
        Self { fast: Some(FastUse { delta, gate }), ..self }
    }

    /// How many tokens at its beginning `self` need not repeat behind `first`: equal ones under the same fast weights,
    /// before anything is asked for.
    fn in_common(&self, first: &Self) -> usize {
        if self.fast != first.fast {
            return 0;
        }
        let asked = self.targets.iter().map(|t| t.position).chain(self.anchors.iter().map(|a| a.position)).min();
        let most = asked.unwrap_or(usize::MAX).min(self.tokens.len().saturating_sub(1));
        self.tokens.iter().zip(&first.tokens).take(most).take_while(|(own, other)| own == other).count()
    }

    fn check(&self, config: &ModelConfig) -> Result<(), String> {
        let length = self.tokens.len();
        if length == 0 || length > config.context {
            return Err(format!("has {length} tokens, the model reads 1 to {}", config.context));
        }
        let targets = self.targets.iter().map(|target| target.token);
        if let Some(token) =
            { self.tokens.iter().copied().chain(targets) }.find(|&token| token as usize >= config.vocab)
        {
            return Err(format!("has token {token}, the vocabulary has {}", config.vocab));
        }
        let positions = self.targets.iter().map(|t| t.position).chain(self.anchors.iter().map(|a| a.position));
        if let Some(position) = { positions }.find(|&position| position >= length) {
            return Err(format!("asks for position {position} of {length} tokens"));
        }
        let references = self.targets.iter().filter_map(|t| t.reference).flat_map(|r| [r.log_probability, r.weight]);
        let weights = self.targets.iter().map(|t| t.weight).chain(self.anchors.iter().map(|a| a.weight));
        let numbers = weights.chain(references).chain(self.fast.map(|fast| fast.gate));
        if { numbers }.any(|number| !number.is_finite()) {
            return Err("has a weight, reference or gate that is not finite".into());
        }
        Ok(())
    }
}

/// Sequences packed for one pass through the model.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Rows.
    pub(crate) rows: usize,
    /// Tokens of a row, padding included.
    pub(crate) time: usize,
    /// \[rows · time\]; padding is token 0.
    pub(crate) tokens: Vec<u32>,
    /// Position of each token in its sequence.
    pub(crate) positions: Vec<usize>,
    /// Which sequence of its row a token belongs to, from 1; 0 is padding.
    pub(crate) segments: Vec<u32>,
    /// How many tokens at the beginning of its row a token sees although they are of another sequence.
    pub(crate) shared: Vec<usize>,
    /// Scale of Δ for each token.
    pub(crate) gates: Vec<f32>,
    /// Δ of each row.
    pub(crate) deltas: Vec<usize>,
    /// All targets, sequence by sequence, at their place in `tokens`.
    pub(crate) targets: Vec<(usize, Target)>,
    /// All anchors, likewise.
    pub(crate) anchors: Vec<(usize, Anchor)>,
}

/// A row being filled.
struct OpenRow<'a> {
    first: &'a Sequence,
    used: usize,
    segments: u32,
    delta: Option<usize>,
}

/// Where a sequence stands.
struct Place {
    row: usize,
    /// Offset in the row of what it does not share.
    offset: usize,
    /// Its number in the row, from 1.
    segment: u32,
    /// Tokens that it shares with the row's first sequence.
    shared: usize,
}

impl Batch {
    /// Packs sequences, in order, each into the first row with room for it. Rows hold `row_tokens` tokens, or the
    /// longest sequence where that is longer; with 0 every sequence has a row of its own.
    ///
    /// # Errors
    /// No sequence, one that the model cannot read, or positions, tokens and weights that are none.
    pub fn pack(config: &ModelConfig, sequences: &[Sequence], row_tokens: usize) -> Result<Self, LearnError> {
        for (index, sequence) in sequences.iter().enumerate() {
            sequence.check(config).map_err(|reason| LearnError::Sequence { index, reason })?;
        }
        let longest = sequences.iter().map(|sequence| sequence.tokens.len()).max().ok_or(LearnError::NoTargets)?;
        let capacity = row_tokens.max(longest);
        let mut open: Vec<OpenRow<'_>> = Vec::new();
        let mut places = Vec::with_capacity(sequences.len());
        for sequence in sequences {
            let (length, delta) = (sequence.tokens.len(), sequence.fast.map(|fast| fast.delta));
            let fits = |row: &OpenRow<'_>| {
                let same = row.delta.is_none() || delta.is_none() || row.delta == delta;
                row_tokens > 0 && same && row.used + length - sequence.in_common(row.first) <= capacity
            };
            let index = open.iter().position(fits).unwrap_or_else(|| {
                open.push(OpenRow { first: sequence, used: 0, segments: 0, delta: None });
                open.len() - 1
            });
            let row = &mut open[index];
            let shared = if row.segments == 0 { 0 } else { sequence.in_common(row.first) };
            row.segments += 1;
            places.push(Place { row: index, offset: row.used, segment: row.segments, shared });
            row.used += length - shared;
            row.delta = row.delta.or(delta);
        }
        let (rows, time) = (open.len(), open.iter().map(|row| row.used).max().unwrap_or(0));
        let mut batch = Self {
            rows,
            time,
            tokens: vec![0; rows * time],
            positions: vec![0; rows * time],
            segments: vec![0; rows * time],
            shared: vec![0; rows * time],
            gates: vec![0.0; rows * time],
            deltas: open.iter().map(|row| row.delta.unwrap_or(0)).collect(),
            targets: Vec::new(),
            anchors: Vec::new(),
        };
        for (sequence, Place { row, offset, segment, shared }) in sequences.iter().zip(places) {
            // Nothing is asked for at a shared position.
            let place = |position: usize| row * time + offset + position - shared;
            for (position, &token) in sequence.tokens.iter().enumerate().skip(shared) {
                let at = place(position);
                batch.tokens[at] = token;
                batch.positions[at] = position;
                batch.segments[at] = segment;
                batch.shared[at] = shared;
                batch.gates[at] = sequence.fast.map_or(0.0, |fast| fast.gate);
            }
            batch.targets.extend(sequence.targets.iter().map(|&target| (place(target.position), target)));
            batch.anchors.extend(sequence.anchors.iter().map(|&anchor| (place(anchor.position), anchor)));
        }
        Ok(batch)
    }

    /// Tokens that are read, padding aside; shared ones once.
    pub fn tokens(&self) -> usize {
        self.segments.iter().filter(|&&segment| segment > 0).count()
    }

    /// The targets in order, as [`Model::log_probabilities`](super::Model::log_probabilities) answers them.
    pub fn targets(&self) -> impl ExactSizeIterator<Item = &Target> {
        self.targets.iter().map(|(_, target)| target)
    }

    /// Gives the targets that have a reference its log-probabilities, one for each target of the batch.
    pub(crate) fn set_references(&mut self, log_probabilities: &[f32]) {
        for ((_, target), &log_probability) in self.targets.iter_mut().zip(log_probabilities) {
            target.reference = target.reference.map(|reference| Reference { log_probability, ..reference });
        }
    }

    /// Whether causal attention alone keeps the sequences apart.
    pub(crate) fn is_one_sequence_a_row(&self) -> bool {
        self.segments.iter().all(|&segment| segment <= 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> ModelConfig {
        let json = r#"{"model_type":"llama","num_hidden_layers":1,"hidden_size":8,"num_attention_heads":2,
            "intermediate_size":8,"vocab_size":50,"max_position_embeddings":8,"rms_norm_eps":1e-5}"#;
        ModelConfig::from_hf_config_json(json).unwrap()
    }

    fn plain(tokens: &[u32]) -> Sequence {
        Sequence { tokens: tokens.to_vec(), ..Sequence::default() }
    }

    #[test]
    fn an_answers_tokens_are_predicted_one_position_before_they_stand() {
        let sequence = Sequence::answered(&[1, 2, 3], &[7, 8, 9], 0.5);
        assert_eq!(sequence.tokens, [1, 2, 3, 7, 8]);
        let targets: Vec<_> = sequence.targets.iter().map(|t| (t.position, t.token, t.weight)).collect();
        assert_eq!(targets, [(2, 7, 0.5), (3, 8, 0.5), (4, 9, 0.5)]);
    }

    #[test]
    fn sequences_share_rows_where_they_fit_and_have_the_same_fast_weights() {
        let sequences = [
            plain(&[1, 2, 3]).under(0, 1.0),
            plain(&[4, 5]).under(1, 1.0),
            plain(&[6]).under(0, 0.5),
            Sequence { targets: Sequence::answered(&[7, 8], &[9], 1.0).targets, ..plain(&[7, 8]) },
        ];
        let batch = Batch::pack(&config(), &sequences, 4).unwrap();
        assert_eq!((batch.rows, batch.time, batch.tokens()), (2, 4, 8));
        assert_eq!(batch.tokens, [1, 2, 3, 6, 4, 5, 7, 8]);
        assert_eq!(batch.segments, [1, 1, 1, 2, 1, 1, 2, 2]);
        assert_eq!(batch.positions, [0, 1, 2, 0, 0, 1, 0, 1]);
        assert_eq!(batch.gates, [1.0, 1.0, 1.0, 0.5, 1.0, 1.0, 0.0, 0.0]);
        assert_eq!(batch.deltas, [0, 1]);
        assert_eq!(batch.targets[0].0, 7, "the second token of the second sequence of the second row");
        assert!(!batch.is_one_sequence_a_row());
    }

    #[test]
    fn a_beginning_that_sequences_have_in_common_stands_once_in_a_row() {
        let asked = |tokens: &[u32], answer: &[u32]| Sequence::answered(tokens, answer, 1.0).under(0, 1.0);
        let sequences = [
            asked(&[1, 2, 3], &[9]),
            asked(&[1, 2, 4, 5], &[8]),
            // The answer itself is never shared, nor what is read under another gate.
            asked(&[1, 2], &[3, 7]),
            plain(&[1, 2, 6]).under(0, 0.5),
        ];
        let batch = Batch::pack(&config(), &sequences, 10).unwrap();
        assert_eq!((batch.rows, batch.time, batch.tokens()), (1, 10, 10));
        assert_eq!(batch.tokens, [1, 2, 3, 4, 5, 2, 3, 1, 2, 6]);
        assert_eq!(batch.positions, [0, 1, 2, 2, 3, 1, 2, 0, 1, 2]);
        assert_eq!(batch.segments, [1, 1, 1, 2, 2, 3, 3, 4, 4, 4]);
        assert_eq!(batch.shared, [0, 0, 0, 2, 2, 1, 1, 0, 0, 0]);
        let places: Vec<usize> = batch.targets.iter().map(|&(place, _)| place).collect();
        assert_eq!(places, [2, 4, 5, 6]);
        // Each in a row of its own, nothing is shared.
        assert_eq!(Batch::pack(&config(), &sequences, 0).unwrap().tokens(), 13);
    }

    #[test]
    fn without_packing_every_sequence_has_a_row() {
        let batch = Batch::pack(&config(), &[plain(&[1, 2, 3]), plain(&[4])], 0).unwrap();
        assert_eq!((batch.rows, batch.time), (2, 3));
        assert_eq!(batch.tokens, [1, 2, 3, 4, 0, 0]);
        assert!(batch.is_one_sequence_a_row());
    }

    #[test]
    fn what_the_model_cannot_read_is_refused_with_its_place() {
        let good = plain(&[1, 2]);
        let target = Target { position: 2, token: 1, weight: 1.0, reference: None };
        let cases = [
            (plain(&[]), "has 0 tokens"),
            (plain(&[1; 9]), "has 9 tokens, the model reads 1 to 8"),
            (plain(&[50]), "token 50, the vocabulary has 50"),
            (Sequence { targets: vec![target], ..good.clone() }, "position 2 of 2 tokens"),
            (good.clone().under(0, f32::NAN), "not finite"),
        ];
        for (bad, part) in cases {
            let message = Batch::pack(&config(), &[good.clone(), bad], 0).unwrap_err().to_string();
            assert!(message.starts_with("sequence 1") && message.contains(part), "{message}");
        }
        assert!(matches!(Batch::pack(&config(), &[], 0), Err(LearnError::NoTargets)));
    }
}
