//! Our cookie among others: found where all servers find it, taken off wherever one might, the others as sent (P7, P13, P14).
//!
//! Each line of the input is a `Cookie` line.
#![no_main]

use std::sync::LazyLock;

use cloakroom::authz::attributes::{RawRequest, RequestAttributes};
use cloakroom::authz::credential::{Carrier, CookieRest};
use cloakroom::authz::policy::Install;
use cloakroom::authz::reason::DenyReason;
use cloakroom_fuzz::install::{COOKIE, install};
use cloakroom_fuzz::servers::cookie_names;
use libfuzzer_sys::fuzz_target;

static INSTALL: LazyLock<Install> = LazyLock::new(install);

fuzz_target!(|input: &[u8]| {
    if input.len() > 1024 {
        return; // the comparison below takes the square of it
    }
    let lines: Vec<&[u8]> = input.split(|it| *it == b'\n').collect();
    let raw = RawRequest {
        method: b"GET",
        host: b"shop.example",
        path: b"/",
        headers: lines.iter().map(|line| (&b"cookie"[..], *line)).collect(),
        ..RawRequest::default()
    };
    let Ok(request) = RequestAttributes::read(raw) else { return };
    let presented = INSTALL.carriers.present(&request, &[]);
    let off = INSTALL.carriers.take_off(&request, &INSTALL.own_headers, &[]);
    assert!(off.headers.is_empty());

    let joined = lines.join(&b","[..]);
    let seen = |field: &[u8]| -> Vec<usize> {
        let field = String::from_utf8_lossy(field);
        cookie_names(&field).iter().map(|names| names.iter().filter(|name| *name == COOKIE).count()).collect()
    };
    match &presented {
        Ok(presented) => match &presented.credential {
            None => {
                assert!(seen(&joined).iter().all(|it| *it == 0), "a server finds what we do not");
                assert!(off.cookie.is_none(), "nothing of ours was taken off");
            }
            Some((_, carrier)) => {
                assert_eq!(*carrier, Carrier::Cookie(COOKIE.into()));
                assert!(seen(&joined).iter().all(|it| *it == 1), "servers differ: {:?}", seen(&joined));
            }
        },
        Err(reason) => assert_eq!(*reason, DenyReason::AmbiguousCredential),
    }
    match off.cookie {
        None => assert!(matches!(presented, Ok(it) if it.credential.is_none()), "ours was left on"),
        Some(CookieRest::Nothing) => others_kept(&lines, b""),
        Some(CookieRest::Others(rest)) => {
            assert!(seen(&rest).iter().all(|it| *it == 0), "ours was left on");
            others_kept(&lines, &rest);
        }
    }
});

/// Every pair of the others is there, in order and as sent: what is left can be made by dropping pairs that may go.
fn others_kept(lines: &[&[u8]], rest: &[u8]) {
    let kept: Vec<&[u8]> = pieces(rest).into_iter().map(|(_, piece)| piece).collect();
    // How many of the kept pairs may be accounted for so far.
    let mut reached = vec![false; kept.len() + 1];
    reached[0] = true;
    for line in lines {
        let mut after_ours = false;
        for (before, piece) in pieces(line) {
            after_ours = is_like_ours(piece) || (after_ours && before == Some(b',') && !piece.contains(&b'='));
            let may_go = after_ours || is_blank(piece);
            for count in (0..=kept.len()).rev() {
                let taken = count > 0 && reached[count - 1] && is_same(kept[count - 1], piece);
                reached[count] = taken || (may_go && reached[count]);
            }
        }
    }
    let whole = (0..=kept.len()).any(|count| reached[count] && kept[count..].iter().all(|it| is_blank(it)));
    assert!(whole, "another cookie was lost or changed: {:?}", String::from_utf8_lossy(rest));
}

fn is_blank(piece: &[u8]) -> bool {
    piece.iter().all(|it| matches!(it, b' ' | b'\t'))
}

/// The blank after a separator may go with what stood before it.
fn is_same(kept: &[u8], sent: &[u8]) -> bool {
    let bare = |piece: &[u8]| -> Vec<u8> { piece.iter().copied().skip_while(|it| *it == b' ').collect() };
    kept == sent || bare(kept) == bare(sent)
}

fn pieces(line: &[u8]) -> Vec<(Option<u8>, &[u8])> {
    let (mut pieces, mut start, mut before) = (Vec::new(), 0, None);
    for (at, byte) in line.iter().enumerate() {
        if matches!(byte, b';' | b',') {
            pieces.push((before, &line[start..at]));
            (start, before) = (at + 1, Some(*byte));
        }
    }
    pieces.push((before, &line[start..]));
    pieces
}

/// Whether our name stands in it in any of the ways in which servers see one: decoded, in any letter case, with what PHP
/// takes for `_`. Looser than the product is.
fn is_like_ours(piece: &[u8]) -> bool {
    let sloppy = |it: u8| match it {
        b'.' | b' ' | b'[' | b'+' => b'_',
        other => other.to_ascii_lowercase(),
    };
    let mut text = Vec::new();
    let mut rest = piece;
    while let [first, tail @ ..] = rest {
        let digit = |at: usize| char::from(*tail.get(at)?).to_digit(16);
        match (digit(0), digit(1)) {
            (Some(high), Some(low)) if *first == b'%' => {
                text.push(sloppy((high * 16 + low) as u8));
                rest = &tail[2..];
            }
            _ => {
                text.push(sloppy(*first));
                rest = tail;
            }
        }
    }
    text.windows(COOKIE.len()).any(|it| it.eq_ignore_ascii_case(COOKIE.as_bytes()))
}
