//! Super-packets cut and joined, against what the kernel would do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

#[path = "offload/crossing.rs"]
mod crossing;
#[path = "offload/cutting.rs"]
mod cutting;
#[path = "offload/fields.rs"]
mod fields;
#[path = "offload/joining.rs"]
mod joining;
#[path = "offload/kernel.rs"]
mod kernel;
#[path = "offload/pairs.rs"]
mod pairs;
#[path = "offload/receiver.rs"]
mod receiver;
#[path = "offload/rubbish.rs"]
mod rubbish;
#[path = "offload/wire.rs"]
mod wire;
