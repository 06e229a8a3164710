//! Figures in words: bytes, durations, distances.

/// A size with a decimal unit, as download sizes are usually told: `98.4 MB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if count < 1000 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1000.0;
    let mut unit = 0;
    // 999.95 would be printed as 1000.0 of the smaller unit.
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A duration for reading, not for measuring: `5 s`, `2 min`, `1 h 5 min`.
pub fn duration(seconds: f64) -> String {
    let seconds = if seconds.is_finite() { seconds.max(0.0) } else { 0.0 };
    match seconds.ceil() as u64 {
        s @ 0..90 => format!("{s} s"),
        s @ 90..3600 => format!("{} min", s.div_ceil(60)),
        s => format!("{} h {} min", s / 3600, s % 3600 / 60),
    }
}

/// Seconds left of a transfer at the mean rate so far; `None` until the rate says something.
pub fn seconds_left(done: u64, total: u64, elapsed: f64) -> Option<f64> {
    (done > 0 && done < total && elapsed >= 0.5).then(|| (total - done) as f64 * elapsed / done as f64)
}

/// A share of one in whole percent.
pub fn percent(share: f32) -> String {
    format!("{:.0} %", share * 100.0)
}

/// A count with its noun: `1 card`, `2 cards`.
pub fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// The beginning of a hash, enough to compare by eye.
pub fn short_hash(hash: &str) -> &str {
    hash.get(..8).unwrap_or(hash)
}

/// A clause as a sentence of its own.
pub fn sentence(clause: &str) -> String {
    let mut letters = clause.chars();
    match letters.next() {
        Some(first) => format!("{}{}.", first.to_uppercase(), letters.as_str()),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_choose_the_unit_that_reads_best() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1000), "1.0 kB");
        assert_eq!(bytes(98_362_432), "98.4 MB");
        assert_eq!(bytes(999_960), "1.0 MB");
        assert_eq!(bytes(5_000_000_000), "5.0 GB");
        assert!(bytes(u64::MAX).ends_with(" TB"));
    }

    #[test]
    fn durations_round_up_and_survive_nonsense() {
        assert_eq!(duration(0.2), "1 s");
        assert_eq!(duration(89.0), "89 s");
        assert_eq!(duration(90.0), "2 min");
        assert_eq!(duration(3900.0), "1 h 5 min");
        assert_eq!(duration(f64::NAN), "0 s");
        assert_eq!(duration(-4.0), "0 s");
    }

    #[test]
    fn time_left_follows_the_mean_rate() {
        assert_eq!(seconds_left(25, 100, 1.0), Some(3.0));
        assert_eq!(seconds_left(0, 100, 1.0), None);
        assert_eq!(seconds_left(25, 100, 0.1), None);
        assert_eq!(seconds_left(100, 100, 1.0), None);
    }

    #[test]
    fn clauses_become_sentences() {
        assert_eq!(sentence("stopped; nothing was changed"), "Stopped; nothing was changed.");
        assert_eq!(sentence(""), "");
    }

    #[test]
    fn nouns_and_hashes() {
        assert_eq!(count(1, "card"), "1 card");
        assert_eq!(count(0, "card"), "0 cards");
        assert_eq!(percent(0.256), "26 %");
        assert_eq!(short_hash("0123456789abcdef"), "01234567");
        assert_eq!(short_hash("01"), "01");
    }
}
