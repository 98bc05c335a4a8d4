//! What a bucket's backend says when it fails, told without what must stay secret.

use std::error::Error;

use crate::error::chain;
use crate::location::Cloud;
use crate::secret::Secrets;

/// Where a bucket is, and what must not be told of it.
#[derive(Debug)]
pub(crate) struct Origin {
    /// The store's URL.
    pub(crate) url: String,
    /// The server, unless it is the cloud's own.
    pub(crate) endpoint: Option<String>,
    pub(crate) cloud: Cloud,
    pub(crate) secrets: Secrets,
}

/// Why a request to a bucket failed. It has no source: a backend's own errors hold whole requests and answers.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(crate) struct BackendFailure {
    text: String,
    trouble: Trouble,
}

impl BackendFailure {
    /// The same for those who use the store without running it.
    pub(crate) fn summary(&self) -> &'static str {
        match self.trouble {
            Trouble::Credentials => "the store refuses the service's credentials",
            Trouble::Absent => "the store's bucket is not there",
            Trouble::Silent => "the store does not answer in time",
            Trouble::Unreachable => "the store cannot be reached",
            Trouble::Other => "the store failed",
        }
    }
}

/// What a failure means to whoever runs the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Credentials,
    Absent,
    Silent,
    Unreachable,
    Other,
}

/// Codes of S3 that speak of the credentials without the status that does.
const CREDENTIAL_CODES: [&str; 5] =
    ["InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "AuthenticationFailed"];

/// The most characters of a backend's own words.
const MAX_CHARS: usize = 240;

impl Origin {
    /// Says what `error` means.
    pub(crate) fn explain(&self, error: &object_store::Error) -> BackendFailure {
        let text = chain(error);
        let (detail, trouble) = match answer(&text) {
            Some(answer) => (answer.description(), trouble_of_answer(error, &answer)),
            None => (cause(error), trouble_of_silence(&text)),
        };
        let detail: String = self.secrets.scrub(&detail).chars().take(MAX_CHARS).collect();
        let store = match &self.endpoint {
            Some(endpoint) => format!("{} at {endpoint}", self.url),
            None => self.url.clone(),
        };
        let text = match trouble {
            Trouble::Credentials => format!("{store} refuses the credentials ({detail}); check {}", self.credentials()),
            Trouble::Absent => format!("{store} is not there ({detail}); check the name, and that the bucket exists"),
            Trouble::Silent => format!("{store} does not answer in time ({detail}); check {}", self.way()),
            Trouble::Unreachable => format!("{store} cannot be reached ({detail}); check {}", self.way()),
            Trouble::Other => format!("{store} failed ({detail})"),
        };
        BackendFailure { text, trouble }
    }

    fn credentials(&self) -> &'static str {
        match self.cloud {
            Cloud::S3 => "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION and what they may do",
            Cloud::Gcs => "GOOGLE_APPLICATION_CREDENTIALS or GOOGLE_SERVICE_ACCOUNT and what the account may do",
            Cloud::Azure => "AZURE_STORAGE_ACCOUNT_NAME, AZURE_STORAGE_ACCOUNT_KEY and what the account may do",
        }
    }

    fn way(&self) -> &'static str {
        match self.cloud {
            Cloud::S3 => "AWS_ENDPOINT, AWS_REGION and the network",
            Cloud::Gcs => "GOOGLE_BASE_URL and the network",
            Cloud::Azure => "AZURE_STORAGE_ACCOUNT_NAME, AZURE_STORAGE_ENDPOINT and the network",
        }
    }
}

/// What is told of an error's answer: never its body, in which servers repeat the request with what authorised it.
struct Answer {
    status: String,
    code: Option<String>,
    message: Option<String>,
}

impl Answer {
    fn description(&self) -> String {
        let Self { status, code, message } = self;
        let code = code.as_ref().map(|code| format!(", {code}")).unwrap_or_default();
        let message = message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
        format!("{status}{code}{message}")
    }
}

/// Reads the answer in the message of a backend, which has no other form.
fn answer(text: &str) -> Option<Answer> {
    let find = |lead: &str| text.find(lead).map(|start| &text[start + lead.len()..]);
    let (status, body) = match find("non-2xx status code: ") {
        Some(rest) => rest.split_once(": ").unwrap_or((rest, "")),
        None => ("an error", find("Server returned error response: ")?),
    };
    Some(Answer { status: status.trim().to_owned(), code: element(body, "Code"), message: element(body, "Message") })
}

/// The text of the first XML element of that name.
fn element(body: &str, name: &str) -> Option<String> {
    let (_, rest) = body.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    let text: String = text.chars().filter(|char| !char.is_control()).collect();
    Some(text).filter(|text| !text.is_empty())
}

/// What all the other errors come from, in one line.
fn cause(error: &dyn Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    // Behind a question mark there may be a signature.
    let words = last.to_string();
    let words = words.split_whitespace().map(|word| word.split_once('?').map_or(word, |(word, _)| word));
    words.collect::<Vec<_>>().join(" ")
}

fn trouble_of_answer(error: &object_store::Error, answer: &Answer) -> Trouble {
    use object_store::Error as Failure;
    let is_credential = answer.code.as_deref().is_some_and(|code| CREDENTIAL_CODES.contains(&code));
    match error {
        _ if is_credential => Trouble::Credentials,
        Failure::PermissionDenied { .. } | Failure::Unauthenticated { .. } => Trouble::Credentials,
        Failure::NotFound { .. } => Trouble::Absent,
        // Those of lists have no kind of their own.
        _ if answer.status.starts_with("401") || answer.status.starts_with("403") => Trouble::Credentials,
        _ if answer.status.starts_with("404") => Trouble::Absent,
        _ => Trouble::Other,
    }
}

fn trouble_of_silence(text: &str) -> Trouble {
    let has = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
    if has(&["169.254.169.254", "metadata", "credential", "OAuth", "token"]) {
        // No credentials are set, and whoever would hand them out is not there.
        Trouble::Credentials
    } else if has(&["(Connect)", "dns error", "tcp connect", "Connection refused"]) {
        Trouble::Unreachable
    } else if has(&["timed out", "timeout"]) {
        Trouble::Silent
    } else if has(&["error sending request"]) {
        Trouble::Unreachable
    } else {
        Trouble::Other
    }
}
