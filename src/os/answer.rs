//! What the kernel answers on an rtnetlink socket, taken apart: bytes in, no socket.

use netlink_packet_core::{
    NLM_F_ACK_TLVS, NLM_F_CAPPED, NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR, NlasIterator,
};

/// Length of struct nlmsghdr, bytes.
const HEADER: usize = 16;

/// NLMSGERR_ATTR_MSG of linux/netlink.h: the reason for a refusal, in English.
const REASON: u16 = 1;

/// One message of an answer (RFC 3549, section 2.3).
#[derive(Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// Which request it belongs to.
    pub sequence: u32,
    /// The table changed while it was read (NLM_F_DUMP_INTR).
    pub interrupted: bool,
    /// What it says.
    pub body: Body<'a>,
}

/// What an answer says.
#[derive(Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// NLMSG_ERROR: done when `errno` is 0, otherwise refused.
    Status {
        /// Positive number of errno.h, or 0.
        errno: i32,
        /// The kernel's reason.
        reason: Option<&'a str>,
    },
    /// NLMSG_DONE: the end of a dump.
    Done {
        /// Positive number of errno.h, or 0.
        errno: i32,
    },
    /// One entry of a dump, behind its header.
    Entry(&'a [u8]),
}

/// Splits a datagram into its messages, and ends at the first that is malformed. Never panics.
pub fn answers(datagram: &[u8]) -> impl Iterator<Item = Answer<'_>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        loop {
            let length = u32_at(rest, 0)? as usize;
            let message = rest.get(..length)?;
            let payload = message.get(HEADER..)?;
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            if let Some(answer) = answer(message, payload) {
                return Some(answer);
            }
        }
    })
}

/// `None` for NLMSG_NOOP, NLMSG_OVERRUN, and what is too short.
fn answer<'a>(message: &'a [u8], payload: &'a [u8]) -> Option<Answer<'a>> {
    let kind_and_flags = u32_at(message, 4)?.to_ne_bytes();
    let kind = u16::from_ne_bytes([kind_and_flags[0], kind_and_flags[1]]);
    let flags = u16::from_ne_bytes([kind_and_flags[2], kind_and_flags[3]]);
    let body = match kind {
        NLMSG_ERROR => Body::Status { errno: errno(payload)?, reason: reason(payload, flags) },
        NLMSG_DONE => Body::Done { errno: errno(payload).unwrap_or(0) },
        0..=15 => return None,
        _ => Body::Entry(payload),
    };
    Some(Answer { sequence: u32_at(message, 8)?, interrupted: flags & NLM_F_DUMP_INTR != 0, body })
}

/// The kernel writes it negated.
fn errno(payload: &[u8]) -> Option<i32> {
    u32_at(payload, 0).map(|code| code.cast_signed().saturating_neg())
}

/// Behind the code stands the request, or only its header when capped; behind that the attributes.
fn reason(payload: &[u8], flags: u16) -> Option<&str> {
    if flags & NLM_F_ACK_TLVS == 0 {
        return None;
    }
    let request = match flags & NLM_F_CAPPED {
        0 => u32_at(payload, 4)? as usize,
        _ => HEADER,
    };
    let tail = payload.get(request.checked_next_multiple_of(4)?.checked_add(4)?..)?;
    let (_, text) = attributes(tail).find(|(kind, _)| *kind == REASON)?;
    std::str::from_utf8(text).ok().map(|text| text.trim_end_matches('\0'))
}

/// The attributes of a message, kind and value; ends at the first that is malformed.
pub fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    NlasIterator::new(bytes).map_while(|attribute| {
        let attribute = attribute.ok()?;
        let (kind, length) = (attribute.kind(), usize::from(attribute.length()));
        Some((kind, attribute.into_inner().get(4..length)?))
    })
}

/// Netlink numbers are in the byte order of the host.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|four| u32::from_ne_bytes(*four))
}
