//! What a person sees.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "these commands talk to a person")]

use std::io::IsTerminal;

/// A line as it is.
pub(crate) fn line(text: &str) {
    println!("{text}");
}

/// The head of a part.
pub(crate) fn heading(text: &str) {
    println!("\n{}", styled("1", text));
}

/// A line of lesser weight.
pub(crate) fn detail(text: &str) {
    println!("{}", styled("2", text));
}

/// Something that held.
pub(crate) fn good(text: &str) {
    println!("     {} {text}", styled("32", "ok"));
}

/// Something that did not.
pub(crate) fn bad(text: &str) {
    println!("     {} {text}", styled("31", "NOT SO"));
}

/// Why the command ends.
pub(crate) fn error(text: &str) {
    eprintln!("error: {text}");
}

fn styled(code: &str, text: &str) -> String {
    if std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}
