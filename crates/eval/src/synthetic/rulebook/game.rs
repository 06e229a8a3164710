//! An invented game: scores, hand limits and exchanges follow from the figures that its rules state.

use super::super::dice::Dice;
use super::super::error::SyntheticError;
use super::TaskDraft;
use super::book::{Book, BookTemplate, Figures};

/// What the rules are asked for by cards, in the order of the template.
const QUESTIONS: [&str; 10] = [
    "How many people play, and what does the board show?",
    "Which kinds of pieces are there?",
    "How many points is each kind of piece worth?",
    "What is the bonus for complete groups?",
    "What does a player get for holding all four kinds?",
    "What happens to a player with too many greedy pieces?",
    "Which pieces score double, and when?",
    "Who wins, and what if two players have equally many points?",
    "How many pieces may a player hold at the end of a turn?",
    "When may a player exchange pieces?",
];

/// Places of rules in the template.
const VALUES: usize = 2;
const SEASON: usize = 6;
const HAND: usize = 8;
const EXCHANGE: usize = 9;

/// The figures of one game.
struct Game {
    names: [String; 4],
    singular: [String; 4],
    values: [usize; 4],
    set: usize,
    set_bonus: usize,
    one_each: usize,
    limit: usize,
    penalty: usize,
    season: String,
    other_season: String,
    hand: usize,
    trade: usize,
    place: String,
}

impl Game {
    fn new(template: &BookTemplate, dice: &mut Dice) -> (Self, Figures) {
        let mut figures = Figures::default();
        let pieces = template.pick("piece", 4, dice);
        let mut values = [2, 3, 4, 5, 6, 7, 8, 9];
        dice.shuffle(&mut values);
        for ((slot, piece), value) in ["a", "b", "c", "d"].iter().zip(&pieces).zip(values) {
            figures.set(slot, &piece.text);
            figures.set(&format!("{slot}1"), piece.keys.last().unwrap_or(&piece.text));
            figures.set(&format!("v{slot}"), value);
        }
        let first = |list: &str, dice: &mut Dice| {
            template.pick(list, 1, dice).pop().map(|entry| entry.text).unwrap_or_default()
        };
        let mut seasons = template.pick("season", 2, dice).into_iter().map(|entry| entry.text);
        let game = Self {
            names: std::array::from_fn(|at| pieces.get(at).map(|piece| piece.text.clone()).unwrap_or_default()),
            singular: std::array::from_fn(|at| {
                pieces.get(at).and_then(|piece| piece.keys.last()).cloned().unwrap_or_default()
            }),
            values: std::array::from_fn(|at| values[at]),
            set: dice.between(3, 4),
            set_bonus: dice.between(10, 19),
            one_each: dice.between(11, 17),
            limit: dice.between(2, 3),
            penalty: dice.between(10, 14),
            season: seasons.next().unwrap_or_default(),
            other_season: seasons.next().unwrap_or_default(),
            hand: dice.between(7, 10),
            trade: dice.between(2, 3),
            place: first("place", dice),
        };
        figures.set("game", first("game", dice));
        figures.set("set", number_word(game.set));
        figures.set("set_bonus", game.set_bonus);
        figures.set("one_each", game.one_each);
        figures.set("limit", number_word(game.limit));
        figures.set("penalty", game.penalty);
        figures.set("season", &game.season);
        figures.set("hand", game.hand);
        figures.set("trade", number_word(game.trade));
        figures.set("place", &game.place);
        (game, figures)
    }

    fn score(&self, held: [usize; 4], season: &str) -> Score {
        let doubled = if season == self.season { 2 } else { 1 };
        let pieces = (0..4).map(|at| held[at] * self.values[at] * if at == 1 { doubled } else { 1 }).sum::<usize>();
        Score {
            pieces,
            sets: held[0] / self.set * self.set_bonus,
            each: if held.iter().all(|&count| count > 0) { self.one_each } else { 0 },
            penalty: held[2].saturating_sub(self.limit) * self.penalty,
        }
    }

    fn held(&self, held: [usize; 4]) -> String {
        let count = |at: usize| match held[at] {
            0 => format!("no {}", self.names[at]),
            1 => format!("1 {}", self.singular[at]),
            count => format!("{count} {}", self.names[at]),
        };
        format!("{}, {}, {} and {}", count(0), count(1), count(2), count(3))
    }
}

/// The parts of a player's result.
struct Score {
    pieces: usize,
    sets: usize,
    each: usize,
    penalty: usize,
}

impl Score {
    fn total(&self) -> isize {
        (self.pieces + self.sets + self.each) as isize - self.penalty as isize
    }
}

/// Writes a game and its tasks.
pub(super) fn write(template: &BookTemplate, dice: &mut Dice) -> Result<(Book, Vec<TaskDraft>), SyntheticError> {
    let (game, figures) = Game::new(template, dice);
    let book = Book::write(template, &figures, &QUESTIONS, dice)?;
    let players: Vec<String> = template.pick("player", 2, dice).into_iter().map(|entry| entry.text).collect();
    let [first, second] = std::array::from_fn(|at| players.get(at).cloned().unwrap_or_default());

    // Counts of two to six keep every rule in play; no ties, whatever the season.
    let hold = |dice: &mut Dice| std::array::from_fn::<usize, 4, _>(|_| dice.between(2, 6));
    let (mine, mut theirs) = (hold(dice), hold(dice));
    let tied = |theirs: [usize; 4]| {
        [&game.season, &game.other_season]
            .iter()
            .any(|season| game.score(mine, season).total() == game.score(theirs, season).total())
    };
    while tied(theirs) {
        theirs[3] += 1;
    }
    let holdings = format!("{first} holds {}, and {second} holds {}.", game.held(mine), game.held(theirs));
    let scoring = |season: &str, prompt: String| {
        let mut task = TaskDraft::new(prompt);
        let (a, b) = (game.score(mine, season), game.score(theirs, season));
        let applies = if season == game.season { "applies" } else { "does not apply" };
        let (rule, name) = (book.number(SEASON), &game.names[1]);
        task.check(
            &format!("By rule {}, pieces score their values; rule {rule} on {season} {applies}.", book.number(VALUES)),
            format!("The response refers to rule {rule} and says that doubling of the {name} {applies} in {season}."),
            &[format!("rule {rule}"), applies.to_owned()],
        );
        for (player, score) in [(&first, &a), (&second, &b)] {
            let Score { pieces, sets, each, penalty } = score;
            task.check(
                &format!("{player}: {pieces} for pieces, {sets} for groups, {each} for all kinds, less {penalty}."),
                format!("The response gives {player} a penalty of {penalty} points and {pieces} points for the pieces alone."),
                &[pieces.to_string(), penalty.to_string()],
            );
            task.check(
                &format!("That makes {player}'s total {}.", score.total()),
                format!("The response states that {player} has {} points in total.", score.total()),
                &[player.clone(), score.total().to_string()],
            );
        }
        let winner = if a.total() > b.total() { &first } else { &second };
        task.check(
            &format!("Winner: {winner}"),
            format!("The response ends with a line `Winner: {winner}`."),
            &[format!("Winner: {winner}")],
        );
        task
    };
    let closing = "Show the points for the pieces, each bonus and each penalty, and end with a line `Winner: NAME`.";
    let ask =
        |season: &str| format!("The game ends in {season}. {holdings} Who wins, and with how many points? {closing}");
    let in_season = scoring(&game.season, ask(&game.season));
    let mut out_of_season = scoring(
        &game.other_season,
        format!(
            "And who would have won if the game had ended in {}? Again, {}",
            game.other_season,
            closing.replacen("Show", "show", 1)
        ),
    );
    out_of_season.before = Some((in_season.prompt.clone(), in_season.response.clone()));
    let tasks = vec![in_season, out_of_season, hand(&game, &book, &first, dice), exchange(&game, &book, &second, dice)];
    Ok((book, tasks))
}

fn hand(game: &Game, book: &Book, player: &str, dice: &mut Dice) -> TaskDraft {
    let held: [usize; 4] = std::array::from_fn(|_| dice.between(3, 6));
    let (all, rule) = (held.iter().sum::<usize>(), book.number(HAND));
    let back = all.saturating_sub(game.hand);
    let mut task = TaskDraft::new(format!(
        "It is the end of {player}'s turn, and {player} holds {}. How many pieces must go back into the bag, and by which rule?",
        game.held(held)
    ));
    task.check(
        &format!("{player} holds {all} pieces."),
        format!("The response counts {all} pieces."),
        &[all.to_string()],
    );
    task.check(
        &format!("By rule {rule} at most {} may stay.", game.hand),
        format!("The response names rule {rule} and its limit of {}.", game.hand),
        &[format!("rule {rule}"), game.hand.to_string()],
    );
    task.check(
        &format!("So {back} go back."),
        format!("The response states that {back} pieces go back."),
        &[back.to_string()],
    );
    task
}

fn exchange(game: &Game, book: &Book, player: &str, dice: &mut Dice) -> TaskDraft {
    let allowed = dice.chance(50);
    let greedy = if allowed { 0 } else { dice.between(1, 3) };
    let (held, rule) = ([dice.between(1, 4), dice.between(0, 3), greedy, dice.between(0, 4)], book.number(EXCHANGE));
    let mut task = TaskDraft::new(format!(
        "{player}'s marker stands on {}. {player} holds {} and has not exchanged anything this turn. May {player} make an exchange now? \
         Begin with `Yes` or `No`, name the rule, and say how many {} {player} holds afterwards.",
        game.place,
        game.held(held),
        game.names[1],
    ));
    let verdict = if allowed { "Yes" } else { "No" };
    let after = held[1] + if allowed { game.trade } else { 0 };
    let name = if after == 1 { &game.singular[1] } else { &game.names[1] };
    task.check(&format!("{verdict}."), format!("The response begins with `{verdict}`."), &[verdict.to_owned()]);
    let because = if allowed { "no" } else { "some" };
    task.check(
        &format!("Rule {rule} decides, since {player} holds {because} {}.", game.names[2]),
        format!("The response names rule {rule} and that it turns on the {}.", game.names[2]),
        &[format!("rule {rule}"), game.names[2].clone()],
    );
    task.check(
        &format!("Afterwards {player} holds {after} {name}."),
        format!("The response states that {player} holds {after} {name} afterwards."),
        &[after.to_string(), name.clone()],
    );
    task
}

fn number_word(number: usize) -> &'static str {
    match number {
        2 => "two",
        3 => "three",
        4 => "four",
        _ => "several",
    }
}
