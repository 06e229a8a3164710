//! Episodes of a reinforcement run as pages that a person reads.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;
use tmem_eval::run::{Disk, Storage};
use tmem_learner::rl::{Episode, Task, Tasks};

/// Where the pages lie in a run's folder.
pub(super) const FOLDER: &str = "episodes";

/// Writes a page with the episodes of some tasks.
pub(super) fn write(folder: &Path, name: &str, tasks: &dyn Tasks, groups: &[Vec<Episode>]) -> Result<()> {
    let mut page = String::new();
    for group in groups {
        let Some(first) = group.first() else { continue };
        let task = tasks.task(first.task)?;
        head(&mut page, first.task, &task);
        for episode in group {
            body(&mut page, episode, &task);
        }
    }
    Ok(Disk::new(folder).replace(&format!("{FOLDER}/{name}.md"), page.as_bytes())?)
}

fn head(page: &mut String, number: u64, task: &Task) {
    let _ = writeln!(page, "# Task {number}\n");
    for turn in &task.turns {
        let _ = writeln!(page, "- **User** {}\n- **Assistant** {}", one_line(&turn.user), one_line(&turn.assistant));
    }
    page.push('\n');
}

fn body(page: &mut String, episode: &Episode, task: &Task) {
    let _ = writeln!(page, "## Episode {}: reward {:.3}\n", episode.generation, episode.reward);
    for card in &episode.cards {
        let _ = writeln!(page, "- wrote: {} → {}", one_line(&card.question), one_line(&card.answer));
    }
    for dropped in &episode.dropped {
        let _ = writeln!(page, "- dropped ({:?}): {}", dropped.reason, one_line(&dropped.text));
    }
    for (question, answer) in task.questions.iter().zip(&episode.answers) {
        let wanted = one_line(&question.answer);
        let _ =
            writeln!(page, "- asked: {} Answered: {} (wanted: {wanted})", one_line(&question.text), one_line(answer));
    }
    page.push('\n');
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
