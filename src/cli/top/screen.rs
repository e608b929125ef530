//! The terminal while it shows a view: an alternate screen, keys without echo, and everything as it was afterwards.
//!
//! Invariant: however the view is left, short of being killed, the terminal is as it was found.

use std::io::{self, IsTerminal};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr,
};

use super::frame::{Line, Size};

/// A place of this size if the terminal does not say.
const SIZE: Size = Size {
    columns: 80,
    rows: 24,
};
/// Alternate screen, no cursor, lines are not wrapped.
const ENTER: &[u8] = b"\x1b[?1049h\x1b[?25l\x1b[?7l";
/// The opposite.
const LEAVE: &[u8] = b"\x1b[?7h\x1b[?25h\x1b[?1049l";

/// What somebody wants who has pressed a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// To leave.
    Quit,
    /// Nothing that is known here.
    Other,
}

/// See the module. The terminal is restored when it is dropped.
pub struct Screen {
    /// Modes of the terminal before, if keys come from one.
    before: Option<Termios>,
}

impl Screen {
    /// Takes the terminal over.
    ///
    /// # Errors
    /// The terminal refuses.
    pub fn enter() -> io::Result<Screen> {
        let stdin = io::stdin();
        let mut screen = Screen { before: None };
        if stdin.is_terminal() {
            let before = tcgetattr(&stdin)?;
            let mut modes = before.clone();
            modes.local_modes &= !(LocalModes::ICANON | LocalModes::ECHO);
            modes.special_codes[SpecialCodeIndex::VMIN] = 0;
            modes.special_codes[SpecialCodeIndex::VTIME] = 0;
            // A stopped view would leave the terminal as it is now.
            modes.special_codes[SpecialCodeIndex::VSUSP] = 0;
            tcsetattr(&stdin, OptionalActions::Flush, &modes)?;
            screen.before = Some(before);
        }
        write(ENTER)?;
        Ok(screen)
    }

    /// How large it is now.
    pub fn size(&self) -> Size {
        size().unwrap_or(SIZE)
    }

    /// The key that has been pressed, if one has.
    pub fn key(&self) -> Option<Key> {
        self.before.as_ref()?;
        let stdin = io::stdin();
        let mut waiting = [PollFd::new(&stdin, PollFlags::IN)];
        match poll(&mut waiting, Some(&Timespec::default())) {
            Ok(some) if some > 0 => {}
            _ => return None,
        }
        // Not through the buffer of the standard library: what it keeps, `poll` does not see.
        let mut bytes = [0; 64];
        let length = rustix::io::read(&stdin, &mut bytes).ok()?;
        Some(key_of(&bytes[..length]))
    }

    /// Draws over what is there.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn draw(&self, lines: &[Line], paint: impl Fn(&Line) -> String) -> io::Result<()> {
        let mut text = String::from("\x1b[H");
        for (number, line) in lines.iter().enumerate() {
            text.push_str(if number == 0 { "" } else { "\r\n" });
            text.push_str(&paint(line));
            text.push_str("\x1b[K");
        }
        text.push_str("\x1b[J");
        write(text.as_bytes())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = write(LEAVE);
        if let Some(before) = &self.before {
            let _ = tcsetattr(io::stdin(), OptionalActions::Flush, before);
        }
    }
}

/// What some keys mean together. None at all is the end: the terminal has been hung up.
fn key_of(bytes: &[u8]) -> Key {
    let quits = bytes.is_empty() || bytes.iter().any(|byte| matches!(byte, b'q' | b'Q'));
    if quits { Key::Quit } else { Key::Other }
}

/// The size of the terminal that standard output is.
pub fn size() -> Option<Size> {
    let size = tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then(|| Size {
        columns: usize::from(size.ws_col),
        rows: usize::from(size.ws_row),
    })
}

fn write(bytes: &[u8]) -> io::Result<()> {
    let mut rest = bytes;
    let stdout = io::stdout();
    while !rest.is_empty() {
        match rustix::io::write(&stdout, rest) {
            Ok(written) => rest = &rest[written..],
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
