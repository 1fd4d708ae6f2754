//! Every key, byte by byte.
