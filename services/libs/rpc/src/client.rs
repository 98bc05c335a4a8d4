//! Channels to other services.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use tonic::transport::Channel;

use crate::trace::ClientTrace;

/// A connection to one server, made when it is first used and made again when it breaks.
pub type ClientChannel = ClientTrace<Channel>;

/// The largest message that clients and servers take: a picture, or the rows of a big surface.
pub const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// The address of a server, `http://host:port`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint(String);

/// Why a text is not an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an endpoint of the form http://HOST:PORT")]
pub struct EndpointError(String);

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || EndpointError(text.to_owned());
        let uri: tonic::transport::Uri = text.parse().map_err(|_| refuse())?;
        let is_plain = uri.scheme_str() == Some("http") && matches!(uri.path(), "" | "/") && uri.query().is_none();
        if is_plain && uri.host().is_some_and(|host| !host.is_empty()) {
            Ok(Self(text.trim_end_matches('/').to_owned()))
        } else {
            Err(refuse())
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns a channel to `endpoint` without waiting for a connection. A peer that falls silent is noticed within 15 s.
///
/// # Errors
/// When the endpoint cannot be used as an address.
pub fn connect(endpoint: &Endpoint) -> Result<ClientChannel, EndpointError> {
    let channel = Channel::from_shared(endpoint.0.clone())
        .map_err(|_| EndpointError(endpoint.0.clone()))?
        .connect_timeout(Duration::from_secs(5))
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(5))
        .keep_alive_while_idle(true)
        .tcp_nodelay(true)
        .connect_lazy();
    Ok(ClientTrace::new(channel))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_plain_http_addresses() {
        assert_eq!(
            "http://127.0.0.1:7373/".parse::<Endpoint>().map(|e| e.to_string()),
            Ok("http://127.0.0.1:7373".into())
        );
        for bad in ["127.0.0.1:7373", "ftp://x", "http://", "http://a/b", "", "http://a?b"] {
            assert!(bad.parse::<Endpoint>().is_err(), "{bad}");
        }
    }
}
