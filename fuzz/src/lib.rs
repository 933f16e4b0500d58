//! What is fuzzed. `packet` is a leaf of naptun: built alone it takes seconds, with ring and all the rest minutes.

#[allow(dead_code)]
#[path = "../../src/packet/mod.rs"]
pub mod packet;

use packet::Layer;

/// The layer that a byte of the input stands for.
pub fn layer(byte: u8) -> Layer {
    if byte & 1 == 0 { Layer::Ip } else { Layer::Ethernet }
}
