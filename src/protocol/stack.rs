//! The stack that keys have passed through.
//!
//! Ciphers, key derivation and every move of a value leave copies in frames that are gone. Nothing overwrites them but
//! the next deep call, and an idle end makes none.

/// More than anything of the protocol takes, in a build without optimisation too (tests/secrets.rs measures it).
const DEPTH: usize = 20 * 1024;

/// Overwrites the stack below the frame of the caller.
#[inline(never)]
pub(crate) fn wipe() {
    // Nobody reads it: without this it would not be written either.
    std::hint::black_box(&mut [0_u8; DEPTH]);
}
