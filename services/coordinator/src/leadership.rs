//! Which of several coordinators on one store leads.
//!
//! The history of the lease is a row of create-only objects in the store, so that of two processes that write the next
//! one only one succeeds, on every store. Who leads renews it; who stands by takes over when the newest entry has not
//! changed for as long as it promises. Only differences of this machine's monotonic clock count, never the time of day:
//! the leader counts from before it wrote, the others from after they read, so the leader always stops first.
//!
//! What holds: without a mandate nothing is written. A leader that was suspended, or cut off from the store, finds its
//! mandate expired before it writes anything else; when nobody has taken over meanwhile, it goes on where it was. What
//! was on its way at the moment of the suspension is harmless by itself: values are create-only, and state changes are
//! refused by the log of their surface.

mod candidacy;
mod process;

use std::sync::Arc;
use std::time::{Duration, Instant};

use relief_api::ApiError;
use relief_store::{Holder, Lease, Store};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use candidacy::{Candidacy, Step};

use crate::job::chain;
use crate::term::Term;

/// What this process is at the moment.
#[derive(Debug, Clone)]
pub(crate) enum Role {
    /// It has not read the lease yet.
    Starting,
    /// Another one leads, at this endpoint, or nobody does.
    Standby(Option<String>),
    /// This one leads.
    Leader(Arc<Term>),
}

/// Leave to write, until some time.
#[derive(Debug, Clone)]
pub(crate) struct Mandate {
    until: watch::Sender<Instant>,
    /// Cancelled when somebody else leads, or this process stops.
    over: CancellationToken,
}

impl Mandate {
    pub(crate) fn new(until: Instant, over: CancellationToken) -> Self {
        Self { until: watch::Sender::new(until), over }
    }

    /// Waits until this process may write, which it may at once as long as it leads.
    ///
    /// # Errors
    /// `NOT_LEADER` when it leads no more.
    pub(crate) async fn hold(&self) -> Result<(), ApiError> {
        let mut until = self.until.subscribe();
        loop {
            if self.over.is_cancelled() {
                return Err(ApiError::not_leader(None));
            }
            if Instant::now() < *until.borrow_and_update() {
                return Ok(());
            }
            tokio::select! {
                _ = until.changed() => {}
                () = self.over.cancelled() => {}
            }
        }
    }

    /// Whether this process leads at this moment, so far as it knows.
    pub(crate) fn is_held(&self) -> bool {
        !self.over.is_cancelled() && Instant::now() < *self.until.borrow()
    }

    /// Gives up the lead: somebody else has it.
    pub(crate) fn give_up(&self) {
        self.over.cancel();
    }

    fn extend(&self, until: Instant) {
        self.until.send_replace(until);
    }

    pub(crate) fn over(&self) -> &CancellationToken {
        &self.over
    }
}

/// This process among those that may lead.
#[derive(Debug)]
pub(crate) struct Leadership {
    store: Store,
    duration: Duration,
    role: watch::Sender<Role>,
    shutdown: CancellationToken,
}

/// Between two tries to reach the store.
const PAUSE: Duration = Duration::from_millis(500);

impl Leadership {
    pub(crate) fn new(store: Store, duration: Duration, shutdown: CancellationToken) -> Self {
        Self { store, duration, role: watch::Sender::new(Role::Starting), shutdown }
    }

    /// What this process is; changes when that does.
    pub(crate) fn role(&self) -> watch::Receiver<Role> {
        self.role.subscribe()
    }

    /// Whether this process leads.
    pub(crate) fn leads(&self) -> bool {
        matches!(&*self.role.borrow(), Role::Leader(term) if !term.is_over())
    }

    /// The term in which this process leads. Waits until it is known whether it does.
    ///
    /// # Errors
    /// `NOT_LEADER`, with the endpoint of the one that does, or `SHUTTING_DOWN`.
    pub(crate) async fn term(&self) -> Result<Arc<Term>, ApiError> {
        let mut role = self.role.subscribe();
        let known = role.wait_for(|role| !matches!(role, Role::Starting));
        let role = tokio::select! {
            role = known => role.map(|role| role.clone()).unwrap_or(Role::Starting),
            () = self.shutdown.cancelled() => return Err(crate::reply::stopping()),
        };
        match role {
            Role::Leader(term) if !term.is_over() => Ok(term),
            Role::Standby(leader) => Err(ApiError::not_leader(leader)),
            Role::Leader(_) | Role::Starting => Err(ApiError::not_leader(None)),
        }
    }

    /// Stands by, leads and stands by again until the shutdown. `lead` does what a leader does until its mandate is over.
    pub(crate) async fn run(&self, endpoint: String, lead: impl Fn(Mandate, u64) -> Arc<Term>) {
        let id = crate::identity::process_id();
        let holder = Holder { id, endpoint, process: process::mark() };
        let clock = Instant::now();
        let mut candidacy = Candidacy::new(holder, self.duration);
        while !self.shutdown.is_cancelled() {
            let pause = match self.store.read_lease().await {
                Ok(seen) => match candidacy.consider(clock.elapsed(), seen.as_ref(), process::is_dead) {
                    Step::Wait { leader, pause } => {
                        self.stand_by(leader);
                        pause
                    }
                    Step::Write(lease) => {
                        let asked = Instant::now();
                        match self.store.write_lease(&lease).await {
                            Ok(true) => self.lead(lease, asked, &lead).await,
                            Ok(false) => {}
                            Err(error) => tracing::warn!(error = %chain(&error), "cannot write the lease"),
                        }
                        // Whoever has it now is seen at once.
                        Duration::ZERO
                    }
                },
                Err(error) => {
                    tracing::warn!(error = %chain(&error), "cannot read the lease");
                    PAUSE
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause.max(Duration::from_millis(10))) => {}
                () = self.shutdown.cancelled() => {}
            }
        }
    }

    fn stand_by(&self, leader: Option<String>) {
        self.role.send_if_modified(|role| match role {
            Role::Standby(known) if *known == leader => false,
            _ => {
                tracing::info!(leader = leader.as_deref().unwrap_or("nobody"), "standing by");
                *role = Role::Standby(leader);
                true
            }
        });
    }

    async fn lead(&self, lease: Lease, asked: Instant, lead: &impl Fn(Mandate, u64) -> Arc<Term>) {
        tracing::info!(epoch = lease.epoch, "leading");
        let mandate = Mandate::new(self.expiry(asked), self.shutdown.child_token());
        let term = lead(mandate.clone(), lease.epoch);
        self.role.send_replace(Role::Leader(Arc::clone(&term)));
        let last = self.renew(lease, &mandate).await;
        mandate.give_up();
        term.wind_up().await;
        match last {
            // Whoever stands by need not wait.
            Some(last) => {
                let release = Lease { sequence: last.sequence + 1, holder: None, ..last };
                let released = tokio::time::timeout(PAUSE * 4, self.store.write_lease(&release)).await;
                tracing::info!(is_released = matches!(released, Ok(Ok(true))), "no longer leading");
            }
            None => {
                tracing::warn!("another coordinator leads now");
                self.stand_by(None);
            }
        }
    }

    /// Renews the lease until the end of the mandate. Returns the last entry when it is still this process's.
    async fn renew(&self, mut lease: Lease, mandate: &Mandate) -> Option<Lease> {
        let mut pause = self.duration / 3;
        // When the next entry was asked for first: it may be there since, though the answer was lost.
        let mut first_asked = None;
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = mandate.over().cancelled() => return self.shutdown.is_cancelled().then_some(lease),
            }
            let asked = *first_asked.get_or_insert_with(Instant::now);
            let next = Lease { sequence: lease.sequence + 1, ..lease.clone() };
            match tokio::time::timeout(self.duration, self.store.write_lease(&next)).await {
                Ok(Ok(true)) => {
                    mandate.extend(self.expiry(asked));
                    (lease, first_asked) = (next, None);
                    pause = (self.duration / 3).saturating_sub(asked.elapsed());
                }
                Ok(Ok(false)) => return None,
                Ok(Err(error)) => {
                    tracing::warn!(error = %chain(&error), "cannot renew the lease yet");
                    pause = PAUSE;
                }
                Err(_) => {
                    tracing::warn!("the store does not answer; cannot renew the lease yet");
                    pause = PAUSE;
                }
            }
        }
    }

    /// Until when a lease that was asked for at `asked` may be relied on: clocks do not all run alike.
    fn expiry(&self, asked: Instant) -> Instant {
        asked + self.duration * 9 / 10
    }
}
