//! What a session tells its driver, and what the driver keeps for the next one.

use super::Farewell;
use crate::protocol::hello::{Aeads, Hello, Mismatch};
use crate::protocol::reject::Reject;

/// The freshness that outlives the process (doc/protocol.md, "Freshness").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The highest stamp that this end has sent.
    pub sent: u64,
    /// The highest stamp that this end has accepted.
    pub seen: u64,
    /// By what the end knows its own messages again; 0 before the first process.
    pub instance: u64,
}

/// Something the driver has to do, in the order given.
#[derive(Debug, PartialEq, Eq)]
pub enum Action<P> {
    /// Store the record. It comes before the datagram that depends on it.
    Persist(Record),
    /// Send a datagram of the protocol's own.
    Send {
        /// The sealed bytes.
        datagram: Vec<u8>,
        /// Where to.
        path: P,
    },
    /// Something happened that others may want to know.
    Event(Event<P>),
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<P> {
    /// There are keys, and the peer has shown that it holds them.
    Established {
        /// What the peer says of itself.
        theirs: Hello,
        /// The bulk cipher.
        aead: Aeads,
        /// Where the peer is.
        path: P,
    },
    /// The session has new keys.
    Rekeyed,
    /// The peer's settings and ours do not go together; there is no session.
    Mismatched {
        /// Why.
        mismatch: Mismatch,
        /// Where the peer is.
        path: P,
    },
    /// Handshakes go unanswered; tried again for ever. Told at the fourth, and at every fourth after it.
    Unanswered {
        /// How many there were.
        attempts: u32,
    },
    /// The peer has been silent although it was sent something; a handshake begins.
    Silent,
    /// The peer's address changed.
    Roamed {
        /// Where it was.
        from: P,
        /// Where it is.
        to: P,
    },
    /// The peer goes away and has been answered.
    Bye(Farewell),
    /// Nothing has been heard for the time of `ping-restart` or `ping-exit`.
    PingTimeout,
    /// Other datagrams pass the path than was thought; this is the longest that does.
    PathMtu(usize),
}

/// What became of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// A packet for the device lies at `datagram[HEAD..datagram.len() - TAIL]`; this is its inner byte.
    Packet(u8),
    /// It was the protocol's own; see [`Session::next_action`](super::Session::next_action).
    Control,
    /// It was refused.
    Rejected(Reject),
}
