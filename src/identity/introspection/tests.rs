use super::*;

#[test]
fn id_and_secret_are_encoded_as_in_a_form() {
    for (id, secret, pair) in [
        ("shop", "hush", "shop:hush"),
        ("a:b", "c d", "a%3Ab:c%20d"),
        ("shop", "hush\n", "shop:hush"),
        ("shop", "p\u{e4}\u{df}+", "shop:p%C3%A4%C3%9F%2B"),
    ] {
        let field = basic(id, &SecretValue::new(secret.as_bytes().to_vec()));
        assert_eq!(*field, format!("Basic {}", STANDARD.encode(pair)));
    }
}
