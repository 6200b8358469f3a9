//! Keeps the layers of `ARCHITECTURE.md`: what each room of `src/` may name, and what the decision may never touch.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each room and the rooms it may use. `main.rs` and `lib.rs` only list them.
const ROOMS: &[(&str, &[&str])] = &[
    ("api", &[]),
    ("tls", &[]),
    ("conversations", &[]),
    ("injector", &[]),
    ("grpc", &["tls"]),
    ("authz", &["api"]),
    ("store", &["api", "authz"]),
    ("sessions", &["api", "authz", "store"]),
    ("identity", &["api", "authz"]),
    ("policies", &["api", "authz"]),
    ("folder", &["api", "authz", "policies"]),
    ("k8s", &["api", "authz", "conversations", "injector", "policies", "sessions", "tls"]),
    ("ext_authz", &["api", "authz", "identity", "sessions", "store", "grpc", "telemetry"]),
    ("ext_proc", &["api", "authz", "identity", "sessions", "telemetry"]),
    ("admin", &["api", "authz", "conversations", "identity", "sessions", "store"]),
    ("telemetry", &[]),
    ("wiring", &["api"]),
    ("doctor", &["api", "k8s"]),
    (
        "config",
        &[
            "api",
            "authz",
            "identity",
            "injector",
            "sessions",
            "store",
            "telemetry",
            "admin",
            "ext_authz",
            "folder",
            "grpc",
            "k8s",
            "tls",
        ],
    ),
    (
        "cli",
        &[
            "api",
            "authz",
            "sessions",
            "store",
            "telemetry",
            "admin",
            "folder",
            "k8s",
            "grpc",
            "config",
            "doctor",
            "wiring",
            "app",
        ],
    ),
    (
        "app",
        &[
            "api",
            "authz",
            "sessions",
            "store",
            "telemetry",
            "admin",
            "ext_authz",
            "ext_proc",
            "identity",
            "folder",
            "k8s",
            "policies",
            "config",
            "grpc",
            "tls",
        ],
    ),
];

/// What a pure room may not name: clocks, runtimes, sockets, files, the environment, logs.
const IMPURE: &[&str] = &[
    "SystemTime",
    "Instant::now",
    "std::fs",
    "std::net::Tcp",
    "std::net::Udp",
    "std::net::ToSocketAddrs",
    "std::env",
    "std::process",
    "std::thread",
    "tokio::",
    "tonic::",
    "tracing::",
    "axum::",
    "redb::",
    "kube::",
    "println!",
    "eprintln!",
    "rand::",
];

/// Names that say nothing of what is in a file.
const NAMELESS: &[&str] = &["mod.rs", "util.rs", "utils.rs", "common.rs", "helpers.rs", "misc.rs", "prelude.rs"];

fn sources() -> Vec<(PathBuf, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("src can be listed") {
            let path = entry.expect("src can be listed").path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|it| it == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    walk(&root, &mut paths);
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("a source file is text");
        (path.strip_prefix(&root).expect("below src").to_owned(), text)
    };
    paths.into_iter().map(read).collect()
}

/// The room a file belongs to: `authz` for `authz.rs` and everything in `authz/`.
fn room(path: &Path) -> String {
    let first = path.components().next().expect("a path").as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// Whether the file holds tests only.
fn is_test(path: &Path) -> bool {
    let text = path.to_string_lossy();
    text.ends_with("tests.rs") || text.contains("/tests/") || text.ends_with("contract.rs") || text.contains("testing")
}

/// A file's code without comments, and without the tests that end it. A declaration (`mod tests;`) ends nothing.
fn code(text: &str) -> String {
    let mut code = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let opens_tests =
            |next: &&str| next.trim_start_matches("pub(crate) ").starts_with("mod ") && next.ends_with('{');
        if line == "#[cfg(test)]" && lines.peek().is_some_and(opens_tests) {
            break;
        }
        code += line.split("//").next().unwrap_or_default();
        code.push('\n');
    }
    code
}

#[test]
fn code_is_read_to_its_end() {
    let text =
        "#[cfg(test)]\nmod tests;\nuse crate::a::B; // crate::c\n#[cfg(test)]\nmod more {\n    use crate::d::E;\n}\n";
    assert_eq!(named(&code(text)), BTreeSet::from(["a".to_owned()]));
}

/// The rooms that a piece of code names by `crate::room`.
fn named(code: &str) -> BTreeSet<String> {
    code.match_indices("crate::")
        .map(|(at, prefix)| {
            let rest = &code[at + prefix.len()..];
            rest.chars().take_while(|it| it.is_ascii_alphanumeric() || *it == '_').collect::<String>()
        })
        .collect()
}

#[test]
fn rooms_use_only_the_rooms_below_them() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let here = room(&path);
        if here == "main" || here == "lib" || is_test(&path) {
            continue;
        }
        let code = code(&text);
        let Some((_, may)) = ROOMS.iter().find(|(name, _)| *name == here) else {
            wrong.push(format!(
                "{}: the room `{here}` is not on the list; draw it in ARCHITECTURE.md first",
                path.display()
            ));
            continue;
        };
        for used in named(&code) {
            if used.is_empty() {
                wrong.push(format!(
                    "{}: write `crate::room::…` without a brace group, so that rooms can be read",
                    path.display()
                ));
            } else if used != here && ROOMS.iter().any(|(name, _)| *name == used) && !may.contains(&used.as_str()) {
                wrong.push(format!("{}: `{here}` may not use `{used}`", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_decision_and_the_injector_are_pure() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        if !matches!(room(&path).as_str(), "authz" | "api" | "wiring" | "injector") || is_test(&path) {
            continue;
        }
        let code = code(&text);
        for name in IMPURE.iter().filter(|name| code.contains(**name)) {
            wrong.push(format!("{}: names `{name}`", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn wire_types_stay_where_they_were_decoded() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let here = room(&path);
        let code = code(&text);
        for (name, homes) in [
            ("tonic", &["grpc", "ext_proc"][..]),
            ("prost", &["ext_authz", "ext_proc"]),
            ("redb", &["store"]),
            ("kube", &["k8s"]),
            ("jsonwebtoken", &["sessions"]),
        ] {
            if code.contains(&format!("{name}::")) && !homes.contains(&here.as_str()) {
                wrong.push(format!("{}: names `{name}`, which belongs to {homes:?}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_are_named_after_what_they_hold() {
    let wrong: Vec<_> = sources()
        .into_iter()
        .filter(|(path, _)| path.file_name().is_some_and(|name| NAMELESS.iter().any(|it| name == *it)))
        .map(|(path, _)| path.display().to_string())
        .collect();
    assert!(wrong.is_empty(), "say what is in them: {wrong:?}");
}
