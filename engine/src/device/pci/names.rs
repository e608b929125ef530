//! What vendors and devices are called, from the list of PCI ids that distributions install.
//!
//! Owns the search for that list. The list is a convenience: without it, numbers are shown.

use super::host::Host;
use super::inventory::Controller;

/// Where distributions put it.
const LISTS: [&str; 3] = [
    "/usr/share/misc/pci.ids",
    "/usr/share/hwdata/pci.ids",
    "/usr/share/pci.ids",
];

/// Fills in vendors, and models where the controllers have not said theirs.
pub(super) fn fill(host: &Host, controllers: &mut [Controller]) {
    if controllers.is_empty() {
        return;
    }
    let Some(list) = LISTS.iter().find_map(|path| host.list(path).ok()) else {
        return;
    };
    let list = String::from_utf8_lossy(&list);
    for controller in controllers {
        let id = controller.id.as_deref().and_then(|id| id.split_once(':'));
        let Some((vendor, device)) = id else { continue };
        let (vendor, device) = look_up(&list, vendor, device);
        controller.vendor = vendor;
        controller.model = controller.model.take().or(device);
    }
}

/// Vendors begin their lines, devices of the last vendor are behind one tab, parts of devices behind two.
fn look_up(list: &str, vendor: &str, device: &str) -> (Option<String>, Option<String>) {
    let name = |line: &str, id: &str| {
        let name = line.strip_prefix(id)?.strip_prefix("  ")?.trim();
        (!name.is_empty() && !name.contains(char::is_control)).then(|| name.to_owned())
    };
    let mut lines = list.lines();
    let Some(vendor) = lines.by_ref().find_map(|line| name(line, vendor)) else {
        return (None, None);
    };
    let device = lines
        .take_while(|line| line.is_empty() || line.starts_with(['\t', '#']))
        .find_map(|line| name(line.strip_prefix('\t')?, device));
    (Some(vendor), device)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: names are those of the right vendor, and garbage names nothing. Method: a list with equal device ids.
    #[test]
    fn names_are_found() {
        let list = "# list\n144d  Samsung\n\ta808  SM981\n\t\t144d a801  part\n\n1b36  Red Hat\n\t0010  QEMU NVMe\nC 01  Mass\n\t08  x\n";
        let names = |vendor, device| {
            let (vendor, device) = look_up(list, vendor, device);
            (vendor.unwrap_or_default(), device.unwrap_or_default())
        };
        assert_eq!(names("144d", "a808"), ("Samsung".into(), "SM981".into()));
        assert_eq!(names("1b36", "0010"), ("Red Hat".into(), "QEMU NVMe".into()));
        assert_eq!(names("144d", "0010"), ("Samsung".into(), String::new()));
        assert_eq!(names("ffff", "0010"), (String::new(), String::new()));
        assert_eq!(look_up("144d\n\u{fffd}\n\t", "144d", "a808"), (None, None));
    }
}
