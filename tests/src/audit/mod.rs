//! Judging from the cloud's own record whether promises were kept. Shares no code with the product and reads none of its
//! logs: what the cloud did not see did not happen.
//!
//! [`History`] sorts the record by server, token and flavor; [`judge`] holds the promises against it; [`double_booked`]
//! replays it host by host.

mod history;
mod promise;
mod room;

pub use history::{History, ServerEvent, TokenEvent, class_of};
pub use promise::{End, Finding, Promise, judge};
pub use room::double_booked;
