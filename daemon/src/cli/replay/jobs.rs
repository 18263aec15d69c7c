//! The jobs whose events are being read: what plugins said of each then, and what they say now.

use std::collections::{BTreeMap, HashMap, VecDeque};

use hark_sdk::event::{Body, Event, PluginEvent};
use uuid::Uuid;

use super::difference::plugin;

/// Bytes of bodies that are kept for jobs whose last event was not read yet. Above this limit the oldest job counts as ended. A daemon has at
/// most some thousand open jobs, so only a stream in which jobs do not end reaches the limit.
const MOST_BYTES: usize = 64 << 20;
/// What a job takes besides the bodies.
const OF_JOB: usize = 1 << 10;
/// What an alert or an annotation takes.
const OF_BODY: usize = 512;

/// The jobs between their first and their last event.
#[derive(Debug, Default)]
pub struct Jobs {
    jobs: HashMap<Uuid, Job>,
    /// The jobs in the order in which they were seen first.
    order: BTreeMap<u64, Uuid>,
    next: u64,
    /// Jobs in the order in which they ended; a job that is being processed keeps the later ones waiting.
    ended: VecDeque<Uuid>,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Job {
    number: u64,
    bytes: usize,
    then: Vec<Event>,
    now: Vec<Body>,
    /// Its common fields are the final's, which the events that plugins emit now get; its body is not used.
    last: Option<Event>,
    /// Plugins are being asked.
    is_asked: bool,
}

/// A job whose events are all there: what was said, and what would be said.
#[derive(Debug)]
pub struct Ended {
    pub then: Vec<Event>,
    pub now: Vec<Event>,
}

impl Jobs {
    /// Whether this event of the stream is one that a plugin said: what is before the final and not about a piece is the daemon's own
    /// annotation.
    pub fn is_said(&self, event: &Event) -> bool {
        let Some(about) = event.body.about() else { return false };
        plugin(&event.body).is_some()
            || about.piece.is_some()
            || about.revision.is_some()
            || self.jobs.get(&event.job).is_some_and(|job| job.last.is_some())
    }

    /// Keeps what a plugin said then.
    pub fn said(&mut self, event: Event, bytes: usize) {
        let job = self.job(event.job);
        job.then.push(event);
        job.bytes += bytes;
        self.bytes += bytes;
    }

    /// Whether plugins are being asked about this job.
    pub fn is_asked(&self, job: Uuid) -> bool {
        self.jobs.get(&job).is_some_and(|job| job.is_asked)
    }

    /// Plugins are asked about this event of the job from now on, until [`Jobs::answered`].
    pub fn ask(&mut self, event: &Event) {
        let job = self.job(event.job);
        job.is_asked = true;
        if matches!(event.body, Body::TranscriptFinal(_)) {
            let body = Body::Plugin(PluginEvent::default());
            job.last = Some(Event {
                job: event.job,
                source: event.source.clone(),
                sequence: None,
                time: event.time,
                recording: event.recording.clone(),
                metadata: event.metadata.clone(),
                body,
            });
        }
    }

    /// What plugins say of the event that they were asked about.
    pub fn answered(&mut self, job: Uuid, emitted: Vec<Body>) {
        if let Some(job) = self.jobs.get_mut(&job) {
            let bytes: usize = emitted.iter().map(size).sum();
            self.bytes += bytes;
            job.bytes += bytes;
            job.is_asked = false;
            job.now.extend(emitted);
        }
    }

    /// The last event of a job was read.
    pub fn end(&mut self, job: Uuid) {
        if let Some(job) = self.jobs.get(&job).and_then(|job| self.order.remove(&job.number)) {
            self.ended.push_back(job);
        }
    }

    /// Nothing more will be read.
    pub fn end_all(&mut self) {
        self.ended.extend(std::mem::take(&mut self.order).into_values());
    }

    /// The next job that has ended, in the order of the ends; jobs without a final are passed over. `None` while it is being processed.
    pub fn next_ended(&mut self) -> Option<Ended> {
        if self.bytes > MOST_BYTES
            && self.ended.is_empty()
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.ended.push_back(oldest);
        }
        loop {
            let id = *self.ended.front()?;
            if self.is_asked(id) {
                return None;
            }
            self.ended.pop_front();
            let Some(job) = self.jobs.remove(&id) else { continue };
            self.bytes -= job.bytes;
            if let Some(last) = job.last {
                let now = job.now.into_iter().map(|body| Event { body, ..last.clone() }).collect();
                return Some(Ended { then: job.then, now });
            }
        }
    }

    /// The entry of a job, which is made if it is absent.
    fn job(&mut self, id: Uuid) -> &mut Job {
        let (order, next, bytes) = (&mut self.order, &mut self.next, &mut self.bytes);
        self.jobs.entry(id).or_insert_with(|| {
            *next += 1;
            *bytes += OF_JOB;
            order.insert(*next, id);
            Job { number: *next, bytes: OF_JOB, ..Job::default() }
        })
    }
}

/// About how many bytes a body takes: only the JSON of a plugin has no usual size.
fn size(body: &Body) -> usize {
    match body {
        Body::Plugin(event) => OF_BODY + event.data.to_string().len(),
        _ => OF_BODY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hark_sdk::event::{About, Alert, Annotation};
    use hark_sdk::testing::transcript;

    fn of(last: &Event, body: Body) -> Event {
        Event { body, ..last.clone() }
    }

    fn alert() -> Body {
        Body::AlertRaised(Alert { plugin: "keywords".into(), ..Alert::default() })
    }

    #[test]
    fn annotations_are_plugins_after_the_final_or_about_a_piece() {
        let (mut jobs, last) = (Jobs::default(), transcript(&["hello"]));
        let annotation = |piece| {
            let about = About { piece, revision: None };
            of(&last, Body::AnnotationEmotion(Annotation { about, ..Annotation::default() }))
        };
        assert!(!jobs.is_said(&annotation(None)) && jobs.is_said(&annotation(Some(1))));
        assert!(jobs.is_said(&of(&last, alert())) && !jobs.is_said(&last));
        jobs.ask(&last);
        assert!(jobs.is_said(&annotation(None)));
    }

    #[test]
    fn jobs_come_in_the_order_of_their_ends_and_wait_for_their_plugins() {
        let (mut jobs, one, other) = (Jobs::default(), transcript(&["one"]), transcript(&["other"]));
        for last in [&one, &other] {
            jobs.said(of(last, alert()), 100);
            jobs.ask(last);
        }
        jobs.end(other.job);
        jobs.end(one.job);
        jobs.answered(one.job, vec![alert(), alert()]);
        assert!(jobs.next_ended().is_none(), "the other is asked still");
        jobs.answered(other.job, Vec::new());
        let ended = jobs.next_ended().unwrap();
        assert_eq!((ended.then[0].job, ended.now.len()), (other.job, 0));
        let ended = jobs.next_ended().unwrap();
        assert_eq!((ended.then[0].job, ended.now.len()), (one.job, 2));
        assert_eq!((&ended.now[0].recording, ended.now[0].sequence), (&one.recording, None));
        assert!(jobs.next_ended().is_none() && jobs.jobs.is_empty());
        assert_eq!(jobs.bytes, 0);
    }

    #[test]
    fn a_job_without_a_final_is_passed_over() {
        let (mut jobs, last) = (Jobs::default(), transcript(&["one"]));
        jobs.said(of(&last, alert()), 100);
        jobs.end(last.job);
        assert!(jobs.next_ended().is_none() && jobs.jobs.is_empty());
    }

    #[test]
    fn jobs_that_do_not_end_are_ended_before_they_fill_the_memory() {
        let (mut jobs, mut ended) = (Jobs::default(), 0);
        for number in 0..8_000 {
            let last = transcript(&[]);
            jobs.ask(&last);
            jobs.said(of(&last, alert()), 16_000);
            jobs.answered(last.job, Vec::new());
            while jobs.next_ended().is_some() {
                ended += 1;
            }
            assert!(jobs.bytes <= MOST_BYTES, "{number}: {}", jobs.bytes);
        }
        assert!(ended > 1_000 && !jobs.jobs.is_empty());
        jobs.end_all();
        while jobs.next_ended().is_some() {
            ended += 1;
        }
        assert_eq!((ended, jobs.bytes, jobs.order.len()), (8_000, 0, 0));
    }
}
