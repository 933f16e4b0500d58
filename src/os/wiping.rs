//! Memory that is given back is overwritten first.
//!
//! What has held a key is wiped by whoever owns it, where its type can do that. Ciphers, buffers that grew and moved,
//! and texts of the configuration cannot; this catches all of them.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};

/// The system's allocator, wiping. `main.rs` makes it the one of the program.
///
/// A block that grows or shrinks moves: without a `realloc` of its own the trait copies it, and the old one is freed here.
#[derive(Clone, Copy, Debug)]
pub struct Wiping;

// SAFETY: everything is handed on to `System`, which keeps the contract; a block is written to within its size, and
// only after its owner has given it back.
unsafe impl GlobalAlloc for Wiping {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise about `layout` is the one that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    /// Not `alloc` and a loop: pages that come from the kernel are zero, and stay untouched.
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as in `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller promises that `block` was allocated with `layout` and that nobody uses it any more.
        unsafe { overwrite(block, layout.size()) };
        // SAFETY: as in `alloc`.
        unsafe { System.dealloc(block, layout) }
    }
}

/// Once in the program, not at each place where something is freed.
///
/// # Safety
/// `block` is the start of `size` bytes that nobody else uses.
#[inline(never)]
unsafe fn overwrite(block: *mut u8, size: usize) {
    for start in (0..size).step_by(PIECE) {
        let length = PIECE.min(size - start);
        // SAFETY: `length` bytes behind `start` lie within `size`, which the caller has said is ours. Only C functions read
        // and write them, to which uninitialised memory is some bytes like others. A plain loop that writes could be left
        // out by the compiler: it knows free(3).
        unsafe {
            let piece = block.add(start).cast();
            if size <= PIECE || libc::memcmp(piece, ZEROS.as_ptr().cast(), length) != 0 {
                libc::explicit_bzero(piece, length);
            }
        }
    }
}

/// Of a large buffer often the beginning alone was used. To look at a page that nobody has written to costs no memory,
/// to write zeros to it does.
const PIECE: usize = 4096;
static ZEROS: [u8; PIECE] = [0; PIECE];
