//! `--watch`: once a second, on a terminal in the same place.

use std::io::{self, IsTerminal as _, Write};
use std::time::Duration;

use super::table::Look;
use super::{Failed, Form, Request, missing, text, tunnels};
use crate::os::clock;
use crate::os::terminal::{self, Signals, Wake};

const EVERY: Duration = Duration::from_secs(1);

/// Into the other screen, without a cursor; and back.
const ENTER: &[u8] = b"\x1b[?1049h\x1b[?25l";
const LEAVE: &[u8] = b"\x1b[?25h\x1b[?1049l";

/// Shows it until a signal ends that.
pub(super) fn watch(request: &Request) -> std::result::Result<(), Failed> {
    let signals = Signals::open().map_err(Failed::Told)?;
    if let Some(error) = missing(request, &tunnels(request)) {
        return Err(Failed::Told(error));
    }
    let live = request.form == Form::Table && io::stdout().is_terminal();
    let mut screen = if live { Some(Screen::enter()?) } else { None };
    loop {
        let tunnels = tunnels(request);
        let shown = if live { frame(request, &tunnels) } else { plain(request, &tunnels) };
        let mut out = io::stdout().lock();
        out.write_all(shown.as_bytes())?;
        out.flush()?;
        drop(out);
        match signals.wait(EVERY).map_err(Failed::Told)? {
            Wake::End => return Ok(()),
            Wake::Time | Wake::Resized => {}
            Wake::Stop => {
                // The shell has its own screen back meanwhile.
                drop(screen.take());
                signals.stop().map_err(Failed::Told)?;
                screen = if live { Some(Screen::enter()?) } else { None };
            }
        }
    }
}

/// Where nobody redraws: one after the other.
fn plain(request: &Request, tunnels: &[super::Tunnel]) -> String {
    let shown = text(request.form, tunnels, &Look { blocks: terminal::speaks_utf8(), ..Look::default() });
    if request.form == Form::Table { format!("{}\n{shown}\n", clock::local_time()) } else { shown }
}

/// What the screen shows: as many lines as it has, each in the place of the one before.
fn frame(request: &Request, tunnels: &[super::Tunnel]) -> String {
    let (columns, rows) = terminal::size().unwrap_or((80, 24));
    let look =
        Look { colour: terminal::wants_colour(), blocks: terminal::speaks_utf8(), width: Some(columns) };
    let awake = tunnels.iter().filter(|it| it.condition().name() == "awake").count();
    let head = format!("{}  {} tunnels, {awake} awake  (ctrl-C ends)", clock::local_time(), tunnels.len());
    let head: String = head.chars().take(columns).collect();
    let table = text(request.form, tunnels, &look);
    let lines = [head.as_str(), ""].into_iter().chain(table.lines()).take(rows.max(1));
    let mut frame = String::from("\x1b[H");
    for (number, line) in lines.enumerate() {
        frame.push_str(if number == 0 { "" } else { "\r\n" });
        frame.push_str(line);
        frame.push_str("\x1b[K");
    }
    frame.push_str("\x1b[J");
    frame
}

/// The other screen of the terminal; dropping it brings back what was there.
struct Screen;

impl Screen {
    fn enter() -> io::Result<Self> {
        let mut out = io::stdout().lock();
        out.write_all(ENTER)?;
        Ok(Self)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let mut out = io::stdout().lock();
        // A terminal that is gone needs nothing.
        let _ = out.write_all(LEAVE).and_then(|()| out.flush());
    }
}
