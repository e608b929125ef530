use super::super::testing::{Machine, ran};
use super::*;

const MIB: u64 = 1 << 20;

/// Goal: pages of every size and node are shown. Method: a machine with two sizes and two nodes, and garbage beside them.
#[test]
fn everything_is_shown() {
    let machine = Machine::new();
    machine.pages(EVERYWHERE, 512, 500);
    machine.write(&format!("{EVERYWHERE}/{PAGES_2M}/resv_hugepages"), "100\n");
    for (attribute, number) in [
        ("nr_hugepages", "4"),
        ("free_hugepages", "4"),
        ("resv_hugepages", "0"),
    ] {
        machine.write(&format!("{EVERYWHERE}/hugepages-1048576kB/{attribute}"), number);
        machine.write(&format!("{EVERYWHERE}/hugepages-xkB/{attribute}"), number);
        machine.write(&format!("{EVERYWHERE}/hugepages-64kB/{attribute}"), "\u{fffd}");
    }
    machine.pages(&format!("{NODES}/node10/hugepages"), 12, 0);
    machine.pages(&format!("{NODES}/node9/hugepages"), 500, 500);
    machine.append(
        "/proc/self/mountinfo",
        "40 24 0:90 / /dev/huge\\0401 rw - hugetlbfs none rw,pagesize=1024M,mode=755\n\
         41 24 0:91 / /mnt rw - hugetlbfs none rw\n42 24 0:92 / /mnt2 rw - hugetlbfs none rw,pagesize=x\n",
    );
    machine.script().unwritable.push("/mnt".to_owned());
    let found = hugepages(&machine.host());
    let sizes: Vec<_> = found
        .pages
        .iter()
        .map(|pages| (pages.page_bytes, pages.total, pages.available()))
        .collect();
    assert_eq!(sizes, [(2 * MIB, 512, 400), (1024 * MIB, 4, 4)]);
    let nodes: Vec<_> = found
        .nodes
        .iter()
        .map(|pages| (pages.node, pages.total, pages.reserved))
        .collect();
    assert_eq!(nodes, [(Some(9), 500, None), (Some(10), 12, None)]);
    let file_systems: Vec<_> = found
        .file_systems
        .iter()
        .map(|found| (found.path.as_str(), found.page_bytes, found.writable))
        .collect();
    assert_eq!(
        file_systems,
        [("/dev/huge 1", 1024 * MIB, true), ("/mnt", 2 * MIB, false)]
    );
}

/// Goal: pages come and go as they are asked for, and a hugetlbfs comes with the first. Method: allocate, allocate less,
/// give back while some are in use.
#[test]
fn allocated_and_given_back() {
    let machine = Machine::new();
    let host = machine.host();
    let first = allocate(&host, 1024 * MIB + 1, None).expect("allocated");
    assert_eq!(
        (first.before, first.now, first.mounted.as_deref()),
        (0, 513, Some("/dev/hugepages"))
    );
    assert!(
        machine
            .script()
            .log
            .iter()
            .any(|line| line.starts_with("mount -t hugetlbfs -o pagesize=2M"))
    );
    let less = allocate(&host, 10 * MIB, None).expect("there are enough");
    assert_eq!((less.before, less.now, less.mounted), (513, 513, None));
    machine.pages(EVERYWHERE, 513, 500);
    let none = allocate(&host, 0, None).expect("given back");
    assert_eq!((none.now, none.in_use), (13, 13));
}

/// Goal: pages are allocated on the node that is asked for, and there alone. Method: a machine with one; another node.
#[test]
fn one_node() {
    let machine = Machine::new();
    machine.pages(&format!("{NODES}/node1/hugepages"), 0, 0);
    let allocated = allocate(&machine.host(), 4 * MIB, Some(1)).expect("allocated");
    assert_eq!(allocated.now, 2);
    assert_eq!(hugepages(&machine.host()).pages[0].total, 0);
    assert!(matches!(
        allocate(&machine.host(), MIB, Some(2)),
        Err(Error::NoNode { node: 2 })
    ));
}

/// Goal: fewer pages than asked for are an error that says how many there are, after one attempt to make room. Method: a
/// kernel that gives more after moving memory together, and one that does not.
#[test]
fn fewer_pages_are_an_error() {
    let machine = Machine::new();
    machine.script().pages_max = [100, 600];
    assert_eq!(
        allocate(&machine.host(), 1024 * MIB, None).expect("enough").now,
        512
    );

    let machine = Machine::new();
    machine.script().pages_max = [100, 300];
    let error = allocate(&machine.host(), 1024 * MIB, None).expect_err("too few");
    assert!(
        matches!(
            error,
            Error::TooFewPages {
                given: 300,
                wanted: 512
            }
        ),
        "{error}"
    );
    assert!(
        error.fix().is_some_and(|fix| fix.contains("hugepages=512")),
        "{error}"
    );
}

/// Goal: nobody loses his memory to hugepages. Method: ask for more than is available.
#[test]
fn more_than_there_is_is_refused() {
    let machine = Machine::new();
    let error = allocate(&machine.host(), 8_000_000 * 1024 + 1, None).expect_err("too much");
    assert!(matches!(error, Error::TooLittleMemory { .. }), "{error}");
    let error = allocate(&machine.host(), u64::MAX, None).expect_err("far too much");
    assert!(matches!(error, Error::TooLittleMemory { .. }), "{error}");
    assert_eq!(hugepages(&machine.host()).pages[0].total, 0);
}

/// Goal: what cannot be done is an error before anything is changed. Method: another user, a kernel without hugepages, a
/// `mount` that fails.
#[test]
fn refusals() {
    let machine = Machine::new();
    machine.program("mount", ran(32, ""));
    assert!(matches!(
        allocate(&machine.host(), MIB, None),
        Err(Error::NoFileSystem { .. })
    ));
    machine.script().user = 1000;
    assert!(matches!(
        allocate(&machine.host(), MIB, None),
        Err(Error::NotRoot { .. })
    ));
    assert!(matches!(
        give_hugepages(&machine.host(), "agent"),
        Err(Error::NotRoot { .. })
    ));
    machine.remove(EVERYWHERE);
    assert!(matches!(
        allocate(&machine.host(), MIB, None),
        Err(Error::NoHugepages)
    ));
    assert_eq!(hugepages(&machine.host()).pages, []);
}

/// Goal: a user may be given the file system, which is mounted if there is none. Method: twice, by name and by number.
#[test]
fn given_to_a_user() {
    let machine = Machine::new();
    assert_eq!(
        give_hugepages(&machine.host(), "agent").expect("given"),
        "/dev/hugepages"
    );
    give_hugepages(&machine.host(), "77").expect("given");
    let path = || "/dev/hugepages".to_owned();
    assert_eq!(machine.script().given, [(path(), 1000), (path(), 77)]);
}
