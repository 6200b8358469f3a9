//! The configuration: read whole, or refused with words; and no value that is read breaks a bound (P18, P30).
#![no_main]

use std::path::Path;
use std::time::Duration;

use cloakroom::config::Config;
use cloakroom::grpc::Address;
use cloakroom::sessions::keyring::MAX_LIFETIME;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match Config::parse(Path::new("/etc/cloakroom/cloakroom.yaml"), text) {
        Ok(config) => {
            assert!(matches!(&config.listen.grpc, Address::Unix(_)) || is_loopback(&config.listen.grpc));
            assert!(config.listen.admin.ip().is_loopback());
            assert!(config.sessions.max_staleness <= Duration::from_secs(60));
            assert!(config.sessions.idle <= config.sessions.absolute);
            assert!(!config.jwt.ring.lifetime.is_zero() && config.jwt.ring.lifetime <= MAX_LIFETIME);
            assert!(!config.carriers.as_slice().is_empty());
            assert!(config.carriers.cookie_names().all(|it| it.starts_with("__Host-")));
            assert_eq!(config.listen.sessions.is_some(), !config.callers.is_empty());
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});

fn is_loopback(address: &Address) -> bool {
    matches!(address, Address::Loopback(address) if address.ip().is_loopback())
}
