//! Where the run files are, and what they are called.

use std::path::Path;

use blake2::digest::consts::U4;
use blake2::{Blake2b, Digest as _};

/// The folder of the run files; made if it is missing.
pub const FOLDER: &str = "/run/naptun";

/// The folder whose configurations need no more than their own name.
pub const CONFIGURATIONS: &str = "/etc/naptun";

/// Bytes that a name may have, with room for what a name in the making has around it.
const LONGEST: usize = 200;

/// The name of the run file for a configuration, given by its whole path: `tun-mon-fri` for /etc/naptun/tun-mon-fri.conf,
/// `tun-mon-fri-1a2b3c4d` for one of that name elsewhere.
pub fn name(config: &Path) -> String {
    let stem = config.file_stem().unwrap_or_default().to_string_lossy();
    let plain = stem.len() <= LONGEST && !stem.starts_with('.') && !stem.contains('/') && !stem.is_empty();
    let stem = if plain { &*stem } else { "naptun" };
    if plain && config.parent() == Some(Path::new(CONFIGURATIONS)) {
        return stem.to_owned();
    }
    let hash: [u8; 4] = Blake2b::<U4>::digest(config.as_os_str().as_encoded_bytes()).into();
    format!("{stem}-{:08x}", u32::from_be_bytes(hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_has_its_own_name_in_the_usual_folder_and_a_number_behind_it_elsewhere() {
        assert_eq!(name(Path::new("/etc/naptun/tun-mon-fri.conf")), "tun-mon-fri");
        let elsewhere = name(Path::new("/srv/tun-mon-fri.conf"));
        assert_eq!(elsewhere.len(), "tun-mon-fri-".len() + 8);
        assert!(elsewhere.starts_with("tun-mon-fri-"), "{elsewhere}");
        assert_ne!(elsewhere, name(Path::new("/srv/other/tun-mon-fri.conf")));
    }

    #[test]
    fn no_name_is_hidden_empty_or_too_long_for_a_file() {
        for odd in ["/etc/naptun/.conf", "/etc/naptun/..x.conf", "/", "naptun", ""] {
            let name = name(Path::new(odd));
            assert!(name.starts_with("naptun-"), "{odd}: {name}");
        }
        assert!(name(Path::new(&format!("/etc/naptun/{}.conf", "x".repeat(250)))).len() < LONGEST);
    }
}
