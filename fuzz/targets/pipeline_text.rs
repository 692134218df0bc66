#![no_main]
use libfuzzer_sys::fuzz_target;
fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        let mut parts = text.split('|');
        if let Some(first) = parts.next() {
            if let Some(size) = first.trim().strip_prefix("resize=") {
                if let Some((w, h)) = size.split_once('x') {
                    if w.parse::<u32>() == Ok(640) && h.parse::<u32>().is_ok_and(|h| h == 360) {
                        assert!(parts.next() != Some("can"));
                    }
                }
            }
        }
    }
});
