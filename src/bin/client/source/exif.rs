//! The one EXIF tag that matters here: which way up a JPEG is (CIPA DC-008, tag 0x0112).

/// Whether the picture's rows and columns are as it is to be looked at. What can't be read counts as upright.
pub fn is_upright(picture: &[u8]) -> bool {
    !matches!(orientation(picture), Some(2..=8))
}

fn orientation(jpeg: &[u8]) -> Option<u16> {
    let mut rest = jpeg.strip_prefix(&[0xff, 0xd8])?;
    loop {
        let [0xff, marker, high, low, ..] = *rest else { return None };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let segment = rest.get(4..2 + length)?;
        match (marker, segment.strip_prefix(b"Exif\0\0")) {
            (0xe1, Some(tiff)) => return orientation_in_tiff(tiff),
            // The picture itself: no more metadata before it.
            (0xda, _) => return None,
            _ => rest = &rest[2 + length..],
        }
    }
}

fn orientation_in_tiff(tiff: &[u8]) -> Option<u16> {
    let little = match tiff.get(..4)? {
        [b'I', b'I', 42, 0] => true,
        [b'M', b'M', 0, 42] => false,
        _ => return None,
    };
    let u16_at = |at: usize| {
        let bytes = tiff.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(if little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    };
    let first = tiff.get(4..8)?.try_into().ok()?;
    let directory = if little { u32::from_le_bytes(first) } else { u32::from_be_bytes(first) } as usize;
    let entries = usize::from(u16_at(directory)?);
    let at = (0..entries).map(|entry| directory + 2 + entry * 12).find(|at| u16_at(*at) == Some(0x0112))?;
    u16_at(at + 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jpeg(orientation: u8) -> Vec<u8> {
        let mut tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
        tiff.extend([orientation, 0, 0, 0]);
        let length = (2 + 6 + tiff.len()) as u16;
        let mut jpeg = vec![0xff, 0xd8, 0xff, 0xe0, 0, 4, 1, 2, 0xff, 0xe1];
        jpeg.extend(length.to_be_bytes());
        jpeg.extend(b"Exif\0\0");
        jpeg.extend(tiff);
        jpeg.extend([0xff, 0xda, 0, 2]);
        jpeg
    }

    #[test]
    fn sideways_is_seen() {
        assert!(is_upright(&jpeg(1)));
        assert!(!is_upright(&jpeg(6)));
        assert!(is_upright(b"\x89PNG") && is_upright(b""));
    }

    #[test]
    fn cut_short_is_no_panic() {
        let whole = jpeg(6);
        for end in 0..whole.len() {
            let _ = is_upright(&whole[..end]);
        }
        let mut absurd = whole;
        absurd[22..26].copy_from_slice(&[0xff; 4]);
        assert!(is_upright(&absurd));
    }
}
