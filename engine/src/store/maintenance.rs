//! Work on the whole store, one job at a time: checkpoints, collection, cleaning, scrub.
//!
//! One task on the first reactor runs the jobs, so none of them has to live with another one of its kind. Jobs yield
//! often: they share the reactor with everybody's reads and writes.

use std::pin::Pin;

use super::Store;
use crate::error::{Error, Result};
use crate::reactor::{Local, mailbox, oneshot};

type Work = Box<dyn FnOnce(Local) -> Pin<Box<dyn Future<Output = ()>>> + Send>;

/// A job on its way.
pub(super) struct Job(Work);

/// Jobs that may wait.
pub(super) const JOBS_MAX: usize = 64;

/// Runs jobs until nobody can send any more.
pub(super) async fn serve(local: Local, mut jobs: mailbox::Receiver<Job>) {
    while let Some(Job(work)) = jobs.recv().await {
        work(local.clone()).await;
    }
}

impl Store {
    /// Runs `work` as a job and waits for its result.
    pub(super) async fn maintain<T, F, Fut>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(Local, Store) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T>> + 'static,
    {
        let (sender, receiver) = oneshot::oneshot();
        let store = self.clone();
        let job: Work = Box::new(move |local| {
            Box::pin(async move {
                let result = match store.shared().is_closing() {
                    true => Err(Error::Closed),
                    false => work(local, store).await,
                };
                // Whoever asked may have gone.
                let _ = sender.send(result);
            })
        });
        if self.0.jobs.send(Job(job)).await.is_err() {
            return Err(Error::Closed);
        }
        receiver.await.ok_or(Error::Closed)?
    }

    /// Starts `work` as a job that nobody waits for; drops it if many wait already.
    pub(super) fn start_job<F, Fut>(&self, work: F)
    where
        F: FnOnce(Local, Store) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        let store = self.clone();
        let job: Work = Box::new(move |local| {
            Box::pin(async move {
                if !store.shared().is_closing() {
                    work(local, store).await;
                }
            })
        });
        // Whatever makes it due will do so again.
        let _ = self.0.jobs.try_send(Job(job));
    }

    /// Refuses further jobs and waits for those under way, which end at their next step.
    pub(super) async fn end_maintenance(&self) {
        self.shared().begin_closing();
        // Refused itself, after all before it.
        let _ = self.maintain(|_, _| async { Ok(()) }).await;
    }
}
