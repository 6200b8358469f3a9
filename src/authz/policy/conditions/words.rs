//! Problems as one message, within what a condition may hold.

use crate::authz::policy::PolicyProblem;

/// What all messages of one policy's status may hold together, in bytes: `metav1.Condition` admits as much in one.
const MAX_ALL: usize = 32 * 1024;

/// What one problem may take, in bytes.
const MAX_ONE: usize = 1024;

/// `field: what is wrong and what would be right; field: …`, in a share of [`MAX_ALL`] for each of `entries`.
pub(super) fn joined(problems: &[&PolicyProblem], entries: usize) -> String {
    // Up to two conditions of an entry say the same.
    let most = (MAX_ALL / entries.max(1) / 2).max(MAX_ONE);
    let mut message = String::new();
    for (said, problem) in problems.iter().enumerate() {
        let words = if problem.path.is_empty() {
            problem.cause().to_owned()
        } else {
            format!("{}: {}", problem.path, problem.cause())
        };
        let words = cut(&words, MAX_ONE);
        let left = problems.len() - said;
        let more = format!("; and {left} more");
        if said > 0 && message.len() + 2 + words.len() + more.len() > most {
            return message + &more;
        }
        if said > 0 {
            message.push_str("; ");
        }
        message.push_str(&words);
    }
    message
}

/// The text, or as much of its beginning as fits into `most` bytes with the mark that it goes on.
pub(super) fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let mark = "…";
    format!("{}{mark}", &text[..text.floor_char_boundary(most.saturating_sub(mark.len()))])
}
