//! Who of several controllers writes: the holder of a Lease (`coordination.k8s.io`), as client-go does it.
//!
//! A holder counts its time from the moment before it asked for it, and for two thirds of what others grant it, so that it has
//! stopped before anybody else may begin. What it had sent by then can still arrive: every write names the version of the object
//! that it was made for.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ObjectMeta};
use kube::{Client, Error};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::as_us;
use super::metrics::ControllerMetrics;

/// Which Lease, and how it is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseConfig {
    /// The namespace that it lies in.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Who we are: no other process has the same.
    pub identity: String,
    /// How long a holder that says nothing more is waited for: whole seconds.
    pub duration: Duration,
}

/// Whether we may write. Clones share one state.
#[derive(Clone, Debug)]
pub(super) struct Leadership(watch::Receiver<Option<Instant>>);

impl Leadership {
    /// Until when we may write, if we may now.
    pub(super) fn until(&self) -> Option<Instant> {
        let until = *self.0.borrow();
        until.filter(|until| *until > Instant::now())
    }

    /// Runs a write, as far as it ends while we may write. `None` when it did not, or was not begun.
    pub(super) async fn write<T>(&self, write: impl Future<Output = T>) -> Option<T> {
        tokio::time::timeout_at(self.until()?, write).await.ok()
    }

    /// Waits until we have become the holder, have ceased to be it, or have held on to it.
    pub(super) async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            // The election is over: nothing changes any more.
            std::future::pending::<()>().await;
        }
    }
}

/// Takes and keeps the Lease.
pub(super) struct Election {
    api: Api<Lease>,
    config: LeaseConfig,
    until: watch::Sender<Option<Instant>>,
    metrics: ControllerMetrics,
    /// What the Lease of another holder looked like, and since when.
    seen: Option<(Option<LeaseSpec>, Instant)>,
}

impl Election {
    /// An election that has not begun, and whether it is won.
    pub(super) fn new(client: Client, config: LeaseConfig, metrics: ControllerMetrics) -> (Self, Leadership) {
        let (until, leadership) = watch::channel(None);
        let api = Api::namespaced(client, &config.namespace);
        (Self { api, config, until, metrics, seen: None }, Leadership(leadership))
    }

    /// Takes the Lease whenever it can be had, keeps it, and gives it back when `stop` is called, which should be after the
    /// last write.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut complaint = None;
        loop {
            match tokio::time::timeout(self.config.duration / 3, self.attempt()).await {
                Ok(Ok(())) => complaint = None,
                Ok(Err(error)) => complain(&mut complaint, error.to_string()),
                Err(_) => complain(&mut complaint, "the API server does not answer".to_owned()),
            }
            self.notice_the_end();
            self.metrics.leading(self.is_holder());
            // A fifth: a holder tries three times before it must stop.
            if stop.run_until_cancelled(tokio::time::sleep(self.config.duration / 5)).await.is_none() {
                break;
            }
        }
        let released = tokio::time::timeout(self.config.duration / 3, self.release()).await;
        if !matches!(released, Ok(Ok(()))) {
            tracing::warn!("the lease was not given back: another controller takes it when it has run out");
        }
    }

    fn is_holder(&self) -> bool {
        self.until.borrow().is_some()
    }

    fn notice_the_end(&self) {
        if self.until.borrow().is_some_and(|until| until <= Instant::now()) {
            self.until.send_replace(None);
            tracing::warn!(lease = %self.config.name, "the lease could not be kept: this controller writes no more");
        }
    }

    async fn attempt(&mut self) -> Result<(), Error> {
        let began = Instant::now();
        let Some(lease) = self.api.get_opt(&self.config.name).await? else {
            let lease = Lease {
                metadata: ObjectMeta { name: Some(self.config.name.clone()), ..ObjectMeta::default() },
                spec: Some(self.taken(None)),
            };
            let made = self.api.create(&as_us(), &lease).await;
            return self.won(began, made);
        };
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
        if holder == self.config.identity {
            let spec = lease.spec.clone().unwrap_or_default();
            let spec = LeaseSpec { renew_time: Some(MicroTime(Timestamp::now())), ..spec };
            return self.write(began, lease, spec).await;
        }
        if self.is_holder() {
            self.until.send_replace(None);
            tracing::warn!(%holder, "the lease has another holder: this controller writes no more");
        }
        if !holder.is_empty() && !self.has_run_out(&lease, began) {
            return Ok(());
        }
        let spec = self.taken(lease.spec.as_ref());
        self.write(began, lease, spec).await
    }

    /// Whether another's Lease has been the same for as long as it says, by our own clock: theirs may differ.
    fn has_run_out(&mut self, lease: &Lease, now: Instant) -> bool {
        match &self.seen {
            Some((spec, since)) if *spec == lease.spec => {
                let told = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds).unwrap_or_default();
                let told = Duration::from_secs(u64::try_from(told).unwrap_or_default());
                now.duration_since(*since) > told.max(self.config.duration)
            }
            _ => {
                self.seen = Some((lease.spec.clone(), Instant::now()));
                false
            }
        }
    }

    /// The Lease with us as its holder.
    fn taken(&self, before: Option<&LeaseSpec>) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        let transitions = before.map_or(0, |spec| spec.lease_transitions.unwrap_or_default().saturating_add(1));
        LeaseSpec {
            holder_identity: Some(self.config.identity.clone()),
            lease_duration_seconds: i32::try_from(self.config.duration.as_secs()).ok(),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }

    /// Writes it over the one that was read, and no other.
    async fn write(&mut self, began: Instant, read: Lease, spec: LeaseSpec) -> Result<(), Error> {
        let lease = Lease { spec: Some(spec), ..read };
        let written = self.api.replace(&self.config.name, &as_us(), &lease).await;
        self.won(began, written)
    }

    fn won(&mut self, began: Instant, written: Result<Lease, Error>) -> Result<(), Error> {
        match written {
            Ok(_) => {
                self.seen = None;
                if self.until.send_replace(Some(began + self.config.duration * 2 / 3)).is_none() {
                    tracing::info!(lease = %self.config.name, identity = %self.config.identity, "this controller holds the lease");
                }
                Ok(())
            }
            // Somebody was faster; who, the next look will tell.
            Err(Error::Api(status)) if status.code == 409 => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Lets another controller have it at once.
    async fn release(&mut self) -> Result<(), Error> {
        if self.until.send_replace(None).is_none() {
            return Ok(());
        }
        let Some(lease) = self.api.get_opt(&self.config.name).await? else { return Ok(()) };
        let spec = lease.spec.clone().unwrap_or_default();
        if spec.holder_identity.as_deref() != Some(self.config.identity.as_str()) {
            return Ok(());
        }
        let spec = LeaseSpec { holder_identity: None, lease_duration_seconds: Some(1), ..spec };
        let lease = Lease { spec: Some(spec), ..lease };
        self.api.replace(&self.config.name, &as_us(), &lease).await?;
        tracing::info!(lease = %self.config.name, "the lease is given back");
        Ok(())
    }
}

/// A lasting fault is one line, not one each time.
fn complain(complaint: &mut Option<String>, error: String) {
    if complaint.as_ref() != Some(&error) {
        tracing::warn!(%error, "the lease cannot be read or written; tried again");
        *complaint = Some(error);
    }
}
