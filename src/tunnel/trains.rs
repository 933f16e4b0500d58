//! Sealed datagrams on their way to the socket, in trains: equal sizes, of which the last may be smaller, so that one
//! send carries them.

use std::collections::VecDeque;
use std::ops::Range;

use crate::os::path::Path;

/// Datagrams in one train (UDP_MAX_SEGMENTS of linux/udp.h before 6.9).
pub(super) const DATAGRAMS_MAX: usize = 64;

/// Bytes of one train: what the length field of UDP allows, less the headers of IPv6.
pub(super) const BYTES_MAX: usize = 65_535 - 8 - 40;

/// Trains that wait at a time. One is the rule; a packet cut into unequal datagrams makes more.
const WAITING_MAX: usize = 8;

/// Room for a train that waits, and one that is being read.
const ROOM: usize = 2 * 65_536;

/// A train that begins to be sent when it is that long: what is not there yet can wait for the next one.
const LONG: usize = BYTES_MAX / 2;

/// The trains, and the buffer they lie in.
pub(super) struct Trains {
    buffer: Box<[u8; ROOM]>,
    /// Where the next datagram goes.
    end: usize,
    waiting: VecDeque<Train>,
}

/// Datagrams side by side in the buffer.
pub(super) struct Train {
    bytes: Range<usize>,
    pub(super) segment: usize,
    pub(super) path: Path,
    count: usize,
    /// A shorter datagram ends a train.
    ended: bool,
}

impl Trains {
    pub(super) fn new() -> Self {
        Self { buffer: zeroed(), end: 0, waiting: VecDeque::with_capacity(WAITING_MAX) }
    }

    /// Room behind the last datagram.
    pub(super) fn room(&mut self) -> &mut [u8] {
        &mut self.buffer[self.end..]
    }

    /// Whether there is room for another datagram of `length` bytes.
    pub(super) fn has_room(&self, length: usize) -> bool {
        self.end + length <= ROOM && self.waiting.len() < WAITING_MAX
    }

    /// A sealed datagram lies at the beginning of [`room`](Self::room): it joins the last train, or begins one.
    pub(super) fn push(&mut self, length: usize, path: Path) {
        let bytes = self.end..self.end + length;
        self.end = bytes.end;
        if let Some(last) = self.waiting.back_mut().filter(|last| last.takes(length, path)) {
            last.bytes.end = bytes.end;
            last.count += 1;
            last.ended = length < last.segment;
            return;
        }
        self.waiting.push_back(Train { bytes, segment: length, path, count: 1, ended: false });
    }

    /// The first train and its bytes.
    pub(super) fn first(&self) -> Option<(&Train, &[u8])> {
        let train = self.waiting.front()?;
        Some((train, self.buffer.get(train.bytes.clone())?))
    }

    /// So many bytes of the first train are gone.
    pub(super) fn sent(&mut self, bytes: usize) {
        let Some(train) = self.waiting.front_mut() else { return };
        train.bytes.start += bytes;
        if train.bytes.is_empty() {
            self.waiting.pop_front();
        }
        if self.waiting.is_empty() {
            self.end = 0;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether what waits should not wait for more.
    pub(super) fn is_long(&self) -> bool {
        self.waiting.len() > 1 || self.end > LONG
    }
}

impl Train {
    fn takes(&self, length: usize, path: Path) -> bool {
        !self.ended
            && self.path == path
            && length <= self.segment
            && self.count < DATAGRAMS_MAX
            && self.bytes.len() + length <= BYTES_MAX
    }
}

/// A buffer on the heap that is not touched before it is used: an idle endpoint stays small.
pub(super) fn zeroed<const N: usize>() -> Box<[u8; N]> {
    vec![0; N].into_boxed_slice().try_into().unwrap_or_else(|_| Box::new([0; N]))
}
