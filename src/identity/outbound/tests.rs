use super::*;

fn outbound(networks: &[&str]) -> Outbound {
    let networks = networks.iter().map(|text| text.parse().unwrap()).collect();
    Outbound::new(&OutboundConfig { networks, ca_file: None }).unwrap()
}

#[test]
fn p25_addresses_are_judged_as_they_will_be_read() {
    for (url, closed, open) in [
        ("https://login.example/jwks", true, true), // the name is judged when it is resolved
        ("https://8.8.8.8/", true, true),
        ("https://127.0.0.1/", false, true),
        ("https://2130706433/", false, true),
        ("https://0x7f.1/", false, true),
        ("https://[::1]/", false, false),
        ("https://[::ffff:127.0.0.1]/", false, true),
        ("https://169.254.169.254/latest/meta-data", false, false),
        ("https://10.0.0.1/", false, false),
        ("http://127.0.0.1:8080/", false, true),
        ("http://localhost/", false, false), // a name may mean anything a moment later
        ("http://8.8.8.8/", false, false),
        ("http://login.example/", false, false),
        ("https://user@login.example/", false, false),
        ("ftp://login.example/", false, false),
        ("file:///etc/passwd", false, false),
        ("unix:///run/x", false, false),
        ("https://", false, false),
        ("login.example", false, false),
    ] {
        assert_eq!(outbound(&[]).checked(url).is_ok(), closed, "{url}");
        assert_eq!(outbound(&["127.0.0.0/8"]).checked(url).is_ok(), open, "{url}, loopback allowed");
    }
}

#[tokio::test]
async fn p25_a_name_without_an_allowed_address_has_none() {
    for (networks, found) in [(&[][..], false), (&["127.0.0.0/8", "::1/128"][..], true)] {
        let guard = Guarded { guard: Arc::clone(&outbound(networks).guard), lookups: Lookups::new() };
        assert_eq!(guard.resolve("localhost".parse().unwrap()).await.is_ok(), found);
    }
    // And that is what is said of it, whatever lies between.
    let error = outbound(&[]).get("https://localhost:1/jwks", 1).await.err().unwrap();
    assert!(matches!(error, FetchError::Address), "{error:?}");
}

#[test]
fn a_file_without_certificates_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    let open = || Outbound::new(&OutboundConfig { networks: Vec::new(), ca_file: Some(file.clone()) }).map(|_| ());
    assert!(matches!(open(), Err(OutboundError::Read(..))));
    std::fs::write(&file, "nothing").unwrap();
    assert!(matches!(open(), Err(OutboundError::Certificates(_))));
}
