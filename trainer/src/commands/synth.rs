//! `trainer synth`: invented conversations and rule books.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;
use tmem_eval::synthetic::rulebook::RuleBooks;
use tmem_eval::synthetic::{Length, Lexicon, LongMemEvalWriter, Parameters, Plan, Wording};

use crate::cli::{Common, SynthArguments, SynthKind, SynthWording};

/// Runs the command.
pub(crate) fn run(common: &Common, arguments: &SynthArguments) -> Result<()> {
    let folder = &arguments.out;
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let seed = common.seed.unwrap_or_default();
    match arguments.kind {
        SynthKind::Longmemeval => long_mem_eval(folder, seed, arguments),
        SynthKind::Probe => probe(folder, seed, arguments),
        SynthKind::Rulebook => rule_books(folder, seed, arguments.samples),
    }
}

fn parameters(seed: u64, arguments: &SynthArguments) -> Parameters {
    let length = arguments.words.map_or(Length::Exchanges(arguments.turns), Length::Words);
    let fitting = Parameters::fitting(seed, arguments.sessions, length);
    Parameters { facts: arguments.facts.unwrap_or(fitting.facts), ..fitting }
}

fn long_mem_eval(folder: &Path, seed: u64, arguments: &SynthArguments) -> Result<()> {
    let (lexicon, parameters) = (Lexicon::built_in()?, parameters(seed, arguments));
    let wording = match arguments.wording {
        SynthWording::Canonical => Wording::Canonical,
        SynthWording::HeldOut => Wording::HeldOut,
        SynthWording::Both => Wording::Both,
    };
    // Planned before any file is made, so that impossible parameters leave nothing behind.
    Plan::new(&lexicon, &parameters, 0)?;
    let mut instances = LongMemEvalWriter::new(create(&folder.join("longmemeval.json"))?)?;
    let mut gold_lines = create(&folder.join("gold.jsonl"))?;
    for conversation in 0..arguments.samples {
        let plan = Plan::new(&lexicon, &parameters, conversation)?;
        let gold = plan.gold()?;
        let asked = plan.some_questions(arguments.questions)?;
        instances.write(&plan, &asked, wording)?;
        line(&mut gold_lines, &gold)?;
        println!(
            "{}: {} words, {} facts, {} questions asked",
            gold.conversation,
            gold.words,
            gold.facts.len(),
            asked.len()
        );
    }
    instances.finish()?;
    Ok(gold_lines.flush()?)
}

fn probe(folder: &Path, seed: u64, arguments: &SynthArguments) -> Result<()> {
    let (lexicon, parameters) = (Lexicon::built_in()?, parameters(seed, arguments));
    Plan::new(&lexicon, &parameters, 0)?;
    let mut gold_lines = create(&folder.join("gold.jsonl"))?;
    for number in 0..arguments.samples {
        let plan = Plan::new(&lexicon, &parameters, number)?;
        let (conversation, controls) = plan.probe()?;
        let gold = plan.gold()?;
        whole(&folder.join(format!("conversation_{number}.json")), &conversation)?;
        whole(&folder.join(format!("controls_{number}.json")), &controls)?;
        line(&mut gold_lines, &gold)?;
        println!("{}: {} words, {} facts that hold", gold.conversation, gold.words, conversation.facts.len());
    }
    Ok(gold_lines.flush()?)
}

fn rule_books(folder: &Path, seed: u64, samples: u64) -> Result<()> {
    let books = RuleBooks::built_in()?;
    let mut tasks = create(&folder.join("rulebook.jsonl"))?;
    let mut gold_lines = create(&folder.join("rulebook_gold.jsonl"))?;
    for number in 0..samples {
        let context = books.context(seed, number)?;
        context.tasks.iter().try_for_each(|task| line(&mut tasks, task))?;
        line(&mut gold_lines, &context.gold)?;
    }
    tasks.flush()?;
    gold_lines.flush()?;
    println!("{samples} rule books");
    Ok(())
}

fn create(path: &Path) -> Result<BufWriter<File>> {
    Ok(BufWriter::new(File::create(path).with_context(|| format!("cannot write to {}", path.display()))?))
}

fn line(output: &mut impl Write, value: &impl Serialize) -> Result<()> {
    serde_json::to_writer(&mut *output, value).context("cannot write the output")?;
    writeln!(output).context("cannot write the output")
}

fn whole(path: &Path, value: &impl Serialize) -> Result<()> {
    let mut output = create(path)?;
    serde_json::to_writer_pretty(&mut output, value).context("cannot write the output")?;
    writeln!(output).and_then(|()| output.flush()).context("cannot write the output")
}
