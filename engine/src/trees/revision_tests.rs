use super::*;
use crate::reactor::block_on;
use crate::trees::CommitOptions;
use crate::trees::testing::{commit, tick, trees};

fn parsed(text: &str) -> Option<(String, Option<String>, u64, Option<String>)> {
    let revision = Revision::parse(text.as_bytes()).ok()?;
    let path = revision
        .path
        .map(|path| String::from_utf8_lossy(path.as_bytes()).into_owned());
    Some((revision.base, revision.time, revision.ancestors, path))
}

/// Goal: every form is taken apart rightly. Method: examples of each, alone and together.
#[test]
fn revisions_are_taken_apart() {
    let some = |base: &str, time: Option<&str>, ancestors, path: Option<&str>| {
        Some((base.into(), time.map(Into::into), ancestors, path.map(Into::into)))
    };
    assert_eq!(parsed("main"), some("main", None, 0, None));
    assert_eq!(parsed("feature/x~3"), some("feature/x", None, 3, None));
    assert_eq!(parsed("v1^^~2^1"), some("v1", None, 5, None));
    assert_eq!(parsed("a~"), some("a", None, 1, None));
    assert_eq!(parsed("main@{10m}"), some("main", Some("10m"), 0, None));
    assert_eq!(
        parsed("main@{2026-11-21T09:30:00Z}~1:x"),
        some("main", Some("2026-11-21T09:30:00Z"), 1, Some("x"))
    );
    assert_eq!(parsed("main:"), some("main", None, 0, Some("")));
    assert_eq!(
        parsed("main:a/./b:c~1@{x"),
        some("main", None, 0, Some("a/b:c~1@{x"))
    );
    assert_eq!(
        Revision::parse(b"main:\xff").unwrap().path.unwrap().as_bytes(),
        b"\xff"
    );
}

/// Goal: malformed revisions are refused with a reason. Method: one of each kind.
#[test]
fn malformed_revisions_are_refused() {
    for text in [
        "",
        ":a",
        "~1",
        "^",
        "@{1m}",
        "main@{",
        "main@{}",
        "main@{10}",
        "main@{1x}",
        "main~x",
        "main^2",
        "main~1x",
    ] {
        assert_eq!(parsed(text), None, "{text}");
    }
    for text in [
        "main~99999999999999999999",
        "main@{1m}x",
        "main:../x",
        "main:/x",
        "main~1@{1m}",
    ] {
        assert_eq!(parsed(text), None, "{text}");
    }
    assert!(Revision::parse(b"\xff").is_err());
}

/// Goal: every kind of revision resolves to the commit it names. Method: a history with two branches and a tag.
#[test]
fn revisions_resolve() {
    let trees = trees();
    let step = |content: &str| {
        commit(&trees, "main", &[("d/a", content)], &CommitOptions::default())
            .unwrap()
            .commit
    };
    let chain = ["1", "2", "3"].map(|content| {
        let made = step(content);
        (made, tick(&trees))
    });
    let [(one, _), (two, at_two), (three, _)] = chain;
    block_on(async {
        trees.create_tag("v1", one, false).await.unwrap();
        trees.create_branch("v2", two).await.unwrap();
        let resolve = async |text: &str| trees.resolve(text).await.unwrap().commit;
        assert_eq!(resolve("main").await, three);
        assert_eq!(resolve("main~1").await, two);
        assert_eq!(resolve("main^^").await, one);
        assert_eq!(resolve("v1").await, one);
        assert_eq!(resolve("v2").await, two);
        assert_eq!(resolve(&two.to_string()).await, two);
        assert_eq!(resolve(&two.to_string().to_uppercase()).await, two);
        assert_eq!(resolve(&format!("{}~1", &three.to_string()[..12])).await, two);
        assert_eq!(resolve("main@{0s}").await, three);
        assert_eq!(trees.head_at("main", at_two).await.unwrap(), two);
        let at = trees.resolve("main:d//a").await.unwrap();
        assert_eq!(
            (at.branch.as_deref(), at.path),
            (Some("main"), Some(TreePath::new("d/a").unwrap()))
        );
        assert_eq!(
            trees.resolve("main~0").await.unwrap().branch.as_deref(),
            Some("main")
        );
        assert_eq!(trees.resolve("main~1").await.unwrap().branch, None);
        for absent in [
            "nothing",
            "main~3",
            "v1^",
            "main@{1000w}",
            "abc",
            "nothing@{1s}",
            "v1@{1s}",
        ] {
            let answer = trees.resolve(absent).await;
            assert!(
                matches!(answer, Err(Error::NotFound { .. })),
                "{absent}: {answer:?}"
            );
        }
        let absent = ContentId([0xab; 32]).to_string();
        assert!(matches!(
            trees.resolve(&absent).await,
            Err(Error::NotFound { .. })
        ));
        assert!(matches!(
            trees.resolve(&absent[..10]).await,
            Err(Error::NotFound { .. })
        ));
    });
}

/// Goal: an abbreviation that fits several commits lists them. Method: commit until two ids share four digits.
#[test]
fn ambiguous_abbreviations_list_candidates() {
    let trees = trees();
    let mut seen = std::collections::HashMap::new();
    let (first, second) = (0..)
        .find_map(|number| {
            let options = CommitOptions {
                time_ns: Some(number),
                ..CommitOptions::default()
            };
            let id = commit(&trees, "main", &[("a", &number.to_string())], &options)
                .unwrap()
                .commit;
            seen.insert(id.to_string()[..4].to_owned(), id)
                .map(|other| (other, id))
        })
        .unwrap();
    let prefix = &first.to_string()[..4];
    let Err(Error::Ambiguous { candidates, .. }) = block_on(trees.resolve(prefix)) else {
        panic!("ambiguous")
    };
    assert!(candidates.contains(&first.to_string()[..16]) && candidates.contains(&second.to_string()[..16]));
    assert_eq!(
        block_on(trees.resolve(&second.to_string()[..20])).unwrap().commit,
        second
    );
}
