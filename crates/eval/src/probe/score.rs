//! From answers to figures.

use super::{Asked, ControlScores, ConversationScores, Figures, Kind, Reply, Scores};

/// Which of a question's three answers is scored.
pub(super) type Pick = fn(&Asked) -> &Reply;

/// The figures under one choice of weights; `kl` is measured elsewhere. Conversations keep the order of `names`.
pub(super) fn figures(names: &[&str], answers: &[Asked], pick: Pick, kl: Option<f64>) -> Figures {
    let of_kind = |kind| answers.iter().filter(move |asked| asked.kind == kind);
    let conversations = names.iter().map(|&name| {
        let scores = |kind| {
            let mine = of_kind(kind).filter(|asked| asked.conversation.as_deref() == Some(name)).map(pick);
            let replies: Vec<&Reply> = mine.collect();
            let contains = share(replies.iter().map(|reply| reply.contains))?;
            let f1 = replies.iter().filter_map(|reply| reply.f1).sum::<f64>() / replies.len() as f64;
            Some(Scores { contains, f1 })
        };
        let nothing = Scores { contains: 0.0, f1: 0.0 };
        ConversationScores {
            name: name.to_owned(),
            trained: scores(Kind::Trained).unwrap_or(nothing),
            held_out: scores(Kind::HeldOut),
        }
    });
    let known = of_kind(Kind::GeneralKnowledge).filter(|asked| asked.frozen.contains);
    Figures {
        conversations: conversations.collect(),
        controls: ControlScores {
            knowledge_kept: share(known.map(|asked| pick(asked).contains)),
            leak: share(of_kind(Kind::Unknown).map(|asked| pick(asked).contains)),
            kl,
        },
    }
}

fn share(hits: impl Iterator<Item = bool>) -> Option<f64> {
    let (mut yes, mut all) = (0u32, 0u32);
    for hit in hits {
        yes += u32::from(hit);
        all += 1;
    }
    (all > 0).then(|| f64::from(yes) / f64::from(all))
}
