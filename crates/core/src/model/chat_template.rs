//! The chat template of a model file: messages to the text the model was trained on.

use minijinja::{Environment, ErrorKind, Value, context};

use super::gguf::{GgufError, Metadata};
use super::tokenizer::{Tokenizer, TokenizerError};
use crate::message::Message;

/// Longest template in bytes; the longest in use are near 15 KB.
const MAX_TEMPLATE_BYTES: usize = 256 << 10;
/// Steps of the template interpreter, so that a template cannot loop for ever.
const MAX_STEPS: u64 = 5_000_000;
/// Bytes a template may add to the messages.
const MAX_ADDED_BYTES: usize = 4 << 20;
/// Nested macro calls and blocks; small, because a page's stack is.
const MAX_DEPTH: usize = 32;
const NAME: &str = "chat";

/// Why messages cannot be rendered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChatTemplateError {
    /// An entry of the file.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// The file has no template: a base model.
    #[error("the model file has no chat template (`tokenizer.chat_template`): use an instruction-tuned model")]
    Missing,
    /// The template is not Jinja, or too long.
    #[error("the model's chat template cannot be read: {0}")]
    Syntax(String),
    /// The template failed on these messages; many refuse turns out of order.
    #[error("the model's chat template refused the messages: {0}")]
    Render(String),
    /// The text could not be split into tokens.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
}

/// A compiled chat template with the semantics of Hugging Face's `apply_chat_template`: `trim_blocks`,
/// `lstrip_blocks`, loop controls, Python's string methods, `raise_exception`.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    bos_token: String,
    eos_token: String,
}

impl ChatTemplate {
    /// The template in a GGUF file.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub fn from_gguf(metadata: &Metadata, tokenizer: &Tokenizer) -> Result<Self, ChatTemplateError> {
        let source: &str = metadata.find("tokenizer.chat_template")?.ok_or(ChatTemplateError::Missing)?;
        let text = |token: Option<u32>| token.map(|token| tokenizer.decode(&[token])).unwrap_or_default();
        Self::new(source, text(tokenizer.bos()), text(Some(tokenizer.eos())))
    }

    /// Compiles a template; `bos_token` and `eos_token` are the texts it can refer to under these names.
    ///
    /// # Errors
    /// The template cannot be read.
    pub fn new(
        source: &str,
        bos_token: impl Into<String>,
        eos_token: impl Into<String>,
    ) -> Result<Self, ChatTemplateError> {
        if source.len() > MAX_TEMPLATE_BYTES {
            let reason = format!("{} bytes are more than the {MAX_TEMPLATE_BYTES} allowed", source.len());
            return Err(ChatTemplateError::Syntax(reason));
        }
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_fuel(Some(MAX_STEPS));
        environment.set_recursion_limit(MAX_DEPTH);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |reason: String| -> Result<Value, minijinja::Error> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, reason))
        });
        environment.add_template_owned(NAME, source.to_owned()).map_err(|e| ChatTemplateError::Syntax(chain(&e)))?;
        Ok(Self { environment, bos_token: bos_token.into(), eos_token: eos_token.into() })
    }

    /// The messages as text; with `add_generation_prompt` the assistant's turn is opened at the end.
    ///
    /// # Errors
    /// The template refused the messages, took too long or produced too much.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String, ChatTemplateError> {
        let failed = |error: minijinja::Error| ChatTemplateError::Render(chain(&error));
        let contents: usize = messages.iter().map(|message| message.content.len()).sum();
        let mut out = Bounded { bytes: Vec::new(), limit: contents.saturating_mul(2).saturating_add(MAX_ADDED_BYTES) };
        let context = context! {
            messages,
            add_generation_prompt,
            bos_token => self.bos_token,
            eos_token => self.eos_token,
        };
        let template = self.environment.get_template(NAME).map_err(failed)?;
        template.render_captured_to(context, &mut out).map_err(failed)?;
        String::from_utf8(out.bytes).map_err(|error| ChatTemplateError::Render(error.to_string()))
    }

    /// The messages as tokens. What looks like a control token within a message stays text: only the template can open
    /// and close turns.
    ///
    /// # Errors
    /// As for [`ChatTemplate::render`].
    pub fn encode(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
        add_generation_prompt: bool,
    ) -> Result<Vec<u32>, ChatTemplateError> {
        let guarded =
            |message: &Message| Message { role: message.role, content: tokenizer.guard(&message.content).into_owned() };
        let guarded: Vec<Message> = messages.iter().map(guarded).collect();
        Ok(tokenizer.encode_guarded(&self.render(&guarded, add_generation_prompt)?)?)
    }
}

/// The error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Memory that refuses to grow beyond a limit.
struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
}

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.limit {
            return Err(std::io::Error::other(format!("the text is longer than {} bytes", self.limit)));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(template: &str, messages: &[Message]) -> Result<String, ChatTemplateError> {
        ChatTemplate::new(template, "<s>", "</s>")?.render(messages, true)
    }

    #[test]
    fn blocks_are_trimmed_as_hugging_face_does() {
        let template = "{{ bos_token }}\n{% for m in messages %}\n    {% if m.role == 'user' %}\n[{{ m['content'] }}]\n    \
                        {% endif %}\n{% endfor %}\n{% if add_generation_prompt %}>{% endif %}\n";
        let messages = [Message::user("a <b>"), Message::assistant("x"), Message::user("c")];
        assert_eq!(render(template, &messages).unwrap(), "<s>\n[a <b>]\n[c]\n>");
    }

    #[test]
    fn python_methods_loop_controls_and_namespaces_work() {
        let template = "{% set ns = namespace(n=0) %}{% for m in messages %}{% if loop.index0 == 2 %}{% break %}\
                        {% endif %}{% set ns.n = ns.n + 1 %}{{ m.content.strip().upper() }}{% endfor %}{{ ns.n }}";
        let messages = [" a ", "b", "c"].map(Message::user);
        assert_eq!(render(template, &messages).unwrap(), "AB2");
    }

    #[test]
    fn content_is_data_and_never_template() {
        assert_eq!(render("{{ messages[0].content }}", &[Message::user("{{ 1 + 1 }}")]).unwrap(), "{{ 1 + 1 }}");
    }

    #[test]
    fn failures_say_what_happened() {
        let hostile = [
            ("{% for m in", "cannot be read"),
            ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
            ("{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}", "refused"),
            ("{% for a in range(9999) %}{{ 'x' * 9999 }}{% endfor %}", "longer than"),
            ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "refused"),
            ("{{ messages.nothing.at.all }}", "refused"),
        ];
        for (template, part) in hostile {
            let message = render(template, &[]).unwrap_err().to_string();
            assert!(message.contains(part), "{message:?} lacks {part:?}");
        }
        let long = "x".repeat(MAX_TEMPLATE_BYTES + 1);
        assert!(matches!(ChatTemplate::new(&long, "", ""), Err(ChatTemplateError::Syntax(_))));
        let deep = "(".repeat(100_000);
        assert!(matches!(ChatTemplate::new(&format!("{{{{ {deep} }}}}"), "", ""), Err(ChatTemplateError::Syntax(_))));
    }
}
