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

// Behind what may wait there is always room for what is read next.
const _: () = assert!(LONG + BYTES_MAX <= ROOM);

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
    }

    /// Begins at the beginning again, if nothing waits. What lies in [`room`](Self::room) is given up.
    pub(super) fn rewind(&mut self) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn path(port: u16) -> Path {
        Path::to(([192, 0, 2, 1], port).into())
    }

    fn lengths(trains: &mut Trains) -> Vec<(usize, usize)> {
        let mut lengths = Vec::new();
        while let Some((train, bytes)) = trains.first() {
            lengths.push((train.segment, bytes.len()));
            trains.sent(lengths.last().unwrap().1);
        }
        lengths
    }

    #[test]
    fn a_train_has_equal_datagrams_to_one_place_and_a_shorter_one_ends_it() {
        let mut trains = Trains::new();
        for (length, port) in [(100, 1), (100, 1), (60, 1), (60, 1), (100, 1), (100, 2)] {
            trains.push(length, path(port));
        }
        assert_eq!(lengths(&mut trains), [(100, 260), (60, 60), (100, 100), (100, 100)]);
    }

    #[test]
    fn a_train_is_no_longer_than_the_kernel_takes() {
        let mut trains = Trains::new();
        (0..65).for_each(|_| trains.push(100, path(1)));
        assert_eq!(lengths(&mut trains), [(100, 6400), (100, 100)]);
        trains.rewind();
        // 65,535 bytes of UDP length, less its own header and that of IPv6.
        (0..7).for_each(|_| trains.push(10_000, path(1)));
        assert_eq!(lengths(&mut trains), [(10_000, 60_000), (10_000, 10_000)]);
    }

    #[test]
    fn what_lies_behind_a_train_stays_there_when_the_train_is_sent() {
        let mut trains = Trains::new();
        trains.push(100, path(1));
        trains.room()[0] = 7;
        trains.sent(100);
        assert_eq!(trains.room()[0], 7);
        trains.rewind();
        assert_eq!(trains.room().len(), ROOM);
    }

    #[test]
    fn part_of_a_train_can_be_sent() {
        let mut trains = Trains::new();
        (0..3).for_each(|byte| {
            trains.room()[0] = byte;
            trains.push(100, path(1));
        });
        trains.sent(200);
        assert_eq!(trains.first().map(|(_, bytes)| (bytes[0], bytes.len())), Some((2, 100)));
        trains.rewind();
        assert_eq!(trains.room().len(), ROOM - 300, "there still is one");
    }
}
