use std::time::Duration;

use clap::Parser;
use tempfile::TempDir;

use super::*;

/// 2030-01-31T08:00:00Z
const NOW: Timestamp = Timestamp::from_millis(1_896_076_800_000);

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    keys: KeysArgs,
}

/// Runs `cloakroom keys …` in `dir` and answers what it says, or its complaint.
fn keys(dir: &TempDir, line: &str, minutes: u64) -> Result<String, String> {
    let mut words: Vec<String> = format!("keys {line}").split(' ').map(str::to_owned).collect();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    words.extend(["--dir".to_owned(), path("keys")]);
    if line.starts_with("generate") {
        words.extend(["--token-key".to_owned(), path("token.key")]);
    }
    let cli = Cli::try_parse_from(words).map_err(|error| error.to_string())?;
    let mut out = Vec::new();
    let now = NOW.plus(Duration::from_secs(minutes * 60));
    write(cli.keys, now, &mut out).map_err(|error| format!("{error:#}"))?;
    Ok(String::from_utf8(out).unwrap().replace(dir.path().to_str().unwrap(), "DIR"))
}

fn listed(dir: &TempDir, minutes: u64) -> Vec<(String, String)> {
    let rows: Vec<serde_json::Value> =
        serde_json::from_str(&keys(dir, "list --output json", minutes).unwrap()).unwrap();
    let text = |row: &serde_json::Value, member: &str| row[member].as_str().unwrap().to_owned();
    rows.iter().map(|row| (text(row, "algorithm"), text(row, "state"))).collect()
}

fn states(dir: &TempDir, minutes: u64) -> Vec<String> {
    listed(dir, minutes).into_iter().map(|(_, state)| state).collect()
}

#[test]
fn a_life_of_keys() {
    let dir = TempDir::new().unwrap();
    let said = keys(&dir, "generate", 0).unwrap();
    assert!(said.contains("DIR/keys: made key ") && said.contains("DIR/token.key: made the token key"), "{said}");
    assert_eq!(listed(&dir, 0), [("ES256".to_owned(), "signing".to_owned())]);

    let said = keys(&dir, "rotate --algorithm EdDSA", 10).unwrap();
    assert!(said.contains("it signs from        2030-01-31T08:40:00Z"), "{said}");
    assert!(said.contains("is published until 2030-01-31T08:42:00Z"), "{said}");
    assert_eq!(states(&dir, 10), ["signing", "published"]);
    assert_eq!(states(&dir, 40), ["retired", "signing"]);
    assert_eq!(states(&dir, 42), ["gone", "signing"]);

    let said = keys(&dir, "rotate --now", 50).unwrap();
    assert!(said.contains("refuse requests until they fetch it again"), "an emergency names its cost: {said}");
    assert!(said.contains("deleted key "), "{said}");
    assert_eq!(states(&dir, 50), ["retired", "signing"]);

    let table = keys(&dir, "list", 50).unwrap();
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 3, "{table}");
    assert!(lines[0].starts_with("KID ") && lines[2].ends_with(" -"), "{table}");
    assert_eq!(lines[1].find("EdDSA"), lines[0].find("ALGORITHM"), "{table}");
}

#[test]
fn generate_makes_what_is_missing_and_leaves_the_rest() {
    let dir = TempDir::new().unwrap();
    keys(&dir, "generate", 0).unwrap();
    let said = keys(&dir, "generate", 0).unwrap_err();
    assert!(said.contains("nothing was changed") && said.contains("cloakroom keys rotate"), "{said}");

    std::fs::remove_file(dir.path().join("token.key")).unwrap();
    let said = keys(&dir, "generate", 0).unwrap();
    assert!(said.contains("keys: has keys already, left as it is") && said.contains("token.key: made"), "{said}");

    std::fs::remove_dir_all(dir.path().join("keys")).unwrap();
    let said = keys(&dir, "generate", 0).unwrap();
    assert!(said.contains("keys: made key") && said.contains("token.key: there already"), "{said}");
}

#[test]
fn mistakes_are_told_with_their_cure() {
    let dir = TempDir::new().unwrap();
    for (line, wanted) in [
        ("rotate", "cloakroom keys generate"),
        ("list", "cloakroom keys generate"),
        ("generate --algorithm HS256", "use ES256, EdDSA, RS256, PS256 or ES384"),
        ("rotate --publish-for 5m", "at least 6m"),
        ("rotate --publish-for soon", "is not a duration: write"),
    ] {
        let said = keys(&dir, line, 0).unwrap_err();
        assert!(said.contains(wanted), "{line}: {said}");
    }
}
