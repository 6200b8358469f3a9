//! Servers, from the sloppy to the odd, written without regard to how the product reads: what they serve must be among what
//! we judge (P3).

/// The paths that servers take a path on the wire for.
pub fn served(path: &str) -> Vec<String> {
    let strip = |path: &str| by_segment(path, |it| it.split(';').next().unwrap_or_default());
    let windows = |path: &str| by_segment(path, |it| it.trim_end_matches(['.', ' ']));
    let merge = |path: &str| {
        let mut path = path.to_owned();
        while path.contains("//") {
            path = path.replace("//", "/");
        }
        path
    };
    let once = decoded(path, b"");
    let twice = decoded(&once, b"");
    vec![
        strip(&once),
        decoded(&strip(path), b""),
        merge(&once),
        merge(&strip(&once)),
        windows(&once),
        windows(&strip(&twice)),
        merge(&windows(&strip(&twice))),
        once.split(';').next().unwrap_or_default().to_owned(),
        once.split('?').next().unwrap_or_default().to_owned(),
        decoded(path, b"/"),
        twice,
        once,
    ]
}

fn by_segment(path: &str, change: impl Fn(&str) -> &str) -> String {
    path.split('/').map(change).collect::<Vec<_>>().join("/")
}

/// The path percent-decoded, but for the bytes in `keep`.
pub fn decoded(path: &str, keep: &[u8]) -> String {
    let (bytes, mut out, mut at) = (path.as_bytes(), Vec::new(), 0);
    while at < bytes.len() {
        let digits = (bytes[at] == b'%').then(|| path.get(at + 1..at + 3)).flatten();
        let byte = digits.filter(|it| it.bytes().all(|it| it.is_ascii_hexdigit()));
        match byte.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if !keep.contains(&byte) => {
                out.push(byte);
                at += 3;
            }
            _ => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The names of the cookies that servers find in one `Cookie` field, server by server.
pub fn cookie_names(field: &str) -> Vec<Vec<String>> {
    let split = |marks: &[char], trim: &dyn Fn(&str) -> String| -> Vec<String> {
        field.split(marks).map(|pair| trim(pair.split('=').next().unwrap_or_default())).collect()
    };
    vec![
        split(&[';'], &|name| name.strip_prefix(' ').unwrap_or(name).to_owned()),
        split(&[';'], &|name| name.trim().to_owned()),
        split(&[';', ','], &|name| name.trim().to_owned()),
        split(&[';', ','], &|name| name.trim_matches(|it: char| it.is_whitespace() || it == '"').to_owned()),
        split(&[';'], &|name| name.trim().split('[').next().unwrap_or_default().to_owned()),
        split(&[';', ','], &|name| decoded(name.trim(), b"")),
        split(&[';', ',', '\t'], &|name| name.trim().to_owned()),
    ]
}
