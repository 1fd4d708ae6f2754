//! Who holds which interval of which host: exact step functions (scheduling-design T1). Derived, never stored or hashed.
#![allow(unused_variables)]

use crate::model::{Amounts, HostId, Interval, Seconds};

/// The booked amounts of every host over time.
#[derive(Clone, Debug, Default)]
pub struct Calendar {}

impl Calendar {
    /// The most booked at any instant of the interval, class by class.
    pub fn peak(&self, host: HostId, interval: Interval) -> Amounts {
        unimplemented!()
    }
    /// The most booked at any instant from `from` on: what the hold must cover (scheduling-design §1).
    pub fn peak_from(&self, host: HostId, from: Seconds) -> Amounts {
        unimplemented!()
    }
    /// What is booked at one instant.
    pub fn at(&self, host: HostId, at: Seconds) -> Amounts {
        unimplemented!()
    }
}
