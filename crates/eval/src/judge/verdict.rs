//! How a judging model's reply is read.

use serde::Deserialize;

/// What a reply must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerdictKind {
    /// Yes or no.
    YesNo,
    /// CL-bench's JSON object over this many requirements.
    Requirements {
        /// Number of requirements.
        count: usize,
    },
}

impl VerdictKind {
    /// The score that a reply gives, or what is wrong with the reply.
    ///
    /// A yes or no is the first such word of the reply. (LongMemEval's script looks for the letters "yes" anywhere, and
    /// takes everything else, an apology too, for a no.)
    ///
    /// # Errors
    /// Why the reply is no verdict.
    pub fn score(self, reply: &str) -> Result<f64, String> {
        match self {
            Self::YesNo => {
                let lower = reply.to_lowercase();
                let mut words = lower.split(|c: char| !c.is_alphanumeric());
                match words.find(|word| matches!(*word, "yes" | "no")) {
                    Some(word) => Ok(f64::from(word == "yes")),
                    None => Err("neither yes nor no".to_owned()),
                }
            }
            Self::Requirements { count } => requirements(reply, count),
        }
    }
}

#[derive(Debug, Deserialize)]
struct Grading {
    #[serde(rename = "List of Requirement Satisfaction Status")]
    status: Vec<String>,
    #[serde(rename = "Overall Score")]
    score: u8,
}

/// Strict: a list of the wrong length, another word than yes or no, and a score that contradicts the list are no
/// verdict (the official script believes the score alone).
fn requirements(reply: &str, count: usize) -> Result<f64, String> {
    let grading: Grading = serde_json::from_str(without_fence(reply)).map_err(|e| e.to_string())?;
    if grading.status.len() != count {
        return Err(format!("{} statuses for {count} requirements", grading.status.len()));
    }
    let mut all = true;
    for status in &grading.status {
        match status.trim().to_lowercase().as_str() {
            "yes" => {}
            "no" => all = false,
            other => return Err(format!("the status `{other}` is neither yes nor no")),
        }
    }
    match grading.score {
        score @ (0 | 1) if (score == 1) == all => Ok(f64::from(score)),
        0 | 1 => Err(format!("the score {} contradicts the list", grading.score)),
        score => Err(format!("the score {score} is neither 0 nor 1")),
    }
}

/// The reply without a Markdown code fence around it.
fn without_fence(reply: &str) -> &str {
    let reply = reply.trim();
    let Some(inner) = reply.strip_prefix("```") else { return reply };
    // Behind the opening fence may stand the name of a language.
    let inner = inner.trim_start_matches(|c: char| c.is_ascii_alphanumeric());
    inner.trim_end().strip_suffix("```").unwrap_or(inner).trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_yes_or_no_counts() {
        let score = |reply: &str| VerdictKind::YesNo.score(reply).ok();
        assert_eq!(score("Yes."), Some(1.0));
        assert_eq!(score(" no, yesterday"), Some(0.0));
        assert_eq!(score("Answer: NO"), Some(0.0));
        assert_eq!(score("I know not yesterday"), None);
        assert_eq!(score(""), None);
    }

    #[test]
    fn gradings_are_read_strictly() {
        let grade = |status: &str, score: &str| {
            let reply = format!(
                "```json\n{{\"Grading Rationale\": \"x\", \"List of Requirement Satisfaction Status\": {status}, \
                 \"Overall Score\": {score}}}\n```"
            );
            VerdictKind::Requirements { count: 2 }.score(&reply)
        };
        assert_eq!(grade(r#"["yes", "Yes"]"#, "1"), Ok(1.0));
        assert_eq!(grade(r#"["yes", "no"]"#, "0"), Ok(0.0));
        assert!(grade(r#"["yes", "no"]"#, "1").unwrap_err().contains("contradicts"));
        assert!(grade(r#"["yes"]"#, "1").unwrap_err().contains("1 statuses for 2"));
        assert!(grade(r#"["yes", "maybe"]"#, "0").unwrap_err().contains("maybe"));
        assert!(grade(r#"["yes", "yes"]"#, "2").unwrap_err().contains("neither 0 nor 1"));
        assert!(VerdictKind::Requirements { count: 1 }.score("I would say 1.").is_err());
        let bare = r#"{"List of Requirement Satisfaction Status": ["yes"], "Overall Score": 1}"#;
        assert_eq!(VerdictKind::Requirements { count: 1 }.score(bare), Ok(1.0));
    }

    proptest::proptest! {
        #[test]
        fn any_reply_is_read_without_panicking(reply in "(```)?[a-z{}\":\\[\\] `ä]{0,40}(```)?", count in 0usize..3) {
            let _ = VerdictKind::Requirements { count }.score(&reply);
            let _ = VerdictKind::YesNo.score(&reply);
        }
    }
}
