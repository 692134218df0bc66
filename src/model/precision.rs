//! The floating point numbers that models compute with.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;

/// What a model's 32-bit numbers are computed with. What goes in and comes out stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// 32 bits, as they are.
    #[default]
    Fp32,
    /// 32 bits, of which GPUs may round the factors of products to 10 for the fraction, which is several times as fast on
    /// those that have units for it. libtorch has one switch for the whole process.
    Tf32,
    /// 16 bits, of which 10 for the fraction: twice as fast on most GPUs, and slower on most processors.
    Fp16,
    /// 16 bits, of which 7 for the fraction, with the range of 32.
    Bf16,
}

impl Precision {
    /// Whether models are changed for it, so that some may not run.
    pub fn is_narrow(self) -> bool {
        matches!(self, Precision::Fp16 | Precision::Bf16)
    }
}

impl FromStr for Precision {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "fp32" => Ok(Precision::Fp32),
            "tf32" => Ok(Precision::Tf32),
            "fp16" => Ok(Precision::Fp16),
            "bf16" => Ok(Precision::Bf16),
            text => {
                let (value, range) = (format!("`{text}`"), "fp32, tf32, fp16 or bf16".into());
                Err(Error::Range { what: "--precision", value, range })
            }
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Precision::Fp32 => "fp32",
            Precision::Tf32 => "tf32",
            Precision::Fp16 => "fp16",
            Precision::Bf16 => "bf16",
        })
    }
}
