//! The URLs of stores.

use std::path::PathBuf;

use object_store::path::Path;

use crate::error::StoreError;

/// Where a store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Location {
    /// In this process.
    Memory,
    /// In a directory of this machine.
    Directory(PathBuf),
    /// In a bucket of a cloud, below a prefix, which may be empty.
    Bucket { cloud: Cloud, bucket: String, prefix: Path },
}

/// What kind of server keeps a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cloud {
    /// Amazon S3 and everything that speaks its protocol.
    S3,
    /// Google Cloud Storage.
    Gcs,
    /// Azure Blob Storage, where a bucket is called a container.
    Azure,
}

impl Cloud {
    pub(crate) const ALL: [Self; 3] = [Self::S3, Self::Gcs, Self::Azure];

    fn scheme(self) -> &'static str {
        match self {
            Self::S3 => "s3://",
            Self::Gcs => "gs://",
            Self::Azure => "az://",
        }
    }

    /// What the names of the environment variables that configure it begin with.
    pub(crate) fn variable_prefix(self) -> &'static str {
        match self {
            Self::S3 => "AWS_",
            Self::Gcs => "GOOGLE_",
            Self::Azure => "AZURE_",
        }
    }
}

impl Location {
    /// Reads `url`. The refusal shows it without what must stay secret.
    pub(crate) fn parse(url: &str) -> Result<Self, StoreError> {
        Self::read(url).map_err(|reason| refuse(url, reason))
    }

    fn read(url: &str) -> Result<Self, String> {
        if url == "memory://" {
            return Ok(Self::Memory);
        }
        if let Some(dir) = url.strip_prefix("file://") {
            return match dir.starts_with('/') {
                true => Ok(Self::Directory(dir.into())),
                false => Err("the directory is not absolute".to_owned()),
            };
        }
        let of_cloud = |cloud: Cloud| Some((cloud, url.strip_prefix(cloud.scheme())?));
        let Some((cloud, rest)) = Cloud::ALL.into_iter().find_map(of_cloud) else {
            return Err("the scheme is not supported".to_owned());
        };
        if rest.contains('@') {
            let prefix = cloud.variable_prefix();
            return Err(format!("a URL holds no credentials; they belong in the variables {prefix}..."));
        }
        if rest.contains(['?', '#']) {
            return Err("there is something behind the prefix".to_owned());
        }
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let is_plain = |char: char| char.is_ascii_alphanumeric() || matches!(char, '.' | '-' | '_');
        if bucket.is_empty() || bucket.starts_with('.') || !bucket.chars().all(is_plain) {
            return Err(format!("`{bucket}` is not the name of a bucket"));
        }
        if prefix.starts_with('/') {
            return Err("the prefix has an empty part".to_owned());
        }
        let prefix = Path::parse(prefix).map_err(|error| error.to_string())?;
        Ok(Self::Bucket { cloud, bucket: bucket.to_owned(), prefix })
    }
}

/// Returns the refusal of `url`.
pub(crate) fn refuse(url: &str, reason: impl ToString) -> StoreError {
    StoreError::Url { url: shown(url), reason: reason.to_string() }
}

/// `url` without a user, a password or a query. What stands before the last `@` is left out even where it would be a
/// part of the path: a password may hold a slash.
fn shown(url: &str) -> String {
    if url.starts_with("file:///") {
        return url.to_owned();
    }
    let (scheme, rest) = url.split_once("://").map_or(("", url), |(scheme, rest)| (&url[..scheme.len() + 3], rest));
    let (user, rest) = rest.rsplit_once('@').map_or(("", rest), |(_, rest)| ("***@", rest));
    match rest.find(['?', '#']) {
        Some(end) => format!("{scheme}{user}{}***", &rest[..=end]),
        None => format!("{scheme}{user}{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::StoreErrorKind;

    #[test]
    fn every_scheme_has_its_location() {
        let bucket = |cloud, bucket: &str, prefix: &str| Location::Bucket {
            cloud,
            bucket: bucket.to_owned(),
            prefix: Path::from(prefix),
        };
        for (url, expected) in [
            ("memory://", Location::Memory),
            ("file:///a b/%41", Location::Directory("/a b/%41".into())),
            ("s3://bucket", bucket(Cloud::S3, "bucket", "")),
            ("s3://bucket/", bucket(Cloud::S3, "bucket", "")),
            ("gs://my.bucket_1/a", bucket(Cloud::Gcs, "my.bucket_1", "a")),
            ("az://container/a/b/", bucket(Cloud::Azure, "container", "a/b")),
        ] {
            assert_eq!(Location::parse(url).expect("a location"), expected, "{url}");
        }
    }

    #[test]
    fn other_urls_are_refused_by_name() {
        for url in [
            "",
            "/tmp/a",
            "file://tmp/a",
            "file:/tmp/a",
            "memory:///a",
            "http://host/a",
            "s3:/bucket",
            "s3://",
            "s3:///a",
            "s3://../a",
            "s3://bucket/a/../b",
            "s3://bucket//a",
            "gs://b c/a",
        ] {
            let error = Location::parse(url).expect_err("no store");
            assert_eq!(error.kind(), StoreErrorKind::Invalid);
            let text = error.to_string();
            assert!(text.contains(&format!("`{url}`")), "{text}");
            for scheme in ["file:///", "memory://", "s3://", "gs://", "az://"] {
                assert!(text.contains(scheme), "{text}");
            }
        }
    }

    #[test]
    fn credentials_in_a_url_are_refused_and_not_repeated() {
        for url in [
            "s3://KEYHOLDER:OPENSESAME@bucket/a",
            "s3://KEYHOLDER:OPEN/SESAME@bucket/a",
            "gs://OPENSESAME@bucket",
            "az://container/a?sig=OPENSESAME",
            "az://container#OPENSESAME",
            "https://KEYHOLDER:OPENSESAME@host/a?b=OPENSESAME",
            "KEYHOLDER:OPENSESAME@bucket",
        ] {
            let error = Location::parse(url).expect_err("no store");
            let text = format!("{error} {error:?}");
            assert!(["KEYHOLDER", "OPEN", "SESAME"].iter().all(|secret| !text.contains(secret)), "{text}");
        }
        let text = Location::parse("s3://KEYHOLDER:OPENSESAME@bucket/a").expect_err("no store").to_string();
        assert!(text.contains("`s3://***@bucket/a`") && text.contains("AWS_"), "{text}");
    }
}
