//! What a service says of sessions in its response: read within what its rule grants, whatever it says (P22).
//!
//! The input is headers, each a name, a zero byte and a value, with a byte of 1 between two of them; its first byte chooses the
//! rule.
#![no_main]

use std::sync::LazyLock;

use cloakroom::authz::policy::Grants;
use cloakroom::authz::response::{Command, Wish};
use cloakroom_fuzz::install::{grants, responses};
use libfuzzer_sys::fuzz_target;

static RULES: LazyLock<Vec<Grants>> = LazyLock::new(|| {
    let index = responses();
    ["login", "cart"].map(|rule| grants(&index, rule)).into()
});

fuzz_target!(|input: &[u8]| {
    let [which, rest @ ..] = input else { return };
    let grants = &RULES[usize::from(*which) % RULES.len()];
    let headers: Vec<(&[u8], &[u8])> = rest
        .split(|byte| *byte == 1)
        .filter_map(|line| {
            let zero = line.iter().position(|byte| *byte == 0)?;
            Some((&line[..zero], &line[zero + 1..]))
        })
        .collect();
    let wish = Wish::read(headers.iter().copied(), grants);
    match &wish.command {
        None => {}
        Some(Command::Create(identity)) => assert!(grants.create && !format!("{identity:?}").contains("claims")),
        Some(Command::Update(patch)) => {
            let patch: serde_json::Map<String, serde_json::Value> =
                serde_json::from_str(patch.get()).expect("an object");
            assert!(patch.keys().all(|claim| grants.writable.iter().any(|writable| **writable == **claim)));
        }
        Some(Command::End(_)) => assert!(grants.end),
    }
    let count = |name: &str| headers.iter().filter(|(header, _)| *header == name.as_bytes()).count();
    let commands = ["x-session-create", "x-session-update", "x-session-end"].map(count);
    if commands.iter().sum::<usize>() == 0 {
        assert_eq!(wish, Wish::default());
    }
    let others = commands[0] + commands[1];
    if commands[2] == 0 && others > 1 {
        assert!(wish.command.is_none() && wish.refused.is_some());
    }
    if commands[2] > 0 {
        // An end wins, however often it is said, or nothing is done.
        assert!(matches!(wish.command, None | Some(Command::End(_))));
    }
    if wish.command.is_some() {
        assert_eq!(wish.refused.is_some(), commands[2] > 0 && others > 0);
    }
});
