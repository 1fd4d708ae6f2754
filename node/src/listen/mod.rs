//! Listening: connections up to a limit and with an end, and TLS towards clients. Used by both edges, the metrics, and the
//! service for peers.

pub mod accept;
pub mod date;
pub mod tls;
