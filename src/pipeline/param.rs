//! Parameters of stages: what they may be, and what they are.
//!
//! A stage declares its parameters once, in a table; parsing, validation, printing, `Describe` and the
//! program's help all read that table.

use std::fmt;

use crate::frame::Size;

/// One parameter of a stage.
#[derive(Debug, Clone, Copy)]
pub struct Param {
    /// As it is written: `size`.
    pub name: &'static str,
    /// What it may be.
    pub range: Range,
    /// As it would be written; without one it must be given.
    pub default: Option<&'static str>,
    /// One sentence, with the unit.
    pub doc: &'static str,
    /// With some of its values, and not with all, the stage keeps something from frame to frame.
    pub keeps_state: bool,
}

/// The values that a parameter may have; bounds are included.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Range {
    /// Whole numbers.
    Integer(i32, i32),
    /// Odd whole numbers.
    Odd(i32, i32),
    /// Numbers.
    Number(f64, f64),
    /// `WIDTHxHEIGHT`, each from 1 to this.
    Size(u32),
    /// `#rrggbb` or one of [`COLORS`].
    Color,
    /// So many characters.
    Text(usize),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// `true` or `false`.
    Flag,
}

/// The value of a parameter.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Of an [`Range::Integer`] or [`Range::Odd`].
    Integer(i32),
    /// Of a [`Range::Number`]; finite.
    Number(f64),
    /// Of a [`Range::Size`].
    Size(Size),
    /// Of a [`Range::Color`].
    Color(Color),
    /// Of a [`Range::Text`].
    Text(String),
    /// Of a [`Range::Choice`].
    Choice(&'static str),
    /// Of a [`Range::Flag`].
    Flag(bool),
}

/// An 8-bit color.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Color {
    /// Red.
    pub red: u8,
    /// Green.
    pub green: u8,
    /// Blue.
    pub blue: u8,
}

/// Colors that have a name.
pub const COLORS: [(&str, Color); 9] = [
    ("black", Color::new(0, 0, 0)),
    ("white", Color::new(255, 255, 255)),
    ("gray", Color::new(128, 128, 128)),
    ("red", Color::new(255, 0, 0)),
    ("green", Color::new(0, 255, 0)),
    ("blue", Color::new(0, 0, 255)),
    ("yellow", Color::new(255, 255, 0)),
    ("cyan", Color::new(0, 255, 255)),
    ("magenta", Color::new(255, 0, 255)),
];

impl Param {
    /// A parameter that must be given.
    pub const fn new(name: &'static str, range: Range, doc: &'static str) -> Self {
        Param { name, range, default: None, doc, keeps_state: false }
    }

    /// The same, where some of its values make the stage keep something from frame to frame, and others do not.
    pub const fn keeping_state(self) -> Self {
        Param { keeps_state: true, ..self }
    }

    /// The same with a default.
    pub const fn or(self, default: &'static str) -> Self {
        Param { default: Some(default), ..self }
    }
}

impl Range {
    /// The word for this type in `Describe`.
    pub fn type_name(&self) -> &'static str {
        match self {
            Range::Integer(..) | Range::Odd(..) => "integer",
            Range::Number(..) => "number",
            Range::Size(_) => "size",
            Range::Color => "color",
            Range::Text(_) => "text",
            Range::Choice(_) => "choice",
            Range::Flag => "flag",
        }
    }

    /// Least and greatest value, for numbers.
    pub fn bounds(&self) -> Option<(f64, f64)> {
        match *self {
            Range::Integer(min, max) | Range::Odd(min, max) => Some((min.into(), max.into())),
            Range::Number(min, max) => Some((min, max)),
            Range::Size(max) => Some((1.0, max.into())),
            Range::Color | Range::Text(_) | Range::Choice(_) | Range::Flag => None,
        }
    }

    /// Reads a value; `None` if the text is none of this range.
    pub fn parse(&self, text: &str) -> Option<Value> {
        match *self {
            Range::Integer(min, max) => integer(text, min, max).map(Value::Integer),
            Range::Odd(min, max) => integer(text, min, max).filter(|n| n % 2 != 0).map(Value::Integer),
            Range::Number(min, max) => {
                text.parse().ok().filter(|n| (min..=max).contains(n)).map(Value::Number)
            }
            Range::Size(max) => {
                let (width, height) = text.split_once(['x', 'X'])?;
                let side = |side: &str| side.parse().ok().filter(|n| (1..=max).contains(n));
                Some(Value::Size(Size::new(side(width)?, side(height)?)))
            }
            Range::Color => Color::from_text(text).map(Value::Color),
            Range::Text(max) => (text.chars().count() <= max).then(|| Value::Text(text.into())),
            Range::Choice(words) => words.iter().find(|word| **word == text).map(|word| Value::Choice(word)),
            Range::Flag => text.parse().ok().map(Value::Flag),
        }
    }
}

fn integer(text: &str, min: i32, max: i32) -> Option<i32> {
    text.parse().ok().filter(|n| (min..=max).contains(n))
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Range::Integer(min, max) => write!(f, "a whole number, {min} to {max}"),
            Range::Odd(min, max) => write!(f, "an odd number, {min} to {max}"),
            Range::Number(min, max) => write!(f, "a number, {min} to {max}"),
            Range::Size(max) => write!(f, "WIDTHxHEIGHT, each 1 to {max}"),
            Range::Color => {
                f.write_str("#rrggbb")?;
                COLORS.iter().try_for_each(|(name, _)| write!(f, ", {name}"))
            }
            Range::Text(max) => write!(f, "text of at most {max} characters"),
            Range::Choice([first, others @ ..]) => {
                f.write_str(first)?;
                let last = others.len().saturating_sub(1);
                others
                    .iter()
                    .enumerate()
                    .try_for_each(|(i, word)| write!(f, "{}{word}", if i == last { " or " } else { ", " }))
            }
            Range::Choice([]) => f.write_str("nothing"),
            Range::Flag => f.write_str("true or false"),
        }
    }
}

impl Color {
    /// From its parts.
    pub const fn new(red: u8, green: u8, blue: u8) -> Self {
        Color { red, green, blue }
    }

    /// As OpenCV draws it on a BGR picture.
    pub fn bgr(self) -> opencv::core::Scalar {
        opencv::core::Scalar::new(self.blue.into(), self.green.into(), self.red.into(), 0.0)
    }

    /// As OpenCV draws it on a gray picture: its luma, ITU-R BT.601, rounded as OpenCV rounds it when it makes
    /// a picture gray. So it is the same whether a color is drawn before that or after.
    pub fn luma(self) -> opencv::core::Scalar {
        let part = |weight: u32, sample: u8| weight * u32::from(sample);
        let sum = part(9798, self.red) + part(19_235, self.green) + part(3735, self.blue);
        opencv::core::Scalar::all(f64::from((sum + (1 << 14)) >> 15))
    }

    fn from_text(text: &str) -> Option<Self> {
        if let Some((_, color)) = COLORS.iter().find(|(name, _)| *name == text) {
            return Some(*color);
        }
        let digits =
            text.strip_prefix('#').filter(|d| d.len() == 6 && d.bytes().all(|b| b.is_ascii_hexdigit()))?;
        let part = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).ok();
        Some(Color::new(part(0)?, part(2)?, part(4)?))
    }
}

impl fmt::Display for Color {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match COLORS.iter().find(|(_, color)| color == self) {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "#{:02x}{:02x}{:02x}", self.red, self.green, self.blue),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Integer(n) => write!(f, "{n}"),
            Value::Number(n) => write!(f, "{n}"),
            Value::Size(size) => write!(f, "{size}"),
            Value::Color(color) => write!(f, "{color}"),
            Value::Text(text) => f.write_str(text),
            Value::Choice(word) => f.write_str(word),
            Value::Flag(flag) => write!(f, "{flag}"),
        }
    }
}

/// The values of a stage's parameters, in the order in which it declares them, each within its range.
#[derive(Debug, Clone, PartialEq)]
pub struct Args {
    params: &'static [Param],
    values: Vec<Value>,
}

impl PartialEq for Param {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.range == other.range
    }
}

impl Args {
    /// `values` must stand for `params`, one each.
    pub(super) fn new(params: &'static [Param], values: Vec<Value>) -> Self {
        debug_assert_eq!(params.len(), values.len());
        Args { params, values }
    }

    /// Parameters with their values.
    pub fn iter(&self) -> impl Iterator<Item = (&'static Param, &Value)> {
        self.params.iter().zip(&self.values)
    }

    fn value(&self, name: &str) -> &Value {
        match self.iter().find(|(param, _)| param.name == name) {
            Some((_, value)) => value,
            None => panic!("the stage declares no parameter `{name}`"),
        }
    }
}

/// One accessor for each type. They panic where a stage asks for what its own table does not declare, which
/// the test that builds every stage finds.
macro_rules! accessors {
    ($($(#[$doc:meta])* $name:ident: $variant:ident -> $type:ty;)*) => {
        impl Args {
            $($(#[$doc])*
            pub fn $name(&self, name: &str) -> $type {
                match self.value(name) {
                    Value::$variant(value) => value.clone(),
                    other => panic!("parameter `{name}` is {other:?}"),
                }
            })*
        }
    };
}

accessors! {
    /// A whole number.
    integer: Integer -> i32;
    /// A number.
    number: Number -> f64;
    /// Width and height.
    size: Size -> Size;
    /// A color.
    color: Color -> Color;
    /// Text.
    text: Text -> String;
    /// A word from a closed set.
    choice: Choice -> &'static str;
    /// Yes or no.
    flag: Flag -> bool;
}
