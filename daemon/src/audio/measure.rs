//! Measures a recording by decoding it: for formats that the daemon recognizes by their first bytes but cannot parse.

use std::io;

use super::analysis::PROGRESS_INTERVAL;
use super::decode::Decoder;
use super::outside::Opened;
use super::probe::Content;
use super::signals::Signals;
use super::source::Source;
use super::time::Time;
use super::{Probe, ProbeError};

/// Decodes the recording to its end, and tells every half minute of it how far it is, in milliseconds.
///
/// # Errors
/// As for [`super::probe()`], and [`ProbeError::Undecodable`].
pub(super) fn measure(
    mut source: Source,
    hint: Option<&str>,
    tell: &mut dyn FnMut(u64) -> io::Result<()>,
) -> Result<Probe, ProbeError> {
    let content = Content::find(&mut source, hint)?;
    let probe = content.probe(&mut source)?;
    let opened = Opened::new(&source, content).map_err(|error| error.of_codec(&probe))?;
    let (channels, sample_rate) = opened.sound();
    let mut decoder = Decoder::of(source, opened, Signals::Mixed)?;
    let mut told = 0;
    while decoder.next(Time::MAX)?.is_some() {
        let until = decoder.delivered_ms();
        if until >= told + PROGRESS_INTERVAL {
            told = until;
            tell(until)?;
        }
    }
    let duration_ms = Some(decoder.delivered_ms()).filter(|duration| *duration > 0);
    if duration_ms.is_none() {
        return Err(ProbeError::nothing().of_codec(&probe));
    }
    Ok(Probe { duration_ms, channels, sample_rate, ..probe })
}
