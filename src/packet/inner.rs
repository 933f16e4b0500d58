//! The inner byte: what the sealed packet behind it is (doc/protocol.md, "The inner byte").

/// The transport checksum is the partial one of the pseudo-header; the receiving kernel completes it.
/// Set by an end with offload, which this version has not.
pub const NEEDS_CSUM: u8 = 0x01;
/// The packet continues the burst of the one before. Set by an end with offload.
pub const CONTINUES: u8 = 0x02;
/// A fragment header and a piece of a packet follow.
pub const FRAGMENT: u8 = 0x04;

/// All bits that a packet for the device may carry in this version.
pub const KNOWN: u8 = CONTINUES | FRAGMENT;
