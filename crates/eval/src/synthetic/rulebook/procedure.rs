//! An invented office: fees, signatures, places and dates follow from the figures that its handbook states.

use jiff::ToSpan;

use super::super::calendar;
use super::super::dice::Dice;
use super::super::error::SyntheticError;
use super::TaskDraft;
use super::book::{Book, BookTemplate, Figures};

/// What the rules are asked for by cards, in the order of the template.
const QUESTIONS: [&str; 10] = [
    "What does the office accept?",
    "What is the base fee of each class?",
    "What does weight cost?",
    "Who signs for an item?",
    "Where is each class kept?",
    "Which colour of tag does each class get?",
    "After how many days are items handed out again?",
    "Which steps does an item go through, and in which order?",
    "When is a fragile item wrapped?",
    "What does a fragile item cost?",
];

/// Places of rules in the template.
const FEES: usize = 1;
const WEIGHT: usize = 2;
const SIGNATURE: usize = 3;
const DAYS: usize = 6;
const STEPS: usize = 7;
const WRAPPING: usize = 8;
const FRAGILE: usize = 9;

/// The figures of one office.
struct Office {
    item: String,
    classes: [String; 3],
    fees: [usize; 3],
    free_weight: usize,
    per_kilo: usize,
    value_limit: usize,
    clerk: String,
    officer: String,
    shelves: [String; 3],
    tags: [String; 3],
    days: usize,
    short_days: usize,
}

impl Office {
    fn new(template: &BookTemplate, dice: &mut Dice) -> (Self, Figures) {
        let mut figures = Figures::default();
        let three = |list: &str, dice: &mut Dice| -> [String; 3] {
            let items = template.pick(list, 3, dice);
            std::array::from_fn(|at| items.get(at).map(|entry| entry.text.clone()).unwrap_or_default())
        };
        let one = |list: &str, dice: &mut Dice| template.pick(list, 1, dice).pop();
        let text = |list: &str, dice: &mut Dice| one(list, dice).map(|entry| entry.text).unwrap_or_default();
        let item = one("item", dice);
        let item_one = item.as_ref().and_then(|entry| entry.keys.last()).cloned().unwrap_or_default();
        figures.set("item", item.map(|entry| entry.text).unwrap_or_default());
        let first_fee = dice.between(11, 19);
        let office = Self {
            item: item_one,
            classes: three("class", dice),
            fees: [first_fee, first_fee + dice.between(3, 9), first_fee + dice.between(12, 21)],
            free_weight: dice.between(4, 12),
            per_kilo: dice.between(2, 5),
            value_limit: 50 * dice.between(4, 15),
            clerk: text("clerk", dice),
            officer: text("officer", dice),
            shelves: three("shelf", dice),
            tags: three("tag", dice),
            days: dice.between(18, 45),
            short_days: dice.between(6, 14),
        };
        figures.set("office", text("office", dice));
        for (at, slot) in ["a", "b", "c"].iter().enumerate() {
            figures.set(&format!("class_{slot}"), &office.classes[at]);
            figures.set(&format!("fee_{slot}"), office.fees[at]);
            figures.set(&format!("shelf_{slot}"), &office.shelves[at]);
            figures.set(&format!("tag_{slot}"), &office.tags[at]);
        }
        figures.set("free_weight", office.free_weight);
        figures.set("per_kilo", office.per_kilo);
        figures.set("value_limit", office.value_limit);
        figures.set("clerk", &office.clerk);
        figures.set("officer", &office.officer);
        figures.set("days", office.days);
        figures.set("short_days", office.short_days);
        (office, figures)
    }
}

/// Writes a handbook and its tasks.
pub(super) fn write(template: &BookTemplate, dice: &mut Dice) -> Result<(Book, Vec<TaskDraft>), SyntheticError> {
    let (office, figures) = Office::new(template, dice);
    let book = Book::write(template, &figures, &QUESTIONS, dice)?;
    let tasks = vec![
        fee(&office, &book, false, dice),
        fee(&office, &book, true, dice),
        handling(&office, &book, dice),
        return_date(&office, &book, dice),
    ];
    Ok((book, tasks))
}

fn fee(office: &Office, book: &Book, fragile: bool, dice: &mut Dice) -> TaskDraft {
    let class = dice.below(3);
    let over = dice.between(2, 9);
    let (kilos, base, extra) = (office.free_weight + over, office.fees[class], over * office.per_kilo);
    let (item, name) = (&office.item, &office.classes[class]);
    let kind = if fragile { "fragile " } else { "" };
    let mut task = TaskDraft::new(format!(
        "Someone brings a {kind}{item} of class {name} that weighs {kilos} kilograms. What do they pay? \
         Name the paragraphs and end with a line `Fee: N crowns`."
    ));
    task.check(
        &format!("The base fee is {base} crowns (paragraph {}).", book.number(FEES)),
        format!("The response uses the base fee of {base} crowns from paragraph {}.", book.number(FEES)),
        &[base.to_string(), format!("paragraph {}", book.number(FEES))],
    );
    task.check(
        &format!("The weight costs {extra} crowns (paragraph {}).", book.number(WEIGHT)),
        format!("The response charges {extra} crowns for {over} kilograms above the limit."),
        &[extra.to_string()],
    );
    let sum = base + extra;
    let total = if fragile { sum + sum / 4 } else { sum };
    if fragile {
        task.check(
            &format!("A quarter of {sum} is {}, to be added (paragraph {}).", sum / 4, book.number(FRAGILE)),
            format!("The response adds {} crowns because the {item} is fragile.", sum / 4),
            &[(sum / 4).to_string()],
        );
    }
    task.check(
        &format!("Fee: {total} crowns"),
        format!("The response ends with a line `Fee: {total} crowns`."),
        &[format!("Fee: {total} crowns")],
    );
    task
}

fn handling(office: &Office, book: &Book, dice: &mut Dice) -> TaskDraft {
    let class = dice.below(3);
    let above = dice.chance(50);
    let off = 10 * dice.between(1, 15);
    let worth = if above { office.value_limit + off } else { office.value_limit - off };
    let (item, name) = (&office.item, &office.classes[class]);
    let mut task = TaskDraft::new(format!(
        "A fragile {item} of class {name} comes in, declared at {worth} crowns. List all steps in order, and say who signs, which tag \
         it gets and where it is kept."
    ));
    let steps = ["register", "weigh", "wrap", "tag", "fee", "sign", "store"].map(str::to_owned);
    task.check(
        &format!(
            "Steps: register, weigh, wrap, tag, collect the fee, sign, store (paragraphs {} and {}).",
            book.number(STEPS),
            book.number(WRAPPING)
        ),
        "The response lists exactly these steps in this order: register, weigh, wrap, tag, collect the fee, sign, store.".to_owned(),
        &steps,
    );
    let signer = if above { &office.officer } else { &office.clerk };
    task.check(
        &format!("The {signer} signs (paragraph {}).", book.number(SIGNATURE)),
        format!("The response says that the {signer} signs."),
        std::slice::from_ref(signer),
    );
    let (tag, shelf) = (&office.tags[class], &office.shelves[class]);
    task.check(
        &format!("The tag is {tag}."),
        format!("The response says that the tag is {tag}."),
        std::slice::from_ref(tag),
    );
    task.check(
        &format!("The {item} is kept in {shelf}."),
        format!("The response says that the {item} is kept in {shelf}."),
        std::slice::from_ref(shelf),
    );
    task
}

fn return_date(office: &Office, book: &Book, dice: &mut Dice) -> TaskDraft {
    let class = dice.below(3);
    let days = if class == 2 { office.short_days } else { office.days };
    let received = jiff::civil::date(2023, 1, 3).saturating_add((dice.below(330) as i64).days());
    let due = received.saturating_add((days as i64).days());
    let [from, to] = [received, due].map(|date| calendar::date_forms(date).swap_remove(0));
    let (item, name) = (&office.item, &office.classes[class]);
    let mut task = TaskDraft::new(format!(
        "A {item} of class {name} was received on {from}. On which date is it handed out again? Name the paragraph."
    ));
    let rule = book.number(DAYS);
    task.check(
        &format!("By paragraph {rule} it is handed out after {days} days."),
        format!("The response names paragraph {rule} and a period of {days} days."),
        &[format!("paragraph {rule}"), days.to_string()],
    );
    task.check(&format!("That is {to}."), format!("The response gives the date {to}."), &[to]);
    task
}
