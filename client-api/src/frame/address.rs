//! Where a request comes from.

use axum::extract::{ConnectInfo, FromRequestParts};
use http::{HeaderMap, request::Parts};
use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

/// The client's address: the socket's peer, or, where that is loopback (a proxy on this machine), the last entry of
/// `X-Forwarded-For`, which that proxy wrote. Unspecified (`0.0.0.0`) when called in-process.
#[derive(Debug, Clone, Copy)]
pub struct ClientAddress(pub IpAddr);

impl ClientAddress {
    /// The address behind a request's parts.
    #[must_use]
    pub fn of(parts: &Parts) -> Self {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
        match peer {
            Some(peer) if peer.is_loopback() => Self(forwarded(&parts.headers).unwrap_or(peer)),
            Some(peer) => Self(peer),
            None => Self(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for ClientAddress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(parts))
    }
}

fn forwarded(headers: &HeaderMap) -> Option<IpAddr> {
    let entries = headers.get_all("x-forwarded-for").iter().next_back()?.to_str().ok()?;
    entries.rsplit(',').next()?.trim().parse().ok()
}
