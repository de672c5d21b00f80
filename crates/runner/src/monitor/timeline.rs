//! The timeline of a run in the Chrome Trace Event Format, array form.
//!
//! One complete event (`ph` "X") per span, one track per stage or worker. The format allows the
//! closing bracket to be missing, so the file of a run that was killed opens too.

use std::{
    collections::HashMap,
    io::{self, Write},
    path::Path,
    sync::Mutex,
    time::{Duration, Instant},
};

use serde::Serialize;
use serde::ser::SerializeMap;

use super::{MonitorError, line_file::LineFile, sync::lock};

/// The only process of the timeline.
const PID: u32 = 1;

/// A timeline that is being written.
#[derive(Debug)]
pub(crate) struct Timeline {
    started: Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: LineFile,
    tracks: HashMap<String, u32>,
    closed: bool,
}

#[derive(Serialize)]
struct Complete<'a> {
    name: &'a str,
    ph: &'static str,
    ts: f64,
    dur: f64,
    pid: u32,
    tid: u32,
    args: Args<'a>,
}

#[derive(Serialize)]
struct Metadata<'a> {
    name: &'static str,
    ph: &'static str,
    pid: u32,
    tid: u32,
    args: MetadataArgs<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum MetadataArgs<'a> {
    Name(&'a str),
    SortIndex(u32),
}

struct Args<'a>(&'a [(&'a str, u64)]);

impl Serialize for Args<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

/// Microseconds with the nanoseconds as decimals.
fn microseconds(duration: Duration) -> f64 {
    duration.as_nanos() as f64 / 1e3
}

impl Timeline {
    /// Creates the file; one that exists is replaced. Times count from `started`.
    pub(crate) fn create(path: &Path, started: Instant) -> Result<Timeline, MonitorError> {
        let mut file = LineFile::create(path)?;
        let name = MetadataArgs::Name(env!("CARGO_PKG_NAME"));
        let process = Metadata { name: "process_name", ph: "M", pid: PID, tid: 0, args: name };
        file.append(|out| {
            out.write_all(b"[\n")?;
            Ok(serde_json::to_writer(out, &process)?)
        });
        let state = State { file, tracks: HashMap::new(), closed: false };
        Ok(Timeline { started, state: Mutex::new(state) })
    }

    /// Adds a span to a track, which is made when it is first named.
    pub(crate) fn span(
        &self,
        track: &str,
        name: &str,
        start: Instant,
        end: Instant,
        args: &[(&str, u64)],
    ) {
        let mut state = lock(&self.state);
        if state.closed {
            return;
        }
        let tid = state.track(track);
        let ts = microseconds(start.saturating_duration_since(self.started));
        // The end is taken from the start of the run too: a span that began before it is cut there.
        let dur = microseconds(end.saturating_duration_since(self.started)) - ts;
        let event = Complete {
            name,
            ph: "X",
            ts,
            dur: super::number::rounded(dur.max(0.0), 3),
            pid: PID,
            tid,
            args: Args(args),
        };
        state.event(&event);
    }

    /// Writes what was gathered.
    pub(crate) fn flush(&self) {
        lock(&self.state).file.flush();
    }

    /// Completes the file; later spans are dropped.
    ///
    /// # Errors
    /// The first write that failed.
    pub(crate) fn close(&self) -> Result<(), MonitorError> {
        let mut state = lock(&self.state);
        if !state.closed {
            state.closed = true;
            state.file.append(|out| out.write_all(b"\n]\n"));
            state.file.flush();
        }
        state.file.failure().map_or(Ok(()), Err)
    }
}

impl State {
    fn track(&mut self, name: &str) -> u32 {
        if let Some(tid) = self.tracks.get(name) {
            return *tid;
        }
        // 0 belongs to the process itself.
        let tid = self.tracks.len() as u32 + 1;
        self.tracks.insert(name.to_owned(), tid);
        for (event, args) in [
            ("thread_name", MetadataArgs::Name(name)),
            ("thread_sort_index", MetadataArgs::SortIndex(tid)),
        ] {
            self.event(&Metadata { name: event, ph: "M", pid: PID, tid, args });
        }
        tid
    }

    fn event(&mut self, event: &impl Serialize) {
        self.file.append(|out| -> io::Result<()> {
            out.write_all(b",\n")?;
            Ok(serde_json::to_writer(out, event)?)
        });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn events(text: &str) -> Vec<Value> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn timeline_is_a_json_array_of_named_tracks_and_microseconds() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trace.json");
        let started = Instant::now();
        let at = |us: u64| started + Duration::from_micros(us);
        let timeline = Timeline::create(&path, started).unwrap();
        let start = at(1500) + Duration::from_nanos(250);
        timeline.span(
            "compute",
            "batch \"0\"\n",
            start,
            start + Duration::from_millis(10),
            &[("batch_idx", 0), ("tokens", 4096)],
        );
        timeline.span("retrieve", "batch 0", at(11_500), at(15_500), &[]);
        timeline.span("compute", "batch 1", at(12_000), at(22_000), &[]);
        timeline.close().unwrap();
        timeline.close().unwrap();
        timeline.span("compute", "too late", at(0), at(1), &[]);
        let events = events(&std::fs::read_to_string(&path).unwrap());
        let names: Vec<(u64, &str)> = events
            .iter()
            .filter(|event| event["name"] == "thread_name")
            .map(|event| (event["tid"].as_u64().unwrap(), event["args"]["name"].as_str().unwrap()))
            .collect();
        assert_eq!(names, [(1, "compute"), (2, "retrieve")]);
        let spans: Vec<&Value> = events.iter().filter(|event| event["ph"] == "X").collect();
        assert_eq!(spans.len(), 3);
        assert_eq!(spans[0]["name"], "batch \"0\"\n");
        assert_eq!(spans[0]["ts"], 1500.25);
        assert_eq!(spans[0]["dur"], 10_000.0);
        assert_eq!(spans[0]["args"]["tokens"], 4096);
        assert_eq!(spans[0]["pid"], 1);
        let tids: Vec<u64> = spans.iter().map(|span| span["tid"].as_u64().unwrap()).collect();
        assert_eq!(tids, [1, 2, 1]);
    }

    #[test]
    fn timeline_of_a_killed_run_lacks_the_bracket_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trace.json");
        let started = Instant::now();
        let timeline = Timeline::create(&path, started).unwrap();
        timeline.span("compute", "batch 0", started, started + Duration::from_millis(1), &[]);
        timeline.flush();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(events(&(text + "]")).len(), 4);
    }

    #[test]
    fn timeline_span_from_before_the_start_is_cut_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trace.json");
        let before = Instant::now();
        let started = before + Duration::from_millis(5);
        let timeline = Timeline::create(&path, started).unwrap();
        timeline.span("load", "weights", before, before + Duration::from_millis(8), &[]);
        timeline.close().unwrap();
        let events = events(&std::fs::read_to_string(&path).unwrap());
        let span = events.iter().find(|event| event["ph"] == "X").unwrap();
        assert_eq!((&span["ts"], &span["dur"]), (&0.0.into(), &3000.0.into()));
    }
}
