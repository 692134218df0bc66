//! Holds a reply against the first one, mostly without taking it apart.

use bytes::Bytes;
use frameserve::client::InferenceClient;

/// What every reply must be like.
#[derive(Debug, PartialEq)]
pub struct Expected {
    /// The first reply up to its first tensor's data: names, types and shapes.
    head: Bytes,
    length: usize,
    outputs: Vec<Output>,
}

#[derive(Debug, PartialEq)]
struct Output {
    name: String,
    datatype: String,
    shape: Vec<i64>,
}

impl Expected {
    /// Made of the first reply; or why that is none.
    pub fn of(first: &Bytes) -> Result<Expected, String> {
        let (outputs, data) = take_apart(first)?;
        Ok(Expected { head: first.slice(..data), length: first.len(), outputs })
    }

    /// Fails unless the reply has the first one's outputs, of the same types and shapes.
    pub fn check(&self, reply: &Bytes) -> Result<(), String> {
        // As long, and the same up to the data: then it says the same of the data. Most replies do.
        if reply.len() == self.length && reply.starts_with(&self.head) {
            return Ok(());
        }
        let (outputs, _) = take_apart(reply)?;
        if outputs == self.outputs {
            return Ok(());
        }
        Err(format!("a reply has outputs {}, and the first one had {}", list(&outputs), list(&self.outputs)))
    }
}

/// The outputs, and where the first one's data begins.
fn take_apart(reply: &Bytes) -> Result<(Vec<Output>, usize), String> {
    let decoded = InferenceClient::decode(reply.clone())?;
    // The contents are parts of the reply's own memory. Where there are none, all of it must be the same.
    let data = decoded.raw_output_contents.iter().filter(|raw| !raw.is_empty());
    let data = data.map(|raw| raw.as_ptr() as usize - reply.as_ptr() as usize).min().unwrap_or(reply.len());
    let outputs = decoded.outputs.into_iter();
    let outputs =
        outputs.map(|output| Output { name: output.name, datatype: output.datatype, shape: output.shape });
    Ok((outputs.collect(), data))
}

fn list(outputs: &[Output]) -> String {
    let outputs =
        outputs.iter().map(|Output { name, datatype, shape }| format!("{name} {datatype} {shape:?}"));
    outputs.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reply as it lies on the wire (protocol buffers, wire types 2 and 0).
    fn reply(id: &str, shape: u8, data: &[u8]) -> Bytes {
        let field = |number: u8, bytes: &[u8]| [&[number << 3 | 2, bytes.len() as u8], bytes].concat();
        let output = [field(1, b"y"), field(2, b"UINT8"), field(3, &[shape])].concat();
        [field(3, id.as_bytes()), field(5, &output), field(6, data)].concat().into()
    }

    #[test]
    fn replies_of_the_same_shape_pass_whatever_they_hold() {
        let expected = Expected::of(&reply("a", 2, b"12")).unwrap();
        assert_eq!(expected.head.len(), expected.length - 2);
        expected.check(&reply("a", 2, b"98")).unwrap();
        expected.check(&reply("another", 2, b"98")).unwrap();
        let wrong = expected.check(&reply("a", 3, b"12")).unwrap_err();
        assert!(wrong.contains("y UINT8 [3]") && wrong.contains("y UINT8 [2]"), "{wrong}");
        assert!(expected.check(&Bytes::from_static(b"\xff\xff")).is_err());
    }
}
