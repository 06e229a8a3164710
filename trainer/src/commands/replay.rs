//! `trainer replay`, and making what it replays.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use tmem_core::recipe::{
    MAX_JSON, ModelIdentity, Recipe, RecipeError, ReplayError, ReplayOutcome, ReplayReport, replay,
};

use crate::cli::{Common, ReplayArguments};
use crate::events::Display;
use crate::interrupt::Stopped;
use crate::session::Session;
use crate::slow_adapter::Unless;

/// Where `cargo xtask demo` serves the page.
const PAGE: &str = "http://127.0.0.1:8080/";
/// Where a recipe goes that is too long for a link.
const FILE: &str = "tmem-recipe.json";

#[derive(Debug, Serialize)]
struct Outcome<'a> {
    adapter: &'a str,
    seconds: f64,
    #[serde(flatten)]
    report: &'a ReplayReport,
}

/// Runs the command.
pub(crate) async fn run(common: &Common, arguments: &ReplayArguments) -> Result<()> {
    let recipe = read(&arguments.source)?;
    // A recipe carries its own settings and seeds.
    let mut session =
        Session::with_settings(common, recipe.settings.clone(), Unless::Identity(&recipe.model.sha256)).await?;
    let mut display = if arguments.json { Display::quiet() } else { Display::chat() };
    let sha256 = session.agent.policy().model().identity();
    let began = std::time::Instant::now();
    let mut observe = |event| display.show(&event);
    let report = match replay(&recipe, &sha256, &mut session.agent, &mut observe, &session.abort).await {
        Ok(report) => report,
        Err(ReplayError::Aborted) => return Err(Stopped.into()),
        Err(error) => return Err(error.into()),
    };
    let adapter = &session.agent.policy().gpu().info().name;
    let outcome = Outcome { adapter, seconds: began.elapsed().as_secs_f64(), report: &report };
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&outcome)?);
    } else {
        println!("{}", verdict(&outcome));
    }
    Ok(())
}

fn verdict(outcome: &Outcome<'_>) -> String {
    let Outcome { adapter, seconds, report } = outcome;
    let skipped = match report.skipped {
        0 => String::new(),
        count => format!("; {count} action(s) could not be done here and were skipped"),
    };
    let verdict = match report.outcome {
        ReplayOutcome::Match => format!("the same fast weights, bit for bit ({})", report.delta.hash),
        ReplayOutcome::Distance { relative } => format!(
            "other fast weights: about {:.2} % apart ({} here, {} in the recipe), as is usual on another adapter",
            relative * 100.0,
            report.delta.hash,
            report.expected_hash
        ),
        ReplayOutcome::OtherShape => "fast weights of another shape: the model has other sites here".to_owned(),
    };
    let memory = match report.memory {
        None => "",
        Some(true) => ", and the same text is remembered",
        Some(false) => ", and other text is remembered",
    };
    format!("replayed in {seconds:.1} s on {adapter}: {verdict}{memory}{skipped}")
}

/// A link that replays what a session did since its last reset; a file where that is too long for a link.
pub(crate) async fn share(session: &mut Session) -> Result<String> {
    let model = session.agent.policy().model();
    let identity = ModelIdentity { name: model.name.clone(), sha256: model.identity() };
    let recipe = Recipe::of(&mut session.agent, identity, session.preset.clone()).await?;
    match recipe.to_fragment() {
        Ok(fragment) => Ok(format!("{PAGE}#{fragment}")),
        Err(RecipeError::LinkTooLong { .. }) => {
            fs::write(FILE, recipe.to_json()?).with_context(|| format!("cannot write {FILE}"))?;
            Ok(format!("too long for a link: written to {FILE}, which `trainer replay` and the page read"))
        }
        Err(error) => Err(error.into()),
    }
}

/// A recipe from a link, or from a file that holds a link or the recipe itself.
fn read(source: &str) -> Result<Recipe> {
    let path = Path::new(source);
    let is_link = source.contains('#') || source.starts_with("recipe=");
    if is_link {
        return Ok(Recipe::from_link(source)?);
    }
    if !path.exists() {
        return Recipe::from_link(source).with_context(|| format!("`{source}` is neither a file nor a share link"));
    }
    let read = || -> Result<Recipe> {
        let bytes = fs::metadata(path)?.len();
        ensure!(bytes <= MAX_JSON as u64, "it has {bytes} bytes, a recipe at most {MAX_JSON}");
        let text = fs::read_to_string(path)?;
        let is_json = text.trim_start().starts_with('{');
        Ok(if is_json { Recipe::from_json(&text)? } else { Recipe::from_link(&text)? })
    };
    read().with_context(|| format!("cannot replay {source}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_recipe_says_so() {
        for source in ["no/such/file", "http://127.0.0.1:8080/#", "http://127.0.0.1:8080/#recipe=%%%", "recipe=AAAA"] {
            assert!(read(source).is_err(), "{source}");
        }
        let error = format!("{:#}", read("no/such/file").unwrap_err());
        assert!(error.contains("neither a file nor a share link"), "{error}");
        let file = std::env::temp_dir().join(format!("tmem-no-recipe-{}.json", std::process::id()));
        fs::write(&file, "{\"version\": 99}").unwrap();
        let error = format!("{:#}", read(file.to_str().unwrap()).unwrap_err());
        fs::remove_file(&file).unwrap();
        assert!(error.contains("version 99"), "{error}");
    }
}
