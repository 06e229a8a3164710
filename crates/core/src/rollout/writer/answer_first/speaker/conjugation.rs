//! English verbs: the third person of a present form, the base form of a past one.
//!
//! The rules for the second person get by without ("you live" is "I live"); behind a name they do not. Past forms that do
//! not end in "ed" are a closed class and listed; "ed" forms are undone by spelling. What may be past or present ("I
//! quit") is only told apart where the caller knows from elsewhere.

use std::collections::HashMap;
use std::sync::LazyLock;

/// A finite verb that stood behind "I" or "you".
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finite {
    /// As it stands behind a name.
    pub(super) third: String,
    /// As it stands behind "does" and "did".
    pub(super) base: String,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Goes before the subject in a question ("is", "can", "hasn't").
    Auxiliary,
    Past,
    Present,
}

/// Auxiliaries of the first and second person with the third. "Have", "had" and "do" are verbs of their own as well.
const AUXILIARIES: [(&str, &str); 32] = [
    ("am", "is"),
    ("are", "is"),
    ("aren't", "isn't"),
    ("was", "was"),
    ("were", "was"),
    ("wasn't", "wasn't"),
    ("weren't", "wasn't"),
    ("haven't", "hasn't"),
    ("hadn't", "hadn't"),
    ("don't", "doesn't"),
    ("didn't", "didn't"),
    ("did", "did"),
    ("can", "can"),
    ("can't", "can't"),
    ("cannot", "cannot"),
    ("could", "could"),
    ("couldn't", "couldn't"),
    ("will", "will"),
    ("won't", "won't"),
    ("would", "would"),
    ("wouldn't", "wouldn't"),
    ("should", "should"),
    ("shouldn't", "shouldn't"),
    ("must", "must"),
    ("mustn't", "mustn't"),
    ("may", "may"),
    ("might", "might"),
    ("shall", "shall"),
    ("isn't", "isn't"),
    ("is", "is"),
    ("has", "has"),
    ("hasn't", "hasn't"),
];

/// Base, past and participle of the verbs that do not end in "ed". Those with one form for base and past are ambiguous.
const IRREGULAR: &str = "awake awoke awoken  bear bore borne  beat beat beaten  become became become  begin began begun  bend bent bent \
    bet bet bet  bind bound bound  bite bit bitten  bleed bled bled  blow blew blown  break broke broken  breed bred bred \
    bring brought brought  build built built  burn burnt burnt  burst burst burst  buy bought bought  catch caught caught \
    choose chose chosen  cling clung clung  come came come  cost cost cost  creep crept crept  cut cut cut  deal dealt dealt \
    dig dug dug  dive dove dived  do did done  draw drew drawn  dream dreamt dreamt  drink drank drunk  drive drove driven \
    eat ate eaten  fall fell fallen  feed fed fed  feel felt felt  fight fought fought  find found found  fit fit fit \
    flee fled fled  fling flung flung  fly flew flown  forbid forbade forbidden  forget forgot forgotten  forgive forgave forgiven \
    freeze froze frozen  get got gotten  give gave given  go went gone  grind ground ground  grow grew grown  hang hung hung \
    have had had  hear heard heard  hide hid hidden  hit hit hit  hold held held  hurt hurt hurt  keep kept kept \
    kneel knelt knelt  know knew known  lay laid laid  lead led led  lean leant leant  leap leapt leapt  learn learnt learnt \
    leave left left  lend lent lent  let let let  lie lay lain  light lit lit  lose lost lost  make made made  mean meant meant \
    meet met met  overcome overcame overcome  pay paid paid  put put put  quit quit quit  read read read  rebuild rebuilt rebuilt \
    redo redid redone  rethink rethought rethought  rewrite rewrote rewritten  ride rode ridden  ring rang rung  rise rose risen \
    run ran run  say said said  see saw seen  seek sought sought  sell sold sold  send sent sent  set set set  sew sewed sewn \
    shake shook shaken  shine shone shone  shoot shot shot  show showed shown  shut shut shut  sing sang sung  sink sank sunk \
    sit sat sat  sleep slept slept  slide slid slid  speak spoke spoken  spend spent spent  spill spilt spilt  spin spun spun \
    split split split  spread spread spread  spring sprang sprung  stand stood stood  steal stole stolen  stick stuck stuck \
    sting stung stung  strike struck struck  strive strove striven  swear swore sworn  sweep swept swept  swim swam swum \
    swing swung swung  take took taken  teach taught taught  tear tore torn  tell told told  think thought thought \
    throw threw thrown  understand understood understood  undergo underwent undergone  undertake undertook undertaken \
    upset upset upset  wake woke woken  wear wore worn  weave wove woven  weep wept wept  win won won  wind wound wound \
    withdraw withdrew withdrawn  write wrote written";

/// Bases that end in "ed".
const ENDS_IN_ED: [&str; 13] = [
    "need", "feed", "speed", "bleed", "breed", "exceed", "proceed", "succeed", "seed", "weed", "heed", "embed", "shed",
];

/// No verbs of their own, or none whose third person is plain.
const NO_FINITE: [&str; 22] = [
    "gotta", "gonna", "wanna", "been", "done", "gone", "seen", "being", "ain't", "shan't", "needn't", "ought", "dare",
    "better", "swear", "and", "too", "both", "kinda", "all", "myself", "who",
];

/// Spellings that the rules of [`base_of`] would miss: stems whose base ends in "e", and those whose base does not.
const WITH_E: [&str; 25] = [
    "creat", "tast", "wast", "past", "invit", "unit", "excit", "ignit", "recit", "complet", "compet", "delet",
    "welcom", "requir", "acquir", "inquir", "chang", "arrang", "exchang", "challeng", "aveng", "explor", "restor",
    "ignor", "ador",
];
const WITHOUT_E: [&str; 15] = [
    "focus", "bias", "pilot", "pivot", "debut", "vomit", "limit", "visit", "edit", "benefit", "exhibit", "develop",
    "gossip", "gallop", "murmur",
];

struct Forms {
    /// Past form to base.
    past: HashMap<&'static str, &'static str>,
    /// Base that is its own past form.
    ambiguous: Vec<&'static str>,
    participles: Vec<&'static str>,
}

static FORMS: LazyLock<Forms> = LazyLock::new(|| {
    let words: Vec<&str> = IRREGULAR.split_ascii_whitespace().collect();
    let mut forms = Forms { past: HashMap::new(), ambiguous: Vec::new(), participles: vec!["been"] };
    for triple in words.chunks_exact(3) {
        if let [base, past, participle] = triple {
            forms.participles.push(participle);
            // "Lay" is taken for the present, "found" for "find".
            if base == past {
                forms.ambiguous.push(base);
            } else if *past != "lay" {
                forms.past.insert(past, base);
            }
        }
    }
    forms
});

/// What a word behind "I" or "you" is, where it can only be one verb in one form. `past` says that the sentence is known
/// to tell of the past.
pub(super) fn finite(word: &str, next: &str, past: bool) -> Option<Finite> {
    let low = word.to_lowercase().replace('’', "'");
    let found = |third: &str, base: &str, kind| Some(Finite { third: third.to_owned(), base: base.to_owned(), kind });
    if let Some((_, third)) = AUXILIARIES.iter().find(|(own, _)| *own == low) {
        return found(third, &low, Kind::Auxiliary);
    }
    match low.as_str() {
        "have" if is_participle(next) => return found("has", "have", Kind::Auxiliary),
        "had" if is_participle(next) => return found("had", "have", Kind::Auxiliary),
        "have" => return found("has", "have", Kind::Present),
        _ => {}
    }
    let plain = low.chars().count() > 1 && low.chars().all(|c| c.is_ascii_lowercase());
    if !plain || NO_FINITE.contains(&low.as_str()) || super::super::pattern::is_function_word(&low) && low != "do" {
        return (low == "had").then(|| Finite { third: low, base: "have".to_owned(), kind: Kind::Past });
    }
    if let Some(base) = FORMS.past.get(low.as_str()) {
        return found(&low, base, Kind::Past);
    }
    if let Some((prefix, base)) = ["re", "over", "out", "mis", "un"]
        .iter()
        .find_map(|prefix| FORMS.past.get(low.strip_prefix(prefix)?).map(|base| (prefix, base)))
    {
        return found(&low, &format!("{prefix}{base}"), Kind::Past);
    }
    if FORMS.ambiguous.contains(&low.as_str()) {
        return past.then(|| Finite { third: low.clone(), base: low, kind: Kind::Past });
    }
    if low.ends_with("ed") && !ENDS_IN_ED.contains(&low.as_str()) && low.len() > 3 {
        return found(&low, &base_of(&low), Kind::Past);
    }
    // "Driving" and "fallen" are verbs without their auxiliary.
    let present = low.len() <= 4 || !low.ends_with("ing");
    let participle =
        FORMS.participles.contains(&low.as_str()) && !["come", "run", "become", "overcome"].contains(&low.as_str());
    (present && !participle).then(|| Finite { third: third_of(&low), base: low, kind: Kind::Present })
}

/// "been", "adopted", "gone".
fn is_participle(word: &str) -> bool {
    let low = word.to_lowercase();
    FORMS.participles.contains(&low.as_str()) || (low.ends_with("ed") && !ENDS_IN_ED.contains(&low.as_str()))
}

/// Whether a word can only be a past form: "went", "lost", "moved".
pub(super) fn is_irregular_past(word: &str) -> bool {
    FORMS.past.contains_key(word)
}

/// The third person singular: "live" gives "lives", "study" "studies", "watch" "watches".
pub(super) fn third_of(base: &str) -> String {
    let vowel_before = |end: &str| base.strip_suffix(end).is_some_and(|stem| stem.ends_with(['a', 'e', 'i', 'o', 'u']));
    match base {
        "have" => "has".to_owned(),
        "am" | "are" => "is".to_owned(),
        _ if base.ends_with('y') && !vowel_before("y") => format!("{}ies", &base[..base.len() - 1]),
        _ if ["s", "x", "z", "ch", "sh"].iter().any(|end| base.ends_with(end)) => format!("{base}es"),
        _ if base.ends_with('o') && !vowel_before("o") => format!("{base}es"),
        _ => format!("{base}s"),
    }
}

/// The word that takes a word's place where "I" becomes a name, for words as they are compared (without apostrophes): "live"
/// gives "lives", "don" (of "don't") "doesn".
pub(in crate::rollout::writer) fn third_word(word: &str) -> String {
    match word {
        "don" => "doesn".to_owned(),
        "haven" => "hasn".to_owned(),
        "aren" => "isn".to_owned(),
        "weren" => "wasn".to_owned(),
        _ => third_of(word),
    }
}

/// The base form of a regular past form.
pub(super) fn base_of(past: &str) -> String {
    if let Some(stem) = past.strip_suffix("ied") {
        return if stem.len() < 2 { format!("{stem}ie") } else { format!("{stem}y") };
    }
    let Some(stem) = past.strip_suffix("ed") else { return past.to_owned() };
    if restores_e(stem) {
        return format!("{stem}e");
    }
    let mut last = stem.chars().rev();
    match (last.next(), last.next()) {
        (Some(a), Some(b)) if a == b && "bdgmnprt".contains(a) && stem.len() > 3 => stem[..stem.len() - 1].to_owned(),
        (Some('l'), Some('l')) if ["travell", "cancell", "controll", "modell", "labell"].contains(&stem) => {
            stem[..stem.len() - 1].to_owned()
        }
        _ => stem.to_owned(),
    }
}

/// Whether a stem's base ended in "e": a short stem would have doubled its last letter otherwise ("hop": "hopped"), and
/// of longer ones the ending tells.
fn restores_e(stem: &str) -> bool {
    if WITH_E.contains(&stem) || stem.ends_with("uat") || stem.ends_with("iat") {
        return true;
    }
    if WITHOUT_E.contains(&stem) {
        return false;
    }
    let vowel = |c: char| "aeiou".contains(c);
    let letters: Vec<char> = stem.chars().collect();
    let [.., before, last] = letters.as_slice() else { return false };
    let (before, last) = (*before, *last);
    let second = letters.len().checked_sub(3).and_then(|at| letters.get(at)).copied();
    match last {
        'v' | 'c' | 'u' => return true,
        's' => return before != 's',
        'z' => return before != 'z',
        'l' if "bcdfgkptz".contains(before) => return true,
        'g' if before == 'd' => return true,
        _ => {}
    }
    if !vowel(before) || second.is_some_and(vowel) || "wxyh".contains(last) {
        return false;
    }
    let syllables = letters.split(|c| !vowel(*c) && *c != 'y').filter(|run| !run.is_empty()).count();
    if syllables == 1 {
        return true;
    }
    matches!(
        (before, last),
        ('a' | 'i' | 'u' | 'o', 'd')
            | ('a' | 'u' | 'o', 't')
            | ('a' | 'i' | 'u', 'r')
            | ('a' | 'i', 'g')
            | ('i', 'n')
            | ('u', 'm')
            | ('a', 'p' | 'k')
            | ('i' | 'u', 'l')
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn third_persons() {
        let pairs = [
            ("live", "lives"),
            ("study", "studies"),
            ("play", "plays"),
            ("watch", "watches"),
            ("go", "goes"),
            ("have", "has"),
        ];
        for (base, third) in pairs {
            assert_eq!(third_of(base), third);
        }
    }

    #[test]
    fn regular_past_forms() {
        let bases = "bake hope adopt move plan stop visit invite create treat decide avoid include need celebrate use fix stay \
            miss call travel study die change belong manage handle settle realise focus purchase rehearse explore offer \
            remember prepare imagine listen open train escape develop share complete start join look walk hike paint graduate \
            volunteer enter require capture clean roll cook trade load rule welcome";
        for base in bases.split_ascii_whitespace() {
            let past = match base {
                "plan" | "stop" => format!("{base}{}ed", &base[base.len() - 1..]),
                "travel" => "travelled".to_owned(),
                "study" => "studied".to_owned(),
                _ if base.ends_with('e') => format!("{base}d"),
                _ => format!("{base}ed"),
            };
            assert_eq!(base_of(&past), base, "{past}");
        }
    }

    #[test]
    fn a_verb_is_told_by_its_form_or_not_at_all() {
        let found = |word: &str, next: &str, past| {
            finite(word, next, past).map(|f| format!("{} {} {:?}", f.third, f.base, f.kind))
        };
        let cases = [
            ("live", "in", "lives live Present"),
            ("went", "to", "went go Past"),
            ("adopted", "a", "adopted adopt Past"),
            ("am", "from", "is am Auxiliary"),
            ("have", "been", "has have Auxiliary"),
            ("have", "a", "has have Present"),
            ("had", "a", "had have Past"),
            ("retook", "a", "retook retake Past"),
            ("don't", "eat", "doesn't don't Auxiliary"),
            ("need", "a", "needs need Present"),
            ("run", "a", "runs run Present"),
        ];
        for (word, next, expected) in cases {
            assert_eq!(found(word, next, false).as_deref(), Some(expected));
        }
        assert_eq!(found("quit", "my", false), None);
        assert_eq!(found("quit", "my", true).as_deref(), Some("quit quit Past"));
        for word in ["gonna", "driving", "seen", "Thursday's", "the", "", "é", "a"] {
            assert_eq!(found(word, "", false), None, "{word}");
        }
    }
}
