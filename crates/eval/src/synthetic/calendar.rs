//! Dates in the formats people and data sets write them in.

use jiff::civil::{Date, DateTime};

/// As LongMemEval writes it: `2023/05/20 (Sat) 02:21`.
pub(super) fn stamp(at: DateTime) -> String {
    at.strftime("%Y/%m/%d (%a) %H:%M").to_string()
}

/// A day without its year in the ways people say it; the first is the one answers use.
pub(super) fn day_forms(day: i8, month: i8) -> Vec<String> {
    let name = month_name(month);
    let ordinal = ordinal(day);
    vec![
        format!("{day} {name}"),
        format!("{name} {day}"),
        format!("the {ordinal} of {name}"),
        format!("{name} {ordinal}"),
        format!("{ordinal} {name}"),
    ]
}

/// A date with its year in the ways people write it; the first is the one answers use.
pub(super) fn date_forms(date: Date) -> Vec<String> {
    let (day, name, year) = (date.day(), month_name(date.month()), date.year());
    vec![
        format!("{day} {name} {year}"),
        format!("{name} {day}, {year}"),
        format!("{day} {name}"),
        format!("{name} {day}"),
        format!("{} of {name}", ordinal(day)),
        format!("{year}-{:02}-{day:02}", date.month()),
        format!("{year}/{:02}/{day:02}", date.month()),
    ]
}

/// A time of day in the ways people write it; the first is the one answers use.
pub(super) fn time_forms(hour: usize, minute: usize) -> Vec<String> {
    let (half, half_hour) = (if hour < 12 { "am" } else { "pm" }, if hour.is_multiple_of(12) { 12 } else { hour % 12 });
    vec![
        format!("{half_hour}:{minute:02} {half}"),
        format!("{half_hour}.{minute:02} {half}"),
        format!("{hour}:{minute:02}"),
    ]
}

fn month_name(month: i8) -> &'static str {
    const NAMES: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    let at = usize::try_from(month - 1).unwrap_or(0);
    NAMES.get(at).copied().unwrap_or("December")
}

fn ordinal(day: i8) -> String {
    let ending = match (day % 10, day / 10) {
        (1, tens) if tens != 1 => "st",
        (2, tens) if tens != 1 => "nd",
        (3, tens) if tens != 1 => "rd",
        _ => "th",
    };
    format!("{day}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_people_and_data_sets_write_them() {
        let at = jiff::civil::date(2023, 5, 20).at(2, 21, 0, 0);
        assert_eq!(stamp(at), "2023/05/20 (Sat) 02:21");
        assert_eq!(day_forms(9, 3)[..4], ["9 March", "March 9", "the 9th of March", "March 9th"]);
        assert_eq!(
            [1, 2, 3, 4, 11, 12, 13, 21, 22, 23, 31].map(ordinal).join(" "),
            "1st 2nd 3rd 4th 11th 12th 13th 21st 22nd 23rd 31st"
        );
        assert_eq!(date_forms(at.date())[1], "May 20, 2023");
        assert_eq!(time_forms(15, 5), ["3:05 pm", "3.05 pm", "15:05"]);
        assert_eq!(time_forms(0, 30)[0], "12:30 am");
    }
}
