//! A small record that survives a torn write, and the lock that makes a tunnel's process the only one.
//!
//! The file: two slots, each at the start of its own 512-byte sector, and a third sector that names the holder of the
//! lock. A slot is 48 bytes: magic (8) | sequence number, little endian (8) | payload (24) | the first 8 bytes of
//! BLAKE2s-256 over the 40 before. Each write goes to the slot that does not hold the newest record, so a write
//! that is cut short leaves the record before it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use blake2::{Blake2s256, Digest};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FlockArg};

use crate::error::{Error, Exit, Result};
use crate::os::holder::Holder;

/// What a slot carries; its meaning is the caller's.
pub type Payload = [u8; 24];

const SECTOR: u64 = 512;
const HOLDER: u64 = 2 * SECTOR;
/// The size of the file: the sandbox lets no file grow beyond it.
pub(super) const SIZE: u64 = 3 * SECTOR;
const MAGIC: [u8; 8] = *b"naptun\x00\x02";
const SLOT: usize = 48;
const SUMMED: usize = 40;
/// How often a held lock is tried again: long beside the system call, short beside the start of a process that might be
/// woken by a stranger meanwhile and be the first to have it.
const RETRY: Duration = Duration::from_millis(1);

/// The outcome of [`StateFile::open`].
#[derive(Debug)]
pub enum Opened {
    /// The lock is ours.
    Ours(StateFile),
    /// Another process holds it.
    LockedBy(Tenant),
}

/// The process that holds the lock, as far as can be seen from outside.
#[derive(Debug)]
pub struct Tenant {
    file: File,
    payload: Option<Payload>,
}

impl Tenant {
    fn of(file: File) -> Result<Self> {
        let (newest, _) = newest(&file).map_err(|e| Error::new(Exit::Io, "read the state file", e))?;
        Ok(Self { file, payload: newest.map(|record| record.payload) })
    }

    /// The payload that it wrote last, if any was.
    pub fn read(&self) -> Option<Payload> {
        self.payload
    }

    /// The process itself; `None` where the kernel does not tell, or it has just ended.
    pub fn holder(&self) -> Option<Holder> {
        Holder::of(&self.file)
    }

    /// Its id as it has written it down: for people.
    pub fn pid(&self) -> Option<u32> {
        let mut text = [0; 10];
        self.file.read_exact_at(&mut text, HOLDER).ok()?;
        std::str::from_utf8(&text).ok()?.trim_end().parse().ok()
    }
}

/// The open, locked file. The lock goes when the last descriptor of this opening is closed, at the latest with the
/// process.
#[derive(Debug)]
pub struct StateFile {
    file: File,
    newest: Option<Record>,
    damaged: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Record {
    sequence: u64,
    payload: Payload,
}

/// The first place behind the holder of the lock: whoever comes later, does not get it before.
#[derive(Debug)]
pub struct Turn {
    file: File,
    path: PathBuf,
}

impl Turn {
    /// Takes the place, trying for `wait`; `None` if another process has it. Errors as [`StateFile::open`].
    pub fn take(path: &Path, wait: Duration) -> Result<Option<Self>> {
        let file = open(path)?;
        let taken = persist(wait, || turnstile(&file, libc::F_WRLCK)).map_err(|e| unusable(path, e))?;
        Ok(taken.then(|| Self { file, path: path.to_owned() }))
    }

    /// Tries for `wait` to have the lock, and gives the place up then.
    pub fn lock(self, wait: Duration) -> Result<Opened> {
        let fail = |e| unusable(&self.path, e);
        let locked = persist(wait, || try_lock(&self.file)).map_err(fail)?;
        turnstile(&self.file, libc::F_UNLCK).map_err(|e| fail(e.into()))?;
        if !locked {
            return Ok(Opened::LockedBy(Tenant::of(self.file)?));
        }
        let mut state = StateFile { file: self.file, newest: None, damaged: false };
        state.load().map_err(fail)?;
        Ok(Opened::Ours(state))
    }
}

impl StateFile {
    /// Opens or makes `path`, and its directory if only that is missing; takes the lock, trying for `wait` if a dying
    /// predecessor still has it; reads the newest record.
    ///
    /// Refuses what is not a plain file of this user, or what others may write.
    pub fn open(path: &Path, wait: Duration) -> Result<Opened> {
        match Turn::take(path, wait)? {
            Some(turn) => turn.lock(wait),
            None => Ok(Opened::LockedBy(Tenant::of(open(path)?)?)),
        }
    }

    /// The payload written last, if any was.
    pub fn read(&self) -> Option<Payload> {
        self.newest.map(|record| record.payload)
    }

    /// Whether the file had been written to but held no valid record when it was opened.
    pub fn is_damaged(&self) -> bool {
        self.damaged
    }

    /// Replaces the record, with pwrite(2) alone. After an error the record before it is still there.
    ///
    /// No fsync: the record has to be there before the answer to a handshake goes out, and what pwrite has put into the
    /// page cache survives the end of this process in any manner. Only a crash of the machine can lose it; waiting for
    /// the disk would guard against that at the price of more time than the rest of the wake together.
    pub fn write(&mut self, payload: Payload) -> Result<()> {
        let sequence = self.newest.map_or(0, |record| record.sequence).wrapping_add(1);
        let record = Record { sequence, payload };
        self.file
            .write_all_at(&record.to_bytes(), record.offset())
            .map_err(|e| Error::new(Exit::Io, "write the state file", e))?;
        self.newest = Some(record);
        Ok(())
    }

    /// Waits until the disk has the record (fdatasync(2)).
    pub fn flush(&self) -> Result<()> {
        self.file.sync_data().map_err(|e| Error::new(Exit::Io, "flush the state file", e))
    }

    fn load(&mut self) -> io::Result<()> {
        let written;
        (self.newest, written) = newest(&self.file)?;
        self.damaged = self.newest.is_none() && written;
        // All of it is allocated now, so that no later write can fail for want of space.
        if self.file.metadata()?.len() < SIZE {
            let missing = self.file.metadata()?.len();
            let zeros = vec![0; usize::try_from(SIZE - missing).unwrap_or_default()];
            self.file.write_all_at(&zeros, missing)?;
        }
        self.file.write_all_at(format!("{:<10}\n", std::process::id()).as_bytes(), HOLDER)
    }
}

impl Record {
    fn offset(self) -> u64 {
        (self.sequence & 1) * SECTOR
    }

    fn to_bytes(self) -> [u8; SLOT] {
        let mut bytes = [0; SLOT];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[16..SUMMED].copy_from_slice(&self.payload);
        let sum = checksum(&bytes);
        bytes[SUMMED..].copy_from_slice(&sum);
        bytes
    }

    fn from_bytes(bytes: &[u8; SLOT]) -> Option<Self> {
        let (magic, rest) = bytes.split_first_chunk::<8>()?;
        let (sequence, rest) = rest.split_first_chunk::<8>()?;
        let (payload, sum) = rest.split_first_chunk::<24>()?;
        let valid = *magic == MAGIC && sum == checksum(bytes);
        valid.then(|| Self { sequence: u64::from_le_bytes(*sequence), payload: *payload })
    }
}

/// Tells a torn slot from a whole one. No key: who can write the file can also delete it.
fn checksum(slot: &[u8; SLOT]) -> [u8; 8] {
    let mut sum = [0; 8];
    for (to, from) in sum.iter_mut().zip(Blake2s256::digest(&slot[..SUMMED])) {
        *to = from;
    }
    sum
}

fn open(path: &Path) -> Result<File> {
    let file =
        create(path).map_err(|e| Error::new(Exit::CannotCreate, format!("open {}", path.display()), e))?;
    check(&file, path)?;
    Ok(file)
}

fn unusable(path: &Path, cause: io::Error) -> Error {
    Error::new(Exit::Io, format!("use {}", path.display()), cause)
}

fn create(path: &Path) -> io::Result<File> {
    // O_NONBLOCK: a FIFO in this place must not hold the wake; it means nothing to a plain file.
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options.custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_NOCTTY);
    match (options.open(path), path.parent()) {
        (Err(e), Some(directory)) if e.kind() == io::ErrorKind::NotFound => {
            DirBuilder::new().mode(0o700).create(directory)?;
            options.open(path)
        }
        (opened, _) => opened,
    }
}

fn check(file: &File, path: &Path) -> Result<()> {
    let act = || format!("open {}", path.display());
    let meta = file.metadata().map_err(|e| Error::new(Exit::Io, act(), e))?;
    if !meta.is_file() {
        return Err(Error::new(Exit::Data, act(), "is not a plain file"));
    }
    if meta.uid() != nix::unistd::geteuid().as_raw() {
        return Err(Error::new(Exit::NoPermission, act(), format!("belongs to user {}", meta.uid())));
    }
    if meta.mode() & 0o022 != 0 {
        return Err(Error::new(Exit::NoPermission, act(), "others may write it").advise("chmod 600"));
    }
    Ok(())
}

/// Tries for `wait`; whether it succeeded.
fn persist(wait: Duration, attempt: impl Fn() -> nix::Result<()>) -> io::Result<bool> {
    let start = Instant::now();
    loop {
        match attempt() {
            Ok(()) => return Ok(true),
            Err(Errno::EAGAIN) if start.elapsed() < wait => std::thread::sleep(RETRY),
            Err(Errno::EAGAIN) => return Ok(false),
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// A lock of another kind on the same file (fcntl_locking(2), "Open file description locks"): the two do not see each
/// other.
fn turnstile(file: &File, kind: i32) -> nix::Result<()> {
    let place = libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 1,
        l_pid: 0,
    };
    nix::fcntl::fcntl(file, FcntlArg::F_OFD_SETLK(&place)).map(drop)
}

/// nix's replacement for this function unlocks when it is dropped, also when that happens in a forked process, and
/// would take the lock from the one that still needs it. Here closing unlocks.
#[allow(deprecated)]
fn try_lock(file: &File) -> nix::Result<()> {
    nix::fcntl::flock(file.as_raw_fd(), FlockArg::LockExclusiveNonblock)
}

/// The newest valid record, and whether anything was ever written.
fn newest(file: &File) -> io::Result<(Option<Record>, bool)> {
    let slots = [read_slot(file, 0)?, read_slot(file, SECTOR)?];
    let newest = slots.iter().filter_map(Record::from_bytes).max_by_key(|record| record.sequence);
    Ok((newest, slots.iter().flatten().any(|&byte| byte != 0)))
}

/// A slot, zeros where the file is too short.
fn read_slot(file: &File, offset: u64) -> io::Result<[u8; SLOT]> {
    let mut slot = [0; SLOT];
    match file.read_exact_at(&mut slot, offset) {
        Err(e) if e.kind() != io::ErrorKind::UnexpectedEof => Err(e),
        _ => Ok(slot),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("naptun-state-{name}-{}", std::process::id()));
            std::fs::create_dir(&path).unwrap();
            Self(path)
        }
        fn file(&self) -> PathBuf {
            self.0.join("deep").join("state")
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn open(path: &Path) -> StateFile {
        // A process that another test forks has the descriptor, and the lock, until it executes or ends.
        match StateFile::open(path, Duration::from_secs(10)).unwrap() {
            Opened::Ours(state) => state,
            locked => panic!("{locked:?}"),
        }
    }

    #[test]
    fn what_was_written_last_is_read_after_opening_again() {
        let place = Place::new("last");
        assert_eq!(open(&place.file()).read(), None);
        for n in 0..5 {
            open(&place.file()).write([n; 24]).unwrap();
            assert_eq!(open(&place.file()).read(), Some([n; 24]));
        }
        let mut state = open(&place.file());
        state.write([8; 24]).unwrap();
        state.write([9; 24]).unwrap();
        state.flush().unwrap();
        drop(state);
        assert_eq!(open(&place.file()).read(), Some([9; 24]));
    }

    #[test]
    fn the_directory_and_the_file_are_private_and_of_a_fixed_size() {
        let place = Place::new("mode");
        open(&place.file()).write([1; 24]).unwrap();
        let meta = std::fs::metadata(place.file()).unwrap();
        assert_eq!((meta.mode() & 0o777, meta.len()), (0o600, SIZE));
        assert_eq!(std::fs::metadata(place.0.join("deep")).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_write_cut_short_at_any_byte_leaves_the_record_before_it_or_the_new_one() {
        let place = Place::new("torn");
        // A checksum that ends in zero would be whole without its last byte.
        let (old, new) = ([0x11; 24], [0x23; 24]);
        for history in 1..=3_u64 {
            for cut in 0..=SLOT {
                let _ = std::fs::remove_file(place.file());
                let mut state = open(&place.file());
                (1..history).for_each(|n| state.write([n.to_le_bytes()[0]; 24]).unwrap());
                state.write(old).unwrap();
                let record = Record { sequence: history + 1, payload: new };
                state.file.write_all_at(&record.to_bytes()[..cut], record.offset()).unwrap();
                drop(state);
                let expected = if cut == SLOT { new } else { old };
                let mut state = open(&place.file());
                assert_eq!(state.read(), Some(expected), "{history} writes, cut at {cut}");
                state.write([0x33; 24]).unwrap();
                drop(state);
                assert_eq!(open(&place.file()).read(), Some([0x33; 24]), "{history} writes, cut at {cut}");
            }
        }
    }

    #[test]
    fn no_flipped_bit_of_a_slot_goes_unnoticed() {
        let bytes = Record { sequence: 7, payload: [5; 24] }.to_bytes();
        assert!(Record::from_bytes(&bytes).is_some());
        for bit in 0..SLOT * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Record::from_bytes(&flipped), None, "bit {bit}");
        }
    }

    #[test]
    fn a_file_without_a_valid_record_is_taken_over_and_called_damaged() {
        let place = Place::new("damaged");
        assert!(!open(&place.file()).is_damaged());
        std::fs::write(place.file(), [0xAA; 600]).unwrap();
        let mut state = open(&place.file());
        assert!(state.is_damaged() && state.read().is_none());
        state.write([1; 24]).unwrap();
        drop(state);
        assert!(!open(&place.file()).is_damaged());
    }

    #[test]
    fn the_second_opening_is_told_who_has_the_first_and_waits_for_its_end() {
        let place = Place::new("lock");
        let first = open(&place.file());
        let Opened::LockedBy(tenant) = StateFile::open(&place.file(), Duration::from_millis(30)).unwrap()
        else {
            panic!("locked twice");
        };
        let holder = tenant.holder().unwrap();
        assert_eq!([tenant.pid(), Some(holder.pid())], [Some(std::process::id()); 2]);
        let end = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            drop(first);
        });
        let third = StateFile::open(&place.file(), Duration::from_secs(10)).unwrap();
        assert!(matches!(third, Opened::Ours(_)));
        end.join().unwrap();
    }

    #[test]
    fn who_waits_first_has_the_lock_first() {
        let place = Place::new("turn");
        let first = open(&place.file());
        let turn = Turn::take(&place.file(), Duration::ZERO).unwrap().unwrap();
        assert!(Turn::take(&place.file(), Duration::from_millis(20)).unwrap().is_none());
        let latecomer = StateFile::open(&place.file(), Duration::ZERO).unwrap();
        drop(first);
        assert!(matches!(latecomer, Opened::LockedBy(_)));
        // Free, but promised.
        let latecomer = StateFile::open(&place.file(), Duration::from_millis(20)).unwrap();
        assert!(matches!(latecomer, Opened::LockedBy(_)));
        let second = turn.lock(Duration::from_secs(10)).unwrap();
        assert!(matches!(second, Opened::Ours(_)));
        let turn = Turn::take(&place.file(), Duration::ZERO).unwrap().unwrap();
        assert!(matches!(turn.lock(Duration::ZERO).unwrap(), Opened::LockedBy(_)));
        drop(second);
        open(&place.file());
    }

    #[test]
    fn a_symlink_a_fifo_a_directory_and_a_file_that_others_may_write_are_refused() {
        let place = Place::new("refused");
        std::fs::create_dir(place.0.join("deep")).unwrap();
        let target = place.0.join("target");
        std::fs::write(&target, "").unwrap();
        std::os::unix::fs::symlink(&target, place.file()).unwrap();
        assert!(StateFile::open(&place.file(), Duration::ZERO).is_err());
        std::fs::remove_file(place.file()).unwrap();
        nix::unistd::mkfifo(&place.file(), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let fifo = StateFile::open(&place.file(), Duration::ZERO).unwrap_err();
        assert!(fifo.to_string().ends_with("is not a plain file"), "{fifo}");
        assert!(StateFile::open(&place.0.join("deep"), Duration::ZERO).is_err());
        let mut mode = std::fs::metadata(&target).unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut mode, 0o622);
        std::fs::set_permissions(&target, mode).unwrap();
        let loose = StateFile::open(&target, Duration::ZERO).unwrap_err();
        assert!(loose.to_string().ends_with("others may write it; chmod 600"), "{loose}");
    }
}
