//! What a node tells: logs, metrics, health. It knows no rules and asks nothing of the rest but through closures.

pub mod health;
pub mod logging;
pub mod metrics;
pub mod request_id;
