//! What to say about what was never told.

use super::dice::Dice;
use super::error::SyntheticError;
use super::grammar::{Subject, Voice};
use super::lexicon::{About, Kind, Role};
use super::plan::{Matter, Plan, stream};
use super::question::Wordings;
use super::scope::Scope;

/// A question that nothing in a conversation answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Untold {
    /// The kind of fact that is asked for.
    pub kind: String,
    /// About whom.
    pub subject: Subject,
    /// The question.
    pub question: String,
    /// Further wordings of it, for training.
    pub wordings: Vec<String>,
    /// Wordings for testing, none of them among the others.
    pub held_out: Vec<String>,
    /// What a cautious assistant says: begins like the answer that it does not have.
    pub answer: String,
}

impl Plan<'_> {
    /// What to say to the question of a fact (by its place in [`Gold::facts`](super::Gold::facts)) as long as it has
    /// not been told: "Your dog's name is not known to me." `None` for events, purchases, and places beyond the last.
    ///
    /// # Errors
    /// [`SyntheticError::UnknownSlot`] where a template is broken.
    pub fn not_known(&self, fact: usize) -> Result<Option<String>, SyntheticError> {
        let Some(fact) = self.facts.get(fact) else { return Ok(None) };
        self.kind_of(fact).map(|kind| self.not_known_of(kind, &fact.subject)).transpose()
    }

    fn not_known_of(&self, kind: &Kind, subject: &Subject) -> Result<String, SyntheticError> {
        let scope = Scope::new(self.lexicon, subject, Voice::Assistant);
        scope.sentence(&kind.unknown, ".", &mut Dice::new(self.seed, stream::NEIGHBOURS))
    }

    /// Questions that lie next to what is told and that nothing answers: "my aunt's dog?" where the user's own was told
    /// of, "my landlord?" where the rent was. One for each fact where there is one, in the order of the facts.
    ///
    /// # Errors
    /// As [`Self::not_known`].
    pub fn neighbours(&self) -> Result<Vec<Untold>, SyntheticError> {
        let mut dice = Dice::new(self.seed, stream::NEIGHBOURS);
        // By name: a cousin is the same cousin, whether she or he.
        let mut taken: Vec<(usize, String)> = Vec::new();
        for fact in &self.facts {
            if let Matter::Kind(kind) = fact.matter {
                taken.push((kind, fact.subject.name().to_owned()));
            }
        }
        let is_taken = |taken: &[(usize, String)], (kind, subject): &(usize, Subject)| {
            taken.iter().any(|(other, name)| other == kind && name == subject.name())
        };
        let mut neighbours = Vec::new();
        for fact in self.facts.iter().filter(|fact| fact.superseded_by.is_none()) {
            let Matter::Kind(kind) = fact.matter else { continue };
            let mut near = self.near(kind, &fact.subject);
            near.retain(|pair| !is_taken(&taken, pair));
            let Some((kind, subject)) = dice.pick(&near).cloned() else { continue };
            taken.push((kind, subject.name().to_owned()));
            let own = &mut Dice::new(self.seed, stream::UNTOLD + neighbours.len() as u64);
            let kind = &self.lexicon.kinds[kind];
            let Wordings { question, wordings, held_out } = self.kind_wordings(kind, &subject, own)?;
            let answer = self.not_known_of(kind, &subject)?;
            neighbours.push(Untold { kind: kind.id.clone(), subject, question, wordings, held_out, answer });
        }
        Ok(neighbours)
    }

    /// The same kind of fact about somebody else, and what else could be told of the theme about the same person.
    fn near(&self, kind: usize, subject: &Subject) -> Vec<(usize, Subject)> {
        let about = |kind: &Kind, subject: &Subject| match kind.about {
            About::Anyone => true,
            About::User => *subject == Subject::User,
            About::Others => *subject != Subject::User,
        };
        let kinds = &self.lexicon.kinds;
        let people = self.lexicon.roles.iter().map(Role::subject);
        let others = people.chain([Subject::User]);
        let others = others.filter(|other| other.name() != subject.name() && about(&kinds[kind], other));
        let same_theme = kinds
            .iter()
            .enumerate()
            .filter(|(index, other)| *index != kind && other.theme == kinds[kind].theme && about(other, subject));
        let same_theme = same_theme.map(|(index, _)| (index, subject.clone()));
        others.map(|other| (kind, other)).chain(same_theme).collect()
    }
}
