use e2e::tls::Certificates;
use tempfile::TempDir;

use super::*;

fn made() -> (TempDir, Certificates, TlsFiles) {
    let folder = tempfile::tempdir().unwrap();
    let made = Certificates::make(folder.path(), &["gate.example"]).unwrap();
    let files = TlsFiles {
        certificate: made.server.certificate.clone(),
        key: made.server.key.clone(),
        client_ca: Some(made.ca.clone()),
    };
    (folder, made, files)
}

#[test]
fn files_that_make_no_tls_are_named() {
    let (folder, made, good) = made();
    let file = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).unwrap();
        folder.path().join(name)
    };
    let empty = file("empty", "");
    let other = Certificates::make(tempfile::tempdir().unwrap().keep().as_path(), &["x.example"]).unwrap();
    for (files, words) in [
        (TlsFiles { certificate: "/nowhere/tls.crt".into(), ..good.clone() }, "cannot read /nowhere/tls.crt"),
        (TlsFiles { certificate: empty.clone(), ..good.clone() }, "empty holds no certificate in PEM"),
        (TlsFiles { key: made.server.certificate.clone(), ..good.clone() }, "server.pem holds no private key in PEM"),
        (TlsFiles { key: other.server.key.clone(), ..good.clone() }, "cannot be used"),
        (TlsFiles { client_ca: Some(empty), ..good.clone() }, "empty holds no certificate in PEM"),
        (TlsFiles { client_ca: Some("/nowhere/ca.crt".into()), ..good.clone() }, "cannot read /nowhere/ca.crt"),
    ] {
        let error = Tls::load(files, Protocol::Http2).unwrap_err().to_string();
        assert!(error.contains(words), "{error}: not {words}");
    }
    assert!(Tls::load(good, Protocol::Http2).is_ok());
}

#[test]
fn files_that_have_changed_are_read_again_and_bad_ones_leave_the_last() {
    let (_folder, made, files) = made();
    let tls = Tls::load(files, Protocol::Http2).unwrap();
    let first = tls.current().unwrap();
    assert!(Arc::ptr_eq(&first, &tls.current().unwrap()), "nothing has changed");
    let renewed = tempfile::tempdir().unwrap();
    let renewed = Certificates::make(renewed.path(), &["gate.example"]).unwrap();
    std::fs::copy(&renewed.server.certificate, &made.server.certificate).unwrap();
    assert!(Arc::ptr_eq(&first, &tls.current().unwrap()), "the key is still the old one's");
    std::fs::copy(&renewed.server.key, &made.server.key).unwrap();
    let second = tls.current().unwrap();
    assert!(!Arc::ptr_eq(&first, &second));
    std::fs::remove_file(&made.ca).unwrap();
    assert!(Arc::ptr_eq(&second, &tls.current().unwrap()));
    std::fs::copy(&renewed.ca, &made.ca).unwrap();
    assert!(!Arc::ptr_eq(&second, &tls.current().unwrap()));
}

#[test]
fn nothing_is_shown_before_it_is_given() {
    let (_folder, made, _) = made();
    let tls = Tls::awaited(Protocol::Http1);
    assert!(!tls.is_there() && tls.current().is_none());
    let (certificate, key) =
        (std::fs::read(&made.server.certificate).unwrap(), std::fs::read(&made.server.key).unwrap());
    let error = tls.give("Secret a/b", &certificate, b"").unwrap_err().to_string();
    assert_eq!(error, "tls.key of Secret a/b holds no private key in PEM");
    assert!(!tls.is_there());
    tls.give("Secret a/b", &certificate, &key).unwrap();
    assert!(tls.give("Secret a/b", b"", &key).is_err());
    assert!(tls.is_there(), "the last good one stays");
}

#[test]
fn p28_files_are_looked_at_once_a_second_however_many_connections_come() {
    let (_folder, _made, files) = made();
    let tls = Tls::load(files, Protocol::Http2).unwrap();
    assert!(!tls.is_due(), "they have just been read");
    *tls.looked.lock().unwrap() = Instant::now().checked_sub(LOOK).unwrap();
    assert!(tls.is_due());
    assert!(!tls.is_due(), "one connection looks for all");
    assert!(!Tls::awaited(Protocol::Http1).is_due());
}
