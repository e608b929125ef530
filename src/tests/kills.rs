//! The program killed at random moments, many times over on one store.

use serde_json::Value;

use crate::crash::pause;
use crate::sandbox::{Sandbox, pattern};

/// Kills of one run; `HELIOS_KILLS` asks for more.
const KILLS: u64 = 50;

/// Goal: whatever a killed command was doing, the store opens, is sound, and holds what was answered before. Method:
/// commits, collections and forgetting, killed after a time drawn anew each round, on one store that is never repaired;
/// after each the head is the last one answered or the one under way, and everything on the device is checked.
#[test]
fn a_store_outlives_any_number_of_kills() {
    let kills = std::env::var("HELIOS_KILLS")
        .ok()
        .and_then(|kills| kills.parse().ok())
        .unwrap_or(KILLS);
    let sandbox = Sandbox::bare();
    sandbox.run(["init", "--size", "256M", "-q"]);
    sandbox.populate();
    sandbox.write("state", "0");
    sandbox.commit("0");
    let mut random: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut last = 0;
    let mut killed = 0;
    let mut pause_max = 60;
    for round in 1..=kills {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        sandbox.write("state", round.to_string());
        sandbox.write("large", pattern(2 << 20, round));
        let message = round.to_string();
        let arguments: &[&str] = match round % 10 {
            3 => &["gc"],
            7 => &["forget", "--keep-last", "3", "--prune"],
            _ => &["commit", "-m", &message],
        };
        let mut child = sandbox.spawn(arguments);
        // Up to about twice what a command takes, so that it dies in every phase, and sometimes not at all.
        pause((random >> 33) % pause_max);
        let ended = child.try_wait().expect("its state").is_some();
        if ended {
            pause_max = (pause_max * 3 / 4).max(4);
        } else {
            child.kill().expect("it was running");
            killed += 1;
            pause_max = (pause_max * 4 / 3).min(400);
        }
        let status = child.wait().expect("it has ended");
        let log = sandbox.json(["log", "-n", "1"]);
        let head: u64 = log["commits"][0]["message"]
            .as_str()
            .and_then(|message| message.trim().parse().ok())
            .expect("the number of a round");
        assert!(
            head == last || head == round,
            "round {round}: at {head} after {last}"
        );
        if status.success() && arguments[0] == "commit" {
            assert_eq!(head, round, "an answered commit is lost");
        }
        assert_eq!(
            sandbox.run(["cat", "main:state"]),
            head.to_string(),
            "round {round}"
        );
        last = head;
        let checked = sandbox.json(["check", "--read-data"]);
        assert_eq!(
            checked["damage"],
            Value::Array(Vec::new()),
            "round {round}: {checked}"
        );
    }
    assert!(
        killed * 4 > kills,
        "only {killed} of {kills} commands were killed"
    );
    println!("{killed} of {kills} commands were killed");
}
