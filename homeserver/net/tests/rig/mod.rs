//! A network of our own on loopback: a DNS server, a certificate authority, and peers that write down what they see.
#![allow(dead_code, clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, unreachable_pub)]

pub mod authority;
pub mod dns;
pub mod peer;

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::atomic::{AtomicU8, Ordering},
};

/// A loopback address that nobody else uses (Linux answers on all of 127.0.0.0/8), so that it is free to listen on 8448 there.
pub fn loopback() -> IpAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [low, high, ..] = std::process::id().to_le_bytes();
    let host = NEXT.fetch_add(1, Ordering::Relaxed);
    assert_ne!(host, 0, "a test process has 255 addresses");
    IpAddr::V4(Ipv4Addr::new(127, 64 | (high & 0x3f), low, host))
}
