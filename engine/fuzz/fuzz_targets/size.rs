//! Sizes as people type them. Must hold: what is understood is the number of bytes that exact arithmetic gives, and what
//! is shown of it is a size again where the unit is one that is read; nothing panics.
#![no_main]

#[allow(dead_code, reason = "the command line uses the rest")]
#[path = "../../../src/cli/size.rs"]
mod size;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(parsed) = size::parse(text) else {
        return;
    };
    assert_eq!(size::parse(&parsed.to_string()), Ok(parsed));
    let shown = size::show(parsed);
    if !shown.ends_with("EiB") {
        let again = size::parse(&shown).expect("what is shown can be typed");
        // Three significant digits.
        assert!(
            again.abs_diff(parsed) <= parsed / 100,
            "{parsed} is shown as {shown}"
        );
    }
    assert_eq!(size::count(parsed).replace(',', ""), parsed.to_string());
});
