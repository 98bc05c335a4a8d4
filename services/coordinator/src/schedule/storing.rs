//! What is stored next: whole tiles, and then the end.

use super::{Action, JobKey, Scheduler};

/// Tiles on their way to the store at once, of all jobs and of one.
pub(super) const MAX_STORING: usize = 128;
pub(super) const MAX_STORING_PER_JOB: usize = 16;

impl Scheduler {
    /// Puts a job among those with tiles to store.
    pub(super) fn enqueue(&mut self, key: JobKey) {
        let now = self.now;
        let Some(job) = self.jobs.get_mut(&key) else { return };
        let n_storing = job.tiles.n_storing();
        let is_ready = job.end.is_none()
            && job.tiles.n_unstored() > n_storing
            && n_storing < MAX_STORING_PER_JOB
            && job.stored_from <= now;
        if is_ready && !std::mem::replace(&mut job.is_ready, true) {
            self.ready.push_back(key);
        }
    }

    /// Has tiles stored, jobs taking turns.
    pub(super) fn store(&mut self) {
        while self.n_storing < MAX_STORING {
            let Some(key) = self.ready.pop_front() else { return };
            let Some(job) = self.jobs.get_mut(&key) else { continue };
            job.is_ready = false;
            if job.end.is_some() {
                continue;
            }
            if let Some((tile, values)) = job.tiles.take_whole() {
                self.n_storing += 1;
                self.actions.push(Action::Store { job: key, tile, values });
            }
            self.enqueue(key);
        }
    }

    /// Tells the end of a job when nothing of it is on its way to the store.
    pub(super) fn tell_end(&mut self, key: JobKey) {
        let Some(job) = self.jobs.get_mut(&key) else { return };
        let Some(end) = job.end.clone().filter(|_| job.tiles.n_storing() == 0 && !job.is_end_told) else { return };
        job.is_end_told = true;
        self.actions.push(Action::End { job: key, end });
    }
}
