//! Valid inputs for each target, made by the program itself: the beginning of the corpus.

use serde_json::Value;

use crate::observe::exposition::{Exposition, Kind};

/// The golden messages, one in a line.
const GOLDEN: &str = include_str!("../wire/golden/messages.jsonl");
/// The example that is shipped.
const EXAMPLE: &str = include_str!("../../scripts/systemd/config.toml");

/// Inputs by target and name.
pub fn seeds() -> Vec<(&'static str, String, Vec<u8>)> {
    let mut seeds = Vec::new();
    let mut stream = vec![6];
    for line in GOLDEN.lines() {
        let golden: Value = serde_json::from_str(line).expect("one value");
        let text = |field: &str| golden[field].as_str().expect("a text").to_owned();
        let name = text("name");
        let bytes = text("bytes");
        let bytes: Vec<u8> = (0..bytes.len() / 2)
            .map(|at| u8::from_str_radix(&bytes[2 * at..2 * at + 2], 16).expect("hexadecimal"))
            .collect();
        stream.extend_from_slice(&bytes);
        if matches!(&*name, "files" | "ping" | "input") {
            let frame = [&[23], &bytes[..]].concat();
            seeds.push(("wire_frames", format!("golden-{name}"), frame));
        }
        // By the numbers of frames; of the others the head is nothing.
        let target = match golden["kind"].as_u64() {
            Some(3) => 0,
            Some(10) => 1,
            Some(1) => 2,
            Some(2) => 3,
            Some(6) => 4,
            Some(8) => 5,
            Some(9) => 6,
            Some(11) => 7,
            Some(12) => 8,
            _ => continue,
        };
        let head = [&[target], text("head").as_bytes()].concat();
        seeds.push(("wire_messages", format!("golden-{name}"), head));
    }
    seeds.push(("wire_frames", "golden-all".into(), stream));
    seeds.push(("configuration", "example".into(), EXAMPLE.into()));
    let shown: Vec<&str> = EXAMPLE
        .lines()
        .filter_map(|line| line.strip_prefix('#'))
        .collect();
    let shown: Vec<&str> = shown
        .into_iter()
        .filter(|line| !line.starts_with(' ') && line.contains('='))
        .collect();
    let (serve, global): (Vec<&str>, Vec<&str>) = shown
        .into_iter()
        .partition(|line| line.starts_with("control") || line.starts_with("allow-uid"));
    let all = format!("{}\n[serve]\n{}\n", global.join("\n"), serve.join("\n"));
    seeds.push(("configuration", "shown".into(), all.into_bytes()));
    let odd = "quiet = true\nverbose = 0\n\"store\" = '''a\nb'''\nserve.allow-uid = [0x10, 1_000]\n";
    seeds.push(("configuration", "odd".into(), odd.into()));
    let mut page = Exposition::default();
    page.counter("a_total", "a\\b", 7_u64);
    page.family("b", Kind::Gauge, "b")
        .sample(&[("x", "a\"b\n"), ("y", "")], 0.5);
    page.family("c_seconds", Kind::Histogram, "c").histogram(
        &[("x", "1")],
        &[1_000, 1_000_000],
        &[1, 2],
        3,
        4,
    );
    seeds.push(("metrics", "page".into(), page.into_text().into_bytes()));
    seeds
}
