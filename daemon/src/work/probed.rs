//! What a probe of all the audio tells about its recording.

use hark_sdk::event::Recording;

use crate::audio::Probe;
use crate::recognize::route::Facts;

/// The recording as its events report it.
pub fn recording(known: Recording, probe: &Probe) -> Recording {
    Recording {
        format: Some(probe.format.clone()),
        duration_ms: probe.duration_ms,
        channels: probe.channels,
        truncated: probe.truncated,
        ..known
    }
}

/// The facts that decide its plan. `known`: those that the audio does not tell.
pub fn facts(known: Facts, probe: Probe) -> Facts {
    Facts {
        format: Some(probe.format),
        duration_ms: probe.duration_ms,
        channels: probe.channels,
        codec: probe.codec,
        misleading_header: probe.misleading_header,
        truncated: probe.truncated,
        undecodable: probe.undecodable,
        ..known
    }
}
