//! Floating-point numbers in JSON, non-finite ones included: those are the texts `"NaN"`, `"Infinity"` and
//! `"-Infinity"`, as in Zarr metadata. For `#[serde(with = "relief_store::json_float")]`.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum JsonFloat {
    Number(f64),
    Text(String),
}

impl From<f64> for JsonFloat {
    fn from(value: f64) -> Self {
        if value.is_finite() {
            Self::Number(value)
        } else if value.is_nan() {
            Self::Text("NaN".to_owned())
        } else if value > 0.0 {
            Self::Text("Infinity".to_owned())
        } else {
            Self::Text("-Infinity".to_owned())
        }
    }
}

impl JsonFloat {
    fn value<E: de::Error>(self) -> Result<f64, E> {
        match self {
            Self::Number(value) => Ok(value),
            Self::Text(text) => match text.as_str() {
                "NaN" => Ok(f64::NAN),
                "Infinity" => Ok(f64::INFINITY),
                "-Infinity" => Ok(f64::NEG_INFINITY),
                _ => Err(E::custom(format!("`{text}` is not a number, NaN, Infinity or -Infinity"))),
            },
        }
    }
}

/// Writes `value`.
///
/// # Errors
/// When `serializer` fails.
pub fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    JsonFloat::from(*value).serialize(serializer)
}

/// Reads a value.
///
/// # Errors
/// When there is neither a number nor one of the three texts.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    JsonFloat::deserialize(deserializer)?.value()
}

/// The same for values that may be absent: null. For `#[serde(with = "relief_store::json_float::option")]`.
pub mod option {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::JsonFloat;

    /// Writes `value`.
    ///
    /// # Errors
    /// When `serializer` fails.
    pub fn serialize<S: Serializer>(value: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
        value.map(JsonFloat::from).serialize(serializer)
    }

    /// Reads a value or none.
    ///
    /// # Errors
    /// When there is neither null, a number nor one of the three texts.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
        Option::<JsonFloat>::deserialize(deserializer)?.map(JsonFloat::value).transpose()
    }
}
