//! The decision process of METHOD §2: an agent acts, is triggered, writes, learns, clears its context and goes on.

pub mod policy;
