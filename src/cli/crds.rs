//! `cloakroom crds`: the definitions that teach an API server our kinds.

use std::io::{self, Write as _};
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use crate::k8s::crds;

/// Print the CustomResourceDefinitions of AuthPolicy and IdentityProvider, or write them to a folder.
#[derive(Args, Debug)]
#[command(after_help = "\
Teach a cluster the kinds, or update what it knows of them:
  cloakroom crds | kubectl apply --server-side -f -")]
pub struct CrdsArgs {
    /// Write one file a kind into this folder instead of printing. It is made if it is not there.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// When the folder or a file cannot be written.
pub fn run(args: CrdsArgs) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let Some(folder) = args.dir else {
        for crd in crds::all() {
            write!(out, "---\n{}", crd.yaml())?;
        }
        return Ok(());
    };
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for crd in crds::all() {
        let file = folder.join(crd.file_name());
        std::fs::write(&file, crd.yaml()).with_context(|| format!("cannot write {}", file.display()))?;
        writeln!(out, "{}", file.display())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_a_kind_is_written_and_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("new/crds");
        for _ in 0..2 {
            run(CrdsArgs { dir: Some(dir.clone()) }).unwrap();
        }
        for crd in crds::all() {
            assert_eq!(std::fs::read_to_string(dir.join(crd.file_name())).unwrap(), crd.yaml());
        }
        let file = dir.join(crds::all()[0].file_name());
        let error = format!("{:#}", run(CrdsArgs { dir: Some(file.clone()) }).unwrap_err());
        assert!(error.contains(&format!("cannot make {}", file.display())), "{error}");
    }
}
