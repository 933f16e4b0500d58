//! Pieces of packets, in any order, some lost, some nobody's: what is joined was cut.
//!
//! Input: records, the first byte of each says which: 0 a packet is cut (`length (2) | room (2)`), 1 a waiting piece
//! arrives (`which (1)`), 2 one is lost (`which (1)`), 3 a piece of somebody else's making (`header (6) | length (1)`).

#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use naptun::packet::fragment::{Cut, HEADER, Joiner};
use naptun_fuzz::Input;

/// Packets that are joined at a time.
const SLOTS: usize = 8;

/// What the joiner holds, bytes.
const LONGEST: usize = 4096;

fuzz_target!(|input: &[u8]| {
    let mut wire = Wire::new();
    let _ = wire.run(Input(input));
});

struct Wire {
    joiner: Joiner,
    /// Pieces under way.
    pieces: Vec<Vec<u8>>,
    /// Packets that were cut, and how many pieces are still to arrive; none where one was lost.
    packets: BTreeMap<u16, (Vec<u8>, Option<usize>)>,
    /// Packets of which some pieces arrived and some did not.
    begun: Vec<u16>,
    /// Too much at a time, or pieces of somebody else: packets may be given up.
    disturbed: bool,
}

impl Wire {
    fn new() -> Self {
        Self {
            joiner: Joiner::new(LONGEST),
            pieces: Vec::new(),
            packets: BTreeMap::new(),
            begun: Vec::new(),
            disturbed: false,
        }
    }

    fn run(&mut self, mut input: Input) -> Option<()> {
        loop {
            match input.byte()? & 3 {
                0 => self.cut(input.number()? % 5000, input.number()? % 2000),
                1 => {
                    let piece = self.pick(input.byte()?)?;
                    self.arrive(&piece);
                }
                2 => {
                    let piece = self.pick(input.byte()?)?;
                    self.packets.get_mut(&id(&piece))?.1 = None;
                }
                _ => {
                    let mut piece = input.array::<HEADER>()?.to_vec();
                    let length = input.byte()?;
                    piece.resize(HEADER + usize::from(length), 0xee);
                    self.intrude(&piece);
                }
            }
        }
    }

    fn cut(&mut self, total: usize, most: usize) {
        let id = self.packets.len() as u16;
        let packet: Vec<u8> = (0..total).map(|at| (at * 31 + usize::from(id)) as u8).collect();
        let Some(mut cut) = Cut::new(id, total, most) else { return assert!(most <= HEADER) };
        let (mut room, mut pieces) = (vec![0; most], Vec::new());
        while let Some(length) = cut.write_next(&packet, &mut room) {
            assert!(length <= most && length > HEADER);
            pieces.push(room[..length].to_vec());
        }
        let bytes: Vec<u8> = pieces.iter().flat_map(|piece| &piece[HEADER..]).copied().collect();
        assert_eq!(bytes, packet, "what is cut is the packet");
        let lengths = pieces.iter().map(Vec::len);
        assert!(pieces.len() == total.div_ceil((most - HEADER).max(1)), "no more pieces than needed");
        assert!(lengths.clone().max().unwrap_or(0) - lengths.min().unwrap_or(0) <= pieces.len());
        self.packets.insert(id, (packet, Some(pieces.len())));
        self.pieces.extend(pieces);
    }

    fn pick(&mut self, which: u8) -> Option<Vec<u8>> {
        let index = usize::from(which).checked_rem(self.pieces.len())?;
        Some(self.pieces.remove(index))
    }

    fn arrive(&mut self, piece: &[u8]) {
        let id = id(piece);
        let (packet, left) = self.packets.get_mut(&id).expect("a packet that was cut");
        if let Some(left) = left {
            *left -= 1;
        }
        let whole = *left == Some(0);
        if !self.begun.contains(&id) {
            self.begun.push(id);
        }
        self.disturbed |= self.begun.len() > SLOTS;
        match self.joiner.join(piece) {
            Ok(Some(joined)) => {
                assert!(whole || self.disturbed, "joined too early");
                if !self.disturbed {
                    assert_eq!(joined, packet.as_slice());
                }
            }
            Ok(None) => assert!(!whole || self.disturbed, "all of it arrived, and it was not joined"),
            Err(()) => assert!(packet.len() > LONGEST),
        }
        if whole {
            self.begun.retain(|begun| *begun != id);
        }
    }

    fn intrude(&mut self, piece: &[u8]) {
        let field = |at: usize| usize::from(u16::from_le_bytes([piece[at], piece[at + 1]]));
        let (offset, total, length) = (field(2), field(4), piece.len() - HEADER);
        match self.joiner.join(piece) {
            Ok(joined) => {
                assert!(length > 0 && offset + length <= total && total <= LONGEST);
                assert!(joined.is_none_or(|packet| packet.len() == total));
            }
            Err(()) => assert!(length == 0 || offset + length > total || total > LONGEST),
        }
        self.disturbed = true;
    }
}

fn id(piece: &[u8]) -> u16 {
    u16::from_le_bytes([piece[0], piece[1]])
}
