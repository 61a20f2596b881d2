//! Ports for servers that are stopped and started again.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Result, bail};

/// Below the range from which Linux takes the ports of outgoing connections: a server that is away for a minute must find
/// its port free when it comes back.
const FIRST: u16 = 18_000;
const COUNT: u16 = 13_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A port on which nothing listens at the moment, and that no other call in this process has given.
pub fn free_port() -> Result<u16> {
    // Processes that run at the same time start at different places.
    let start = (std::process::id().wrapping_mul(37) % u32::from(COUNT)) as u16;
    for _ in 0..COUNT {
        let offset = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + (start.wrapping_add(offset)) % COUNT;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port from {FIRST} on")
}
