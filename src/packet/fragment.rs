//! Packets larger than a datagram may be: cut and joined inside the protocol, so that the path never sees an IP
//! fragment. A full Ethernet frame of a bridge needs this on every path of 1500 bytes.
//!
//! `id (2) | offset (2) | length of the packet (2)`, little endian, in front of each piece.

/// Bytes of the header of a piece.
pub const HEADER: usize = 6;

/// Packets joined at a time; more than the reordering of a sane path needs.
const SLOTS: usize = 8;

/// A packet that got no piece while so many others arrived is given up: identifiers come round again.
const STALE: u32 = 1024;

/// How a packet is cut into pieces of nearly equal length.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    id: u16,
    total: u16,
    piece: u16,
    next: u16,
}

impl Cut {
    /// Cuts a packet of `total` bytes so that header and piece take at most `most` bytes. `None` if that cannot be.
    pub fn new(id: u16, total: usize, most: usize) -> Option<Self> {
        let total = u16::try_from(total).ok()?;
        let room = most.checked_sub(HEADER).filter(|room| *room > 0)?;
        let pieces = usize::from(total).div_ceil(room).max(1);
        let piece = u16::try_from(usize::from(total).div_ceil(pieces)).ok()?;
        Some(Self { id, total, piece, next: 0 })
    }

    /// Writes header and bytes of the next piece of `packet` to `out` and returns their length; `None` after the last.
    pub fn write_next(&mut self, packet: &[u8], out: &mut [u8]) -> Option<usize> {
        let start = usize::from(self.next);
        let end = packet.len().min(usize::from(self.total)).min(start + usize::from(self.piece));
        let bytes = packet.get(start..end).filter(|bytes| !bytes.is_empty())?;
        let out = out.get_mut(..HEADER + bytes.len())?;
        out[0..2].copy_from_slice(&self.id.to_le_bytes());
        out[2..4].copy_from_slice(&self.next.to_le_bytes());
        out[4..6].copy_from_slice(&self.total.to_le_bytes());
        out[HEADER..].copy_from_slice(bytes);
        self.next = end as u16;
        Some(out.len())
    }
}

/// Joins pieces. Its memory is allocated once.
pub struct Joiner {
    slots: [Slot; SLOTS],
    /// Pieces that have arrived; wraps.
    arrived: u32,
    turn: usize,
}

#[derive(Default)]
struct Slot {
    id: u16,
    total: usize,
    /// Bytes that have arrived; 0 is a free slot. No datagram is opened twice, so none is counted twice.
    have: usize,
    /// When its last piece arrived, in pieces.
    last: u32,
    bytes: Vec<u8>,
}

impl Joiner {
    /// For packets of `longest` bytes at most.
    pub fn new(longest: usize) -> Self {
        let slot = || Slot { bytes: vec![0; longest], ..Slot::default() };
        Self { slots: std::array::from_fn(|_| slot()), arrived: 0, turn: 0 }
    }

    /// Takes a header with its piece. `Ok(Some(packet))` when the packet is whole, `Err(())` for nonsense.
    #[allow(clippy::result_unit_err)]
    pub fn join(&mut self, fragment: &[u8]) -> Result<Option<&mut [u8]>, ()> {
        let (header, piece) = fragment.split_first_chunk::<HEADER>().ok_or(())?;
        let field = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
        let (id, offset, total) = (field(0), usize::from(field(2)), usize::from(field(4)));
        let slot = self.slot_of(id, total);
        let longest = slot.bytes.len();
        let target = slot.bytes.get_mut(offset..offset + piece.len()).ok_or(())?;
        if total > longest || offset + piece.len() > total || piece.is_empty() {
            return Err(());
        }
        target.copy_from_slice(piece);
        slot.have += piece.len();
        if slot.have < total {
            return Ok(None);
        }
        slot.have = 0;
        Ok(slot.bytes.get_mut(..total))
    }

    /// The slot in which `id` is being joined, or the one whose turn it is to be given up.
    fn slot_of(&mut self, id: u16, total: usize) -> &mut Slot {
        self.arrived = self.arrived.wrapping_add(1);
        let arrived = self.arrived;
        let fresh = |slot: &Slot| arrived.wrapping_sub(slot.last) <= STALE;
        let found = self
            .slots
            .iter()
            .position(|slot| slot.have > 0 && slot.id == id && slot.total == total && fresh(slot));
        let index = found.unwrap_or_else(|| {
            let free = self.slots.iter().position(|slot| slot.have == 0);
            let index = free.unwrap_or(self.turn);
            self.turn = (index + 1) % SLOTS;
            self.slots[index].have = 0;
            index
        });
        let slot = &mut self.slots[index];
        slot.id = id;
        slot.total = total;
        slot.last = arrived;
        slot
    }
}
