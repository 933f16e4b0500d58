//! Reading files that a person named, without ever waiting for one.

use std::fs::{File, FileType, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use zeroize::Zeroizing;

/// Bytes that are made room for at first.
const FIRST_READ: usize = 16 * 1024;

/// Opens `path` for reading. A FIFO or a terminal does not make this wait.
pub(super) fn open(path: &Path, follow: bool) -> io::Result<(File, Metadata)> {
    let nofollow = if follow { 0 } else { libc::O_NOFOLLOW };
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY | nofollow;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    Ok((file, metadata))
}

/// At most `cap` bytes of `source`; `None` if it holds more.
pub(super) fn read_capped(mut source: impl Read, cap: usize) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let limit = cap.saturating_add(1);
    let mut text = Zeroizing::new(vec![0; limit.min(FIRST_READ)]);
    let mut length = 0;
    loop {
        if length == text.len() {
            if length == limit {
                return Ok(None);
            }
            text = enlarged(&text, limit.min(length * 4));
        }
        match source.read(text.get_mut(length..).unwrap_or_default()) {
            Ok(0) => break,
            Ok(n) => length += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    text.truncate(length);
    Ok(Some(text))
}

/// A copy with room for `size` bytes. `Vec::resize` would leave the old bytes unwiped in freed memory.
fn enlarged(text: &[u8], size: usize) -> Zeroizing<Vec<u8>> {
    let mut larger = Zeroizing::new(Vec::with_capacity(size));
    larger.extend_from_slice(text);
    larger.resize(size, 0);
    larger
}

/// What a file is that should have been a regular one.
pub(super) fn kind(file_type: FileType) -> &'static str {
    match file_type {
        t if t.is_dir() => "a directory",
        t if t.is_fifo() => "a FIFO",
        t if t.is_socket() => "a socket",
        t if t.is_symlink() => "a symbolic link",
        t if t.is_char_device() || t.is_block_device() => "a device",
        _ => "a regular file",
    }
}
