//! The header of a safetensors file, of which its reader takes the last of equal names in silence.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

/// The first name that a safetensors file gives twice, if there is one. What else is wrong with it is not found here.
pub(crate) fn repeated_name(file: &[u8]) -> Option<String> {
    let len = usize::try_from(u64::from_le_bytes(*file.first_chunk()?)).ok()?;
    let header = file.get(8..)?.get(..len)?;
    serde_json::from_slice::<Repeated>(header).ok()?.0
}

/// The first key of a JSON object that it has twice.
struct Repeated(Option<String>);

impl<'de> Deserialize<'de> for Repeated {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;

        impl<'de> Visitor<'de> for Keys {
            type Value = Repeated;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Repeated, A::Error> {
                let mut seen = HashSet::new();
                let mut repeated = None;
                while let Some((key, IgnoredAny)) = map.next_entry::<String, IgnoredAny>()? {
                    if seen.contains(&key) {
                        repeated.get_or_insert(key);
                    } else {
                        seen.insert(key);
                    }
                }
                Ok(Repeated(repeated))
            }
        }

        deserializer.deserialize_map(Keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str) -> Vec<u8> {
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), b"data"].concat()
    }

    #[test]
    fn the_first_name_that_is_given_twice_is_found() {
        assert_eq!(repeated_name(&file(r#"{"a":{"x":1},"b":2,"c":{},"b":{"x":1},"a":0}"#)), Some("b".to_owned()));
        // Keys of one tensor say nothing about another.
        assert_eq!(repeated_name(&file(r#"{"a":{"x":1},"x":{"x":2}}"#)), None);
    }

    #[test]
    fn files_without_a_whole_header_have_no_names() {
        let whole = file(r#"{"a":1,"a":2}"#);
        for end in 0..whole.len() - 4 {
            assert_eq!(repeated_name(&whole[..end]), None);
        }
        assert_eq!(repeated_name(&[0xff; 20]), None);
        assert_eq!(repeated_name(&file("[1, 2]")), None);
    }
}
