//! The state file: whatever becomes of one slot, what is read is the record written last or the one before it.
//!
//! Input: records, the first byte of each says which: 0 a record is written, 1 the file is opened anew,
//! 2 bytes of it are damaged (`offset (2) | byte (1) | length (1)`), 3 it is cut or made longer (`length (2)`).

#![no_main]

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use naptun::os::state_file::{Opened, Payload, StateFile};
use naptun_fuzz::Input;

const SECTOR: usize = 512;

static PATH: LazyLock<PathBuf> =
    LazyLock::new(|| std::env::temp_dir().join(format!("naptun-fuzz-state-{}", std::process::id())));

fuzz_target!(|input: &[u8]| {
    let _ = fs::remove_file(&*PATH);
    let mut place = Place {
        state: Some(open()),
        serial: 0,
        written: vec![None],
        lost: Vec::new(),
        whole: 2,
        damaged: [false; 3],
    };
    let _ = place.run(Input(input));
    // Whatever has happened, the next record is kept.
    place.reopen();
    place.write();
    let last = *place.written.last().expect("a record");
    place.reopen();
    assert_eq!(place.state.as_ref().and_then(StateFile::read), last);
});

struct Place {
    state: Option<StateFile>,
    serial: u16,
    /// All that was written up to the record that holds, in order; first of all nothing.
    written: Vec<Option<Payload>>,
    /// What was damaged. It is there again where other damage has put back the bytes that were there.
    lost: Vec<Option<Payload>>,
    /// Records written since something was damaged.
    whole: usize,
    /// Which sectors may not be as they were written.
    damaged: [bool; 3],
}

impl Place {
    fn run(&mut self, mut input: Input) -> Option<()> {
        loop {
            match input.byte()? & 3 {
                0 => self.write(),
                1 => self.reopen(),
                2 => self.damage(input.number()?, input.byte()?, input.byte()?)?,
                _ => self.resize(input.number()?)?,
            }
        }
    }

    fn write(&mut self) {
        self.serial += 1;
        let mut payload = Payload::default();
        payload[..2].copy_from_slice(&self.serial.to_le_bytes());
        self.state.as_mut().expect("an open file").write(payload).expect("room for a record");
        self.written.push(Some(payload));
        self.whole += 1;
        if self.whole >= 2 {
            self.damaged = [false; 3];
        }
    }

    /// As the next process finds it.
    fn reopen(&mut self) {
        self.state = None;
        let state = open();
        let read = state.read();
        if let Some(at) = self.lost.iter().position(|one| *one == read) {
            self.written.push(self.lost.remove(at));
        }
        let at = self.written.iter().rposition(|one| *one == read).expect("a record that was written");
        let slots = self.damaged[..2].iter().filter(|damaged| **damaged).count();
        assert!(slots == 2 || self.written.len() - at <= slots + 1, "{read:?} is older than it need be");
        self.lost.extend(self.written.drain(at + 1..));
        self.state = Some(state);
    }

    fn damage(&mut self, offset: usize, byte: u8, length: u8) -> Option<()> {
        let file = File::options().write(true).open(&*PATH).ok()?;
        let (offset, length) = (offset % (3 * SECTOR), usize::from(length).max(1));
        let bytes = vec![byte; length.min(3 * SECTOR - offset)];
        file.write_all_at(&bytes, offset as u64).ok()?;
        self.whole = 0;
        self.damaged[offset / SECTOR] = true;
        self.damaged[(offset + bytes.len() - 1) / SECTOR] = true;
        Some(())
    }

    fn resize(&mut self, length: usize) -> Option<()> {
        let length = length % (4 * SECTOR);
        File::options().write(true).open(&*PATH).ok()?.set_len(length as u64).ok()?;
        self.whole = 0;
        for (sector, damaged) in self.damaged.iter_mut().enumerate() {
            *damaged |= length < (sector + 1) * SECTOR;
        }
        Some(())
    }
}

fn open() -> StateFile {
    match StateFile::open(&PATH, Duration::ZERO) {
        Ok(Opened::Ours(state)) => state,
        other => panic!("a file of our own: {other:?}"),
    }
}
