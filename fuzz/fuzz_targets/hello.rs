//! Two hellos: what is read is written back the same, and both ends judge alike whether they go together.
//!
//! Input: `hello (64) | hello (64 or less or more)`

#![no_main]

use libfuzzer_sys::fuzz_target;
use naptun::protocol::Hello;
use naptun::protocol::hello::Unreadable;
use naptun_fuzz::Input;

fuzz_target!(|input: &[u8]| {
    let mut input = Input(input);
    let (first, second) = (input.bytes(64), input.0);
    if let (Some(ours), Some(theirs)) = (decode(first), decode(second)) {
        judge(&ours, &theirs);
    }
});

fn decode(bytes: &[u8]) -> Option<Hello> {
    match Hello::decode(bytes) {
        Ok(hello) => {
            assert!(bytes.len() >= 64 && bytes[0] == 1);
            assert_eq!(Hello::decode(&hello.encode()), Ok(hello));
            // Written without the bits and fields that have no meaning.
            assert_eq!(hello.encode()[1] & !bytes[1], 0);
            assert_eq!(hello.encode()[8..24], bytes[8..24]);
            Some(hello)
        }
        Err(Unreadable::Version(version)) => {
            assert!(version != 1 && version == bytes[0]);
            None
        }
        Err(why) => {
            assert!(why == Unreadable::Malformed && bytes.len() < 64);
            None
        }
    }
}

fn judge(ours: &Hello, theirs: &Hello) {
    let (here, there) = (ours.mismatch(theirs), theirs.mismatch(ours));
    assert_eq!(here.is_some(), there.is_some(), "only one end finds a fault");
    assert_eq!(ours.aeads.choose(theirs.aeads), theirs.aeads.choose(ours.aeads));
    for words in [here, there].into_iter().flatten().map(|mismatch| mismatch.to_string()) {
        assert!(!words.is_empty() && !words.contains(char::is_control));
    }
    if here.is_none() {
        assert_eq!(ours.tap, theirs.tap);
        assert_eq!(ours.tap || mirrored(ours.ipv4, theirs.ipv4), true);
    }
}

fn mirrored<A: PartialEq>(ours: Option<(A, A)>, theirs: Option<(A, A)>) -> bool {
    let (Some(ours), Some(theirs)) = (ours, theirs) else { return true };
    ours.0 == theirs.1 && ours.1 == theirs.0
}
