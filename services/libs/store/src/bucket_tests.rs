//! What becomes of a bucket that is not as it should be, and of the secrets on the way.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult,
};
use relief_test_s3::{ACCESS_KEY, S3Server, SECRET_KEY};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::cloud::Limits;
use crate::conformance::bucket_store;
use crate::error::{StoreError, StoreErrorKind, chain};
use crate::failure::Origin;
use crate::location::Cloud;
use crate::object::Objects;
use crate::secret::Secrets;
use crate::store::Store;

const TOKEN: &str = "passing/token+0123456789==";

/// So short that a test need not wait.
const SHORT: Limits = Limits {
    connect: Duration::from_millis(300),
    silence: Duration::from_millis(100),
    request: Duration::from_millis(300),
    n_retries: 1,
    retry_window: Duration::from_secs(1),
};

/// Variables with secrets that lead to `address`.
fn variables(address: SocketAddr) -> Vec<(String, String)> {
    [
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
        ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
        ("AWS_SESSION_TOKEN", TOKEN),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_ENDPOINT", &format!("http://{address}")),
        ("AZURE_STORAGE_ACCOUNT_NAME", "account"),
        ("AZURE_STORAGE_SAS_KEY", &format!("?sv=2024-01-01&sp=rw&sig={}", SECRET_KEY.replace('+', "%2B"))),
        ("AZURE_ALLOW_HTTP", "true"),
        ("AZURE_STORAGE_ENDPOINT", &format!("http://{address}/account")),
        ("GOOGLE_BEARER_TOKEN", TOKEN),
        ("GOOGLE_ALLOW_HTTP", "true"),
        ("GOOGLE_BASE_URL", &format!("http://{address}")),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

fn with(mut variables: Vec<(String, String)>, name: &str, value: &str) -> Vec<(String, String)> {
    variables.retain(|(there, _)| there != name);
    variables.push((name.to_owned(), value.to_owned()));
    variables
}

/// What `error` says in every form, checked to be without secrets.
fn told(error: &StoreError) -> String {
    let text = format!("{}\n{error:?}\n{error:#?}", chain(error));
    for secret in [ACCESS_KEY, SECRET_KEY, TOKEN, "sesame", "passing", "KEYHOLDER", "sig="] {
        assert!(!text.contains(secret), "{secret} is told: {text}");
    }
    chain(error)
}

/// The errors of every operation on a store that always fails, by what was done.
async fn errors_of(store: &Store) -> Vec<(&'static str, StoreError)> {
    let (objects, path) = (&store.objects, Path::from("a/b"));
    let large = Bytes::from(vec![0; 17 << 20]);
    vec![
        ("check", objects.check(true).await.expect_err("no check")),
        ("check", objects.check(false).await.expect_err("no check")),
        ("get", objects.get(&path).await.expect_err("no get")),
        ("exists", objects.exists(&path).await.expect_err("no look")),
        ("put", objects.put(&path, Bytes::from_static(b"x")).await.expect_err("no put")),
        ("put in parts", objects.put(&path, large).await.expect_err("no put")),
        ("put_new", objects.put_new(&path, Bytes::from_static(b"x")).await.expect_err("no put")),
        ("list", objects.list(&path).await.expect_err("no list")),
        ("list_children", objects.list_children(&path).await.expect_err("no list")),
        ("delete", objects.delete(&path).await.expect_err("no deletion")),
        ("delete_below", objects.delete_below(&path).await.expect_err("no deletion")),
    ]
}

const URLS: [&str; 3] = ["s3://bucket/prefix", "gs://bucket/prefix", "az://bucket/prefix"];

async fn assert_every_error_says(address: SocketAddr, urls: &[&str], parts: &[&str]) {
    for url in urls {
        let store = Store::open_with(url, &variables(address), SHORT).expect("a store");
        for (what, error) in errors_of(&store).await {
            assert_eq!(error.kind(), StoreErrorKind::Unavailable);
            let text = told(&error);
            assert!(text.contains(url) && text.contains(&address.to_string()), "{what}: {text}");
            assert!(parts.iter().all(|part| text.contains(part)), "{what}: {text}");
        }
    }
}

/// A server that reads requests, and answers with `status` and everything it was sent; or, without one, not at all.
async fn server(status: Option<&'static str>) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let server = tokio::spawn(async move {
        let mut silent = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let Some(status) = status else {
                silent.push(stream);
                continue;
            };
            tokio::spawn(async move {
                let mut request = Vec::new();
                while !request.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
                    let mut bytes = [0; 4096];
                    match stream.read(&mut bytes).await {
                        Ok(n_bytes @ 1..) => request.extend_from_slice(&bytes[..n_bytes]),
                        _ => return,
                    }
                }
                let request = String::from_utf8_lossy(&request);
                let body = format!(
                    "<?xml version=\"1.0\"?><Error><Code>SignatureDoesNotMatch</Code><Message>Not {ACCESS_KEY}, who has \
                     {SECRET_KEY}, {} and {TOKEN}.</Message><AWSAccessKeyId>{ACCESS_KEY}</AWSAccessKeyId>\
                     <CanonicalRequest>{request}</CanonicalRequest></Error>",
                    SECRET_KEY.replace('/', "%2F").replace('+', "%2B").replace('=', "%3D"),
                );
                let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
                let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
                // A body that is still on its way would reset the connection before the answer is read.
                let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
            });
        }
    });
    (address, server)
}

#[tokio::test]
async fn a_server_that_is_not_there_is_an_error_that_says_what_to_check() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    assert_every_error_says(address, &URLS, &["cannot be reached", "Connection refused", "and the network"]).await;
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_an_error_within_the_limits() {
    let (address, _server) = server(None).await;
    assert_every_error_says(address, &URLS, &["does not answer in time", "and the network"]).await;
}

#[tokio::test]
async fn refused_credentials_are_told_by_the_variables_to_check_and_never_by_their_values() {
    let (address, _server) = server(Some("403 Forbidden")).await;
    assert_every_error_says(address, &URLS, &["refuses the credentials (403 Forbidden", "check "]).await;
    let store = Store::open_with(URLS[0], &variables(address), SHORT).expect("a store");
    let text = told(&store.objects.get(&Path::from("a")).await.expect_err("no get"));
    assert!(text.contains("SignatureDoesNotMatch: Not ***, who has ***, *** and ***.)"), "{text}");
}

#[tokio::test]
async fn a_server_that_repeats_the_request_in_any_error_gives_no_secret_away() {
    for status in ["400 Bad Request", "500 Internal Server Error", "503 Slow Down", "301 Moved Permanently"] {
        let (address, _server) = server(Some(status)).await;
        for url in URLS {
            let store = Store::open_with(url, &variables(address), SHORT).expect("a store");
            for (_, error) in errors_of(&store).await {
                told(&error);
            }
        }
    }
}

#[tokio::test]
async fn another_secret_is_refused_by_a_server_that_checks_signatures() {
    let server = S3Server::start().await.expect("a server");
    for (name, wrong) in [("AWS_SECRET_ACCESS_KEY", "wrong/secret/0123456789"), ("AWS_ACCESS_KEY_ID", "STRANGER")] {
        let variables = with(server.variables(), name, wrong);
        let store = Store::open_with(&server.url("a"), &variables, Limits::default()).expect("a store");
        for (what, error) in errors_of(&store).await {
            let text = told(&error);
            assert!(text.contains("refuses the credentials"), "{what}: {text}");
            assert!(text.contains("AWS_ACCESS_KEY_ID") && !text.contains(wrong), "{what}: {text}");
        }
    }
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_not_an_empty_one() {
    let server = S3Server::start().await.expect("a server");
    let store = Store::open_with("s3://elsewhere/a", &server.variables(), Limits::default()).expect("a store");
    let text = told(&store.objects.check(false).await.expect_err("no bucket"));
    assert!(text.contains("s3://elsewhere/a") && text.contains("is not there (404"), "{text}");
}

#[tokio::test]
async fn a_bucket_is_checked_by_one_process_after_another() {
    let server = S3Server::start().await.expect("a server");
    for is_writer in [false, true, true, false] {
        bucket_store(&server).objects.check(is_writer).await.expect("a bucket in order");
    }
    assert!(server.bucket().join("a/prefix/store.json").is_file());
}

#[tokio::test]
async fn nothing_shows_what_a_store_is_configured_with() {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    for url in URLS {
        let store = Store::open_with(url, &variables(address), SHORT).expect("a store");
        let text = format!("{store:?} {store:#?}");
        assert!(text.contains(url), "{text}");
        assert!([ACCESS_KEY, SECRET_KEY, TOKEN, "sesame"].iter().all(|secret| !text.contains(secret)), "{text}");
    }
}

#[test]
fn settings_that_do_not_fit_are_refused_without_their_values() {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let endpoint = format!("http://KEYHOLDER:sesame@{address}");
    let key = format!("{{\"private_key\": \"{SECRET_KEY}\", \"private_key_id\": \"{ACCESS_KEY}\"}}");
    for (url, name, value, part) in [
        (URLS[0], "AWS_ENDPOINT", endpoint.as_str(), "AWS_ENDPOINT holds a user or a password"),
        (URLS[0], "AWS_ENDPOINT", "http://host?sig=sesame", "behind the path"),
        (URLS[0], "AWS_ALLOW_HTTP", "false", "AWS_ALLOW_HTTP=true"),
        (URLS[0], "AWS_TIMEOUT", "soon", "AWS_"),
        (URLS[1], "GOOGLE_SERVICE_ACCOUNT_KEY", &key, "GOOGLE_"),
        (URLS[1], "GOOGLE_SERVICE_ACCOUNT_KEY", SECRET_KEY, "GOOGLE_"),
        (URLS[1], "GOOGLE_SERVICE_ACCOUNT_KEY", &format!("\"{SECRET_KEY}\""), "GOOGLE_"),
        (URLS[1], "GOOGLE_SERVICE_ACCOUNT", &key, "GOOGLE_"),
        (URLS[2], "AZURE_STORAGE_ENDPOINT", &endpoint, "AZURE_STORAGE_ENDPOINT holds a user or a password"),
    ] {
        let error = Store::open_with(url, &with(variables(address), name, value), SHORT).expect_err("no store");
        assert_eq!(error.kind(), StoreErrorKind::Invalid);
        let text = told(&error);
        assert!(text.contains(url) && text.contains(part), "{text}");
    }
}

#[test]
fn empty_variables_and_those_of_other_clouds_count_for_nothing() {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let variables = with(with(variables(address), "AWS_TIMEOUT", ""), "GOOGLE_TIMEOUT", "soon");
    Store::open_with("s3://bucket", &with(variables, "AWS_BUCKET", "another"), SHORT).expect("a store");
}

#[tokio::test]
async fn a_server_that_ignores_conditions_is_refused() {
    let origin =
        || Origin { url: "s3://careless/a".to_owned(), endpoint: None, cloud: Cloud::S3, secrets: Secrets::default() };
    let objects = Objects::of_bucket(Arc::new(Careless(InMemory::new())), origin());
    objects.check(false).await.expect("good enough to read");
    for _ in 0..2 {
        let error = objects.check(true).await.expect_err("a careless server");
        assert_eq!(error.kind(), StoreErrorKind::Invalid);
        let text = error.to_string();
        assert!(
            text.contains("s3://careless/a ignores conditional writes") && text.contains("If-None-Match"),
            "{text}"
        );
    }
    let objects = Objects::of_bucket(Arc::new(InMemory::new()), origin());
    objects.check(true).await.expect("a careful server");
}

/// A store that puts whatever the condition.
#[derive(Debug)]
struct Careless(InMemory);

impl fmt::Display for Careless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("careless")
    }
}

#[async_trait]
impl ObjectStore for Careless {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        self.0.put_opts(location, payload, PutOptions { mode: PutMode::Overwrite, ..options }).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.0.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.0.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.0.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.0.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.0.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.0.copy_opts(from, to, options).await
    }
}
