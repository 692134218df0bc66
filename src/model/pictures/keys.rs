//! The parameters of a model's configuration that begin with `frameserve.`, one by one.

use std::collections::BTreeMap;

use crate::error::Error;
use crate::frame::Size;

/// What they all begin with.
const PREFIX: &str = "frameserve.";

/// The longest side of a picture that can be asked for.
const MAX_SIDE: u32 = 16_384;

/// The parameters that were not read yet.
pub struct Keys<'a> {
    left: BTreeMap<&'a str, &'a str>,
}

/// A value and what may stand for it.
pub type Choice<T> = (&'static str, T);

impl<'a> Keys<'a> {
    /// Those of a configuration; `None` if it has none.
    pub fn of(parameters: &'a BTreeMap<String, String>) -> Option<Self> {
        let left: BTreeMap<&str, &str> = parameters
            .iter()
            .filter_map(|(key, value)| Some((key.strip_prefix(PREFIX)?, value.trim())))
            .collect();
        (!left.is_empty()).then_some(Keys { left })
    }

    /// One that may be left out.
    pub fn take(&mut self, key: &str) -> Option<&'a str> {
        self.left.remove(key)
    }

    /// One of these words.
    pub fn choice<T: Copy>(&mut self, key: &str, choices: &[Choice<T>]) -> Result<Option<T>, Error> {
        let Some(value) = self.take(key) else { return Ok(None) };
        match choices.iter().find(|(word, _)| *word == value) {
            Some((_, choice)) => Ok(Some(*choice)),
            None => {
                let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
                Err(wrong(key, value, &words.join(", ")))
            }
        }
    }

    /// A number, or a fraction like `1/255`, between these bounds.
    pub fn number(&mut self, key: &str, least: f64, most: f64) -> Result<Option<f64>, Error> {
        let Some(value) = self.take(key) else { return Ok(None) };
        let found = number(value).filter(|found| (least..=most).contains(found));
        match found {
            Some(found) => Ok(Some(found)),
            None if least == f64::MIN => Err(wrong(key, value, "a number, as `0.5` or `1/255`")),
            None => Err(wrong(key, value, &format!("a number from {least} to {most}"))),
        }
    }

    /// A whole number between these bounds.
    pub fn whole(&mut self, key: &str, least: u32, most: u32) -> Result<Option<u32>, Error> {
        let Some(value) = self.take(key) else { return Ok(None) };
        let found = digits(value).filter(|found| (least..=most).contains(found));
        let allowed = || format!("a whole number from {least} to {most}");
        found.map(Some).ok_or_else(|| wrong(key, value, &allowed()))
    }

    /// One of these names, as that of a port; the answer is its place.
    pub fn port<'n>(
        &mut self,
        key: &str,
        what: &str,
        names: impl Iterator<Item = &'n str> + Clone,
    ) -> Result<Option<usize>, Error> {
        let Some(value) = self.take(key) else { return Ok(None) };
        match names.clone().position(|name| name == value) {
            Some(index) => Ok(Some(index)),
            None => {
                let names: Vec<&str> = names.collect();
                Err(wrong(key, value, &format!("the name of an {what}: {}", names.join(", "))))
            }
        }
    }

    /// The first of those that were not read, if there is one.
    pub fn left(&self) -> Option<(&'a str, &'a str)> {
        self.left.first_key_value().map(|(key, value)| (*key, *value))
    }
}

/// The error for a value that can't be.
pub fn wrong(key: &str, value: &str, allowed: &str) -> Error {
    // Values can be long, and hold anything.
    let value: String = value.chars().map(|c| if c.is_control() { ' ' } else { c }).take(100).collect();
    Error::Load(format!("`{PREFIX}{key}` is `{value}`, which is none of what is allowed: {allowed}"))
}

/// The error for a value that does not go with another one.
pub fn conflict(key: &str, reason: &str) -> Error {
    Error::Load(format!("`{PREFIX}{key}`: {reason}"))
}

/// `WIDTHxHEIGHT`.
pub fn size(text: &str) -> Option<Size> {
    let (width, height) = text.split_once('x')?;
    Some(Size::new(side(width)?, side(height)?))
}

/// A side of a picture.
pub fn side(text: &str) -> Option<u32> {
    digits(text).filter(|side| (1..=MAX_SIDE).contains(side))
}

/// What [`size`] takes, in words.
pub fn size_rule() -> String {
    format!("sides are from 1 to {MAX_SIDE}")
}

/// A finite number, or one divided by another.
pub fn number(text: &str) -> Option<f64> {
    let one = |text: &str| text.trim().parse::<f64>().ok();
    let number = match text.split_once('/') {
        Some((above, below)) => one(above)? / one(below)?,
        None => one(text)?,
    };
    number.is_finite().then_some(number)
}

/// A number of nothing but digits, which `parse` would take a sign with.
pub fn digits(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}
