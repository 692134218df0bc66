//! A configuration's text: protobuf's text format or JSON, to the message that both stand for.

use std::path::Path;
use std::sync::LazyLock;

use miette::Diagnostic;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};

use crate::error::Error;
use crate::proto::inference::ModelConfig;

/// Bytes of the longest configuration that is read.
pub const MAX_BYTES: u64 = 1 << 20;

/// Messages within messages. `ModelConfig` itself has five; what is deeper is written to exhaust the stack.
const MAX_DEPTH: usize = 32;

/// A configuration in the two forms in which it is looked at.
#[derive(Debug)]
pub struct Parsed {
    /// To walk over its fields without naming them.
    pub tree: DynamicMessage,
    /// To read its values.
    pub message: ModelConfig,
}

impl Parsed {
    /// From the text of a config.pbtxt.
    pub fn from_text(text: &str) -> Result<Self, Error> {
        let scanned = Scanned::of(text)?;
        let tree = DynamicMessage::parse_text_format(description(), &scanned.text).map_err(|error| {
            let label = error.labels().and_then(|mut labels| labels.next());
            let at = label.map_or(text.len(), |label| scanned.place(label.offset()));
            at_place(text, at, &error.to_string())
        })?;
        Self::from_tree(tree)
    }

    /// From JSON, with the fields' names as they are or in camelCase.
    pub fn from_json(text: &str) -> Result<Self, Error> {
        if text.len() as u64 > MAX_BYTES {
            return Err(too_long(text.len() as u64));
        }
        let unreadable = |error: serde_json::Error| Error::Load(error.to_string());
        let mut json = serde_json::Deserializer::from_str(text);
        let tree = DynamicMessage::deserialize(description(), &mut json).map_err(unreadable)?;
        json.end().map_err(unreadable)?;
        Self::from_tree(tree)
    }

    fn from_tree(tree: DynamicMessage) -> Result<Self, Error> {
        let message = tree.transcode_to().map_err(|error| Error::Load(error.to_string()))?;
        Ok(Parsed { tree, message })
    }
}

/// What `inference.ModelConfig` consists of.
pub fn description() -> MessageDescriptor {
    static DESCRIPTION: LazyLock<MessageDescriptor> = LazyLock::new(|| {
        let pool =
            DescriptorPool::decode(crate::proto::DESCRIPTORS).expect("the compiler of protocols wrote it");
        pool.get_message_by_name("inference.ModelConfig").expect("the protocol defines it")
    });
    DESCRIPTION.clone()
}

/// A text file of bounded length; `None` if there is no such file.
pub fn read_file(path: &Path, max: u64) -> Result<Option<String>, Error> {
    let unreadable = |error: std::io::Error| Error::Load(format!("can't be read: {error}"));
    let length = match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        metadata => metadata.map_err(unreadable)?.len(),
    };
    if length > max {
        return Err(Error::Load(format!("it has {length} bytes, and the limit is {max}")));
    }
    std::fs::read_to_string(path).map(Some).map_err(unreadable)
}

/// A configuration that is longer than any that somebody wrote.
pub fn too_long(bytes: u64) -> Error {
    Error::Load(format!("a configuration of {bytes} bytes, and the limit is {MAX_BYTES}"))
}

fn at_place(text: &str, at: usize, reason: &str) -> Error {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Error::Load(format!("line {line}, column {column}: {reason}"))
}

/// A text as the parser takes it: it wants a colon before every list, and the format lets that be left out, which
/// everybody does who writes `input [ ... ]`.
struct Scanned {
    text: String,
    /// Where colons were put in, as offsets in this text.
    colons: Vec<usize>,
}

impl Scanned {
    /// Refuses a text that goes too deep: the parser calls itself for each message, and knows a notation by which
    /// messages of any type can stand within each other.
    fn of(text: &str) -> Result<Self, Error> {
        let mut scanned = Scanned { text: String::with_capacity(text.len()), colons: Vec::new() };
        let (mut depth, mut quote, mut comment, mut escaped) = (0_usize, None, false, false);
        let mut before = ' ';
        for (at, c) in text.char_indices() {
            match (c, quote) {
                _ if comment => comment = c != '\n',
                _ if escaped => escaped = false,
                ('\\', Some(_)) => escaped = true,
                // A string ends with its line, too: the parser refuses it there.
                ('\n', Some(_)) => quote = None,
                (c, Some(end)) if c == end => quote = None,
                (_, Some(_)) => {}
                ('"' | '\'', None) => quote = Some(c),
                ('#', None) => comment = true,
                ('{' | '<', None) => depth += 1,
                ('}' | '>', None) => depth = depth.saturating_sub(1),
                ('[', None) if before.is_ascii_alphanumeric() || before == '_' => {
                    scanned.colons.push(scanned.text.len());
                    scanned.text.push(':');
                }
                _ => {}
            }
            if depth > MAX_DEPTH {
                return Err(at_place(
                    text,
                    at,
                    &format!("more than {MAX_DEPTH} messages stand within each other"),
                ));
            }
            if !comment && !c.is_whitespace() {
                before = c;
            }
            scanned.text.push(c);
        }
        Ok(scanned)
    }

    /// The place in the text as it was written.
    fn place(&self, at: usize) -> usize {
        at - self.colons.partition_point(|colon| *colon < at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_notations_say_the_same() {
        let text = "name: 'm' # a comment\ninput [ { name: \"x\" data_type: TYPE_FP32 dims: [ -1, 3 ] } ]\n\
                    parameters { key: 'k' value { string_value: 'v' } }";
        let snake = r#"{"name": "m", "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": ["-1", 3]}],
                        "parameters": {"k": {"string_value": "v"}}}"#;
        let text = Parsed::from_text(text).unwrap().message;
        assert_eq!(text, Parsed::from_json(snake).unwrap().message);
        let camel = snake.replace("data_type", "dataType").replace("string_value", "stringValue");
        assert_eq!(text, Parsed::from_json(&camel).unwrap().message);
        assert_eq!((text.input[0].dims.as_slice(), text.input[0].data_type), ([-1, 3].as_slice(), 11));
    }

    #[test]
    fn errors_name_the_place() {
        for (text, place) in [
            ("name: 'm'\n  nmae: 'x'", "line 2, column 3: field 'nmae' not found"),
            ("max_batch_size: 9999999999", "line 1, column 17: expected value to be a signed 32-bit"),
            ("input [ { data_type: TYPE_FP31 } ]", "line 1, column 22: value 'TYPE_FP31' was not found"),
            ("name: 'm'\ninput [", "line 2, column 8: expected '{' or '<', but reached end of input"),
            ("name: 'a' name: 'b'", "line 1, column 17: 'name' is already set"),
            ("input[ { name: 'x' dims [ 1 ] nmae: 1 } ]", "line 1, column 31: field 'nmae' not found"),
            (
                "input # [ name\n\t[ { dims[1] dims [1] 'x' } ]",
                "line 2, column 23: expected '}' or a field name",
            ),
            (
                "dynamic_batching {} sequence_batching {}",
                "line 1, column 39: a value is already set for oneof",
            ),
        ] {
            let error = Parsed::from_text(text).unwrap_err().to_string();
            assert!(error.starts_with(place), "{error}");
        }
        for (json, place) in [("{\n \"nmae\": 1}", "nmae"), ("{}\n x", "line 2 column 2"), ("", "line 1")] {
            let error = Parsed::from_json(json).unwrap_err().to_string();
            assert!(error.contains(place), "{error}");
        }
    }

    #[test]
    fn depth_and_length_are_bounded() {
        let deep = "[a/inference.ModelConfig] {".repeat(20_000);
        let error = Parsed::from_text(&deep).unwrap_err().to_string();
        assert!(error.contains("more than 32 messages"), "{error}");
        let deep = "{\"input\":[".repeat(20_000);
        assert!(Parsed::from_json(&deep).is_err());
        let strings = format!("name: \"{}\\\"{{\" # {}", "{".repeat(50), "<".repeat(50));
        assert!(Parsed::from_text(&strings).unwrap().message.name.len() > 50);
        assert!(Parsed::from_json(&" ".repeat(2 << 20)).is_err());
    }
}
