//! The Leasehold node.
