//! Edits of something that no fuzzer could find by itself.

/// `whole` after `edit`: `=` leaves it, `~` with a position (two bytes), a count and bytes replaces a part of it, and anything
/// else stands for itself.
pub fn edited(whole: &[u8], edit: &[u8]) -> Vec<u8> {
    match edit {
        b"=" => whole.to_vec(),
        [b'~', high, low, count, with @ ..] => {
            let start = usize::from(u16::from_be_bytes([*high, *low])) % (whole.len() + 1);
            let end = (start + usize::from(*count)).min(whole.len());
            [&whole[..start], with, &whole[end..]].concat()
        }
        other => other.to_vec(),
    }
}
