//! The one place where our `Set-Cookie` is written (RFC 6265 §4.1, P14).

use std::time::Duration;

use zeroize::Zeroizing;

use crate::authz::credential::AccessToken;

/// What a cookie is set to.
#[derive(Debug)]
pub enum CookieValue<'a> {
    /// A token, and how long until its session ends whatever happens.
    Token(&'a AccessToken, Duration),
    /// Nothing: the browser forgets the cookie. The attributes are the same, else a browser keeps the old one.
    Expired,
}

/// The value of a `Set-Cookie` field: host-bound (`Path=/`, no `Domain`), Secure, HttpOnly, SameSite=Lax.
pub fn set_cookie(name: &str, value: &CookieValue<'_>) -> Zeroizing<String> {
    let (text, max_age) = match value {
        CookieValue::Token(token, left) => (token.reveal(), left.as_secs()),
        CookieValue::Expired => (Zeroizing::new(String::new()), 0),
    };
    Zeroizing::new(format!("{name}={}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age={max_age}", &*text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authz::session::SessionId;

    #[test]
    fn p14_an_expired_cookie_has_the_attributes_of_the_one_it_ends() {
        assert_eq!(
            &*set_cookie("__Host-session", &CookieValue::Expired),
            "__Host-session=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0"
        );
    }

    #[test]
    fn p14_a_token_cookie_is_host_bound_and_ends_with_its_session() {
        let token = AccessToken::from_parts(SessionId::from_bytes([1; 16]), Zeroizing::new([2; 20]), [3; 8]);
        let line = set_cookie("__Host-session", &CookieValue::Token(&token, Duration::from_millis(59_999)));
        let want = format!("__Host-session={}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=59", &*token.reveal());
        assert_eq!(*line, want);
    }
}
