//! Typed calls to the cloud over the HTTP seam, only those we use. Knows URLs, bodies and microversions of OpenStack;
//! must not know leases. Start with [`keystone`]: tokens and endpoints, which every other service needs.

pub mod keystone;
