//! How gRPC puts messages into the body of a request or response, for who moves large ones without copying them.
//! tonic copies what comes into a buffer of its own, and what goes out into the message that it encodes.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame};
use tonic::Status;
use tonic::body::Body;

/// Before each message: whether it is compressed, and its length.
pub const HEADER: usize = 5;

/// What goes before a message of so many bytes that is not compressed.
pub fn header(length: usize) -> Bytes {
    let mut header = BytesMut::with_capacity(HEADER);
    header.put_u8(0);
    // What is longer was refused before.
    header.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    header.freeze()
}

/// A body that begins with these pieces, which go out from where they lie.
pub fn begin_with(pieces: impl IntoIterator<Item = Bytes>, rest: Body) -> Body {
    let pieces = pieces.into_iter().filter(|piece| !piece.is_empty()).map(|piece| Ok(Frame::data(piece)));
    Body::new(Begun { first: pieces.collect(), rest })
}

/// The first message of a body.
pub enum First {
    /// It came in one piece of memory, without its header, and this is what comes behind it.
    Whole(Bytes, Body),
    /// It did not, or is compressed, or shorter or longer than it was to be: the body as it was.
    Other(Body),
}

/// Waits for the first message of a body, if it has so many bytes.
pub async fn first(mut body: Body, lengths: RangeInclusive<usize>) -> First {
    let mut seen = VecDeque::with_capacity(1);
    let (mut header, mut known) = ([0; HEADER], 0);
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let Some(data) = frame.as_ref().ok().and_then(Frame::data_ref) else {
            seen.push_back(frame);
            break;
        };
        let taken = data.len().min(HEADER - known);
        header[known..known + taken].copy_from_slice(&data[..taken]);
        known += taken;
        let [compressed, length @ ..] = header;
        let length = u32::from_be_bytes(length) as usize;
        let wanted = known < HEADER || compressed == 0 && lengths.contains(&length);
        let came = data.len() - taken;
        if wanted && known == HEADER && came >= length {
            let (message, behind) = (data.slice(taken..taken + length), data.slice(taken + length..));
            return First::Whole(message, begin_with([behind], body));
        }
        seen.push_back(frame);
        // Many send the header by itself.
        if !wanted || came > 0 {
            break;
        }
    }
    First::Other(Body::new(Begun { first: seen, rest: body }))
}

/// What has been taken of a body or is put before it, and the rest.
struct Begun {
    first: VecDeque<Result<Frame<Bytes>, Status>>,
    rest: Body,
}

impl HttpBody for Begun {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.first.pop_front() {
            Some(frame) => Poll::Ready(Some(frame)),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_empty() && self.rest.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    const MESSAGE: &[u8] = b"a message";

    /// A body of these pieces.
    fn body(pieces: &[&[u8]]) -> Body {
        let pieces: Vec<Bytes> = pieces.iter().map(|piece| Bytes::copy_from_slice(piece)).collect();
        begin_with(pieces, Body::empty())
    }

    /// All of the body, and its first message by itself if that came in one piece.
    async fn split(body: Body, lengths: RangeInclusive<usize>) -> (Option<Bytes>, Bytes) {
        let (message, body) = match first(body, lengths).await {
            First::Whole(message, body) => (Some(message), body),
            First::Other(body) => (None, body),
        };
        (message, body.collect().await.unwrap().to_bytes())
    }

    #[tokio::test]
    async fn a_message_in_one_piece_is_taken_out_and_any_other_stays() {
        let header = header(MESSAGE.len());
        let all = [&header, MESSAGE].concat();
        let behind = [&all[..], b"more"].concat();
        let taken = Some(Bytes::from_static(MESSAGE));
        let none = Bytes::new();
        for pieces in [
            &[&header, MESSAGE][..],
            &[&all],
            &[&header[..2], &header[2..], MESSAGE],
            &[&header[..1], &all[1..]],
        ] {
            assert_eq!(split(body(pieces), 9..=9).await, (taken.clone(), none.clone()), "{pieces:?}");
        }
        assert_eq!(split(body(&[&behind]), 0..=99).await, (taken.clone(), Bytes::from_static(b"more")));
        assert_eq!(split(body(&[&[0; HEADER]]), 0..=0).await, (Some(none.clone()), none));
        let compressed = [&[1], &all[1..]].concat();
        for (pieces, lengths) in [
            (&[&all[..7], &all[7..]][..], 0..=99),
            (&[&all], 10..=99),
            (&[&all], 0..=8),
            (&[&compressed], 0..=99),
            (&[&all[..3]], 0..=99),
            (&[&header], 0..=99),
            (&[], 0..=99),
        ] {
            let (message, left) = split(body(pieces), lengths).await;
            assert_eq!((message, &left[..]), (None, &pieces.concat()[..]), "{pieces:?}");
        }
    }

    #[tokio::test]
    async fn what_ends_a_body_in_its_message_is_kept() {
        let broken = http_body_util::StreamBody::new(tokio_stream::iter([
            Ok(Frame::data(header(MESSAGE.len()))),
            Err(Status::cancelled("gone")),
        ]));
        let First::Other(body) = first(Body::new(broken), 0..=99).await else { panic!("it did not come") };
        let status = body.collect().await.unwrap_err();
        assert_eq!((status.code(), status.message()), (tonic::Code::Cancelled, "gone"));
    }
}
