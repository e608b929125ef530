//! Every option in the file, and what is wrong with a file.

use super::*;

/// Texts of which every option with a value takes one; an option that takes none of them needs its own here.
const SAMPLES: [&str; 5] = ["7", "1G", "15s", "unix:/run/x", "/a/file"];

fn read(text: &str) -> Result<Settings, Failure> {
    Settings::read(Path::new("some.toml"), text)
}

fn refused(text: &str) -> String {
    match read(text) {
        Err(failure) => {
            assert_eq!(failure.class, Class::Invalid);
            failure.message
        }
        Ok(settings) => panic!("{text:?} was taken: {settings:?}"),
    }
}

/// What the options of a command are with a file, and these arguments.
fn matches(text: &str, arguments: &[&str]) -> ArgMatches {
    let typed = Cli::command()
        .try_get_matches_from(arguments)
        .expect("sound arguments");
    let command = read(text).expect("a sound file").apply(&typed);
    command.try_get_matches_from(arguments).expect("sound arguments")
}

/// A value of an option other than its default: as TOML has it, and as it is typed.
fn sample(arg: &Arg) -> (String, Vec<String>) {
    let is_default = |value: &str| arg.get_default_values().iter().any(|default| default == value);
    let possible: Vec<String> = arg
        .get_possible_values()
        .iter()
        .map(|value| value.get_name().to_owned())
        .collect();
    let taken = |value: &&str| accept(arg.get_value_parser(), value).is_ok() && !is_default(value);
    let text = possible
        .iter()
        .map(String::as_str)
        .chain(SAMPLES)
        .find(taken)
        .map(str::to_owned);
    let text = || {
        text.clone()
            .unwrap_or_else(|| panic!("a sample for --{}", arg.get_long().unwrap_or_default()))
    };
    match arg.get_action() {
        ArgAction::SetTrue => ("true".into(), vec!["true".into()]),
        ArgAction::Count => ("2".into(), vec!["2".into()]),
        ArgAction::Append => (format!("[{0:?}, {0:?}]", text()), vec![text(), text()]),
        ArgAction::Set => (format!("{:?}", text()), vec![text()]),
        action => panic!(
            "--{} has the action {action:?}",
            arg.get_long().unwrap_or_default()
        ),
    }
}

/// Goal: whatever is an option of every command, or of a command with a section, can be set in the file, and a flag goes before
/// it. Method: each argument that `clap` knows, alone in a file; then the same typed with another value.
#[test]
fn every_option_can_be_set() {
    let mut definition = Cli::command();
    definition.build();
    let mut seen = 0;
    for section in std::iter::once("").chain(SECTIONS) {
        let command = match section {
            "" => &definition,
            name => definition.find_subcommand(name).expect("a command"),
        };
        for arg in options(command, section.is_empty()) {
            let name = arg.get_long().expect("a long name");
            let id = arg.get_id().as_str();
            let (value, typed) = sample(arg);
            let file = match section {
                "" => format!("{name} = {value}\n"),
                section => format!("[{section}]\n{name} = {value}\n"),
            };
            let arguments = ["helios", if section.is_empty() { "info" } else { section }];
            let found = |matches: &ArgMatches| {
                let matches = matches.subcommand().expect("a command").1.clone();
                let raw = matches.get_raw(id).expect("a value");
                let values: Vec<String> = raw
                    .map(|value| value.to_str().expect("text").to_owned())
                    .collect();
                (values, matches.value_source(id))
            };
            assert_eq!(
                found(&matches(&file, &arguments)),
                (typed.clone(), Some(ValueSource::DefaultValue)),
                "{file}"
            );
            let flag = match arg.get_action() {
                ArgAction::SetTrue | ArgAction::Count => format!("--{name}"),
                _ => format!("--{name}={}", typed[0]),
            };
            let (values, source) = found(&matches(&file, &[arguments[0], arguments[1], &flag]));
            assert_eq!(
                (values.len(), source),
                (1, Some(ValueSource::CommandLine)),
                "{file}"
            );
            seen += 1;
        }
    }
    assert!(seen > 12, "only {seen} options were found");
}

/// Goal: what is wrong is named by file, line and key, with what would be right.
#[test]
fn what_is_wrong_is_named() {
    for (text, words) in [
        ("# one\n\npol = 'busy'\n", ["some.toml, line 3", "`pol`", "poll"]),
        ("poll = 'fast'\n", ["line 1", "`poll`", "adaptive, busy"]),
        ("poll = true\n", ["line 1", "`poll`", "must be a text"]),
        ("json = 'yes'\n", ["line 1", "`json`", "true or false"]),
        ("reactors = 0\n", ["line 1", "`reactors`", "1..=256"]),
        ("reactors = -1\n", ["line 1", "`reactors`", "from 0 on"]),
        ("reactors = 1.5\n", ["line 1", "`reactors`", "with a fraction"]),
        ("cache = '1Q'\n", ["line 1", "`cache`", "512M"]),
        ("store = 5\n", ["line 1", "`store`", "must be a text"]),
        ("store = \"a\\u0000b\"\n", ["line 1", "`store`", "NUL"]),
        (
            "command-timeout = 'soon'\n",
            ["line 1", "`command-timeout`", "90s"],
        ),
        ("verbose = 300\n", ["line 1", "`verbose`", "255"]),
        ("\nverbose = 1\nquiet = true\n", ["line", "`quiet`", "`verbose`"]),
        ("control = 'unix:/x'\n", ["line 1", "`control`", "[serve]"]),
        ("serve = 1\n", ["line 1", "`serve`", "section"]),
        ("[serve]\nstore = 'x'\n", ["line 2", "`store`", "the top"]),
        ("[serve]\nallow-uid = 7\n", ["line 2", "`allow-uid`", "list"]),
        (
            "[serve]\nallow-uid = [7, 'x']\n",
            ["line 2", "`allow-uid`", "\"x\""],
        ),
        ("[serve]\ncontrol = 'tcp:1'\n", ["line 2", "`control`", "unix:"]),
        ("[commit]\nmessage = 'x'\n", ["line 1", "`commit`", "no option"]),
        ("config = 'x'\n", ["line 1", "`config`", "cannot be in it"]),
        ("store = 'a'\nstore = 'b'\n", ["line 2", "no TOML", "duplicate"]),
        ("store = \n", ["line 1", "no TOML", ""]),
    ] {
        let message = refused(text);
        for word in words {
            assert!(message.contains(word), "{text:?}: {message}");
        }
    }
}

/// Goal: what is typed goes before what contradicts it in the file. Method: `-v` against `quiet`, which no command line may have
/// both of.
#[test]
fn a_flag_goes_before_a_setting_that_contradicts_it() {
    let quiet = |arguments: &[&str]| matches("quiet = true\n", arguments).get_flag("quiet");
    assert!(quiet(&["helios", "info"]));
    assert!(!quiet(&["helios", "info", "-v"]));
    assert_eq!(
        matches("verbose = 2\n", &["helios", "-q", "info"]).get_count("verbose"),
        0
    );
    read("verbose = 1\nquiet = false\n").expect("no contradiction");
}

/// Goal: numbers as TOML writes them are what they say.
#[test]
fn numbers_of_toml_are_numbers() {
    let cache = |text: &str| {
        matches(text, &["helios", "info"])
            .get_one::<u64>("cache")
            .copied()
    };
    assert_eq!(cache("cache = 0x10_0000\n"), Some(1 << 20));
    assert_eq!(cache("cache = 1_000\n"), Some(1000));
    assert_eq!(cache("cache = '1.5G'\n"), Some(3 << 29));
    assert_eq!(cache(""), None);
}

/// Goal: the example that is shipped says what it should: every line of it is an option, set or shown. Method: it is read as it is,
/// and again with every setting that it shows as a comment.
#[test]
fn the_example_is_sound() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/systemd/config.toml");
    let text = std::fs::read_to_string(path).expect("the example");
    read(&text).expect("a sound file");
    let shown: String = text
        .lines()
        .map(|line| {
            line.strip_prefix("#")
                .filter(|rest| !rest.starts_with(' '))
                .unwrap_or(line)
        })
        .flat_map(|line| [line, "\n"])
        .collect();
    let settings = read(&shown).expect("sound settings");
    let mut definition = Cli::command();
    definition.build();
    let missing = |command: &Command, global: bool, settings: &[Setting]| -> Vec<Id> {
        let ids = options(command, global)
            .into_iter()
            .map(|arg| arg.get_id().clone());
        ids.filter(|id| !settings.iter().any(|setting| setting.id == *id))
            .collect()
    };
    // A file that made every command print JSON, or less or more, would surprise whoever has it.
    assert_eq!(
        missing(&definition, true, &settings.global),
        ["json", "quiet", "verbose"]
    );
    for (section, settings) in SECTIONS.iter().zip(&settings.sections) {
        let command = definition.find_subcommand(section).expect("a command");
        assert_eq!(missing(command, false, settings), [] as [Id; 0]);
    }
}
