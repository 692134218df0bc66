//! JSON as Python's `json.dumps(value, indent=2)` writes it, which is what TorchServe answers with.

use std::fmt::Write;

/// A text that grows from its beginning to its end.
#[derive(Debug, Default)]
pub struct Json {
    text: String,
    depth: usize,
    /// Something stands before, in the list or dict that is open.
    follows: bool,
}

impl Json {
    /// The whole text.
    pub fn into_text(self) -> String {
        self.text
    }

    /// A list of what `items` writes.
    pub fn list(&mut self, items: impl FnOnce(&mut Self)) {
        self.nested(['[', ']'], items);
    }

    /// A dict of what `entries` writes: a [`key`](Self::key) before each value.
    pub fn dict(&mut self, entries: impl FnOnce(&mut Self)) {
        self.nested(['{', '}'], entries);
    }

    /// One more place in a list.
    pub fn item(&mut self) {
        self.text.push_str(if self.follows { ",\n" } else { "\n" });
        (0..self.depth).for_each(|_| self.text.push_str("  "));
        self.follows = true;
    }

    /// One more key of a dict.
    pub fn key(&mut self, key: &str) {
        self.item();
        self.string(key);
        self.text.push_str(": ");
    }

    /// A string, in which nothing but ASCII stands.
    pub fn string(&mut self, string: &str) {
        self.text.push('"');
        for c in string.chars() {
            match c {
                '"' => self.text.push_str("\\\""),
                '\\' => self.text.push_str("\\\\"),
                '\n' => self.text.push_str("\\n"),
                '\r' => self.text.push_str("\\r"),
                '\t' => self.text.push_str("\\t"),
                '\u{8}' => self.text.push_str("\\b"),
                '\u{c}' => self.text.push_str("\\f"),
                ' '..='~' => self.text.push(c),
                c => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| {
                    let _always_fits = write!(self.text, "\\u{unit:04x}");
                }),
            }
        }
        self.text.push('"');
    }

    /// A number, as short as it can be and still be the same one.
    pub fn number(&mut self, number: f64) {
        if number.is_nan() {
            self.text.push_str("NaN");
        } else if number.is_infinite() {
            self.text.push_str(if number > 0.0 { "Infinity" } else { "-Infinity" });
        } else {
            let text = format!("{number:?}");
            // Python's exponents have a sign and two digits.
            match text.split_once('e') {
                None => self.text.push_str(&text),
                Some((digits, exponent)) => {
                    let (sign, exponent) =
                        exponent.strip_prefix('-').map_or(('+', exponent), |rest| ('-', rest));
                    let _always_fits = write!(self.text, "{digits}e{sign}{exponent:0>2}");
                }
            }
        }
    }

    /// A whole number.
    pub fn whole(&mut self, number: i128) {
        let _always_fits = write!(self.text, "{number}");
    }

    /// Yes or no.
    pub fn truth(&mut self, truth: Truth) {
        self.text.push_str(match truth {
            Truth::Yes => "true",
            Truth::No => "false",
        });
    }

    fn nested(&mut self, [open, close]: [char; 2], inside: impl FnOnce(&mut Self)) {
        self.text.push(open);
        self.depth += 1;
        self.follows = false;
        inside(self);
        self.depth -= 1;
        if self.follows {
            self.text.push('\n');
            (0..self.depth).for_each(|_| self.text.push_str("  "));
        }
        self.text.push(close);
        self.follows = true;
    }
}

/// Yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truth {
    /// `true`
    Yes,
    /// `false`
    No,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_python_writes_them() {
        for (number, text) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (0.1, "0.1"),
            (f64::from(0.282_519_6_f32), "0.28251960873603821".trim_end_matches('1')),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1.5e-7, "1.5e-07"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.25e100, "1.25e+100"),
            (5e-324, "5e-324"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "Infinity"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            let mut json = Json::default();
            json.number(number);
            assert_eq!(json.into_text(), text);
        }
    }

    #[test]
    fn nested_values_are_indented() {
        let mut json = Json::default();
        json.list(|json| {
            json.item();
            json.dict(|json| {
                json.key("a \"é\" 🐱\n");
                json.list(|json| {
                    for number in [1, 2] {
                        json.item();
                        json.whole(number);
                    }
                });
                json.key("b");
                json.number(0.5);
            });
            json.item();
            json.list(|_| {});
            json.item();
            json.dict(|_| {});
            json.item();
            json.truth(Truth::Yes);
        });
        let text = "[\n  {\n    \"a \\\"\\u00e9\\\" \\ud83d\\udc31\\n\": [\n      1,\n      2\n    ],\n    \"b\": 0.5\n  },\
                    \n  [],\n  {},\n  true\n]";
        assert_eq!(json.into_text(), text);
    }
}
