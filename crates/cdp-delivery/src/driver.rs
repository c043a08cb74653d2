//! Runs batches for many destinations side by side on one thread.
//!
//! A worker pushes jobs and polls; between polls nothing runs. Results come message by message,
//! so a hanging request holds up nobody else's settlement. Whatever happens, a panic included,
//! every message pushed comes back exactly once.

use crate::client::Client;
use crate::config::Limits;
use crate::destination::Destination;
use crate::lane::{Lane, LaneState};
use crate::message::Message;
use crate::outcome::Outcome;
use crate::run::run_job;
use crate::secrets::Secrets;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{unbounded_channel, UnboundedReceiver, UnboundedSender};
use tokio::task::{AbortHandle, JoinSet};

/// How long a poll that has something to report waits for more.
const GATHER: Duration = Duration::from_millis(2);

/// A batch for one destination.
#[derive(Clone)]
pub struct Job {
    pub destination_key: String,
    /// Changes when the destination's definition does; what was learnt about an older one
    /// (breaker, rate, tokens) is then forgotten.
    pub generation: i64,
    pub destination: &'static dyn Destination,
    pub config: Arc<Value>,
    pub secrets: Arc<Secrets>,
    /// In the order of each person's messages.
    pub batch: Vec<Message>,
    /// A request that has not started by then (rate limit, other requests before it) is not
    /// started any more, and its messages come back. Leases must last this long and one request
    /// timeout longer.
    pub start_within: Duration,
}

/// What was sent and answered, for the dead letters; secrets are masked.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    /// Method, URL, headers and the start of the body.
    pub request: String,
    /// HTTP status.
    pub status: Option<u16>,
    /// Headers and the start of the body of the answer, or why there is none.
    pub response: String,
    pub duration: Duration,
}

/// What became of one message of a job.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Index into the job's batch.
    pub index: usize,
    pub message_id: String,
    /// Never [`Outcome::SplitBatch`].
    pub outcome: Outcome,
    /// The last request that carried the message; None when nothing was sent. Its texts are
    /// empty for a delivered message.
    pub evidence: Option<Arc<Evidence>>,
}

/// What became of some messages of a job.
#[derive(Debug, Clone, PartialEq)]
pub struct JobResult {
    /// As returned by [`Driver::push`].
    pub job: u64,
    pub destination_key: String,
    pub generation: i64,
    pub reports: Vec<Report>,
    /// No further results of this job will come.
    pub finished: bool,
}

/// Whether a destination can take more now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Readiness {
    /// How many more messages are worth claiming; 0 while it is full or blocked.
    pub messages: usize,
    /// How long the breaker or a pause that the destination asked for still lasts.
    pub blocked_for: Option<Duration>,
}

struct Running {
    destination_key: String,
    generation: i64,
    task: AbortHandle,
    /// Ids of messages without a report yet, by index.
    open: HashMap<usize, String>,
}

pub(crate) struct Progress {
    pub job: u64,
    pub index: usize,
    pub outcome: Outcome,
    pub evidence: Option<Arc<Evidence>>,
}

/// Runs jobs. Owns a single-threaded runtime; make it inside the worker, after the fork.
pub struct Driver {
    client: Arc<Client>,
    lanes: HashMap<String, Arc<Lane>>,
    running: HashMap<u64, Running>,
    jobs_of_tasks: HashMap<tokio::task::Id, u64>,
    sender: UnboundedSender<Progress>,
    receiver: UnboundedReceiver<Progress>,
    next_job: u64,
    panics: u64,
    // Tasks end before the runtime they run on.
    tasks: JoinSet<()>,
    runtime: Runtime,
}

impl Driver {
    /// A driver without jobs.
    pub fn new(client: Client) -> std::io::Result<Driver> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            // A task may take milliseconds to put a large batch together: a poll has to notice
            // that its time is over after a few of them, not after the usual 61.
            .event_interval(4)
            .build()?;
        let (sender, receiver) = unbounded_channel();
        Ok(Driver {
            client: Arc::new(client),
            lanes: HashMap::new(),
            running: HashMap::new(),
            jobs_of_tasks: HashMap::new(),
            sender,
            receiver,
            next_job: 1,
            panics: 0,
            tasks: JoinSet::new(),
            runtime,
        })
    }

    /// Replaces the client (the allow list was reloaded); jobs under way keep the old one.
    pub fn set_client(&mut self, client: Client) {
        self.client = Arc::new(client);
    }

    /// Starts a job; it advances while [`Driver::poll`] runs.
    pub fn push(&mut self, job: Job) -> u64 {
        let id = self.next_job;
        self.next_job += 1;
        let limits = job.destination.limits(&job.config);
        let lane = self.lane(&job.destination_key, job.generation, &limits);
        let open: HashMap<usize, String> = job
            .batch
            .iter()
            .map(|message| message.id.clone())
            .enumerate()
            .collect();
        lane.held(open.len() as isize);
        let destination_key = job.destination_key.clone();
        let generation = job.generation;
        let future = run_job(
            Arc::clone(&self.client),
            lane,
            job,
            limits,
            id,
            self.sender.clone(),
        );
        let task = self.tasks.spawn_on(future, self.runtime.handle());
        self.jobs_of_tasks.insert(task.id(), id);
        self.running.insert(
            id,
            Running {
                destination_key,
                generation,
                task,
                open,
            },
        );
        id
    }

    fn lane(&mut self, key: &str, generation: i64, limits: &Limits) -> Arc<Lane> {
        match self.lanes.get(key) {
            Some(lane) if lane.generation == generation => Arc::clone(lane),
            _ => {
                let lane = Arc::new(Lane::new(generation, limits));
                self.lanes.insert(key.to_string(), Arc::clone(&lane));
                lane
            }
        }
    }

    /// Advances all jobs, until something is reported or `max_wait` has passed. Returns at once
    /// when there is no job.
    pub fn poll(&mut self, max_wait: Duration) -> Vec<JobResult> {
        if self.running.is_empty() {
            return Vec::new();
        }
        let (tasks, receiver) = (&mut self.tasks, &mut self.receiver);
        let mut progress = Vec::new();
        let mut ended = Vec::new();
        self.runtime.block_on(async {
            tokio::select! {
                Some(first) = receiver.recv() => progress.push(first),
                Some(end) = tasks.join_next_with_id() => ended.push(end),
                () = tokio::time::sleep(max_wait) => return,
            }
            // Others may be as good as done: settling them together is cheaper.
            if !tasks.is_empty() {
                tokio::time::sleep(GATHER.min(max_wait)).await;
            }
        });
        while let Some(end) = self.tasks.try_join_next_with_id() {
            ended.push(end);
        }
        // After the ends: whatever an ended task reported is in the channel by now.
        while let Ok(next) = self.receiver.try_recv() {
            progress.push(next);
        }
        let mut results: HashMap<u64, JobResult> = HashMap::new();
        for step in progress {
            self.report(step, &mut results);
        }
        for end in ended {
            let (task, reason) = match end {
                Ok((task, ())) => (task, "the destination gave no outcome for this message"),
                Err(error) => {
                    self.panics += u64::from(error.is_panic());
                    (error.id(), "internal error: the destination panicked")
                }
            };
            if let Some(job) = self.jobs_of_tasks.remove(&task) {
                self.finish(job, reason, &mut results);
            }
        }
        let mut results: Vec<JobResult> = results.into_values().collect();
        results.sort_by_key(|result| result.job);
        results
    }

    fn result<'a>(
        running: &Running,
        job: u64,
        results: &'a mut HashMap<u64, JobResult>,
    ) -> &'a mut JobResult {
        results.entry(job).or_insert_with(|| JobResult {
            job,
            destination_key: running.destination_key.clone(),
            generation: running.generation,
            reports: Vec::new(),
            finished: false,
        })
    }

    fn report(&mut self, step: Progress, results: &mut HashMap<u64, JobResult>) {
        let Some(running) = self.running.get_mut(&step.job) else {
            return;
        };
        // The first word about a message is the last.
        let Some(message_id) = running.open.remove(&step.index) else {
            return;
        };
        if let Some(lane) = self.lanes.get(&running.destination_key) {
            if lane.generation == running.generation {
                lane.held(-1);
            }
        }
        Driver::result(running, step.job, results)
            .reports
            .push(Report {
                index: step.index,
                message_id,
                outcome: step.outcome,
                evidence: step.evidence,
            });
    }

    fn finish(&mut self, job: u64, reason: &str, results: &mut HashMap<u64, JobResult>) {
        let Some(running) = self.running.get(&job) else {
            return;
        };
        let mut left: Vec<usize> = running.open.keys().copied().collect();
        left.sort_unstable();
        for index in left {
            let outcome = Outcome::retry(reason);
            let step = Progress {
                job,
                index,
                outcome,
                evidence: None,
            };
            self.report(step, results);
        }
        if let Some(running) = self.running.remove(&job) {
            Driver::result(&running, job, results).finished = true;
        }
    }

    /// Whether a destination can take more: `None` for one that was never pushed to.
    pub fn readiness(&self, destination_key: &str) -> Option<Readiness> {
        self.lanes.get(destination_key).map(|lane| lane.readiness())
    }

    /// State and counters of a destination, for health and metrics; `None` for one that was never pushed to.
    pub fn lane_state(&self, destination_key: &str) -> Option<LaneState> {
        self.lanes.get(destination_key).map(|lane| lane.state())
    }

    /// Forgets what was learnt about a destination: it was resumed, or dropped.
    pub fn forget(&mut self, destination_key: &str) {
        self.lanes.remove(destination_key);
    }

    /// Ends the jobs of a destination that was dropped. Their messages are not reported.
    pub fn cancel(&mut self, destination_key: &str) {
        let ids: Vec<u64> = self
            .running
            .iter()
            .filter(|(_, running)| running.destination_key == destination_key)
            .map(|(id, _)| *id)
            .collect();
        for running in ids.iter().filter_map(|id| self.running.remove(id)) {
            self.jobs_of_tasks.remove(&running.task.id());
            running.task.abort();
        }
        self.forget(destination_key);
    }

    /// Panics of destinations since the driver was made; each is a bug.
    pub fn panics(&self) -> u64 {
        self.panics
    }

    /// Number of jobs under way.
    pub fn jobs(&self) -> usize {
        self.running.len()
    }

    /// Number of messages without a report yet.
    pub fn messages(&self) -> usize {
        self.running
            .values()
            .map(|running| running.open.len())
            .sum()
    }

    /// True when there is nothing to poll for.
    pub fn is_idle(&self) -> bool {
        self.running.is_empty()
    }
}
