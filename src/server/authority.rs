//! The name of the server in requests over a Unix domain socket: gRPC's C library, and with it Python's, makes one of the
//! socket's path (`run%2Fx.sock`), which HTTP does not allow, so that every call would be refused.
//!
//! Names are made names on the way in, at the same length, by which HTTP/2's frames and its compression of headers
//! (RFC 7541) stay as they are.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::writes::writes_through;

const PREFACE_BYTES: usize = 24;
const FRAME_HEADER_BYTES: usize = 9;
const PRIORITY_BYTES: usize = 5;

const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

const AUTHORITY: &[u8] = b":authority";
/// Its place in the table that every connection begins with.
const AUTHORITY_INDEX: usize = 1;

/// A stream of a client whose name for the server need not be one.
pub struct Renamed<S> {
    stream: S,
    frames: Frames,
}

/// Where in HTTP/2's frames the next byte is.
struct Frames {
    at: At,
    fields: Fields,
}

#[derive(Clone, Copy)]
enum At {
    /// In what has no headers: so many bytes are left.
    Elsewhere(usize),
    /// In the header of a frame, of which so many bytes have come.
    Header { bytes: [u8; FRAME_HEADER_BYTES], have: usize },
    /// Before the fields: so many bytes are left, the first of which is that of `padded` frames. Then come so many bytes
    /// of fields, and of padding.
    Before { left: usize, padded: bool, fields: usize, padding: usize },
    /// In the fields: so many bytes are left, and then so many of padding.
    Fields { left: usize, padding: usize },
}

/// Where in a list of compressed header fields the next byte is.
#[derive(Default)]
struct Fields {
    part: Part,
    /// The field is `:authority`.
    is_authority: bool,
    /// Its value was encoded by Huffman's code, and is replaced as a whole.
    replaced: bool,
}

#[derive(Clone, Copy, Default)]
enum Part {
    #[default]
    Field,
    Length(Number),
    /// Further bytes of a number.
    More {
        number: Number,
        value: usize,
        shift: u32,
    },
    Name {
        left: usize,
        same: usize,
        length: usize,
    },
    Value {
        left: usize,
    },
    /// What can't be read here is not HTTP/2, and its reader will say so.
    Lost,
}

/// What a number stands for.
#[derive(Clone, Copy)]
enum Number {
    /// A field that has been sent before, or a new size of the table: nothing follows.
    Alone,
    /// The index of a field's name, or zero.
    NameIndex,
    NameLength,
    ValueLength,
}

impl<S> Renamed<S> {
    pub fn new(stream: S) -> Self {
        Renamed { stream, frames: Frames { at: At::Elsewhere(PREFACE_BYTES), fields: Fields::default() } }
    }
}

impl Frames {
    /// Looks at the bytes that come next, and changes those of names.
    fn pass(&mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            let passed = match &mut self.at {
                At::Elsewhere(left) => {
                    let passed = bytes.len().min(*left);
                    self.at = elsewhere(*left - passed);
                    passed
                }
                At::Header { bytes: header, have } => {
                    header[*have] = bytes[0];
                    *have += 1;
                    if *have == FRAME_HEADER_BYTES {
                        let header = *header;
                        self.at = self.begin(header);
                    }
                    1
                }
                At::Before { left, padded, fields, padding } => {
                    if std::mem::take(padded) {
                        *padding = usize::from(bytes[0]).min(*fields);
                        *fields -= *padding;
                    }
                    *left -= 1;
                    if *left == 0 {
                        self.at = At::Fields { left: *fields, padding: *padding };
                    }
                    1
                }
                At::Fields { left: 0, padding } => {
                    self.at = elsewhere(*padding);
                    0
                }
                At::Fields { left, .. } => {
                    self.fields.pass(&mut bytes[0]);
                    *left -= 1;
                    1
                }
            };
            bytes = &mut bytes[passed..];
        }
    }

    fn begin(&mut self, header: [u8; FRAME_HEADER_BYTES]) -> At {
        let [high, middle, low, kind, flags, ..] = header;
        let length = u32::from_be_bytes([0, high, middle, low]) as usize;
        let padded = flags & PADDED != 0;
        let priority = if flags & PRIORITY != 0 { PRIORITY_BYTES } else { 0 };
        let before = priority + usize::from(padded);
        match kind {
            HEADERS => {
                self.fields = Fields::default();
                match before {
                    0 => At::Fields { left: length, padding: 0 },
                    before => {
                        At::Before { left: before, padded, fields: length.saturating_sub(before), padding: 0 }
                    }
                }
            }
            CONTINUATION => At::Fields { left: length, padding: 0 },
            _ => elsewhere(length),
        }
    }
}

fn elsewhere(left: usize) -> At {
    match left {
        0 => At::Header { bytes: [0; FRAME_HEADER_BYTES], have: 0 },
        left => At::Elsewhere(left),
    }
}

impl Fields {
    fn pass(&mut self, byte: &mut u8) {
        self.part = match self.part {
            Part::Field => {
                let (number, bits) = match *byte {
                    0x80.. => (Number::Alone, 7),
                    0x40.. => (Number::NameIndex, 6),
                    0x20.. => (Number::Alone, 5),
                    _ => (Number::NameIndex, 4),
                };
                self.begin(number, *byte, bits)
            }
            Part::Length(number) => {
                if matches!(number, Number::ValueLength) && self.is_authority {
                    self.replaced = *byte & 0x80 != 0;
                    *byte &= 0x7f;
                }
                self.begin(number, *byte, 7)
            }
            Part::More { number, value, shift } => {
                let value = value + (usize::from(*byte & 0x7f) << shift);
                match (*byte & 0x80, shift) {
                    (0, _) => self.after(number, value),
                    (_, 21..) => Part::Lost,
                    (_, shift) => Part::More { number, value, shift: shift + 7 },
                }
            }
            Part::Name { left, same, length } => {
                let same = same + usize::from(AUTHORITY.get(length - left) == Some(byte));
                if left == 1 {
                    self.is_authority = same == AUTHORITY.len() && length == same;
                    Part::Length(Number::ValueLength)
                } else {
                    Part::Name { left: left - 1, same, length }
                }
            }
            Part::Value { left } => {
                if self.is_authority {
                    *byte = if self.replaced { b'x' } else { named(*byte) };
                }
                if left == 1 { Part::Field } else { Part::Value { left: left - 1 } }
            }
            Part::Lost => Part::Lost,
        }
    }

    /// After the first byte of a number, which has so many bits of it.
    fn begin(&mut self, number: Number, byte: u8, bits: u32) -> Part {
        let most = (1 << bits) - 1;
        match usize::from(byte) & most {
            value if value < most => self.after(number, value),
            value => Part::More { number, value, shift: 0 },
        }
    }

    /// What comes after a number.
    fn after(&mut self, number: Number, value: usize) -> Part {
        match (number, value) {
            (Number::Alone, _) | (Number::ValueLength, 0) => Part::Field,
            (Number::NameIndex, 0) => Part::Length(Number::NameLength),
            (Number::NameIndex, index) => {
                self.is_authority = index == AUTHORITY_INDEX;
                Part::Length(Number::ValueLength)
            }
            (Number::NameLength, 0) => {
                self.is_authority = false;
                Part::Length(Number::ValueLength)
            }
            (Number::NameLength, length) => Part::Name { left: length, same: 0, length },
            (Number::ValueLength, left) => Part::Value { left },
        }
    }
}

/// A character that can stand in a server's name, in place of one that can't.
fn named(byte: u8) -> u8 {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b':' | b'[' | b']' => byte,
        _ => b'-',
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Renamed<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buffer);
        this.frames.pass(&mut buffer.filled_mut()[before..]);
        read
    }
}

writes_through!([S: AsyncWrite + Unpin] Renamed<S>, stream);

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u32).to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    /// What becomes of it, in pieces of every size.
    fn passed(frames: &[Vec<u8>]) -> Vec<u8> {
        let sent = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frames.concat()].concat();
        let in_pieces = |size| {
            let mut passing = Frames { at: At::Elsewhere(PREFACE_BYTES), fields: Fields::default() };
            let mut bytes = sent.clone();
            bytes.chunks_mut(size).for_each(|piece| passing.pass(piece));
            bytes.split_off(PREFACE_BYTES)
        };
        let whole = in_pieces(sent.len());
        for size in 1..sent.len() {
            assert_eq!(in_pieces(size), whole, "in pieces of {size}");
        }
        whole
    }

    #[test]
    fn a_path_becomes_a_name_wherever_it_stands() {
        // `:path: /%2F`, with the index of its name; then the name in full, as gRPC's C library sends it.
        let path = [&[0x44, 4][..], b"/%2F"].concat();
        let full = |value: &[u8]| [&[0x40, 10][..], b":authority", &[value.len() as u8], value].concat();
        let fields = |value: &[u8]| [&[0x83, 0x3f, 0xe1, 0x1f][..], &path, &full(value), &path].concat();
        let settings = frame(4, 0, &[0, 1, 0, 0, 0x10, 0]);
        let data = frame(0, 1, &full(b"a%2F"));
        for (flags, before, after) in
            [(4, &[][..], &[][..]), (0x24, &[0, 0, 0, 0, 9], &[]), (0x2c, &[2, 0, 0, 0, 0, 9], &[0, 0])]
        {
            let with = |value: &[u8]| {
                let headers = frame(1, flags, &[before, &fields(value), after].concat());
                vec![settings.clone(), headers, data.clone(), settings.clone()]
            };
            assert_eq!(passed(&with(b"run%2Fx.sock")), with(b"run-2Fx.sock").concat(), "flags {flags}");
            assert_eq!(passed(&with(b"localhost:7")), with(b"localhost:7").concat());
        }
    }

    #[test]
    fn a_long_one_goes_on_in_the_next_frame() {
        let path = "p%".repeat(150);
        let field = |path: &str| [&[0x41, 0x7f, 0xad, 0x01][..], path.as_bytes()].concat();
        let frames = |path: &str| {
            let field = field(path);
            vec![frame(1, 0, &field[..7]), frame(9, 4, &field[7..])]
        };
        assert_eq!(passed(&frames(&path)), frames(&path.replace('%', "-")).concat());
    }

    #[test]
    fn one_in_huffmans_code_is_replaced() {
        let frames = |length: u8, value: &[u8]| vec![frame(1, 4, &[&[0x01, length][..], value].concat())];
        assert_eq!(passed(&frames(0x83, &[1, 2, 3])), frames(3, b"xxx").concat());
    }

    #[test]
    fn what_is_no_http2_does_not_matter() {
        let endless = frame(1, 4, &[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(passed(std::slice::from_ref(&endless)), endless);
        let all_padding = frame(1, 0x2c, &[255, 0, 0]);
        assert_eq!(passed(std::slice::from_ref(&all_padding)).len(), all_padding.len());
    }
}
