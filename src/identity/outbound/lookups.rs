//! Looking names up, within bounds.

use std::collections::HashMap;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

/// The names that are looked up. The system takes a thread for each look-up and cannot be told to stop, so that a name whose
/// servers do not answer holds one for seconds: each name has one at a time, and all together have [`LOOKUPS`] (P25, P28).
pub(super) struct Lookups {
    names: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Option<Resolved>>>>>,
    places: Arc<Semaphore>,
}

/// What a look-up found, and when.
struct Resolved(Instant, Vec<SocketAddr>);

/// Look-ups at once; the runtime has four times as many threads for what blocks.
const LOOKUPS: usize = 128;
/// Names that are kept.
const NAMES: usize = 1_024;
/// How long what was found is good for others who wait for the same name.
const FRESH: Duration = Duration::from_secs(1);

/// Too many names are being looked up.
#[derive(Debug, thiserror::Error)]
#[error("too many names are being looked up")]
struct TooMany;

impl Lookups {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { names: Mutex::default(), places: Arc::new(Semaphore::new(LOOKUPS)) })
    }

    pub(super) async fn addresses(
        &self,
        name: &str,
    ) -> Result<Vec<SocketAddr>, Box<dyn std::error::Error + Send + Sync>> {
        let known = {
            let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
            if names.len() >= NAMES {
                names.retain(|_, known| Arc::strong_count(known) > 1);
            }
            Arc::clone(names.entry(name.to_owned()).or_default())
        };
        let mut known = known.lock_owned().await;
        if let Some(Resolved(when, addresses)) = &*known
            && when.elapsed() < FRESH
        {
            return Ok(addresses.clone());
        }
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| TooMany)?;
        let name = name.to_owned();
        // Both are held until the look-up is over, whether anybody still waits for it or not.
        let found = tokio::task::spawn_blocking(move || {
            let _place = place;
            // The port is that of the URL.
            let addresses: Vec<SocketAddr> = (name.as_str(), 0).to_socket_addrs()?.collect();
            *known = Some(Resolved(Instant::now(), addresses.clone()));
            Ok::<_, std::io::Error>(addresses)
        });
        Ok(found.await??)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn p25_a_name_has_one_look_up_at_a_time_and_all_have_a_bound() {
        let lookups = Lookups::new();
        assert!(!lookups.addresses("localhost").await.unwrap().is_empty());
        // As if a look-up of this name never came back: others wait for it and take no thread.
        let held = Arc::clone(lookups.names.lock().unwrap().entry("hangs".to_owned()).or_default());
        let held = held.lock_owned().await;
        let waits = lookups.addresses("hangs");
        assert!(tokio::time::timeout(Duration::from_millis(20), waits).await.is_err());
        assert_eq!(lookups.places.available_permits(), LOOKUPS);
        drop(held);
        // As if all places were taken by names that hang.
        let all = Arc::clone(&lookups.places).acquire_many_owned(128).await.unwrap();
        assert!(lookups.addresses("127.0.0.2").await.unwrap_err().is::<TooMany>());
        // What was just found needs no place.
        assert!(!lookups.addresses("localhost").await.unwrap().is_empty());
        drop(all);
        assert!(!lookups.addresses("127.0.0.2").await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn p32_names_that_nobody_waits_for_are_forgotten() {
        let lookups = Lookups::new();
        for n in 0..2 * NAMES {
            lookups.names.lock().unwrap().insert(format!("n{n}"), Arc::default());
        }
        assert!(!lookups.addresses("localhost").await.unwrap().is_empty());
        assert!(lookups.names.lock().unwrap().len() <= 2);
    }
}
