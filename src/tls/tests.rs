use e2e::tls::{Authority, Certificates, Use};
use rustls::pki_types::UnixTime;
use rustls::{CertificateError, Error};
use tempfile::TempDir;

use super::*;

fn made() -> (TempDir, Certificates, TlsFiles) {
    let folder = tempfile::tempdir().unwrap();
    let made = Certificates::make(folder.path(), &["gate.example"]).unwrap();
    let files = TlsFiles {
        certificate: made.server.certificate.clone(),
        key: made.server.key.clone(),
        client_ca: Some(made.ca.clone()),
        client_names: None,
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

/// Each row: who asks, who is on the list if there is one, and whether they are let in.
#[test]
fn p30_of_the_authoritys_clients_those_are_let_in_that_have_a_name_on_the_list() {
    const A: &str = "a.proxies.cloakroom.internal";
    let (ours, theirs) = (Authority::make().unwrap(), Authority::make().unwrap());
    let (not_theirs, denied) = (CertificateError::UnknownIssuer, CertificateError::ApplicationVerificationFailure);
    for (by, for_, names, want) in [
        (&ours, Use::Client, None, Ok(())),
        (&ours, Use::ClientOf(&[A]), None, Ok(())),
        (&ours, Use::ClientOf(&[A]), Some(vec![A]), Ok(())),
        (&ours, Use::ClientOf(&[A]), Some(vec!["b.example", A]), Ok(())),
        (&ours, Use::ClientOf(&["b.example", A]), Some(vec![A]), Ok(())),
        (&ours, Use::ClientOf(&["A.Proxies.cloakroom.internal"]), Some(vec![A]), Ok(())),
        // An authority that signs a wildcard says that all of these are its owner's.
        (&ours, Use::ClientOf(&["*.proxies.cloakroom.internal"]), Some(vec![A]), Ok(())),
        // A name that stands in none of theirs, in whole, is nobody's.
        (&ours, Use::ClientOf(&["b.proxies.cloakroom.internal"]), Some(vec![A]), Err(&denied)),
        (&ours, Use::ClientOf(&["proxies.cloakroom.internal"]), Some(vec![A]), Err(&denied)),
        (&ours, Use::ClientOf(&["x.a.proxies.cloakroom.internal"]), Some(vec![A]), Err(&denied)),
        (&ours, Use::ClientOf(&[A]), Some(vec!["proxies.cloakroom.internal"]), Err(&denied)),
        // A certificate that names nobody.
        (&ours, Use::Client, Some(vec![A]), Err(&denied)),
        (&ours, Use::ClientOf(&[A]), Some(vec![]), Err(&denied)),
        // A name is worth what the authority is that gave it.
        (&theirs, Use::ClientOf(&[A]), Some(vec![A]), Err(&not_theirs)),
    ] {
        let what = format!("{for_:?} of {names:?}");
        let (certificate, _) = by.sign(for_).unwrap();
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
        let authority = Text { place: "ca.crt".to_owned(), text: ours.certificate().as_bytes() };
        let names: Option<Vec<DnsName<'_>>> = names.map(|it| it.into_iter().map(|it| it.try_into().unwrap()).collect());
        let clients = clients::of(&authority, names.as_deref()).unwrap();
        assert!(clients.client_auth_mandatory(), "{what}");
        let verified = clients.verify_client_cert(&certificate, &[], UnixTime::now());
        match want {
            Ok(()) => drop(verified.expect(&what)),
            Err(why) => assert_eq!(verified.unwrap_err(), Error::InvalidCertificate(why.clone()), "{what}"),
        }
    }
    // Those of the past and servers are no clients, whatever their names.
    for for_ in [Use::ClientOfThePast, Use::Server(&[A])] {
        let (certificate, _) = ours.sign(for_).unwrap();
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
        let authority = Text { place: "ca.crt".to_owned(), text: ours.certificate().as_bytes() };
        let clients = clients::of(&authority, Some(&[A.try_into().unwrap()])).unwrap();
        assert!(clients.verify_client_cert(&certificate, &[], UnixTime::now()).is_err(), "{for_:?}");
    }
}
