//! What of the Helm chart is made from elsewhere: the definitions of our kinds from `crds/`, and the table in its README from the
//! comments of values.yaml.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use e2e::chart::{Helm, folder, scenarios};
use e2e::tools::{helm, workspace};

use crate::terminal;

#[derive(Args)]
pub(crate) struct Options {
    /// Write nothing: fail when something is not current, and lint the chart.
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let chart = folder();
    let made = made(&chart)?;
    if options.check {
        let differs = |(file, text): &&(PathBuf, String)| fs::read_to_string(file).is_ok_and(|it| it == *text);
        let old: Vec<_> = made.iter().filter(|it| !differs(it)).map(|(file, _)| file.display().to_string()).collect();
        ensure!(old.is_empty(), "not current: {}; run `cargo xtask chart`", old.join(", "));
        lint()?;
        terminal::line("the chart is current, and Helm finds nothing in it");
        return Ok(ExitCode::SUCCESS);
    }
    for (file, text) in made {
        fs::create_dir_all(file.parent().context("a file lies in a folder")?)?;
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        terminal::line(&file.display().to_string());
    }
    Ok(ExitCode::SUCCESS)
}

/// The files that are made, and what is in them.
fn made(chart: &Path) -> Result<Vec<(PathBuf, String)>> {
    let read = |file: &Path| fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()));
    let mut made = Vec::new();
    let mut definitions: Vec<_> = fs::read_dir(workspace().join("crds"))?.collect::<std::io::Result<_>>()?;
    definitions.sort_by_key(fs::DirEntry::file_name);
    for entry in definitions {
        made.push((chart.join("templates/crds").join(entry.file_name()), definition(&read(&entry.path())?)?));
    }
    let readme = chart.join("README.md");
    let text = with_table(&read(&readme)?, &table(&read(&chart.join("values.yaml"))?)?)?;
    made.push((readme, text));
    Ok(made)
}

fn lint() -> Result<()> {
    let helm = Helm::new(helm()?)?;
    scenarios()?.iter().try_for_each(|(_, values)| helm.lint(values))
}

/// A definition as a template: there if it is wanted, kept if that is wanted, with the labels of all objects.
fn definition(text: &str) -> Result<String> {
    let (head, body) = text.split_once("\napiVersion: ").context("a definition has an apiVersion")?;
    ensure!(!body.contains("{{"), "a definition with {{{{ in it needs to be escaped");
    let (before, after) = body.split_once("\nmetadata:\n").context("a definition has metadata")?;
    let after = after.strip_prefix("  labels:\n").unwrap_or(after);
    Ok(format!(
        "{{{{- if .Values.crds.enabled -}}}}
{head}
# Written here by `cargo xtask chart`.
apiVersion: {before}
metadata:
  {{{{- with merge (dict) (ternary (dict \"helm.sh/resource-policy\" \"keep\") (dict) .Values.crds.keep) .Values.global.commonAnnotations }}}}
  annotations:
    {{{{- toYaml . | nindent 4 }}}}
  {{{{- end }}}}
  labels:
    {{{{- include \"cloakroom.labels\" . | nindent 4 }}}}
{after}{{{{- end }}}}
"
    ))
}

const BEGIN: &str = "<!-- Made from values.yaml by `cargo xtask chart`: -->\n";
const END: &str = "<!-- until here. -->";

fn with_table(readme: &str, table: &str) -> Result<String> {
    let (before, rest) = readme.split_once(BEGIN).context("the README has no place for the values")?;
    let (_, after) = rest.split_once(END).context("the README's place for the values has no end")?;
    Ok(format!("{before}{BEGIN}\n{table}\n{END}{after}"))
}

/// The table of all values: names with their dots, defaults, and the comments above them.
fn table(values: &str) -> Result<String> {
    let mut rows = String::from("| value | default | what it is |\n|---|---|---|\n");
    let mut path: Vec<(usize, &str)> = Vec::new();
    let mut comment: Vec<&str> = Vec::new();
    for line in values.lines() {
        let text = line.trim_start();
        if let Some(words) = text.strip_prefix('#') {
            comment.push(words.trim());
            continue;
        }
        if text.is_empty() {
            comment.clear();
            continue;
        }
        let depth = line.len() - text.len();
        let (key, default) = text.split_once(':').with_context(|| format!("values.yaml: `{line}` has no key"))?;
        path.retain(|(of, _)| *of < depth);
        path.push((depth, key));
        let name = path.iter().map(|(_, key)| *key).collect::<Vec<_>>().join(".");
        let words = comment.join(" ").replace('|', "\\|");
        comment.clear();
        match (default.trim(), words.is_empty()) {
            // The group's own words; what has none is said by what is in it.
            ("", true) => {}
            ("", false) => rows += &format!("| **`{name}`** | | {words} |\n"),
            (_, true) => bail!("values.yaml: {name} has no comment above it that says what it is"),
            (default, false) => rows += &format!("| `{name}` | `{}` | {words} |\n", default.replace('|', "\\|")),
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_told_by_their_comments() {
        let values = "# A chart's head.\n\n# How many.\nreplicas: 2\n\n# A group.\nstore:\n  # Its kind: `a` | `b`.\n  kind: a\n  tls:\n    # On.\n    enabled: { a: b }\n# The last.\nlast: []\n";
        let want = "| value | default | what it is |\n|---|---|---|\n\
                    | `replicas` | `2` | How many. |\n\
                    | **`store`** | | A group. |\n\
                    | `store.kind` | `a` | Its kind: `a` \\| `b`. |\n\
                    | `store.tls.enabled` | `{ a: b }` | On. |\n\
                    | `last` | `[]` | The last. |\n";
        assert_eq!(table(values).expect("a table"), want);
        let error = table("# A.\na: 1\nb: 2\n").expect_err("b has no comment");
        assert!(error.to_string().contains("b has no comment"), "{error}");
    }

    #[test]
    fn a_definition_becomes_a_template_with_our_labels() {
        for labels in ["  labels:\n    own: label\n", ""] {
            let text = format!("# Made.\napiVersion: v1\nkind: C\nmetadata:\n{labels}  name: x\nspec: {{}}\n");
            let made = definition(&text).expect("a template");
            assert_eq!(made.matches("  labels:\n").count(), 1, "{made}");
            let own = labels.replace("  labels:\n", "");
            assert!(made.contains(&format!("nindent 4 }}}}\n{own}  name: x\n")), "{made}");
        }
        assert!(definition("# Made.\napiVersion: v1\nmetadata:\n  name: \"{{\"\n").is_err());
    }
}
