//! What the simulated cloud promises to whoever tests against it.
#![allow(clippy::unwrap_used)]

mod captures;
mod compute;
mod faults;
mod http;
mod images;
mod placement;
mod record;
mod support;
