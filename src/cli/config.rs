//! The configuration file: defaults for options, in TOML.
//!
//! Owns finding, reading and applying it. Its keys are the long names of options as `clap` knows them, those of every command at
//! the top and those of [`SECTIONS`] in tables of their own, so that an option can be set there as soon as there is one. What the
//! file says becomes the default of its option: a flag goes before an environment variable, that before the file, and the file
//! before the built-in default, by `clap`'s own rules.
//!
//! Invariant: a file is taken whole or refused; what is refused is named by file, line and key.
//! Rejected: a struct of settings beside the arguments (it would have to be kept equal by hand, with a second set of rules about
//! precedence); several files laid over each other (which of them a value comes from would have to be asked).

use std::any::TypeId;
use std::error::Error;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::builder::ValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches, Id};
use helios_engine::ops::{Class, Failure};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::args::Cli;
use super::quote;

/// Commands whose own options can be set, in a table of the command's name.
pub const SECTIONS: [&str; 1] = ["serve"];
/// Options that say where the file is, and so cannot be in it.
const ABOUT_THE_FILE: [&str; 2] = ["config", "no-config"];
/// Longest file, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// The file for all users of the machine.
const OF_THE_MACHINE: &str = "/etc/helios/config.toml";

/// Why there are no arguments.
#[derive(Debug)]
pub enum Refused {
    /// What was typed; or help or a version were asked for.
    Arguments(clap::Error),
    /// The configuration file; `json` says in which form that is to be told.
    File {
        /// What is wrong with it.
        failure: Failure,
        /// `--json` was given.
        json: bool,
    },
}

/// Arguments, with the defaults of the configuration file.
///
/// # Errors
/// What was typed makes no sense, or what the file says.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, Refused> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let typed = Cli::command()
        .try_get_matches_from(&arguments)
        .map_err(Refused::Arguments)?;
    let refused = |failure| Refused::File {
        failure,
        json: typed.get_flag("json"),
    };
    let matches = match find(&typed).map_err(refused)? {
        None => typed,
        Some((path, text)) => {
            let settings = Settings::read(&path, &text).map_err(refused)?;
            let command = settings.apply(&typed);
            command
                .try_get_matches_from(&arguments)
                .map_err(Refused::Arguments)?
        }
    };
    Cli::from_arg_matches(&matches).map_err(Refused::Arguments)
}

/// The file that applies and what is in it, if there is one.
fn find(typed: &ArgMatches) -> Result<Option<(PathBuf, String)>, Failure> {
    if typed.get_flag("no_config") {
        return Ok(None);
    }
    if let Some(path) = typed.get_one::<PathBuf>("config") {
        if path.as_os_str().is_empty() {
            return Ok(None);
        }
        return match load(path) {
            Ok(text) => Ok(Some((path.clone(), text))),
            Err(error) => Err(unreadable(path, &error)),
        };
    }
    for path in places() {
        let is_of_another = std::fs::symlink_metadata(&path)
            .is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied);
        if is_of_another {
            // HOME is still that of the user before `su`: what is there is not for this one.
            continue;
        }
        match load(&path) {
            Ok(text) => return Ok(Some((path, text))),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) => {}
            Err(error) => return Err(unreadable(&path, &error)),
        }
    }
    Ok(None)
}

/// Where a file is looked for, if none is named: the user's own, then that of the machine.
fn places() -> impl Iterator<Item = PathBuf> {
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    absolute("XDG_CONFIG_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".config")))
        .map(|config| config.join("helios/config.toml"))
        .into_iter()
        .chain([PathBuf::from(OF_THE_MACHINE)])
}

fn load(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?
        .take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        let why = format!("it is longer than {FILE_BYTES_MAX} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    Ok(text)
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::new(
        Class::Invalid,
        format!("configuration file {}: {error}", path.display()),
    )
    .with_hint("name another with --config FILE or HELIOS_CONFIG, or use none: --no-config")
}

/// What a file says, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Options of every command.
    global: Vec<Setting>,
    /// Options of commands, in the order of [`SECTIONS`].
    sections: Vec<Vec<Setting>>,
}

/// An option and its values: one, unless it may be repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Setting {
    id: Id,
    values: Vec<String>,
}

impl Settings {
    /// Reads the text of a file, which is called `path` where something is wrong with it.
    ///
    /// # Errors
    /// It is no TOML, has a key that is no option, or a value that the option would refuse.
    pub fn read(path: &Path, text: &str) -> Result<Settings, Failure> {
        let mut definition = Cli::command();
        definition.build();
        let reading = Reading {
            path,
            text,
            definition: &definition,
        };
        let table = DeTable::parse(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            reading.refuse(
                at,
                &format!("this is no TOML: {}", error.message().replace('\n', "; ")),
            )
        })?;
        let mut settings = Settings {
            global: Vec::new(),
            sections: vec![Vec::new(); SECTIONS.len()],
        };
        let global = options(&definition, true);
        for (key, value) in table.get_ref() {
            let name: &str = key.get_ref();
            let Some(section) = SECTIONS.iter().position(|section| *section == name) else {
                settings.global.push(reading.setting(&global, "", key, value)?);
                continue;
            };
            let DeValue::Table(table) = value.get_ref() else {
                let what = format!("`{name}` is the section [{name}], and no option");
                return Err(reading.refuse(key.span().start, &what));
            };
            let command = definition
                .find_subcommand(name)
                .expect("sections are named as commands");
            let own = options(command, false);
            for (key, value) in table {
                settings.sections[section].push(reading.setting(&own, name, key, value)?);
            }
        }
        reading.agree(&settings.global, &table)?;
        Ok(settings)
    }

    /// The command line with these defaults. What was typed goes before a setting that contradicts it.
    pub fn apply(&self, typed: &ArgMatches) -> Command {
        let mut definition = Cli::command();
        definition.build();
        let mut command = Cli::command();
        for setting in &self.global {
            let is_typed = |id: &Id| typed.value_source(id.as_str()) > Some(ValueSource::DefaultValue);
            if !contradicted_by(&definition, &setting.id).iter().any(is_typed) {
                command = command.mut_arg(&setting.id, |arg| arg.default_values(setting.values.clone()));
            }
        }
        for (section, settings) in SECTIONS.iter().zip(&self.sections) {
            command = command.mut_subcommand(section, |command| {
                settings.iter().fold(command, |command, setting| {
                    command.mut_arg(&setting.id, |arg| arg.default_values(setting.values.clone()))
                })
            });
        }
        command
    }
}

/// Options of a command that can be set: those of every command, or its own.
pub fn options(command: &Command, global: bool) -> Vec<&Arg> {
    let is_option = |arg: &&Arg| {
        let is_about = arg.get_long().is_none_or(|name| ABOUT_THE_FILE.contains(&name));
        let is_done = matches!(
            arg.get_action(),
            ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version
        );
        !is_about && !is_done && arg.is_global_set() == global
    };
    command.get_arguments().filter(is_option).collect()
}

/// Options that cannot go with this one.
fn contradicted_by(definition: &Command, id: &Id) -> Vec<Id> {
    let ids = |arg: &Arg| -> Vec<Id> {
        let conflicts = definition.get_arg_conflicts_with(arg);
        conflicts.iter().map(|other| other.get_id().clone()).collect()
    };
    let mut found = Vec::new();
    for other in options(definition, true) {
        if other.get_id() == id {
            found.extend(ids(other));
        } else if ids(other).contains(id) {
            found.push(other.get_id().clone());
        }
    }
    found
}

/// A file as it is read.
struct Reading<'a> {
    path: &'a Path,
    text: &'a str,
    definition: &'a Command,
}

impl Reading<'_> {
    /// What is at a byte of the file is wrong.
    fn refuse(&self, at: usize, what: &str) -> Failure {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        Failure::new(
            Class::Invalid,
            format!("configuration file {}, line {line}: {what}", self.path.display()),
        )
        .with_hint("`helios serve --help` explains every option; --no-config does without the file")
    }

    fn setting(
        &self,
        options: &[&Arg],
        section: &str,
        key: &Spanned<std::borrow::Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<Setting, Failure> {
        let name: &str = key.get_ref();
        let at = key.span().start;
        let known = options.iter().find(|arg| arg.get_long() == Some(name));
        let Some(arg) = known else {
            return Err(self.refuse(at, &self.unknown(options, section, name)));
        };
        let wrong = |what: String| self.refuse(at, &format!("`{name}` {what}"));
        let values = match (arg.get_action(), value.get_ref()) {
            (ArgAction::SetTrue, DeValue::Boolean(value)) => vec![value.to_string()],
            (ArgAction::SetTrue, other) => {
                return Err(wrong(format!("must be true or false, and is {}", kind(other))));
            }
            (ArgAction::Append, DeValue::Array(list)) => {
                let texts = list.iter().map(|value| text(arg, value.get_ref()));
                texts.collect::<Result<_, _>>().map_err(wrong)?
            }
            (ArgAction::Append, other) => {
                return Err(wrong(format!(
                    "must be a list, as in [1, 2], and is {}",
                    kind(other)
                )));
            }
            (_, value) => vec![text(arg, value).map_err(wrong)?],
        };
        for value in &values {
            accept(arg.get_value_parser(), value)
                .map_err(|why| wrong(format!("cannot be {value:?}: {why}")))?;
        }
        Ok(Setting {
            id: arg.get_id().clone(),
            values,
        })
    }

    fn unknown(&self, options: &[&Arg], section: &str, name: &str) -> String {
        let place = |section: &str| match section {
            "" => "the top".to_owned(),
            section => format!("[{section}]"),
        };
        let elsewhere = |options: Vec<&Arg>| options.iter().any(|arg| arg.get_long() == Some(name));
        if !section.is_empty() && elsewhere(crate::cli::config::options(self.definition, true)) {
            return format!("`{name}` belongs to the top of the file, before [{section}]");
        }
        if section.is_empty() {
            for section in SECTIONS {
                let command = self.definition.find_subcommand(section);
                if command.is_some_and(|command| elsewhere(crate::cli::config::options(command, false))) {
                    return format!("`{name}` belongs to [{section}]");
                }
            }
        }
        if ABOUT_THE_FILE.contains(&name) {
            return format!("`{name}` says which file is read, and cannot be in it");
        }
        let known: Vec<&str> = options.iter().filter_map(|arg| arg.get_long()).collect();
        format!(
            "there is no option `{}`; {} has {}",
            quote::name(name.as_bytes()),
            place(section),
            known.join(", ")
        )
    }

    /// No setting contradicts another one, as no two flags may.
    fn agree(&self, settings: &[Setting], table: &Spanned<DeTable<'_>>) -> Result<(), Failure> {
        let is_on = |id: &Id| {
            let of_id = |setting: &&Setting| setting.id == *id;
            let setting = settings.iter().find(of_id);
            setting.is_some_and(|setting| {
                setting
                    .values
                    .iter()
                    .any(|value| value != "false" && value != "0")
            })
        };
        let long = |id: &Id| {
            let arg = self.definition.get_arguments().find(|arg| arg.get_id() == id);
            arg.and_then(Arg::get_long).unwrap_or_default()
        };
        for setting in settings.iter().filter(|setting| is_on(&setting.id)) {
            let others = contradicted_by(self.definition, &setting.id);
            if let Some(other) = others.iter().find(|other| is_on(other)) {
                let name = long(&setting.id);
                let at = table.get_ref().iter().find(|(key, _)| key.get_ref() == name);
                let what = format!("`{name}` cannot be set together with `{}`", long(other));
                return Err(self.refuse(at.map_or(0, |(key, _)| key.span().start), &what));
            }
        }
        Ok(())
    }
}

/// The text of a value as it would be typed.
fn text(arg: &Arg, value: &DeValue<'_>) -> Result<String, String> {
    let is_number = {
        let taken = arg.get_value_parser().type_id();
        let numbers = [
            TypeId::of::<u8>(),
            TypeId::of::<u16>(),
            TypeId::of::<u32>(),
            TypeId::of::<u64>(),
            TypeId::of::<usize>(),
        ];
        numbers.iter().any(|number| taken == *number)
    };
    match value {
        DeValue::Integer(number) if is_number => {
            // `0x10` and `1_000` are numbers in TOML, and not on a command line.
            let number = u128::from_str_radix(number.as_str(), number.radix());
            number
                .map(|number| number.to_string())
                .map_err(|_| "must be a number from 0 on".to_owned())
        }
        DeValue::String(text) if text.contains('\0') => Err("has a NUL in it".to_owned()),
        DeValue::String(text) => Ok(text.clone().into_owned()),
        other => {
            let wanted = if is_number { "a number or a text" } else { "a text" };
            Err(format!("must be {wanted}, and is {}", kind(other)))
        }
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction; write it as a text, as in \"1.5G\"",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// Whether an option takes a value; the error says what it takes.
fn accept(parser: &ValueParser, value: &str) -> Result<(), String> {
    let arg = Arg::new("value")
        .long("value")
        .num_args(1)
        .value_parser(parser.clone());
    let command = Command::default().no_binary_name(true).arg(arg);
    let Err(error) = command.try_get_matches_from([format!("--value={value}")]) else {
        return Ok(());
    };
    if let (ErrorKind::InvalidValue, Some(ContextValue::Strings(values))) =
        (error.kind(), error.get(ContextKind::ValidValue))
        && !values.is_empty()
    {
        return Err(format!("it is one of {}", values.join(", ")));
    }
    Err(match error.source() {
        Some(source) => source.to_string(),
        None => "it must not be empty".to_owned(),
    })
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
