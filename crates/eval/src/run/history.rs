//! Histories: read turn by turn, then asked about.
//!
//! Blind: one episode reads the history once and all probes are asked from the state it leaves. Aware: one episode for
//! each probe, whose question the writer is told. At the end of a history every strategy that triggers writes what is
//! left and clears its context, so its probes are asked of memory alone; `none` is asked with the context that it has
//! kept. All of them are asked in the same way: with what is in the context.
//!
//! With an oracle's cards the history is not read: what its perfect writer would keep is learned, in one write or session
//! by session.

use serde::{Deserialize, Serialize};
use tmem_core::card::Card;

use super::error::RunError;
use super::record::{Mode, OracleWrites};
use super::tally::Tally;
use super::unit::{Desk, Unit};
use super::{Progress, spread};
use crate::bench::{FedTurn, Probe, Sample};
use crate::probe::{CardSource, Subject};

/// Where in its unit a history is.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    /// Which episode.
    episode: usize,
    /// Turns fed in it.
    fed: usize,
    /// Whether its history is at an end, the last write included.
    read: bool,
}

/// Runs a unit to its end.
pub(super) async fn run<S: Subject>(desk: &mut Desk<'_, S>, unit: &mut Unit, sample: &Sample) -> Result<(), RunError> {
    let turns: Vec<FedTurn> = sample.turns(&desk.run.record.feed).collect();
    let probes: Vec<(&Probe, Option<usize>)> =
        spread(&sample.probes, desk.run.record.probes).map(|probe| (probe, sample.age(probe))).collect();
    let episodes: Vec<_> = match desk.run.record.mode {
        Mode::Blind => vec![probes.as_slice()],
        Mode::Aware => probes.chunks(1).collect(),
    };
    let batch = desk.run.record.batch.max(1);
    let (mut tally, resumed): (Tally, Option<Place>) =
        desk.resume(unit).await?.map_or_else(Default::default, |(tally, place)| (tally, Some(place)));
    let mut before = 0;
    for (number, probes) in episodes.iter().enumerate() {
        let begun = resumed.filter(|place| place.episode >= number);
        if begun.is_none_or(|place| place.episode == number) {
            let mut place = begun.unwrap_or(Place { episode: number, fed: 0, read: false });
            if begun.is_none() {
                let question = probes.first().map(|(probe, _)| probe.question.as_str());
                desk.begin_episode(question.filter(|_| desk.run.record.mode == Mode::Aware), &mut tally).await?;
            }
            read(desk, unit, sample, &turns, &mut place, &mut tally).await?;
            // Answers are kept in whole batches: another batch would give other bits.
            let kept = match (desk.folder.lines() - unit.first_line).saturating_sub(before) {
                all if all >= probes.len() => probes.len(),
                some => some / batch * batch,
            };
            desk.folder.keep(unit.first_line + before + kept)?;
            for (at, batch) in probes[kept..].chunks(batch).enumerate() {
                (desk.progress)(Progress::Asking { done: before + kept + at * batch.len(), all: sample.probes.len() });
                desk.answer(unit, batch, &mut tally).await?;
            }
        }
        before += probes.len();
    }
    (desk.progress)(Progress::Asking { done: before, all: before });
    desk.finish(unit, &mut tally)
}

/// Feeds what is left of the history. The unit is saved after every write, and at the end.
async fn read<S: Subject>(
    desk: &mut Desk<'_, S>,
    unit: &Unit,
    sample: &Sample,
    turns: &[FedTurn],
    place: &mut Place,
    tally: &mut Tally,
) -> Result<(), RunError> {
    if place.read {
        return Ok(());
    }
    let marked = place.episode == 0;
    if desk.run.record.cards == CardSource::Oracle {
        if sample.oracle_cards.is_empty() {
            let reason =
                format!("sample `{}` has no oracle's cards: name the file that has them as the second one", sample.id);
            return Err(RunError::Options(reason));
        }
        for (cards, end) in oracle_writes(sample, turns, desk.run.record.oracle_writes) {
            if end <= place.fed {
                continue;
            }
            desk.learn(&cards, tally).await?;
            place.fed = end;
            if end < turns.len() {
                if marked {
                    desk.mark(place.fed, tally).await?;
                }
                desk.save(unit, tally, *place).await?;
            }
        }
        place.fed = turns.len();
    }
    for turn in turns.get(place.fed..).unwrap_or_default() {
        (desk.progress)(Progress::Reading { done: place.fed, all: turns.len() });
        let wrote = desk.feed(&turn.user, &turn.assistant, tally).await?;
        place.fed += 1;
        if wrote {
            if marked {
                desk.mark(place.fed, tally).await?;
            }
            desk.save(unit, tally, *place).await?;
        }
    }
    (desk.progress)(Progress::Reading { done: turns.len(), all: turns.len() });
    desk.end_reading(tally).await?;
    if marked {
        desk.mark(place.fed, tally).await?;
    }
    desk.end_episode(place.fed, tally);
    place.read = true;
    desk.save(unit, tally, *place).await
}

/// The writes of an oracle's cards, each with the turns of the history that are behind it then. Cards of unknown origin
/// belong to the first session.
fn oracle_writes(sample: &Sample, turns: &[FedTurn], writes: OracleWrites) -> Vec<(Vec<Card>, usize)> {
    if writes == OracleWrites::Once {
        return vec![(sample.oracle_cards.clone(), turns.len())];
    }
    let (mut left, mut exchanges) = (sample.oracle_cards.clone(), 0);
    let by_session = sample.sessions.iter().enumerate().map(|(index, session)| {
        exchanges += session.exchanges.len();
        let told = |card: &Card| card.source_turn.is_none_or(|turn| turn < exchanges);
        let (cards, later) = std::mem::take(&mut left).into_iter().partition(told);
        left = later;
        (cards, turns.iter().take_while(|turn| turn.session <= index).count())
    });
    by_session.filter(|(cards, _): &(Vec<Card>, usize)| !cards.is_empty()).collect()
}
