//! The stack that keys have passed through.
//!
//! Ciphers, key derivation and every move of a value leave copies in frames that are gone. Nothing overwrites them but
//! the next deep call, and an idle end makes none.

/// More than anything of the protocol takes, in a build without optimisation too (tests/secrets.rs measures it).
const DEPTH: usize = 20 * 1024;

/// More than taking a key apart takes, and little enough that whoever does so stays within the above.
const NEAR: usize = 6 * 1024;

/// Overwrites the stack below the frame of the caller.
pub(crate) fn wipe() {
    overwrite::<DEPTH>();
}

/// The same, for a step on the way: what the frames of the next one will be made of.
pub(crate) fn wipe_near() {
    overwrite::<NEAR>();
}

#[inline(never)]
fn overwrite<const BYTES: usize>() {
    // Nobody reads it: without this it would not be written either.
    std::hint::black_box(&mut [0_u8; BYTES]);
}
