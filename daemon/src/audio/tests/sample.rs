//! Long recordings of which the detector hears a sample.

use super::super::analysis::AnalysisPlan;
use super::channels::{SPLIT, analysis_of, channel, noise, recording, sentence, sum};

/// Of a recording with one channel `split` changes nothing but that all of it is heard.
const ALL: AnalysisPlan = AnalysisPlan { longest_ms: Some(120_000), ..SPLIT };

const SAMPLE: AnalysisPlan = AnalysisPlan { split: false, ..ALL };

/// Sentences with pauses of 0.1 to 1.5 s, in noise of this level; and when the sentences are said, in seconds.
fn talk(seconds: usize, level_dbfs: f64) -> (Vec<f64>, Vec<(f64, f64)>) {
    let sentences = [sentence("cancel.wav"), sentence("thanks.wav")];
    let (mut sounds, mut said, mut begin) = (Vec::new(), Vec::new(), 0.3);
    for number in 0.. {
        let sentence = &sentences[number % 2];
        let end = begin + sentence.len() as f64 / 8_000.0;
        if end > seconds as f64 {
            break;
        }
        sounds.push((begin, &sentence[..]));
        said.push((begin, end));
        begin = end + 0.1 + 0.2 * (number * 5 % 8) as f64;
    }
    let samples = channel(seconds as f64, &sounds);
    (sum(&samples, &noise(samples.len(), level_dbfs, 9)), said)
}

#[test]
fn a_sample_estimates_the_speech_and_cuts_where_nothing_is_said() {
    for level_dbfs in [-70.0, -35.0] {
        let (samples, said) = talk(600, level_dbfs);
        let bytes = recording(&[&samples]);
        let found = analysis_of(&bytes, SAMPLE);
        assert_eq!((found.talk, found.channels[0].level_dbfs), (None, None));
        let spoken = (1_000.0 * said.iter().map(|(begin, end)| end - begin).sum::<f64>()) as u64;
        // Pauses within a phrase are no speech: they are longer than what is heard at once.
        let expected = spoken * 6 / 10..spoken * 11 / 10;
        assert!(
            expected.contains(&found.speech_ms),
            "at {level_dbfs} dBFS {} ms of {expected:?}",
            found.speech_ms
        );
        assert!(found.sections.len() >= 6, "{:?}", found.sections);
        for end in found.sections.iter().map(|section| section.end_ms() as f64 / 1_000.0) {
            let cut = said.iter().find(|(begin, until)| (*begin..*until).contains(&end));
            assert_eq!(cut, None, "at {level_dbfs} dBFS a sentence is cut at {end} s");
        }
    }
}

#[test]
fn up_to_five_minutes_all_is_heard_and_beyond_where_it_was_asked_for() {
    for (seconds, plan, is_measured) in [
        (300, SAMPLE, true),
        (301, SAMPLE, false),
        (301, ALL, true),
        (301, AnalysisPlan { skip_silence: true, ..SAMPLE }, true),
    ] {
        let found = analysis_of(&recording(&[&channel(seconds as f64, &[])]), plan);
        assert_eq!(found.talk.is_some(), is_measured, "{seconds} s, {plan:?}");
    }
}
