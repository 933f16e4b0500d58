//! Secrets leave memory when they have served: two sessions in a process of their own, and the real program.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod figures;
#[path = "secrets/keys.rs"]
mod keys;
mod lab;
#[path = "secrets/live.rs"]
mod live;
#[path = "secrets/memory.rs"]
mod memory;
mod os_stage;
#[path = "secrets/play.rs"]
mod play;
#[allow(dead_code)]
#[path = "simulation/world.rs"]
mod world;

use std::path::{Path, PathBuf};

use naptun::os::wiping::Wiping;
use naptun::protocol::Aeads;
use os_stage::Player;
use play::Scene;

/// As in the program.
#[global_allocator]
static ALLOCATOR: Wiping = Wiping;

const SEED: &str = "NAPTUN_PLAY";

/// What the processes on the stage do.
pub fn part(name: &str) -> u8 {
    let seed = std::env::var(SEED).unwrap().parse().unwrap();
    let aeads = if name.ends_with("aes") { Aeads::AES_256_GCM } else { Aeads::CHACHA20_POLY1305 };
    if name.starts_with("paint") {
        println!("{}", play::on_paint(seed, aeads));
        os_stage::wait();
        return 0;
    }
    play::play(seed, aeads, false, |scene| {
        println!("{scene:?}");
        os_stage::wait();
    });
    0
}

fn proc(pid: u32) -> PathBuf {
    Path::new("/proc").join(pid.to_string())
}

#[test]
fn keys_are_found_while_they_live_and_not_any_more_behind_a_rekey_and_their_end() {
    let mut hits = 0;
    for cipher in ["chacha", "aes"] {
        let seed = world::seed(cipher);
        let aeads = if cipher == "aes" { Aeads::AES_256_GCM } else { Aeads::CHACHA20_POLY1305 };
        let psk = keys::psk(&play::static_key(seed));
        let ends = play::play(seed, aeads, true, |_| {});
        let [ours, theirs] = ends.map(|end| end.tape.ephemerals.unwrap());
        assert_eq!((ours.len(), theirs.len()), (3, 2), "a handshake, a rekey, and one without an answer");
        let unanswered = vec![("the ephemeral key without an answer".to_owned(), ours[2][8..24].to_vec())];
        let [first, second] = [0, 1].map(|n| keys::handshake(n + 1, &psk, ours[n], theirs[n]));

        let mut command = os_stage::part(cipher);
        command.env(SEED, seed.to_string());
        let mut player = Player::start(command);
        for (scene, live, gone) in [
            (Scene::Fresh, vec![&first.lasting], vec![&first.passing]),
            (Scene::Rekeyed, vec![&first.lasting, &second.lasting], vec![&first.passing, &second.passing]),
            (Scene::Replaced, vec![&second.lasting], vec![&first.lasting, &first.passing, &second.passing]),
            (Scene::Unanswered, vec![&second.lasting, &unanswered], vec![&first.lasting]),
            (Scene::Expired, vec![], vec![&first.lasting, &second.lasting, &unanswered]),
        ] {
            assert_eq!(player.line(), format!("{scene:?}"));
            let mappings = memory::of(&proc(player.child.id()));
            for (name, secret) in live.into_iter().flatten() {
                let found = memory::find(&mappings, secret);
                println!("{cipher} {scene:?}: {name}: {found:?}");
                assert!(!found.is_empty(), "{cipher} {scene:?}: {name}: the scan does not find it");
            }
            for (name, secret) in gone.into_iter().flatten() {
                let found = memory::find(&mappings, secret);
                hits += found.len();
                println!("{cipher} {scene:?}: {name}: {found:?}");
            }
            player.go_on();
        }
        player.end();
    }
    figures::figure(
        15,
        &format!(
            "old keys, ephemeral keys and what lies between: {hits} hits in two sessions behind a rekey and their end"
        ),
    );
    assert_eq!(hits, 0, "secrets that were left");
}

/// What is wiped is 20 KiB below the frame of the driver's loop; between that and the protocol lie some of the driver's own.
#[test]
fn the_stack_that_is_wiped_is_deeper_than_a_handshake_and_a_packet_reach() {
    let mut deepest = 0;
    for cipher in ["paint-chacha", "paint-aes"] {
        let mut command = os_stage::part(cipher);
        command.env(SEED, "1");
        let mut player = Player::start(command);
        let top: u64 = player.line().parse().unwrap();
        let mappings = memory::of(&proc(player.child.id()));
        let stack = mappings.iter().find(|mapping| mapping.name == "[stack]").unwrap();
        let end = (top - stack.start) as usize;
        let painted = &stack.bytes[end - play::PAINTED..end];
        let untouched = painted.iter().position(|byte| *byte != play::PAINT).unwrap();
        assert!(untouched > 0, "the paint is too little");
        deepest = deepest.max(play::PAINTED - untouched);
        player.end();
    }
    figures::figure(15, &format!("the protocol uses {deepest} bytes of stack, 20480 are wiped"));
    assert!(deepest <= 16 * 1024, "{deepest} bytes of stack");
}
