//! What must not be told.

use std::fmt;

/// The credentials of a store, to be taken out of whatever a backend says.
#[derive(Clone, Default)]
pub(crate) struct Secrets(Vec<String>);

/// Parts of the names of variables that hold credentials, as opposed to where credentials are.
const WORDS: [&str; 5] = ["KEY", "SECRET", "TOKEN", "PASSWORD", "SAS"];

/// Endings of the names of variables that say where something is.
const PLACES: [&str; 4] = ["_FILE", "_PATH", "_URI", "_ENABLED"];

/// What a shorter text would hide of a message says more than the text.
const MIN_BYTES: usize = 4;

impl Secrets {
    /// Collects what is secret in the variables of a store.
    pub(crate) fn of<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut secrets = Self::default();
        for (name, value) in variables {
            let is_place = PLACES.iter().any(|ending| name.ends_with(ending));
            let is_named = !is_place && WORDS.iter().any(|word| name.contains(word));
            // A path that is JSON is a key that was put into the wrong variable.
            if is_named || value.contains(['{', '\n']) {
                secrets.add(value);
                secrets.add_parts(value);
            }
            if let Some(user) = user_of(value) {
                secrets.add(user);
                user.split(':').for_each(|part| secrets.add(part));
            }
        }
        // The longest first: what is part of another must not tear it apart.
        secrets.0.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.0.dedup();
        secrets
    }

    /// The texts inside a key of Google's, and the values of a shared access signature.
    fn add_parts(&mut self, value: &str) {
        if value.contains('{') {
            value.split('"').for_each(|part| {
                self.add(part);
                self.add(&part.replace("\\n", "\n"));
            });
        }
        if value.contains("sig=") {
            value.split(['&', '?']).filter_map(|pair| pair.split_once('=')).for_each(|(name, value)| {
                if name == "sig" {
                    self.add(value);
                }
            });
        }
    }

    fn add(&mut self, secret: &str) {
        let secret = secret.trim();
        if secret.len() < MIN_BYTES {
            return;
        }
        let encoded = |is_kept: fn(u8) -> bool| {
            let byte = |byte: u8| if is_kept(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
            secret.bytes().map(byte).collect::<String>()
        };
        self.0.push(secret.to_owned());
        self.0.push(encoded(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)));
        self.0.push(secret.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;"));
    }

    /// Returns `text` without any of them.
    pub(crate) fn scrub(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| text.replace(secret, "***"))
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(***)")
    }
}

/// The user and the password in a URL.
pub(crate) fn user_of(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let end = rest.find(['?', '#']).unwrap_or(rest.len());
    rest[..end].rsplit_once('@').map(|(user, _)| user)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_secret_is_taken_out_in_every_form() {
        let secrets = Secrets::of([
            ("AWS_ACCESS_KEY_ID", "KEYHOLDER"),
            ("AWS_SECRET_ACCESS_KEY", "open/sesame+1"),
            ("AWS_SESSION_TOKEN", "open/sesame+1&more"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", "/var/token"),
            ("AWS_PROXY_URL", "http://proxyuser:proxypass@host:1"),
            ("AZURE_STORAGE_SAS_KEY", "?sv=2024&sig=signature%3D"),
            ("GOOGLE_SERVICE_ACCOUNT", r#"{"private_key": "-----BEGIN\nabcdef"}"#),
        ]);
        let text = "KEYHOLDER open/sesame+1 open%2Fsesame%2B1 open/sesame+1&amp;more proxypass sig=signature%3D \
                    abcdef-----BEGIN\nabcdef us-east-1 /var/token host:1";
        let scrubbed = secrets.scrub(text);
        for secret in ["KEYHOLDER", "sesame", "more", "proxypass", "signature", "BEGIN"] {
            assert!(!scrubbed.contains(secret), "{scrubbed}");
        }
        assert!(scrubbed.ends_with(" us-east-1 /var/token host:1"), "{scrubbed}");
        assert_eq!(format!("{secrets:?}"), "Secrets(***)");
    }

    #[test]
    fn only_what_is_before_a_host_is_a_user() {
        assert_eq!(user_of("http://a:b@host/c"), Some("a:b"));
        assert_eq!(user_of("http://host/c"), None);
        assert_eq!(user_of("a:b@host"), None);
    }
}
