//! How many tests passed and failed, read from what the runners print.

/// Counts over all runners.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) passed: u64,
    pub(super) failed: u64,
}

impl Tally {
    /// Adds the summaries found in the output of `cargo nextest run` or `cargo test`.
    pub(super) fn add(&mut self, output: &str) {
        // nextest says "12 tests run: 10 passed (1 slow), 1 failed, 1 timed out, 0 skipped";
        // cargo test says "test result: FAILED. 10 passed; 2 failed; 0 ignored; ...", once a binary. nextest repeats
        // that line of each test that failed.
        let of = |mark: &'static str| output.lines().filter_map(move |line| Some(line.split_once(mark)?.1)).collect();
        let nextest: Vec<&str> = of("run:");
        let summaries = if nextest.is_empty() { of("test result:") } else { nextest };
        for counts in summaries {
            self.passed += count(counts, " passed");
            self.failed += [" failed", " timed out"].iter().map(|word| count(counts, word)).sum::<u64>();
        }
    }
}

/// The number in front of `word`, 0 where there is none.
fn count(text: &str, word: &str) -> u64 {
    let Some((before, _)) = text.split_once(word) else { return 0 };
    let start = before.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    before[start..].parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[track_caller]
    fn check(output: &str, passed: u64, failed: u64) {
        let mut tally = Tally::default();
        tally.add(output);
        assert_eq!(tally, Tally { passed, failed });
    }

    #[test]
    fn nextest() {
        check("     Summary [   0.017s] 6 tests run: 6 passed, 0 skipped\n", 6, 0);
        check("     Summary [  90.1s] 14 tests run: 10 passed (2 slow), 3 failed, 1 timed out, 5 skipped\n", 10, 4);
        check("     Summary [   0.017s] 1 test run: 1 passed, 0 skipped\n", 1, 0);
        check(
            "    test result: FAILED. 0 passed; 1 failed; 0 ignored\n     Summary [ 1.0s] 2 tests run: 1 passed, 1 failed\n",
            1,
            1,
        );
    }

    #[test]
    fn cargo_test() {
        check(
            "running 3 tests\ntest a ... ok\ntest result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n\
             test result: FAILED. 1 passed; 2 failed; 0 ignored\n",
            4,
            2,
        );
    }

    #[test]
    fn other_output() {
        check("error: could not compile `x`\n10 passed\n", 0, 0);
    }
}
