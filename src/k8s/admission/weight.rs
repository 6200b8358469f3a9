//! How much memory a JSON text takes once it is read, told from the text alone: a text of 4 MiB can become 400.

/// What an object with members takes: a node of the tree that holds them has room for eleven. So does each sixth member.
const OBJECT: usize = 640;
/// What a list with entries takes: it begins with room for four.
const LIST: usize = 160;
/// What each further member or entry takes: its part of a node that is half full, or its place in a list that has just grown.
const ENTRY: usize = 130;
/// What a string takes beside its bytes.
const STRING: usize = 40;

/// The most bytes that `json` takes as a `serde_json::Value`, itself among them. It is not read for that: what it says of a text
/// that is no JSON means nothing, and is no less than its length.
pub fn weight(json: &[u8]) -> usize {
    let (mut strings, mut objects, mut lists, mut entries) = (0, 0, 0, 0);
    let mut has_escapes = false;
    let mut at = 0;
    while let Some(byte) = json.get(at) {
        at += 1;
        match byte {
            b'"' => {
                strings += 1;
                let end = end_of_string(json, at);
                has_escapes |= json[at..end].contains(&b'\\');
                at = end;
            }
            b'{' => objects += usize::from(!is_closed(json, at, b'}')),
            b'[' => lists += usize::from(!is_closed(json, at, b']')),
            b',' => entries += 1,
            _ => {}
        }
    }
    // The text, what strings hold of it, and where one with escapes is put together, which grows by twice.
    let texts = if has_escapes { 4 } else { 2 };
    texts * json.len() + strings * STRING + objects * OBJECT + lists * LIST + entries * ENTRY
}

/// Where the string that has begun before `at` is over.
fn end_of_string(json: &[u8], mut at: usize) -> usize {
    while let Some(byte) = json.get(at) {
        at += match byte {
            b'\\' => 2,
            b'"' => return at + 1,
            _ => 1,
        };
    }
    json.len()
}

/// Whether the next byte that says something is this one.
fn is_closed(json: &[u8], at: usize, end: u8) -> bool {
    json.get(at..).into_iter().flatten().find(|it| !it.is_ascii_whitespace()) == Some(&end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_not_taken_for_what_is_in_them() {
        for (json, want) in [
            ("", 0),
            ("{}", 2 * 2),
            ("[ ]", 2 * 3),
            ("7", 2),
            (r#""{[,\"{""#, 4 * 8 + STRING),
            (r#""\\",{"#, 4 * 6 + STRING + ENTRY + OBJECT),
            (r#"{"a":[1,2]}"#, 2 * 11 + STRING + OBJECT + LIST + ENTRY),
            (r#""never ends"#, 2 * 11 + STRING),
            (r#""\"#, 4 * 2 + STRING),
        ] {
            assert_eq!(weight(json.as_bytes()), want, "{json}");
        }
    }
}
