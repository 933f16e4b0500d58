//! The pictures are what their drawings say, and the drawings what the samples and the program say.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use naptun::tunnel;

const FOLDER: &str = "doc/pictures";
/// What the words of the scenes are taken from.
const SAMPLES: &[&str] = &[
    "doc/sample/tun-mon-fri.conf",
    "doc/sample/tun-fri-mon.conf",
    "doc/sample/tap-mon-fri.conf",
    "doc/sample/tap-fri-mon.conf",
    "xinetd.d/timbuktu-srv1",
    "xinetd.d/timbuktu-srv2",
    "services.fragment",
    "scripts/bridge-setup",
    "README.md",
    "scripts/demo",
    "scripts/lab",
];
/// Prints every text of a picture, which has to be well-formed, one a line.
const TEXTS: &str = "
import sys, xml.etree.ElementTree as xml
for text in xml.parse(sys.argv[1]).iter('{http://www.w3.org/2000/svg}text'): print(text.text)
";

#[test]
fn every_picture_is_what_scripts_draw_makes_of_its_drawing() {
    let folder = std::env::temp_dir().join(format!("naptun-pictures-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    for drawing in drawings() {
        let copy = folder.join(drawing.file_name().unwrap());
        fs::copy(&drawing, &copy).unwrap();
        run(Command::new("scripts/draw").arg(&copy));
        let made = fs::read_to_string(copy.with_extension("svg")).unwrap();
        let kept = fs::read_to_string(drawing.with_extension("svg")).unwrap_or_default();
        assert!(made == kept, "{} has changed: run scripts/draw", drawing.display());
    }
    fs::remove_dir_all(folder).unwrap();
    assert_eq!(pictures("svg").len(), drawings().len(), "a picture without a drawing");
}

#[test]
fn every_picture_is_well_formed_and_no_word_of_its_drawing_is_lost() {
    for drawing in drawings() {
        let texts = run(Command::new("python3").arg("-c").arg(TEXTS).arg(drawing.with_extension("svg")));
        let drawn: Vec<String> = words(&fs::read_to_string(&drawing).unwrap());
        let shown: Vec<String> = words(&texts);
        assert!(shown.len() > 20, "{}: {shown:?}", drawing.display());
        assert_eq!(shown, drawn, "{}", drawing.display());
    }
}

#[test]
fn every_box_is_closed() {
    for (name, boxes) in [("routed", 4), ("bridged", 3), ("life", 4)] {
        let picture = fs::read_to_string(format!("{FOLDER}/{name}.svg")).unwrap();
        assert_eq!(picture.matches("<rect class=\"box\"").count(), boxes, "{name}: a wall has a gap");
    }
}

#[test]
fn a_drawing_fits_a_terminal() {
    for drawing in drawings() {
        let text = fs::read_to_string(&drawing).unwrap();
        let widest = text.lines().map(str::len).max().unwrap();
        assert!(text.is_ascii() && widest <= 80, "{}: {widest} columns", drawing.display());
    }
}

#[test]
fn every_number_name_and_directive_of_the_scenes_is_in_the_samples() {
    let samples: String = SAMPLES.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    let known: BTreeSet<&str> =
        samples.split(|letter: char| !is_of_a_word(letter)).map(|word| word.trim_matches('.')).collect();
    for scene in ["routed", "bridged"] {
        let text = fs::read_to_string(format!("{FOLDER}/{scene}.txt")).unwrap();
        let special =
            |word: &&str| word.contains(|letter: char| letter.is_ascii_digit() || "-._/".contains(letter));
        let words = text.split_whitespace().filter(|word| !word.contains(['+', '>', '<']));
        let words = words.map(|word| word.trim_matches([',', '.', ':']));
        let mut count = 0;
        // The seed's names of the two networks are in no file.
        for word in words.filter(special).filter(|word| !word.starts_with("net-")) {
            // Of a network an address is enough.
            let network = word.strip_suffix("0/24").filter(|net| known.iter().any(|it| it.starts_with(net)));
            let file = Path::new(word).is_file();
            assert!(file || known.contains(word) || network.is_some(), "{scene}: {word} is in no sample");
            count += 1;
        }
        assert!(count >= 10, "{scene}: {count} words compared");
    }
}

#[test]
fn the_life_of_a_tunnel_has_the_times_of_the_program() {
    let life = fs::read_to_string(format!("{FOLDER}/life.txt")).unwrap();
    let sample = fs::read_to_string("doc/sample/tun-mon-fri.conf").unwrap();
    assert!(life.contains("inactive 300") && sample.contains("\ninactive 300\n"));
    assert!(life.contains(&format!("{} s without a datagram", tunnel::LINGER.as_secs())));
    let protocol = fs::read_to_string("doc/protocol.md").unwrap();
    assert!(life.contains("every 120 s") && protocol.contains("120 s"));
}

/// Words, without what only draws.
fn words(text: &str) -> Vec<String> {
    let rule = |word: &str| word.chars().all(|letter| "+-|<>^v".contains(letter));
    let bare = text.replace(['|', '<', '>'], " ");
    bare.split_whitespace().filter(|word| !rule(word)).map(str::to_owned).collect()
}

fn is_of_a_word(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "-._/".contains(letter)
}

fn drawings() -> Vec<PathBuf> {
    let drawings = pictures("txt");
    assert!(drawings.len() >= 3, "{drawings:?}");
    drawings
}

fn pictures(extension: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(Path::new(FOLDER)).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|it| it == extension)).collect();
    files.sort();
    files
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}; run scripts/needs"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
