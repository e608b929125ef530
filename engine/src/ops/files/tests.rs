//! Steps against what a plain map of files says, and every way in which they can be wrong.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::*;
use crate::format::Domain;
use crate::objects::Objects;
use crate::ops::Class;
use crate::store::{Store, testing};
use crate::trees::Trees;

pub(super) struct Bench {
    pub(super) store: Store,
    trees: Trees,
    objects: Objects,
}

impl Bench {
    pub(super) fn new() -> Bench {
        let store = testing::store();
        Bench {
            trees: Trees::new(store.clone(), Domain::default()),
            objects: Objects::new(store.clone()),
            store,
        }
    }

    fn open(&self, request: &OpenFiles) -> Result<Files, Failure> {
        let opened = self
            .store
            .block_on(Files::open(&self.trees, &self.objects, request));
        opened.map_err(Failure::from)
    }

    pub(super) fn new_branch(&self, branch: &str) -> Files {
        let request = OpenFiles {
            branch: branch.into(),
            create: true,
            ..OpenFiles::default()
        };
        self.open(&request).expect("a new branch")
    }

    fn fork(&self, branch: &str, fork: &str) -> Files {
        let request = OpenFiles {
            branch: branch.into(),
            fork: Some(fork.into()),
            ..OpenFiles::default()
        };
        self.open(&request).expect("a fork")
    }

    pub(super) fn run(
        &self,
        files: &mut Files,
        steps: &[FileStep],
        bytes: &[u8],
    ) -> (FileResults, Vec<Bytes>) {
        let mut read = Vec::new();
        let bytes = Bytes::copy_from_slice(bytes);
        let results = self
            .store
            .block_on(files.run(steps, bytes, &mut read, &Unbounded::default()));
        (results, read)
    }

    /// One step that must succeed.
    pub(super) fn step(&self, files: &mut Files, step: FileStep, bytes: &[u8]) -> FileResult {
        let (results, _) = self.run(files, &[step], bytes);
        assert_eq!(results.failed, None);
        results.results.into_iter().next().expect("one result")
    }

    pub(super) fn read(&self, files: &mut Files, path: &str) -> Result<Vec<u8>, Failure> {
        let (results, read) = self.run(files, &[whole(path)], b"");
        match results.failed {
            Some(failure) => Err(failure),
            None => Ok(read[0].to_vec()),
        }
    }
}

pub(super) fn whole(path: &str) -> FileStep {
    FileStep::Read {
        path: path.into(),
        offset: 0,
        length: None,
    }
}

pub(super) fn write(path: &str, bytes: usize, offset: Option<u64>) -> FileStep {
    FileStep::Write {
        path: path.into(),
        bytes: bytes as u64,
        offset,
        parents: true,
        mode: None,
    }
}

pub(super) fn commit() -> FileStep {
    FileStep::Commit {
        message: "a step".into(),
        durability: Durability::Visible,
        expect: None,
    }
}

pub(super) fn replace(old: &str, new: &str, all: bool) -> Replacement {
    Replacement {
        old: old.into(),
        new: new.into(),
        all,
    }
}

/// Goal: files read as what was done to them, before and after commits, on the tree itself and on one opened anew.
/// Method: 3,000 random steps on ten paths, some of them beyond one extent, against a map from path to bytes.
#[test]
fn steps_do_what_they_say() {
    let bench = Bench::new();
    let mut files = bench.new_branch("main");
    let mut model: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut random = crate::device::sim::Random::new(11);
    let mut below = |limit: u64| random.below(limit);
    for number in 0..3000u64 {
        let path = format!("d{}/f{}", below(3), below(4));
        let length = match below(40) {
            0 => 1_200_000 + below(900_000),
            1..=20 => below(200),
            _ => below(6000),
        };
        let new: Vec<u8> = (0..length).map(|at| ((at * 7 + number) % 251) as u8).collect();
        match below(9) {
            0 | 1 => {
                bench.step(&mut files, write(&path, new.len(), None), &new);
                model.insert(path, new);
            }
            2 => {
                let offset = below(3000);
                bench.step(&mut files, write(&path, new.len(), Some(offset)), &new);
                let file = model.entry(path).or_default();
                let end = offset as usize + new.len();
                file.resize(file.len().max(end), 0);
                file[offset as usize..end].copy_from_slice(&new);
            }
            3 if model.keys().any(|known| known[..2] == path[..2]) => {
                let step = FileStep::Append {
                    path: path.as_str().into(),
                    bytes: new.len() as u64,
                };
                bench.step(&mut files, step, &new);
                model.entry(path).or_default().extend(&new);
            }
            4 if model.contains_key(&path) => {
                let size = below(4000);
                let step = FileStep::Truncate {
                    path: path.as_str().into(),
                    size,
                };
                bench.step(&mut files, step, b"");
                model.entry(path).or_default().resize(size as usize, 0);
            }
            5 if model.contains_key(&path) => {
                let step = FileStep::Remove {
                    path: path.as_str().into(),
                    missing_ok: false,
                };
                bench.step(&mut files, step, b"");
                model.remove(&path);
            }
            6 => {
                bench.step(&mut files, commit(), b"");
                files.release(0);
            }
            7 if below(4) == 0 => {
                bench.step(&mut files, commit(), b"");
                let request = OpenFiles {
                    branch: "main".into(),
                    ..OpenFiles::default()
                };
                files = bench.open(&request).expect("the branch");
            }
            _ => {
                let (offset, length) = (below(5000), below(5000));
                let step = FileStep::Read {
                    path: path.as_str().into(),
                    offset,
                    length: Some(length),
                };
                let (results, read) = bench.run(&mut files, &[step], b"");
                match model.get(&path) {
                    Some(file) => {
                        let start = (offset as usize).min(file.len());
                        let end = (start + length as usize).min(file.len());
                        assert!(read[0] == file[start..end], "{path} at {offset}");
                        let (bytes, size) = ((end - start) as u64, file.len() as u64);
                        assert_eq!(results.results, [FileResult::Read { bytes, size }]);
                    }
                    None => assert_eq!(results.failed.expect("it is not there").class, Class::NotFound),
                }
            }
        }
    }
    for (path, file) in &model {
        assert!(
            bench.read(&mut files, path).expect("it is there") == *file,
            "{path}"
        );
    }
}

/// Goal: a failed step ends the call and changes nothing, those before it hold, those after it are not tried. Method: each
/// kind of failure in the middle of three steps.
#[test]
fn the_first_failure_ends_the_call() {
    let bench = Bench::new();
    let mut files = bench.new_branch("main");
    bench.step(&mut files, write("a", 3, None), b"abc");
    let missing = |path: &str| FileStep::Remove {
        path: path.into(),
        missing_ok: false,
    };
    let patch = |replacements: Vec<Replacement>| FileStep::Patch {
        path: "a".into(),
        replace: replacements,
    };
    let failures = [
        (missing("nothing"), Class::NotFound),
        (whole("../etc/passwd"), Class::Invalid),
        (whole("/etc/passwd"), Class::Invalid),
        (whole("a/below"), Class::Invalid),
        (patch(vec![replace("", "x", true)]), Class::Invalid),
        (
            patch(vec![replace("b", "x", false), replace("gone", "", true)]),
            Class::Invalid,
        ),
        (
            FileStep::Truncate {
                path: "a".into(),
                size: u64::MAX,
            },
            Class::Invalid,
        ),
        (
            FileStep::SetMode {
                path: "a".into(),
                mode: 0o10000,
            },
            Class::Invalid,
        ),
        (
            FileStep::Commit {
                message: String::new(),
                durability: Durability::Visible,
                expect: Some(ContentId([7; 32])),
            },
            Class::Conflict,
        ),
    ];
    for (number, (failing, class)) in failures.into_iter().enumerate() {
        let before = format!("before{number}");
        let steps = [write(&before, 1, None), failing.clone(), write("after", 1, None)];
        let (results, _) = bench.run(&mut files, &steps, b"xy");
        let failure = results.failed.expect("the second step fails");
        assert_eq!(failure.class, class, "{failing:?}: {failure}");
        assert_eq!(results.results, [FileResult::Written { size: 1 }]);
        assert!(results.changed);
        assert_eq!(bench.read(&mut files, &before).expect("done before"), b"x");
        assert_eq!(bench.read(&mut files, "a").expect("unchanged"), b"abc");
        let after = bench.read(&mut files, "after").expect_err("never tried");
        assert_eq!(after.class, Class::NotFound);
    }
}

/// Goal: bytes that do not fit the steps, and calls that are too long, are refused before anything is done. Method: too few,
/// too many, and lengths whose sum overflows.
#[test]
fn bytes_must_fit_the_steps() {
    let bench = Bench::new();
    let mut files = bench.new_branch("main");
    let huge = || FileStep::Append {
        path: "a".into(),
        bytes: u64::MAX,
    };
    for (steps, bytes) in [
        (vec![write("a", 3, None)], &b"ab"[..]),
        (vec![write("a", 3, None)], b"abcd"),
        (vec![commit()], b"a"),
        (vec![huge(), huge()], b"ab"),
        (vec![commit(); STEPS_MAX + 1], b""),
    ] {
        let (results, _) = bench.run(&mut files, &steps, bytes);
        assert_eq!(results.failed.expect("refused").class, Class::Invalid);
        assert_eq!(results.results, []);
    }
    assert_eq!(
        bench.read(&mut files, "a").expect_err("nothing was done").class,
        Class::NotFound
    );
}

/// Goal: texts are replaced where they are, once or everywhere. Method: a text that is there twice, and overlaps.
#[test]
fn patches_replace_what_is_there() {
    let bench = Bench::new();
    let mut files = bench.new_branch("main");
    let text = "one two two three";
    bench.step(&mut files, write("t", text.len(), None), text.as_bytes());
    let patch = |replacements: Vec<Replacement>| FileStep::Patch {
        path: "t".into(),
        replace: replacements,
    };
    let (results, _) = bench.run(&mut files, &[patch(vec![replace("two", "2", false)])], b"");
    assert!(
        results
            .failed
            .expect("there are two")
            .message
            .contains("more than once")
    );
    let steps = [patch(vec![
        replace("two", "2", true),
        replace("one 2", "1", false),
    ])];
    let (results, _) = bench.run(&mut files, &steps, b"");
    assert_eq!(results.results, [FileResult::Written { size: 9 }]);
    assert_eq!(bench.read(&mut files, "t").expect("a file"), b"1 2 three");
}

/// Goal: forks and sessions on one branch do not disturb each other: a commit over somebody else's is a conflict, and goes
/// through from the new head. Method: two sessions on one branch, one on a fork of it.
#[test]
fn commits_do_not_overwrite_each_other() {
    let bench = Bench::new();
    let mut first = bench.new_branch("main");
    bench.step(&mut first, write("a", 1, None), b"1");
    bench.step(&mut first, commit(), b"");
    let request = OpenFiles {
        branch: "main".into(),
        ..OpenFiles::default()
    };
    let mut second = bench.open(&request).expect("the branch");
    let mut fork = bench.fork("main", "agent");
    bench.step(&mut fork, write("a", 1, None), b"f");
    bench.step(&mut fork, commit(), b"");
    bench.step(&mut second, write("b", 1, None), b"2");
    bench.step(&mut first, write("c", 1, None), b"3");
    bench.step(&mut first, commit(), b"");
    let (results, _) = bench.run(&mut second, &[commit()], b"");
    assert_eq!(results.failed.expect("the head has moved").class, Class::Conflict);
    assert!(results.changed, "nothing is lost by a conflict");
    bench.step(&mut second, FileStep::Reset { to_head: true }, b"");
    bench.step(&mut second, write("b", 1, None), b"2");
    bench.step(&mut second, commit(), b"");
    for (path, bytes) in [("a", b"1"), ("b", b"2"), ("c", b"3")] {
        assert_eq!(bench.read(&mut second, path).expect("a file"), bytes);
    }
    let exists = bench.open(&OpenFiles {
        branch: "main".into(),
        fork: Some("agent".into()),
        ..OpenFiles::default()
    });
    assert_eq!(exists.err().expect("there is one").class, Class::Conflict);
    let missing = bench.open(&OpenFiles {
        branch: "nobody".into(),
        ..OpenFiles::default()
    });
    assert_eq!(missing.err().expect("there is none").class, Class::NotFound);
}

/// Goal: what a path is can be seen, before and after a commit. Method: one of each kind.
#[test]
fn stat_and_list_say_what_is_there() {
    let bench = Bench::new();
    let mut files = bench.new_branch("main");
    let steps = [
        write("dir/file", 5, None),
        FileStep::SetMode {
            path: "dir/file".into(),
            mode: 0o755,
        },
        FileStep::Symlink {
            path: "link".into(),
            target: "dir/file".into(),
        },
        FileStep::Mkdir {
            path: "x/y/z".into(),
            parents: true,
        },
        FileStep::Rename {
            from: "x/y".into(),
            to: "w".into(),
        },
    ];
    let (results, _) = bench.run(&mut files, &steps, b"hello");
    assert_eq!(results.failed, None);
    let names = |result: FileResult| match result {
        FileResult::Listed { entries } => entries
            .iter()
            .map(|entry| (entry.name.to_string(), entry.kind, entry.changed))
            .collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    let list = || FileStep::List { path: "".into() };
    for changed in [true, false] {
        let listed = names(bench.step(&mut files, list(), b""));
        let expected = [
            ("dir", EntryKind::Directory),
            ("link", EntryKind::Symlink),
            ("w", EntryKind::Directory),
            ("x", EntryKind::Directory),
        ];
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(name, kind)| (name.to_owned(), kind, changed))
            .collect();
        assert_eq!(listed, expected);
        let stat = bench.step(
            &mut files,
            FileStep::Stat {
                path: "dir/file".into(),
            },
            b"",
        );
        let FileResult::Stat(stat) = stat else {
            panic!("{stat:?}")
        };
        assert_eq!((stat.mode, stat.size, stat.changed), (0o755, 5, changed));
        assert_eq!(stat.id, (!changed).then(|| crate::hash::content_id(b"hello")));
        assert_eq!(bench.read(&mut files, "link").expect("its target"), b"dir/file");
        bench.step(&mut files, commit(), b"");
    }
}

/// Goal: the words of the protocol do not change by accident. Method: one of each, as JSON.
#[test]
fn steps_have_fixed_words() {
    let steps = [
        whole("a"),
        write("a", 1, Some(2)),
        FileStep::Patch {
            path: "a".into(),
            replace: vec![replace("x", "y", false)],
        },
        commit(),
    ];
    let words = serde_json::to_string(&steps).expect("plain values");
    assert_eq!(
        words,
        r#"[{"do":"read","path":"a","offset":0},{"do":"write","path":"a","bytes":1,"offset":2,"parents":true},"#
            .to_owned()
            + r#"{"do":"patch","path":"a","replace":[{"old":"x","new":"y","all":false}]},"#
            + r#"{"do":"commit","message":"a step","durability":"visible"}]"#
    );
    let back: Vec<FileStep> = serde_json::from_str(&words).expect("the same words");
    assert_eq!(back, steps);
}
