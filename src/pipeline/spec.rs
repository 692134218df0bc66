//! The text of a pipeline: one grammar, read and printed.
//!
//! ```text
//! pipeline = [ stage { "|" stage } ]
//! stage    = name [ "=" arg { "," arg } ]
//! arg      = [ name "=" ] value
//! value    = quoted | characters other than | , = ' "
//! quoted   = "'" … "'" | '"' … '"'        with \ before a quote or a \ that is meant as such
//! name     = a letter, then letters, digits, - and _
//! ```
//! Values without a name are taken in the order in which the stage declares its parameters. White space
//! around any of these means nothing. Where a stage's name is expected, a named pipeline's may stand, without
//! values: its stages take its place.

use std::fmt;

use super::names::Names;
use super::param::{Args, Param, Value};
use super::stage::StageKind;
use super::stages;
use crate::error::{Error, TextError};

/// Characters of the longest text that is read.
pub const MAX_TEXT: usize = 16_384;

/// Stages that named pipelines may expand to, before a server's own limit is asked.
const MOST_STAGES: usize = 4096;

/// A stage as it stands in a pipeline's text: which, and with what values.
#[derive(Debug, Clone)]
pub struct StageSpec {
    /// Which.
    pub kind: &'static StageKind,
    /// All values, the defaults among them.
    pub args: Args,
}

impl StageSpec {
    /// A stage of this name with some values given as text, as in `("low", "50")`.
    pub fn new(name: &str, args: &[(&str, &str)]) -> Result<Self, Error> {
        let unknown = || Error::Unknown { what: "stage", name: name.into(), hint: String::new() };
        Self::of(stages::find(name).ok_or_else(unknown)?, args)
    }

    /// The same for a stage of one's own.
    pub fn of(kind: &'static StageKind, args: &[(&str, &str)]) -> Result<Self, Error> {
        let wrong = |reason| Error::Stage { stage: kind.name, reason };
        if let Some((name, _)) =
            args.iter().find(|(name, _)| kind.params.iter().all(|param| param.name != *name))
        {
            return Err(wrong(format!("`{name}` is not {}", parameter_names(kind))));
        }
        let value = |param: &Param| {
            let given = args.iter().find(|(name, _)| *name == param.name).map(|(_, value)| *value);
            let text =
                given.or(param.default).ok_or_else(|| wrong(format!("`{}` must be given", param.name)))?;
            let outside = || wrong(format!("`{}` is `{text}`, and may be {}", param.name, param.range));
            param.range.parse(text).ok_or_else(outside)
        };
        let values = kind.params.iter().map(value).collect::<Result<_, Error>>()?;
        Ok(StageSpec { kind, args: Args::new(kind.params, values) })
    }
}

impl PartialEq for StageSpec {
    fn eq(&self, other: &Self) -> bool {
        self.kind.name == other.kind.name && self.args == other.args
    }
}

/// Reads a pipeline's text into stages.
pub fn parse(text: &str, names: &Names) -> Result<Vec<StageSpec>, Error> {
    if let Some((end, _)) = text.char_indices().nth(MAX_TEXT) {
        let (text, expected) = (text[..end].to_owned(), format!("at most {MAX_TEXT} characters"));
        return Err(TextError { text, at: MAX_TEXT, expected, found: "more".into() }.into());
    }
    Parser { chars: text.chars().collect(), at: 0, text, names }.pipeline()
}

struct Parser<'a> {
    chars: Vec<char>,
    at: usize,
    text: &'a str,
    names: &'a Names,
}

/// A value as it stands in the text.
struct Argument {
    name: Option<String>,
    at: usize,
    value: String,
    value_at: usize,
}

impl Parser<'_> {
    fn pipeline(&mut self) -> Result<Vec<StageSpec>, Error> {
        let mut stages = Vec::new();
        self.space();
        if self.peek().is_none() {
            return Ok(stages);
        }
        loop {
            self.stage(&mut stages)?;
            match self.peek() {
                None => return Ok(stages),
                Some('|') => self.at += 1,
                Some(_) => return Err(self.expected("`|` and another stage, or the end")),
            }
        }
    }

    fn stage(&mut self, stages: &mut Vec<StageSpec>) -> Result<(), Error> {
        self.space();
        let at = self.at;
        let Some(name) = self.name() else { return Err(self.expected("the name of a stage")) };
        self.space();
        let arguments = if self.peek() == Some('=') { self.arguments()? } else { Vec::new() };
        if let Some(kind) = stages::find(&name) {
            stages.push(self.fill_in(kind, arguments, at)?);
            return Ok(());
        }
        let Some(named) = self.names.find(&name) else {
            return Err(self.error(at, self.stage_names(&name)));
        };
        if let Some(argument) = arguments.first() {
            let expected = format!("no value, since `{name}` is a named pipeline");
            return Err(self.error(argument.at, expected));
        }
        if stages.len() + named.stages.len() > MOST_STAGES {
            return Err(
                self.error(at, format!("at most {MOST_STAGES} stages, those of named pipelines among them"))
            );
        }
        stages.extend_from_slice(&named.stages);
        Ok(())
    }

    fn arguments(&mut self) -> Result<Vec<Argument>, Error> {
        let mut arguments = Vec::new();
        while arguments.is_empty() && self.peek() == Some('=') || self.peek() == Some(',') {
            self.at += 1;
            arguments.push(self.argument()?);
        }
        Ok(arguments)
    }

    fn argument(&mut self) -> Result<Argument, Error> {
        self.space();
        let at = self.at;
        let name = self.name();
        self.space();
        if let (Some(name), Some('=')) = (name, self.peek()) {
            self.at += 1;
            self.space();
            let value_at = self.at;
            return Ok(Argument { name: Some(name), at, value: self.value()?, value_at });
        }
        self.at = at;
        Ok(Argument { name: None, at, value: self.value()?, value_at: at })
    }

    fn value(&mut self) -> Result<String, Error> {
        let at = self.at;
        if let Some(quote @ ('\'' | '"')) = self.peek() {
            self.at += 1;
            return self.quoted(quote, at);
        }
        while self.peek().is_some_and(|c| !"|,='\"".contains(c)) {
            self.at += 1;
        }
        let value: String = self.chars[at..self.at].iter().collect();
        let value = value.trim_end();
        if value.is_empty() {
            return Err(self.expected("a value"));
        }
        Ok(value.to_owned())
    }

    fn quoted(&mut self, quote: char, at: usize) -> Result<String, Error> {
        let mut value = String::new();
        loop {
            let c = self.peek();
            self.at += 1;
            match c {
                Some('\\') if matches!(self.peek(), Some('\\' | '\'' | '"')) => {
                    value.extend(self.peek());
                    self.at += 1;
                }
                Some(c) if c == quote => break,
                Some(c) => value.push(c),
                None => {
                    self.at = self.chars.len();
                    let expected =
                        format!("{quote}, which ends the text that begins at character {}", at + 1);
                    return Err(self.expected(&expected));
                }
            }
        }
        self.space();
        Ok(value)
    }

    /// Matches the values of the text with the parameters that the stage declares.
    fn fill_in(&self, kind: &'static StageKind, given: Vec<Argument>, at: usize) -> Result<StageSpec, Error> {
        let mut values: Vec<Option<Value>> = vec![None; kind.params.len()];
        let mut named = false;
        for (position, argument) in given.iter().enumerate() {
            let index = match &argument.name {
                Some(name) => {
                    named = true;
                    kind.params.iter().position(|param| param.name == name)
                }
                None if named => {
                    return Err(self.error(argument.at, "name=value, as before".into()));
                }
                None => Some(position).filter(|position| *position < kind.params.len()),
            };
            let Some(index) = index else {
                return Err(self.error(argument.at, parameter_names(kind)));
            };
            let param = &kind.params[index];
            if values[index].is_some() {
                return Err(self.error(argument.at, format!("`{}` only once", param.name)));
            }
            let Some(value) = param.range.parse(&argument.value) else {
                let expected = format!("for `{}` of `{}` {}", param.name, kind.name, param.range);
                return Err(self.error_at(argument.value_at, expected, format!("`{}`", argument.value)));
            };
            values[index] = Some(value);
        }
        let end =
            given.last().map_or(at + kind.name.len(), |last| last.value_at + last.value.chars().count());
        let mut all = Vec::with_capacity(values.len());
        for (value, param) in values.into_iter().zip(kind.params) {
            match value.or_else(|| param.default.and_then(|text| param.range.parse(text))) {
                Some(value) => all.push(value),
                None => {
                    let expected = format!("`{}` for `{}`: {}", param.name, kind.name, param.range);
                    return Err(self.error(end, expected));
                }
            }
        }
        Ok(StageSpec { kind, args: Args::new(kind.params, all) })
    }

    fn stage_names(&self, found: &str) -> String {
        let known = stages::KINDS.iter().map(|kind| kind.name).chain(self.names.iter().map(|(name, _)| name));
        let mut nearest: Vec<_> = known.map(|name| (distance(name, found), name)).collect();
        nearest.sort_unstable();
        let near: Vec<_> =
            nearest.iter().take_while(|(d, _)| *d <= 2).take(3).map(|(_, n)| format!("`{n}`")).collect();
        match near.as_slice() {
            [] => "the name of a stage (the client's `pipelines` lists them)".into(),
            near => format!("the name of a stage, such as {}", near.join(" or ")),
        }
    }

    fn name(&mut self) -> Option<String> {
        let from = self.at;
        self.peek().filter(char::is_ascii_alphabetic)?;
        while self.peek().is_some_and(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_') {
            self.at += 1;
        }
        Some(self.chars[from..self.at].iter().collect())
    }

    fn space(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn expected(&self, expected: &str) -> Error {
        self.error(self.at, expected.into())
    }

    fn error(&self, at: usize, expected: String) -> Error {
        let rest = &self.chars[at.min(self.chars.len())..];
        let word = rest.iter().take_while(|c| c.is_ascii_alphanumeric() || **c == '-' || **c == '_').count();
        let found = match rest {
            [] => "the end".into(),
            rest => format!("`{}`", rest.iter().take(word.clamp(1, 40)).collect::<String>()),
        };
        self.error_at(at, expected, found)
    }

    fn error_at(&self, at: usize, expected: String, found: String) -> Error {
        TextError { text: self.text.to_owned(), at, expected, found }.into()
    }
}

fn parameter_names(kind: &StageKind) -> String {
    let names: Vec<_> = kind.params.iter().map(|param| format!("`{}`", param.name)).collect();
    match names.as_slice() {
        [] => format!("no value: `{}` has no parameters", kind.name),
        names => format!("a parameter of `{}`: {}", kind.name, names.join(", ")),
    }
}

/// Levenshtein's: how many letters have to be changed, left out or added.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

impl fmt::Display for StageSpec {
    /// The canonical text: what is not the default, by position as far as that goes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.name)?;
        let mut printed = 0;
        for (position, (param, value)) in self.args.iter().enumerate() {
            if param.default.and_then(|text| param.range.parse(text)).as_ref() == Some(value) {
                continue;
            }
            f.write_str(if printed == 0 { "=" } else { "," })?;
            if printed != position {
                write!(f, "{}=", param.name)?;
            }
            write!(f, "{}", Quoted(&value.to_string()))?;
            printed += 1;
        }
        Ok(())
    }
}

/// Prints stages as a pipeline's text, which parses to the same stages.
pub fn print<'a>(stages: impl IntoIterator<Item = &'a StageSpec>) -> String {
    stages.into_iter().map(StageSpec::to_string).collect::<Vec<_>>().join(" | ")
}

/// A value in quotes where it could not stand without.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |c: char| !c.is_whitespace() && !"|,='\"\\".contains(c);
        if !self.0.is_empty() && self.0.chars().all(plain) {
            return f.write_str(self.0);
        }
        write!(f, "'{}'", self.0.replace('\\', "\\\\").replace('\'', "\\'"))
    }
}
