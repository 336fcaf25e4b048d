//! The guard on a real API server: the policies of `deploy/guard`, with TenantGuards compiled from FluxPolicies by the engine,
//! and no webhook anywhere. Only `operator` runs the operator.
//!
//! `pods`, `flux`, `networks`, `owned` and `updates` read as a specification, a file a subject. `fields` compares the table of Flux
//! fields with the CRDs. `differential` asks the engine the same
//! questions, thousands of them. `escape` repeats what nothing but a guard can stop, `limits` measures what the longest lists cost,
//! `start` what happens when the API server has just started. The last two and `operator` start control planes of their own,
//! the others share one.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "tests say what they measured and saw")]

mod attempts;
mod differential;
mod escape;
mod everything;
mod fields;
mod flux;
mod identity;
mod kinds;
mod limits;
mod networks;
mod operator;
mod owned;
mod parties;
mod pods;
mod start;
mod support;
mod trial;
mod updates;
