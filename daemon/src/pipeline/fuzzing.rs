//! See [`crate::fuzzing`].

use hark_sdk::emission;
use hark_sdk::testing::transcript;
use tokio_util::codec::Decoder;

use super::host::answer::check;
use super::wire::{Answer, FromChild, codec};

/// What comes out of a plugin's process: frames, and in them answers to an event.
///
/// # Panics
/// Where reading it does, or an answer is taken that is more than a plugin may say.
pub fn plugin_frames(bytes: &[u8]) {
    let event = transcript(&["so it is", "and so it goes"]);
    let (mut codec, mut received) = (codec(), bytes::BytesMut::from(bytes));
    while let Ok(Some(frame)) = codec.decode(&mut received) {
        match serde_json::from_slice::<FromChild>(&frame) {
            Ok(FromChild::Answer(answer)) => {
                if let Ok(reply) = check("fuzzed", true, &event, answer) {
                    assert!(reply.said.len() <= emission::MOST);
                    assert!(reply.replaced.is_none_or(|replaced| replaced.job == event.job));
                }
            }
            Ok(FromChild::File { suffix, base64 }) => {
                let answer = Answer { files: vec![(suffix, base64)], ..Answer::default() };
                if let Ok(reply) = check("fuzzed", true, &event, answer) {
                    assert!(reply.files.iter().all(|file| !file.suffix.contains('/')));
                }
            }
            Ok(FromChild::Loaded(description)) => {
                let description = description.cleaned();
                assert!(!description.version.chars().any(char::is_control), "{description:?}");
            }
            Ok(
                FromChild::NotLoaded(_)
                | FromChild::Schema(_)
                | FromChild::Measured(_)
                | FromChild::Log { .. },
            )
            | Err(_) => {}
        }
    }
}
