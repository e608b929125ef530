//! A server whose clients may hold little memory: what they hold is bounded, and who is refused can go on later.

use std::time::Duration;

use bytes::Bytes;
use helios::client::{CallError, Client};
use helios::ops::files::{FileStep, OpenFiles};
use helios::ops::{Class, Durability};
use helios::wire::message::Call;

use crate::owner::{Owner, commit, read, write};
use crate::sandbox::{Sandbox, pattern};

/// Looks at the server before something is taken never to happen.
const LOOKS_MAX: usize = 2_000;

fn server(sandbox: &Sandbox, memory: &str) -> Owner {
    sandbox.serve_with(&["--memory", memory])
}

fn fork(client: &mut Client, branch: &str) -> Result<u64, CallError> {
    client.open_files(OpenFiles {
        branch: "main".into(),
        fork: Some(branch.into()),
        ..OpenFiles::default()
    })
}

/// Path of a file: 50 in each directory.
fn path(number: usize) -> String {
    format!("d{}/f{number}", number / 50)
}

/// Steps that must be done; what they read.
fn done(client: &mut Client, tree: u64, steps: Vec<FileStep>, body: &[u8]) -> Vec<u8> {
    let (results, read) = client.files(tree, steps, body.to_vec()).expect("an answer");
    assert_eq!(results.failed, None);
    read
}

/// A branch `main` with that many files, each with its path as content.
fn populate(client: &mut Client, files: usize) {
    let request = OpenFiles {
        branch: "main".into(),
        create: true,
        ..OpenFiles::default()
    };
    let tree = client.open_files(request).expect("a tree");
    for first in (0..files).step_by(500) {
        let numbers = first..files.min(first + 500);
        let steps = numbers
            .clone()
            .map(|number| write(&path(number), path(number).len()));
        let steps = steps.chain([commit(Durability::Visible)]).collect();
        let body: String = numbers.map(path).collect();
        done(client, tree, steps, body.as_bytes());
    }
    client
        .call(&Call::CloseFiles { tree }, Bytes::new())
        .expect("it closes");
}

fn figure(server: &Owner, name: &str) -> f64 {
    server.metrics().sum(name, &[]).expect("it is there")
}

fn held(server: &Owner) -> u64 {
    figure(server, "helios_client_memory_bytes") as u64
}

/// Waits until the server holds at most that much.
fn wait_for(server: &Owner, bytes: u64) {
    for _ in 0..LOOKS_MAX {
        if held(server) <= bytes {
            return;
        }
        pause(5);
    }
    panic!("{} bytes are held", held(server));
}

/// Between two looks, or as a client that was refused is told.
#[allow(clippy::disallowed_methods, reason = "a client of another process")]
fn pause(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

/// Goal: clients that hold more than there is are refused with a time to come again; meanwhile trees that are open read and
/// commit, and what they give back others can have. Method: writes that are not committed, by ever more connections, until one is
/// refused; reads and commits on all; the refused one again; then all are closed.
#[test]
fn clients_beyond_the_bound_are_refused_and_come_again() {
    let sandbox = Sandbox::new();
    let server = server(&sandbox, "8M");
    populate(&mut server.client(), 1000);
    let limit = figure(&server, "helios_client_memory_limit_bytes") as u64;
    assert_eq!(limit, 8 << 20);
    wait_for(&server, 64 << 10);
    let large = pattern(600 << 10, 5);
    let mut clients: Vec<(Client, u64)> = Vec::new();
    let (mut refused, tree, failure) = loop {
        let number = clients.len();
        assert!(number < 100, "nobody is refused");
        let mut client = server.client();
        let tree = fork(&mut client, &format!("agent-{number}")).expect("a small tree");
        let answer = client.files(tree, vec![write("large", large.len())], large.clone());
        assert!(held(&server) <= limit, "{} bytes", held(&server));
        match answer {
            Ok((results, _)) => {
                assert_eq!(results.failed, None);
                clients.push((client, tree));
            }
            Err(CallError::Failed(failure)) => break (client, tree, failure),
            Err(other) => panic!("{other:?}"),
        }
    };
    assert!(clients.len() >= 3, "{}", clients.len());
    assert_eq!(failure.class, Class::Busy, "{failure:?}");
    assert!(failure.retry_after_ms.is_some_and(|ms| ms > 0));
    assert!(failure.hint.expect("advice").contains("--memory"));
    assert!(figure(&server, "helios_client_memory_refusals_total") >= 1.0);
    // Looking works for everybody, and commits are how there comes to be room again.
    for (client, tree) in clients
        .iter_mut()
        .map(|(client, tree)| (client, *tree))
        .chain([(&mut refused, tree)])
    {
        for number in (0..1000).step_by(111) {
            assert_eq!(
                done(client, tree, vec![read(&path(number))], b""),
                path(number).as_bytes()
            );
        }
    }
    let first = &mut clients[0];
    done(&mut first.0, first.1, vec![commit(Durability::Visible)], b"");
    done(&mut refused, tree, vec![write("large", large.len())], &large);
    done(&mut refused, tree, vec![commit(Durability::Visible)], b"");
    assert!(done(&mut refused, tree, vec![read("large")], b"") == large);
    // One that closes its tree, and others that go without a word.
    let (mut last, tree_of_last) = clients.pop().expect("some");
    let before = held(&server);
    last.call(&Call::CloseFiles { tree: tree_of_last }, Bytes::new())
        .expect("it closes");
    assert!(held(&server) + (1 << 20) < before);
    drop((clients, last));
    wait_for(&server, 400 << 10);
    drop(refused);
    wait_for(&server, 0);
    let mut client = server.client();
    let tree = fork(&mut client, "after").expect("a tree");
    done(
        &mut client,
        tree,
        vec![write("large", large.len()), commit(Durability::Visible)],
        &large,
    );
    server.end();
}

/// Goal: what can never be had is not put off, and a part of it can. Method: a file larger than what clients may hold, read whole
/// and in part; a listing and a call that are too large.
#[test]
fn what_never_fits_is_refused_for_good() {
    let sandbox = Sandbox::new();
    sandbox.write("project/large", pattern(3 << 20, 7));
    sandbox.run(["commit", "project", "-m", "large", "--branch", "main"]);
    let server = server(&sandbox, "2M");
    let mut client = server.client();
    let tree = fork(&mut client, "agent").expect("a tree");
    let (results, _) = client.files(tree, vec![read("large")], "").expect("an answer");
    let failure = results.failed.expect("too large");
    assert_eq!(
        (failure.class, failure.retry_after_ms),
        (Class::Invalid, None),
        "{failure:?}"
    );
    assert!(failure.hint.expect("advice").contains("in parts"));
    let part = FileStep::Read {
        path: "large".into(),
        offset: 1 << 20,
        length: Some(700_000),
    };
    let read = done(&mut client, tree, vec![part], b"");
    assert!(read == pattern(3 << 20, 7)[1 << 20..(1 << 20) + 700_000]);
    let whole = vec![0; 2 << 20];
    match client.files(tree, vec![write("other", whole.len())], whole) {
        Err(CallError::Failed(failure)) => assert_eq!(failure.class, Class::Invalid),
        other => panic!("{other:?}"),
    }
    let append = FileStep::Append {
        path: "large".into(),
        bytes: 1,
    };
    let (results, _) = client.files(tree, vec![append], "x").expect("an answer");
    assert_eq!(results.failed.expect("too large").class, Class::Invalid);
    drop(client);
    wait_for(&server, 0);
    assert!(
        sandbox
            .fails(2, ["serve", "--memory", "512K"])
            .contains("1.00 MiB")
    );
    assert!(sandbox.fails(2, ["serve", "--memory", "much"]).contains("size"));
    server.end();
}

/// Goal: the memory of clients that work is flat: it depends on how many there are, not on how long they have worked. Method: forks
/// of a tree that is several times what one keeps of its directories; ten edits at ever other places and a commit, first some
/// rounds, then three times as many; the server's own account between.
#[test]
fn memory_is_flat_however_long_clients_work() {
    const FILES: usize = 12_000;
    const CLIENTS: usize = 4;
    let sandbox = Sandbox::new();
    let server = server(&sandbox, "256M");
    populate(&mut server.client(), FILES);
    let mut clients: Vec<(Client, u64)> = (0..CLIENTS)
        .map(|number| {
            let mut client = server.client();
            let tree = fork(&mut client, &format!("agent-{number}")).expect("a tree");
            (client, tree)
        })
        .collect();
    let new = held(&server);
    let mut round = 0;
    let mut work = |rounds: usize, clients: &mut [(Client, u64)]| {
        for _ in 0..rounds {
            round += 1;
            for (number, (client, tree)) in clients.iter_mut().enumerate() {
                let at = |edit: usize| path((number * 331 + round * 1657 + edit * 1201) % FILES);
                let text = format!("{number} {round}");
                let steps = (0..10).map(|edit| write(&at(edit), text.len()));
                let steps = steps.chain([commit(Durability::Visible)]).collect();
                done(client, *tree, steps, text.repeat(10).as_bytes());
            }
        }
    };
    work(25, &mut clients);
    let after_some = held(&server);
    work(75, &mut clients);
    let after_many = held(&server);
    println!("{new} bytes when new, {after_some} after some rounds, {after_many} after many");
    assert!(after_some > 2 * new, "they have loaded what they keep");
    assert!(
        after_many < after_some + after_some / 4,
        "{after_some}, then {after_many}"
    );
    assert!(after_many < (CLIENTS as u64) * (600 << 10), "{after_many}");
    assert_eq!(figure(&server, "helios_client_memory_refusals_total"), 0.0);
    for (client, tree) in &mut clients {
        for number in (0..FILES).step_by(1001) {
            done(client, *tree, vec![read(&path(number))], b"");
        }
    }
    drop(clients);
    wait_for(&server, 0);
    server.end();
}

/// Goal: near the bound, idle trees go down to what they need, and nobody is refused for what they have only read. Method: a bound
/// that holds a few whole trees, and many more connections that each read everything.
#[test]
fn trees_that_have_read_much_make_way() {
    const FILES: usize = 4_000;
    let sandbox = Sandbox::new();
    let server = server(&sandbox, "3M");
    populate(&mut server.client(), FILES);
    let mut clients = Vec::new();
    for number in 0..16 {
        let mut client = server.client();
        let tree = fork(&mut client, &format!("agent-{number}")).expect("somebody makes way");
        for number in (0..FILES).step_by(50) {
            assert_eq!(
                done(&mut client, tree, vec![read(&path(number))], b""),
                path(number).as_bytes()
            );
        }
        clients.push((client, tree));
    }
    assert!(held(&server) <= 3 << 20);
    assert_eq!(figure(&server, "helios_client_memory_refusals_total"), 0.0);
    for (client, tree) in &mut clients {
        let text = b"small";
        done(
            client,
            *tree,
            vec![write(&path(77), text.len()), commit(Durability::Visible)],
            text,
        );
        assert_eq!(done(client, *tree, vec![read(&path(77))], b""), text);
        assert_eq!(
            done(client, *tree, vec![read(&path(78))], b""),
            path(78).as_bytes()
        );
    }
    server.end();
}
