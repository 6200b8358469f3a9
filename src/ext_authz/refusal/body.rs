//! The bodies of refusals: fixed texts, one for each class. They hold nothing of the request, of the session or of us.

use crate::authz::reason::RefusalClass;

/// Nothing may be loaded, framed or sent anywhere from a page of ours; its one style sheet is named by its digest.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; \
     style-src 'sha256-O9ehYEO1hH22aYKFgWcujoGwPTgWjdrjqIg0a7eWoGA='; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page's style sheet. [`CONTENT_SECURITY_POLICY`] has its digest.
macro_rules! style {
    () => {
        "body{font:1.1rem/1.5 system-ui,sans-serif;margin:0;display:grid;min-height:100vh;place-items:center;\
         background:Canvas;color:CanvasText;color-scheme:light dark}main{max-width:34rem;padding:2rem}\
         h1{font-size:1.6rem;margin:0 0 .5rem}small{opacity:.6}"
    };
}

/// Declares the texts of a class once: its title, and a sentence for whoever reads it.
macro_rules! bodies {
    ($($class:ident: $status:literal, $title:literal, $detail:literal;)*) => {
        /// Problem details (RFC 9457). The type is `about:blank`: the status says it all.
        pub const fn problem(class: RefusalClass) -> &'static str {
            match class { $(RefusalClass::$class => concat!(
                r#"{"type":"about:blank","title":""#, $title, r#"","status":"#, $status, r#","detail":""#, $detail, r#""}"#
            ),)* }
        }

        /// A page for a person.
        pub const fn page(class: RefusalClass) -> &'static str {
            match class { $(RefusalClass::$class => concat!(
                "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n",
                "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n",
                "<title>", $title, "</title>\n<style>", style!(), "</style>\n",
                "<main>\n<h1>", $title, "</h1>\n<p>", $detail, "</p>\n<p><small>", $status, "</small></p>\n</main>\n</html>\n"
            ),)* }
        }

        /// The sentence alone.
        pub const fn detail(class: RefusalClass) -> &'static str {
            match class { $(RefusalClass::$class => $detail,)* }
        }
    };
}

bodies! {
    BadRequest: 400, "Bad Request", "The request is malformed, or could be read in more than one way.";
    Unauthorized: 401, "Unauthorized", "This needs a valid session.";
    StepUp: 401, "Unauthorized", "This needs a more recent or a stronger sign-in.";
    Forbidden: 403, "Forbidden", "This is not allowed.";
    InsufficientScope: 403, "Forbidden", "This needs a scope that the session does not have.";
    Unavailable: 503, "Service Unavailable", "Sessions cannot be checked at the moment. Please try again.";
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;

    use super::*;

    pub(super) const CLASSES: [RefusalClass; 6] = [
        RefusalClass::BadRequest,
        RefusalClass::Unauthorized,
        RefusalClass::StepUp,
        RefusalClass::Forbidden,
        RefusalClass::InsufficientScope,
        RefusalClass::Unavailable,
    ];

    #[test]
    fn problems_are_json_with_the_right_status() {
        for class in CLASSES {
            let problem: serde_json::Value = serde_json::from_str(problem(class)).unwrap();
            assert_eq!(problem["status"], class.status().as_u16(), "{class:?}");
            assert_eq!(problem["title"], class.status().canonical_reason().unwrap(), "{class:?}");
            assert_eq!(problem["type"], "about:blank");
            assert_eq!(problem["detail"], detail(class));
            assert!(page(class).contains(detail(class)));
        }
    }

    #[test]
    fn the_policy_names_the_style_sheet_that_pages_have() {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, style!().as_bytes());
        let source = format!("'sha256-{}'", base64::engine::general_purpose::STANDARD.encode(digest));
        assert!(CONTENT_SECURITY_POLICY.contains(&source), "{source}");
        assert!(page(RefusalClass::Forbidden).contains(concat!("<style>", style!(), "</style>")));
        assert!(!page(RefusalClass::Forbidden).contains("<script"));
    }
}
