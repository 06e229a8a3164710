//! The writer for small models: the answer first, as a span copied from what the person said, then its question.

use super::{Writer, WriterInput, WriterOutput};
use crate::abort::Abort;
use crate::rollout::event::Event;
use crate::rollout::policy::{Policy, PolicyError};

/// The writer.
#[derive(Debug, Clone, Copy)]
pub struct AnswerFirst;

impl Writer for AnswerFirst {
    async fn write<P: Policy>(
        &self,
        _policy: &mut P,
        _input: &WriterInput<'_>,
        _observe: &mut dyn FnMut(Event),
        _abort: &Abort,
    ) -> Result<WriterOutput, PolicyError> {
        Ok(WriterOutput::default())
    }
}
