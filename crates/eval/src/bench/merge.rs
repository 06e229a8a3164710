//! Questions about the same history, brought together.

use super::error::BenchError;
use super::sample::Sample;

/// Joins samples that follow each other and have equal sessions: several questions about one history, which is then
/// read once. Files that repeat a history for every question (our generator's; CL-bench's contexts) become what they
/// mean; samples with histories of their own pass unchanged. Looks one sample ahead.
pub(super) fn merge_equal_histories<I>(samples: I) -> MergeEqualHistories<I>
where
    I: Iterator<Item = Result<Sample, BenchError>>,
{
    MergeEqualHistories { samples, ahead: None }
}

/// See [`merge_equal_histories`].
#[derive(Debug)]
pub(super) struct MergeEqualHistories<I> {
    samples: I,
    ahead: Option<Result<Sample, BenchError>>,
}

impl<I: Iterator<Item = Result<Sample, BenchError>>> Iterator for MergeEqualHistories<I> {
    type Item = Result<Sample, BenchError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut merged = match self.ahead.take().or_else(|| self.samples.next())? {
            Ok(sample) => sample,
            Err(error) => return Some(Err(error)),
        };
        loop {
            match self.samples.next() {
                Some(Ok(next)) if next.sessions == merged.sessions => merged.probes.extend(next.probes),
                next => {
                    self.ahead = next;
                    return Some(Ok(merged));
                }
            }
        }
    }
}
