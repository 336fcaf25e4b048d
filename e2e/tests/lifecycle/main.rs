//! Clusters come and go without a trace, whatever happens to the harness, and the fault levers do what they say. These
//! tests start clusters of their own, so they need root and what `cargo xtask cluster build` builds.

#![allow(clippy::expect_used, reason = "helpers of tests fail the test")]

mod bad_input;
mod faults;
mod interrupted;
mod rounds;
mod support;
