//! Names on a line: plain where possible, quoted as git quotes them where not.
//!
//! Invariant: one name is one line without control characters, whatever bytes it has, and can be told from every
//! other name. With `-z` names are printed raw and end in NUL instead (see the commands that offer it).

/// The name as it is printed. Odd names (control characters, quotes, backslashes, bytes that are not UTF-8) come
/// in double quotes with C escapes.
pub fn name(bytes: &[u8]) -> String {
    if let Ok(text) = std::str::from_utf8(bytes)
        && !text.is_empty()
        && !text
            .chars()
            .any(|c| c.is_control() || c == '"' || c == '\\' || is_format(c))
    {
        return text.to_owned();
    }
    let mut quoted = String::with_capacity(bytes.len() + 2);
    quoted.push('"');
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' => quoted.push_str("\\\""),
                '\\' => quoted.push_str("\\\\"),
                '\n' => quoted.push_str("\\n"),
                '\t' => quoted.push_str("\\t"),
                '\r' => quoted.push_str("\\r"),
                '\u{7}' => quoted.push_str("\\a"),
                '\u{8}' => quoted.push_str("\\b"),
                '\u{b}' => quoted.push_str("\\v"),
                '\u{c}' => quoted.push_str("\\f"),
                c if c.is_control() || is_format(c) => {
                    let mut utf8 = [0; 4];
                    octal(&mut quoted, c.encode_utf8(&mut utf8).as_bytes());
                }
                c => quoted.push(c),
            }
        }
        octal(&mut quoted, chunk.invalid());
    }
    quoted.push('"');
    quoted
}

fn octal(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        text.push_str(&format!("\\{byte:03o}"));
    }
}

/// Characters that change how their neighbours are shown (directional overrides and the like).
fn is_format(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: ordinary names are untouched, odd ones read as git would print them.
    #[test]
    fn as_git_does() {
        for (bytes, shown) in [
            (&b"src/main.rs"[..], "src/main.rs"),
            (b"with space", "with space"),
            ("gr\u{fc}n".as_bytes(), "gr\u{fc}n"),
            (b"a\nb", "\"a\\nb\""),
            (b"say \"hi\"", "\"say \\\"hi\\\"\""),
            (b"back\\slash", "\"back\\\\slash\""),
            (b"\xff\x01", "\"\\377\\001\""),
            (b"", "\"\""),
            ("x\u{202e}y".as_bytes(), "\"x\\342\\200\\256y\""),
        ] {
            assert_eq!(name(bytes), shown);
        }
    }

    /// Goal: no name can forge a line or a terminal sequence. Method: all single bytes.
    #[test]
    fn one_line_without_controls() {
        for byte in 0..=255u8 {
            assert!(!name(&[b'a', byte]).chars().any(char::is_control), "{byte:#x}");
        }
    }
}
