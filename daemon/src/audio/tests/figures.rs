//! What listening to a recording and making its pieces costs.

use super::super::analysis::AnalysisPlan;
use super::super::decode::Decoder;
use super::super::encode::piece;
use super::super::probe::Content;
use super::super::signals::Signals;
use super::super::source::Source;
use super::channels::{SPLIT, analysis_of, channel, file, noise, recording, sentence, sum};
use crate::config::PieceFormat;

/// A measurement that asserts nothing: `cargo test --release -p harkd --lib -- --ignored --nocapture audio::tests::figures`.
#[test]
#[ignore = "prints figures"]
fn figures() {
    let (cancel, thanks) = (sentence("cancel.wav"), sentence("thanks.wav"));
    let by_turns = |seconds: usize, first: f64, sound: &[f64]| {
        let sounds: Vec<(f64, &[f64])> =
            (0..seconds / 10).map(|number| (first + 10.0 * number as f64, sound)).collect();
        let samples = channel(seconds as f64, &sounds);
        sum(&samples, &noise(samples.len(), -60.0, 1 + first as u32))
    };
    for (seconds, skip_silence) in [(3_600, false), (3_600, true), (10, false)] {
        let [agent, customer] = [by_turns(seconds, 0.5, &cancel), by_turns(seconds, 5.5, &thanks)];
        let one = recording(&[&sum(&agent, &customer)]);
        let two = recording(&[&agent, &customer]);
        let of = |bytes: &[u8], plan: AnalysisPlan| {
            let begun = cpu();
            let found = analysis_of(bytes, plan);
            let analyzed = cpu();
            for number in [None, Some(0), Some(1)] {
                let mut source = Source::new(file(bytes)).unwrap();
                let content = Content::find(&mut source, None).unwrap();
                let signals = number.map_or(Signals::Mixed, |number| Signals::Only(number as usize));
                let mut decoder = Decoder::open(source, content, signals).unwrap();
                for section in found.sections.iter().filter(|section| section.channel == number) {
                    piece(&mut decoder, &section.parts, PieceFormat::Flac, &mut |_| Ok(())).unwrap();
                }
            }
            (analyzed - begun, cpu() - analyzed)
        };
        let mono = of(&one, AnalysisPlan { split: false, skip_silence, ..SPLIT });
        let split = of(&two, AnalysisPlan { skip_silence, ..SPLIT });
        let ratio = (split.0 + split.1).as_secs_f64() / (mono.0 + mono.1).as_secs_f64();
        println!(
            "{seconds} s, skip_silence = {skip_silence}: mono {mono:?}, split {split:?} of CPU for analysis and pieces, ratio {ratio:.2}"
        );
    }
}

/// The CPU time of this process.
fn cpu() -> std::time::Duration {
    crate::os::cpu_time(std::process::id()).unwrap()
}
