//! Bytes, and what a message claims about them -> a picture or an error.
//!
//! For any bytes: decoding does not panic, a picture over the limit is refused by its header, and one that is
//! decoded has the size that the header says, or one as small as was asked for. The memory that it takes on
//! the way is bounded too: scripts/fuzz tells libFuzzer how much.
#![no_main]

use std::cell::RefCell;

use bytes::Bytes;
use frameserve::Error;
use frameserve::frame::codec::{Codec, Encoded, Need, Workbench};
use frameserve::frame::{PixelFormat, Size};
use frameserve::limits::Limits;
use libfuzzer_sys::fuzz_target;

/// Small, so that a picture which takes more memory than its pixels allow for stands out.
const MAX_PIXELS: u64 = 1 << 20;

/// The first bytes of an input: encoding, what is needed of the picture, width, height.
type Claims = [u8; 6];

thread_local! {
    // Kept from picture to picture, as the server's threads do: what one leaves behind must not harm the next.
    static BENCH: RefCell<Workbench> = RefCell::new(Workbench::new().expect("libjpeg-turbo has room for its handles"));
}

fuzz_target!(|input: &[u8]| {
    if let Some((claims, picture)) = input.split_first_chunk() {
        BENCH.with_borrow_mut(|bench| {
            if let Err(error) = decode(claims, Bytes::copy_from_slice(picture), bench) {
                assert!(!matches!(error, Error::Internal(_)), "a stranger's bytes are no fault of ours: {error}");
            }
        });
    }
});

fn decode(&[encoding, need, w0, w1, h0, h1]: &Claims, bytes: Bytes, bench: &mut Workbench) -> Result<(), Error> {
    let claimed = Size::new(u16::from_le_bytes([w0, w1]).into(), u16::from_le_bytes([h0, h1]).into());
    let encoded = match encoding {
        0 => match Codec::sniff(&bytes) {
            Some(codec) => Encoded::with_header(bytes, codec)?,
            None => return Ok(()),
        },
        1 => Encoded::with_header(bytes, Codec::Jpeg)?,
        2 => Encoded::with_header(bytes, Codec::Png)?,
        3 => Encoded::with_header(bytes, Codec::Webp)?,
        _ => Encoded::raw(bytes, PixelFormat::ALL[usize::from(encoding) % PixelFormat::ALL.len()], claimed)?,
    };
    let limits = Limits { max_pixels: MAX_PIXELS, ..Limits::default() };
    limits.check_pixels("the frame", encoded.size.width, encoded.size.height)?;

    let size = encoded.size;
    let at_least = (need & 2 != 0 && claimed.width > 0 && claimed.height > 0).then_some(claimed);
    let image = encoded.decode(Need { gray: need & 1 != 0, at_least }, bench)?;
    let decoded = image.size();
    match at_least {
        None => assert_eq!(decoded, size),
        Some(least) => {
            assert!(decoded.width <= size.width && decoded.height <= size.height, "{decoded:?} of {size:?}");
            assert!(decoded.width >= least.width.min(size.width), "{decoded:?} of {size:?} for {least:?}");
            assert!(decoded.height >= least.height.min(size.height), "{decoded:?} of {size:?} for {least:?}");
        }
    }
    bench.recycle(image);
    Ok(())
}
