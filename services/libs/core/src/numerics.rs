//! What a loss is computed by, and how exactly.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What runs a network's forward passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// The engine that is made for processors: everything of a few images stays in the processor's cache.
    Cpu,
    /// Burn, on any of its devices.
    Burn,
}

/// How products are computed in forward passes. Sums are in float32 in all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// In float32.
    F32,
    /// Each float32 as the sum of two bfloat16, with the three products of two of them that matter: about 16 bits.
    SplitBf16,
    /// The same with weights rounded to one bfloat16, 8 bits: for previews.
    Bf16,
}

/// An engine and a precision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Numerics {
    /// What computes.
    pub engine: Engine,
    /// How exactly.
    pub precision: Precision,
}

impl Numerics {
    /// The engine and the precision that a numeric class names, as `burn-flex/f32/...` does; none where it names none
    /// that this version knows.
    #[must_use]
    pub fn of_class(class: &str) -> Option<Self> {
        let mut parts = class.split('/');
        let engine = parts.next()?.split('-').next()?.parse().ok()?;
        Some(Self { engine, precision: parts.next()?.parse().ok()? })
    }
}

/// What is asked for; what is left open is chosen when a surface begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct NumericRequest {
    /// The engine; none for the fastest that has all of the network's operators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<Engine>,
    /// The precision; none for the fastest that is as good as float32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision: Option<Precision>,
}

/// One of the words of a `T`, or `auto`, which leaves it open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrAuto<T>(pub Option<T>);

impl<T> Default for OrAuto<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: fmt::Display> fmt::Display for OrAuto<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(word) => word.fmt(f),
            None => f.write_str("auto"),
        }
    }
}

impl NumericRequest {
    /// Whether everything is left open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        *self == Self::default()
    }

    /// What both ask for; none where they contradict each other.
    #[must_use]
    pub fn and(self, other: Self) -> Option<Self> {
        let both = Self { engine: self.engine.or(other.engine), precision: self.precision.or(other.precision) };
        let is_same =
            both.engine == other.engine.or(self.engine) && both.precision == other.precision.or(self.precision);
        is_same.then_some(both)
    }

    /// Whether `numerics` are among what is asked for.
    #[must_use]
    pub fn allows(self, numerics: Numerics) -> bool {
        self.engine.is_none_or(|engine| engine == numerics.engine)
            && self.precision.is_none_or(|precision| precision == numerics.precision)
    }
}

impl Engine {
    /// The word in flags, files and numeric classes.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Burn => "burn",
        }
    }
}

impl Precision {
    /// The word in flags, files and numeric classes.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::SplitBf16 => "split-bf16",
            Self::Bf16 => "bf16",
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Numerics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.engine, self.precision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(engine: Option<Engine>, precision: Option<Precision>) -> NumericRequest {
        NumericRequest { engine, precision }
    }

    #[test]
    fn a_class_names_its_engine_and_its_precision() {
        let burn = Numerics { engine: Engine::Burn, precision: Precision::F32 };
        assert_eq!(Numerics::of_class("burn-flex/f32/avx512f/batch128/0.1.0+45c1"), Some(burn));
        let cpu = Numerics { engine: Engine::Cpu, precision: Precision::SplitBf16 };
        assert_eq!(Numerics::of_class("cpu/split-bf16/amx"), Some(cpu));
        for other in ["", "burn-flex", "abacus/f32", "cpu/f8/x"] {
            assert_eq!(Numerics::of_class(other), None, "{other}");
        }
    }

    #[test]
    fn two_requests_are_met_by_what_meets_both() {
        let (open, cpu) = (NumericRequest::default(), request(Some(Engine::Cpu), None));
        let short = request(None, Some(Precision::Bf16));
        assert!(open.is_open() && !cpu.is_open());
        assert_eq!(cpu.and(open), Some(cpu));
        assert_eq!(cpu.and(short), Some(request(Some(Engine::Cpu), Some(Precision::Bf16))));
        assert_eq!(cpu.and(request(Some(Engine::Burn), None)), None);
        assert_eq!(short.and(request(None, Some(Precision::F32))), None);
    }

    #[test]
    fn what_is_left_open_has_a_word() {
        for word in ["auto", "cpu", "burn"] {
            assert_eq!(word.parse::<OrAuto<Engine>>().map(|engine| engine.to_string()).as_deref(), Ok(word));
        }
        for word in ["auto", "f32", "split-bf16", "bf16"] {
            assert_eq!(word.parse::<OrAuto<Precision>>().map(|engine| engine.to_string()).as_deref(), Ok(word));
        }
        let error = "gpu".parse::<OrAuto<Engine>>().expect_err("no engine");
        assert_eq!(error.to_string(), "`gpu` is not one of auto, cpu, burn");
    }
}
