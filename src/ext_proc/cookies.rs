//! The `Set-Cookie` lines of a service: which of them is the one that an exchange takes, and what is left without it.
//!
//! Names are compared as browsers read them (RFC 6265 §5.2): up to the first `=` of what stands before the first `;`, without
//! white space around it.

use bytes::Bytes;

/// The name and the value of a `Set-Cookie` line. White space around either belongs to neither.
fn pair(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let pair = line.split(|byte| *byte == b';').next().unwrap_or_default();
    let at = pair.iter().position(|byte| *byte == b'=')?;
    Some((pair[..at].trim_ascii(), pair[at + 1..].trim_ascii()))
}

/// Whether the line sets the cookie `name`.
pub fn sets(line: &[u8], name: &str) -> bool {
    pair(line).is_some_and(|(found, _)| found == name.as_bytes())
}

/// The value that a line gives its cookie, without the quotes that may stand around it (RFC 6265 §4.1.1).
pub fn value(line: &Bytes) -> Bytes {
    let value = pair(line).map_or(&b""[..], |(_, value)| value);
    let bare = value.strip_prefix(b"\"").and_then(|it| it.strip_suffix(b"\"")).unwrap_or(value);
    if bare.is_empty() { Bytes::new() } else { line.slice_ref(bare) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_sets_what_a_browser_would_set() {
        for (line, name, want) in [
            ("app_jwt=x; Path=/", "app_jwt", Some("x")),
            ("app_jwt=x", "app_jwt", Some("x")),
            ("  app_jwt \t=  x  ;Secure", "app_jwt", Some("x")),
            ("app_jwt=\"x\"; Path=/", "app_jwt", Some("x")),
            ("app_jwt=\"; Path=/", "app_jwt", Some("\"")),
            ("app_jwt=a=b", "app_jwt", Some("a=b")),
            ("app_jwt=", "app_jwt", Some("")),
            ("app_jwt=; Max-Age=0", "app_jwt", Some("")),
            ("app_jwt", "app_jwt", None),
            ("app_jwt; x=y", "app_jwt", None),
            ("App_jwt=x", "app_jwt", None), // cookie names are case-sensitive
            ("app_jwt2=x", "app_jwt", None),
            ("other=1; app_jwt=x", "app_jwt", None),
            ("=x", "app_jwt", None),
            ("", "app_jwt", None),
        ] {
            let line = Bytes::from(line);
            assert_eq!(sets(&line, name), want.is_some(), "{line:?}");
            if let Some(want) = want {
                assert_eq!(value(&line), want, "{line:?}");
            }
        }
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;

        proptest! {
            #[test]
            fn any_line_is_read(line: Vec<u8>, name in "[a-z]{1,3}") {
                let line = Bytes::from(line);
                if sets(&line, &name) {
                    prop_assert!(value(&line).len() < line.len());
                }
            }

            #[test]
            fn a_line_as_services_write_it_is_read_back(
                name in "[A-Za-z0-9_-]{1,20}", set in "[!#-+\\--:<-\\[\\]-~]{0,40}", rest in "(; [A-Za-z=/0-9]{0,12}){0,3}",
            ) {
                let line = Bytes::from(format!("{name}={set}{rest}"));
                prop_assert!(sets(&line, &name));
                prop_assert_eq!(value(&line), set);
            }
        }
    }
}
