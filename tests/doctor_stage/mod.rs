//! A folder of configurations that `naptun check` looks at, and what it says.

#![allow(dead_code, reason = "every test file uses a part of it")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use naptun::config::key::generate;

/// A folder of its own for one test, removed at its end.
pub struct Folder(pub PathBuf);

impl Folder {
    /// One with a key in it.
    pub fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("naptun-doctor-{test}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        let folder = Self(path.canonicalize().unwrap());
        folder.key("static.key", 7);
        folder
    }

    /// Writes a key that nobody else has for each `seed`.
    pub fn key(&self, name: &str, seed: u8) {
        self.write(name, &generate(&[seed; 256]));
        fs::set_permissions(self.0.join(name), fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Writes a file.
    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).unwrap();
    }

    /// Writes a configuration with the folder's key.
    pub fn tunnel(&self, name: &str, text: &str) {
        self.write(name, &format!("secret static.key\n{text}"));
    }

    /// Runs the binary.
    pub fn naptun(&self, words: &[&str]) -> Output {
        let binary =
            std::env::var_os("NAPTUN").map_or_else(|| env!("CARGO_BIN_EXE_naptun").into(), PathBuf::from);
        Command::new(binary).args(words).output().unwrap()
    }

    /// All lines of `naptun check --cd FOLDER` with these words behind it, and its exit code.
    pub fn check(&self, words: &[&str]) -> (Vec<String>, i32) {
        let output = self.naptun(&[&["check", "--cd", self.0.to_str().unwrap()], words].concat());
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        let said = String::from_utf8(output.stdout).unwrap();
        (said.lines().map(str::to_owned).collect(), output.status.code().unwrap())
    }

    /// The lines without those of the files, of a look at the files alone.
    pub fn findings(&self, words: &[&str], code: i32) -> Vec<String> {
        let (found, found_code) = self.check(&[&["--files-only"], words].concat());
        assert_eq!(found_code, code, "{found:?}");
        found.into_iter().filter(|line| !line.starts_with("    ")).collect()
    }

    /// A look at the files alone says exactly this.
    pub fn finds(&self, words: &[&str], code: i32, lines: &[&str]) {
        let (found, found_code) = self.check(&[&["--files-only"], words].concat());
        assert_eq!((found, found_code), (lines.iter().map(ToString::to_string).collect(), code));
    }

    /// A look at the files alone finds this and nothing else.
    pub fn finds_one(&self, words: &[&str], code: i32, line: &str) {
        let mut found = self.findings(words, code);
        found.retain(|line| !line.ends_with(": ok"));
        assert_eq!(found, [line], "{words:?}");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
