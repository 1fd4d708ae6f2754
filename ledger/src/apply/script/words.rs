//! Words of a script and what they stand for, both ways.

use super::*;

/// `12:00` or `12:00:05`, after midnight.
pub(super) fn second(text: &str) -> Seconds {
    if text == "open" {
        return Seconds::OPEN_END;
    }
    let mut parts = text.split(':').map(|part| part.parse::<u64>().unwrap());
    let (hours, minutes, seconds) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap_or(0));
    let unix_s = MIDNIGHT_UNIX_S + hours * 3600 + minutes * 60 + seconds;
    Seconds(u32::try_from(unix_s - LEDGER_EPOCH_UNIX_S).unwrap())
}

pub(super) fn instant(text: &str) -> Timestamp {
    second(text).timestamp()
}

pub(super) fn clock_text(at: Seconds) -> String {
    if at == Seconds::OPEN_END {
        return "open".to_owned();
    }
    let rest = at.unix_s() - MIDNIGHT_UNIX_S;
    let (hours, minutes, seconds) = (rest / 3600, rest / 60 % 60, rest % 60);
    if seconds == 0 { format!("{hours:02}:{minutes:02}") } else { format!("{hours:02}:{minutes:02}:{seconds:02}") }
}

/// `key=value` among the words.
pub(super) fn option<'a>(words: &[&'a str], key: &str) -> Option<&'a str> {
    words.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
}

/// A text of a script: `x*300` is 300 times x, and backslash t a tab, which no word can hold.
pub(super) fn text(word: &str) -> String {
    match word.rsplit_once('*').and_then(|(text, times)| Some((text, times.parse::<usize>().ok()?))) {
        Some((text, times)) => text.repeat(times),
        None => word.replace("\\t", "\t").replace("\\a", "\u{7}"),
    }
}

pub(super) fn number(words: &[&str], key: &str, default: u32) -> u32 {
    option(words, key).map_or(default, |value| value.parse().unwrap())
}

pub(super) fn flag(words: &[&str], key: &str) -> Option<bool> {
    option(words, key).map(|value| value == "true")
}

pub(super) fn set(words: &[&str], key: &str) -> BTreeSet<String> {
    let Some(value) = option(words, key) else { return BTreeSet::new() };
    match value.parse::<usize>() {
        // So many different ones.
        Ok(count) => (0..count).map(|number| format!("T_{number}")).collect(),
        Err(_) => value.split(',').map(text).collect(),
    }
}

pub(super) fn requirement(term: &str) -> Requirement {
    // vcpus>=4 style is hard to split inside key=value words, so a script writes need=key:op:value.
    let parts: Vec<&str> = term.split(':').collect();
    let comparison = match parts[1] {
        "eq" => Comparison::Equal,
        "ne" => Comparison::NotEqual,
        "ge" => Comparison::AtLeast,
        "le" => Comparison::AtMost,
        "gt" => Comparison::Above,
        _ => Comparison::Below,
    };
    Requirement { key: text(parts[0]), comparison, value: text(parts[2]) }
}

/// `prop=key:value`, and `props=300` for so many different ones.
pub(super) fn properties(words: &[&str]) -> BTreeMap<String, String> {
    let one = option(words, "prop").and_then(|prop| prop.split_once(':')).map(|(key, value)| (text(key), text(value)));
    one.into_iter().chain((0..number(words, "props", 0)).map(|number| (format!("key{number}"), "v".to_owned()))).collect()
}

/// `need=key:op:value`, and `terms=70` for so many that every host meets.
pub(super) fn requirements(words: &[&str]) -> Vec<Requirement> {
    let many = (0..number(words, "terms", 0)).map(|_| requirement("vcpus:ge:0"));
    option(words, "need").map(requirement).into_iter().chain(many).collect()
}

pub(super) fn step_named(text: &str) -> Step {
    match text {
        "hold" => Step::Hold,
        "prepare" => Step::Prepare,
        "open" => Step::StagingOpen,
        "close" => Step::StagingClose,
        "start" => Step::Start,
        "adjust" => Step::Adjust,
        "expire" => Step::Expire,
        "end" => Step::End,
        other => panic!("no step {other}"),
    }
}

pub(super) fn step_text(step: Step) -> &'static str {
    match step {
        Step::Hold => "hold",
        Step::Prepare => "prepare",
        Step::StagingOpen => "open",
        Step::StagingClose => "close",
        Step::Start => "start",
        Step::Adjust => "adjust",
        Step::Expire => "expire",
        Step::BeforeEnd => "before_end",
        Step::End => "end",
    }
}

/// `gain=600 lead=60`
pub(super) fn terms(words: &[&str]) -> crate::plan::Terms {
    crate::plan::Terms { lead_s: number(words, "lead", 60), gain_s: number(words, "gain", 600) }
}

/// The variant's name: scripts care which rejection it is; its texts are tested where they are made.
pub(super) fn rejection_text(rejection: &Rejection) -> String {
    let debug = format!("{rejection:?}");
    let name: String = debug.chars().take_while(char::is_ascii_alphanumeric).collect();
    match rejection {
        Rejection::Invalid { field, .. } | Rejection::CannotUpdate { field, .. } => format!("refused {name} {field}"),
        Rejection::QuotaExceeded(Excess { kind, limit, used, wanted, at, fits }) => {
            let wanted = wanted.map_or("open".to_owned(), |wanted| wanted.to_string());
            let at = at.filter(|at| at.unix_s() >= MIDNIGHT_UNIX_S).map_or("-".to_owned(), clock_text);
            format!("over {}: {wanted} beside {used} of {limit} at {at}, fits {fits}", kind.as_str())
        }
        Rejection::WrongStatus { status } => format!("refused {name} {}", status.as_str()),
        _ => format!("refused {name}"),
    }
}

pub(super) fn reason(text: &str) -> Reason {
    Reason { code: ReasonCode::CloudRefused, text: text.to_owned() }
}

/// `key=1 until=12:10`
pub(super) fn key(words: &[&str]) -> Option<RequestKey> {
    let id = option(words, "key")?.parse::<u128>().unwrap();
    let valid_until = option(words, "until").map_or_else(|| instant("33:00"), instant);
    let project_id = ProjectId(option(words, "project").unwrap_or("p").into());
    Some(RequestKey { project_id, id: Uuid::from_u128(id), valid_until })
}

pub(super) fn before_end(words: &[&str]) -> Option<BeforeEndWish> {
    option(words, "before").map(|before| match before {
        "never" => BeforeEndWish::Never,
        at if at.contains(':') => BeforeEndWish::At(second(at)),
        minutes => BeforeEndWish::SecondsBefore(minutes.parse::<u32>().unwrap() * 60),
    })
}
