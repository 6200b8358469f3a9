//! A policy file: read and compiled, or refused with words, in bounded time (P26, P28).
#![no_main]

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::LazyLock;

use cloakroom::authz::attributes::{RawRequest, RequestAttributes};
use cloakroom::authz::plan::{Plan, plan};
use cloakroom::authz::policy::Install;
use cloakroom::authz::verdict::Decision;
use cloakroom::folder;
use cloakroom_fuzz::install::install;
use libfuzzer_sys::fuzz_target;

/// A file without a name, which ends with the process.
static FILE: LazyLock<(File, PathBuf)> = LazyLock::new(|| {
    let file = tempfile::tempfile().expect("a file");
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    (file, path)
});
static INSTALL: LazyLock<Install> = LazyLock::new(install);
static REQUESTS: LazyLock<Vec<RequestAttributes<'static>>> = LazyLock::new(|| {
    ["/", "/cart/7", "/Admin%2Fx;y"]
        .map(|path| {
            let raw =
                RawRequest { method: b"GET", host: b"shop.example", path: path.as_bytes(), ..RawRequest::default() };
            RequestAttributes::read(raw).expect("a request")
        })
        .into()
});

fuzz_target!(|text: &[u8]| {
    let (file, path) = &*FILE;
    file.set_len(0).and_then(|()| file.write_all_at(text, 0)).expect("written");
    match folder::check(std::slice::from_ref(path), &INSTALL) {
        Ok((index, problems)) => {
            for problem in &problems {
                assert!(!problem.to_string().is_empty());
            }
            for request in &*REQUESTS {
                if let Plan::Settled(decision) = plan(&index, request) {
                    assert!(!matches!(*decision, Decision::Permit(_)), "a permit without a session");
                }
            }
        }
        Err(error) => assert!(!error.0.is_empty() && !error.to_string().is_empty()),
    }
});
