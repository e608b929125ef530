//! `device`: NVMe devices and the machine around them.
//!
//! These commands are about the machine and not about a store, so they are no requests that its owner could be asked: they
//! call [`pci`] themselves, with the rights of whoever runs them.

use helios_engine::device::pci::{
    self, BindOptions, Error, Fix, Host, Hugepages, Listed, Pages, PciAddress, State, Use,
};
use helios_engine::ops::{Class, Failure};
use serde_json::json;

use super::plural;
use crate::cli::args::{BindArgs, DeviceArgs, DeviceCommand, HugepagesArgs};
use crate::cli::exit::Exit;
use crate::cli::output::Ink;
use crate::cli::quote;
use crate::cli::session::{Session, Stop};
use crate::cli::size::{count, show};

pub fn device(session: &mut Session, args: DeviceArgs) -> Result<Exit, Stop> {
    let cancel = session.cancel();
    let wish = cancel.clone();
    let host = Host::this().until(move || wish.is_cancelled());
    let outcome = match args.command {
        DeviceCommand::List => list(session, &host),
        DeviceCommand::Bind(args) => bind(session, &host, args),
        DeviceCommand::Unbind { devices } => unbind(session, &host, &devices),
        DeviceCommand::Hugepages(args) => hugepages(session, &host, &args),
        DeviceCommand::Check { device } => check(session, &host, device),
    };
    match outcome {
        // The message says what became of what was begun.
        Err(Stop::Failed(failure)) if cancel.is_cancelled() => Err(Stop::Failed(Failure {
            class: Class::Cancelled,
            ..failure
        })),
        outcome => outcome,
    }
}

fn list(session: &mut Session, host: &Host) -> Result<Exit, Stop> {
    let listed = pci::survey(host);
    let out = &mut session.output;
    if out.json {
        out.json(&json!({ "devices": listed }))?;
        return Ok(Exit::Success);
    }
    if listed.is_empty() {
        out.remark("no NVMe devices on PCI")?;
        return Ok(Exit::Success);
    }
    let heading = [
        "address",
        "driver",
        "node",
        "group",
        "size",
        "serial",
        "block devices",
        "model",
        "in use",
    ];
    let mut rows = vec![heading.map(str::to_owned)];
    rows.extend(listed.iter().map(row));
    let widths: Vec<usize> = (0..heading.len())
        .map(|column| {
            rows.iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    for (number, row) in rows.iter().enumerate() {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        let line = line.trim_end();
        if number == 0 {
            let line = out.ink(Ink::Faint, line);
            out.remark(line)?;
        } else {
            out.line(line)?;
        }
    }
    if listed.iter().any(|device| !device.all_processes_seen) {
        out.remark("only root sees all processes and what is on the devices")?;
    }
    Ok(Exit::Success)
}

fn row(device: &Listed) -> [String; 9] {
    let controller = &device.controller;
    let known = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let number = |number: Option<u32>| known(number.map(|number| number.to_string()));
    let blocks: Vec<&str> = controller
        .namespaces
        .iter()
        .map(|namespace| namespace.name.as_str())
        .collect();
    let model = match (&controller.vendor, &controller.model, &controller.id) {
        (Some(vendor), Some(model), _) => Some(format!("{vendor} {model}")),
        (one, None, id) | (None, one, id) => one.clone().or_else(|| id.clone()),
    };
    [
        controller.address.to_string(),
        controller.driver.clone().unwrap_or_else(|| "none".to_owned()),
        number(controller.numa_node),
        number(controller.iommu_group),
        known(controller.size.map(show)),
        known(controller.serial.clone()),
        known((!blocks.is_empty()).then(|| blocks.join(" "))),
        known(model),
        match device.uses.is_empty() {
            true => "no".to_owned(),
            false => listed(&device.uses),
        },
    ]
}

fn listed(uses: &[Use]) -> String {
    let uses: Vec<String> = uses.iter().map(Use::to_string).collect();
    uses.join("; ")
}

fn bind(session: &mut Session, host: &Host, args: BindArgs) -> Result<Exit, Stop> {
    if let Some(stranger) = args.erase.iter().find(|erased| !args.devices.contains(erased)) {
        let message = format!("--erase {stranger} is not among the devices to bind");
        return Err(Failure::new(Class::Invalid, message).into());
    }
    let options = BindOptions {
        driver: args.driver.into(),
        erase: args.erase,
        user: args.user,
    };
    let bound = pci::bind(host, &args.devices, &options).map_err(failure)?;
    let out = &mut session.output;
    if out.json {
        out.json(&json!({ "devices": bound }))?;
        return Ok(Exit::Success);
    }
    for device in &bound {
        let mut line = match device.driver_before.as_deref() {
            Some(before) if before == device.driver => {
                format!("{} has the driver {} already", device.address, before)
            }
            before => format!(
                "{} has the driver {} now (before: {})",
                device.address,
                device.driver,
                before.unwrap_or("none")
            ),
        };
        if let Some(file) = &device.file {
            line.push_str(&format!(", {file}"));
        }
        if let Some(user) = &device.user {
            line.push_str(&format!(" of {}", quote::name(user.as_bytes())));
        }
        out.line(line)?;
        if !device.given_up.is_empty() {
            out.remark(format!("given up: {}", listed(&device.given_up)))?;
        }
    }
    Ok(Exit::Success)
}

fn unbind(session: &mut Session, host: &Host, devices: &[PciAddress]) -> Result<Exit, Stop> {
    let returned = pci::unbind(host, devices).map_err(failure)?;
    let out = &mut session.output;
    if out.json {
        out.json(&json!({ "devices": returned }))?;
        return Ok(Exit::Success);
    }
    for device in &returned {
        let blocks = match device.namespaces.is_empty() {
            true => "no block device so far".to_owned(),
            false => device.namespaces.join(" "),
        };
        let had = device.driver_before.as_deref() == Some(&device.driver);
        out.line(match had {
            true => format!("{} is with the kernel already: {blocks}", device.address),
            false => format!("{} is with the kernel again: {blocks}", device.address),
        })?;
    }
    Ok(Exit::Success)
}

fn hugepages(session: &mut Session, host: &Host, args: &HugepagesArgs) -> Result<Exit, Stop> {
    let allocated = match args.size {
        Some(bytes) => Some(pci::allocate(host, bytes, args.node).map_err(failure)?),
        None => None,
    };
    let given = match &args.user {
        Some(user) => Some((pci::give_hugepages(host, user).map_err(failure)?, user)),
        None => None,
    };
    let found = pci::hugepages(host);
    let out = &mut session.output;
    if out.json {
        out.json(&json!({
            "pages": found.pages,
            "nodes": found.nodes,
            "file_systems": found.file_systems,
            "allocated": allocated,
        }))?;
        return Ok(Exit::Success);
    }
    if let Some(allocated) = &allocated {
        out.remark(format!(
            "{} of 2 MiB, {} before",
            plural(allocated.now, "page", "pages"),
            count(allocated.before)
        ))?;
        if allocated.in_use > 0 {
            let pages = plural(allocated.in_use, "page is", "pages are");
            out.remark(format!("{pages} still in use and will be given back when not"))?;
        }
        if let Some(path) = &allocated.mounted {
            out.remark(format!("hugetlbfs is mounted at {path} now"))?;
        }
    }
    if let Some((path, user)) = given {
        out.remark(format!("{path} belongs to {} now", quote::name(user.as_bytes())))?;
    }
    if args.size.is_none() && args.user.is_none() {
        show_hugepages(session, &found)?;
    }
    Ok(Exit::Success)
}

fn show_hugepages(session: &mut Session, found: &Hugepages) -> Result<(), Stop> {
    let out = &mut session.output;
    let line = |node: &str, size: &str, total: &str, free: &str, reserved: &str| {
        format!("{node:4}  {size:>8}  {total:>8}  {free:>8}  {reserved:>8}")
    };
    let heading = out.ink(Ink::Faint, &line("node", "page", "total", "free", "reserved"));
    out.remark(heading)?;
    for pages in found.nodes.iter().chain(&found.pages) {
        let Pages {
            node,
            page_bytes,
            total,
            free,
            reserved,
            ..
        } = *pages;
        out.line(line(
            &node.map_or_else(|| "all".to_owned(), |node| node.to_string()),
            &show(page_bytes),
            &count(total),
            &count(free),
            &reserved.map_or_else(|| "-".to_owned(), count),
        ))?;
    }
    if found.file_systems.is_empty() {
        out.line("hugetlbfs is not mounted")?;
    }
    for found in &found.file_systems {
        out.line(format!(
            "hugetlbfs for {} at {}, {}",
            show(found.page_bytes),
            quote::name(found.path.as_bytes()),
            match found.writable {
                true => "writable",
                false => "not writable for this user",
            }
        ))?;
    }
    Ok(())
}

fn check(session: &mut Session, host: &Host, device: Option<PciAddress>) -> Result<Exit, Stop> {
    let findings = pci::check(host, device).map_err(failure)?;
    let missing = findings
        .iter()
        .filter(|finding| finding.state == State::Missing)
        .count();
    let exit = match missing {
        0 => Exit::Success,
        _ => Exit::Failure,
    };
    let out = &mut session.output;
    if out.json {
        out.json(&json!({ "ready": missing == 0, "conditions": findings }))?;
        return Ok(exit);
    }
    for finding in &findings {
        let (word, ink) = match finding.state {
            State::Ok => ("ok", Ink::Added),
            State::Warning => ("warning", Ink::Changed),
            State::Missing => ("missing", Ink::Removed),
        };
        let device = finding
            .device
            .map(|device| format!("{device} "))
            .unwrap_or_default();
        let state = out.ink(ink, &format!("{word:7}"));
        out.line(format!(
            "{state}  {device}{}: {}",
            finding.condition, finding.what
        ))?;
        match &finding.fix {
            Some(Fix::AsRoot(command)) => out.line(format!("         as root: {command}"))?,
            Some(Fix::Advice(text)) => out.line(format!("         {text}"))?,
            None => {}
        }
    }
    out.remark(match missing {
        0 => "everything holds".to_owned(),
        number => format!(
            "{} missing",
            plural(number as u64, "condition is", "conditions are")
        ),
    })?;
    Ok(exit)
}

/// The failure of a command; whoever lacks the rights gets the whole command for root.
fn failure(error: Error) -> Failure {
    let class = match &error {
        Error::NotFound { .. } | Error::NoNode { .. } => Class::NotFound,
        Error::InUse { uses, .. } if uses.iter().all(|found| matches!(found, Use::Open { .. })) => {
            Class::InUse
        }
        Error::NotNvme { .. }
        | Error::InUse { .. }
        | Error::NotEmpty { .. }
        | Error::GroupHeld { .. }
        | Error::NoUser { .. }
        | Error::RootOnly { .. } => Class::Invalid,
        Error::TooLittleMemory { .. } | Error::TooFewPages { .. } => Class::Full,
        Error::Step { .. } | Error::Io(_) => Class::Io,
        _ => Class::Failed,
    };
    let hint = match &error {
        Error::NotRoot { .. } => Some(format!("as root: `{}`", this_command())),
        error => error.fix(),
    };
    let failure = Failure::new(class, error.to_string());
    match hint {
        Some(hint) => failure.with_hint(hint),
        None => failure,
    }
}

/// The command line of this process, for a shell.
fn this_command() -> String {
    let arguments = std::env::args_os().skip(1);
    let arguments = arguments.map(|argument| shell_word(&argument.to_string_lossy()));
    let words = std::iter::once("helios".to_owned()).chain(arguments);
    words.collect::<Vec<_>>().join(" ")
}

fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@,+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a command that is to be copied means the same in a shell. Method: words with and without what shells read.
    #[test]
    fn words_for_a_shell() {
        for (word, shown) in [
            ("0000:5e:00.0", "0000:5e:00.0"),
            ("two words", "'two words'"),
            ("it's", r"'it'\''s'"),
            ("", "''"),
            ("$HOME", "'$HOME'"),
        ] {
            assert_eq!(shell_word(word), shown);
        }
    }
}
