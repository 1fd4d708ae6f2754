//! Free ports that stay ours over restarts of their process.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Result, bail};

/// Below Linux's range for outgoing connections, so that none takes a port while its process is down.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

static OFFSET: AtomicU16 = AtomicU16::new(0);

/// A loopback address nobody listens on. Each call gives another one; processes begin at different places.
pub fn free() -> Result<SocketAddr> {
    let base = (std::process::id().wrapping_mul(997) % u32::from(COUNT)) as u16;
    for _ in 0..COUNT {
        let offset = OFFSET.fetch_add(1, Ordering::Relaxed) % COUNT;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, FIRST + (base + offset) % COUNT));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    bail!("no free port between {FIRST} and {}", FIRST + COUNT)
}
