//! What a request asks for besides the text. Servers differ in what they support and have no way to say so but a refusal: what a server has
//! refused once is not asked of it again until the daemon starts anew.

use parking_lot::Mutex;

use super::refusal::Refusal;

/// The form of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Form {
    /// Transcriptions: `verbose_json`, with language and times; then there is no stream.
    pub(super) verbose: bool,
    /// Transcriptions: the times of words, in a verbose answer.
    pub(super) words: bool,
    /// The text streams back.
    pub(super) stream: bool,
    /// Chat: the audio as `audio_url`; otherwise as `input_audio`.
    pub(super) audio_url: bool,
    /// Chat: the answer begins with the language of the route, and the server goes on from there.
    pub(super) begun: bool,
    /// Transcriptions: `language=auto` where the route names no language.
    pub(super) auto_language: bool,
}

/// A part of a form that a server may refuse.
#[derive(Debug, Clone, Copy)]
enum OptionalField {
    Words,
    Verbose,
    Begun,
    Stream,
    AudioUrl,
}

impl OptionalField {
    /// In the order in which they are left out where a refusal does not say which one is meant.
    const ALL: [OptionalField; 5] = [
        OptionalField::Words,
        OptionalField::Verbose,
        OptionalField::Begun,
        OptionalField::Stream,
        OptionalField::AudioUrl,
    ];

    /// What a refusal of this part says.
    fn words(self) -> &'static [&'static str] {
        match self {
            OptionalField::Words => &["timestamp_granularities", "word"],
            OptionalField::Verbose => &["verbose_json", "response_format"],
            OptionalField::Begun => {
                &["continue_final_message", "add_generation_prompt", "final message", "assistant"]
            }
            OptionalField::Stream => &["stream"],
            OptionalField::AudioUrl => &["audio_url", "input_audio", "content part", "content[].type"],
        }
    }

    fn of(self, form: &mut Form) -> &mut bool {
        match self {
            OptionalField::Words => &mut form.words,
            OptionalField::Verbose => &mut form.verbose,
            OptionalField::Begun => &mut form.begun,
            OptionalField::Stream => &mut form.stream,
            OptionalField::AudioUrl => &mut form.audio_url,
        }
    }
}

impl Form {
    fn has(mut self, part: OptionalField) -> bool {
        // A verbose answer is not streamed, and no other one has words.
        let hidden = match part {
            OptionalField::Stream => self.verbose,
            OptionalField::Words => !self.verbose,
            OptionalField::Verbose | OptionalField::Begun | OptionalField::AudioUrl => false,
        };
        *part.of(&mut self) && !hidden
    }

    fn without(mut self, part: OptionalField) -> Form {
        *part.of(&mut self) = false;
        self
    }

    /// Whether the answer is asked for as a stream.
    pub(super) fn streams(self) -> bool {
        self.has(OptionalField::Stream)
    }

    /// Whether the times of words are asked for.
    pub(super) fn has_words(self) -> bool {
        self.has(OptionalField::Words)
    }
}

/// What a request would have, if the server supports it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wishes {
    pub(super) partials: bool,
    /// Times of words.
    pub(super) words: bool,
    /// The route or the message names a language.
    pub(super) has_language: bool,
}

/// What a server is known to support.
#[derive(Debug, Default)]
pub(super) struct Forms(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// What it has refused, and answered without.
    refused: Form,
    /// The forms that it has answered.
    answered: Vec<Form>,
    auto_language: bool,
}

impl Forms {
    /// The form that tells the most of what is asked and that the server has not refused.
    pub(super) fn wanted(
        &self,
        is_chat: bool,
        Wishes { partials, words: wants_words, has_language }: Wishes,
    ) -> Form {
        let known = self.0.lock();
        let Form { verbose, words, stream, audio_url, begun, .. } = known.refused;
        Form {
            verbose: !is_chat && !verbose,
            words: !is_chat && wants_words && !words,
            stream: partials && !stream,
            audio_url: is_chat && !audio_url,
            begun: is_chat && has_language && !begun,
            auto_language: !is_chat && !has_language && known.auto_language,
        }
    }

    /// A simpler form than the one that was refused; `None`: the refusal is about something else.
    pub(super) fn simpler(&self, form: Form, refusal: &Refusal) -> Option<Form> {
        if !refusal.may_be_about_form() {
            return None;
        }
        let said = refusal.message.to_ascii_lowercase();
        let mut parts = OptionalField::ALL.into_iter().filter(|part| form.has(*part));
        let named = parts.clone().find(|part| part.words().iter().any(|word| said.contains(word)));
        // A server that has answered this form before means the audio.
        let is_news = !self.0.lock().answered.contains(&form);
        named.or_else(|| parts.next().filter(|_| is_news)).map(|part| form.without(part))
    }

    /// Records that the server answered `form` after it had refused the additional parts of `wanted`.
    pub(super) fn worked(&self, wanted: Form, form: Form) {
        let mut known = self.0.lock();
        for part in OptionalField::ALL {
            if *part.of(&mut wanted.clone()) && !*part.of(&mut form.clone()) {
                *part.of(&mut known.refused) = true;
            }
        }
        if !known.answered.contains(&form) {
            known.answered.push(form);
        }
    }

    /// The server takes recordings for English unless it is asked to find out.
    pub(super) fn needs_auto_language(&self) {
        self.0.lock().auto_language = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTIALS: Wishes = Wishes { partials: true, words: false, has_language: false };
    const LANGUAGE: Wishes = Wishes { partials: false, words: false, has_language: true };

    fn refusal(message: &str) -> Refusal {
        Refusal { status: 400, message: message.into(), ..Refusal::default() }
    }

    #[test]
    fn what_a_server_refuses_by_name_is_not_asked_for_again() {
        let forms = Forms::default();
        let wanted = forms.wanted(false, PARTIALS);
        assert!(wanted.verbose && !wanted.streams());
        let next = forms.simpler(wanted, &refusal("Currently do not support verbose_json")).unwrap();
        assert!(!next.verbose && next.streams());
        forms.worked(wanted, next);
        assert_eq!(forms.wanted(false, PARTIALS), next);
    }

    #[test]
    fn words_are_left_out_before_the_times_of_segments_and_go_with_them() {
        let wishes = Wishes { words: true, ..PARTIALS };
        for (message, left) in [
            ("timestamp_granularities[]=word is not supported", (true, false)),
            ("no such thing", (true, false)),
            ("Currently do not support verbose_json", (false, false)),
        ] {
            let forms = Forms::default();
            let wanted = forms.wanted(false, wishes);
            assert!(wanted.verbose && wanted.has_words());
            let next = forms.simpler(wanted, &refusal(message)).unwrap();
            assert_eq!((next.verbose, next.has_words()), left, "{message}");
            forms.worked(wanted, next);
            assert_eq!(forms.wanted(false, wishes), next);
        }
        assert!(!Forms::default().wanted(true, wishes).has_words(), "a chat tells no times");
    }

    #[test]
    fn a_refusal_of_the_audio_changes_nothing_once_the_form_has_worked() {
        let forms = Forms::default();
        let wanted = forms.wanted(true, PARTIALS);
        let mut form = wanted;
        let mut requests = 1;
        while let Some(simpler) = forms.simpler(form, &refusal("bad audio")) {
            form = simpler;
            requests += 1;
        }
        assert_eq!((requests, forms.wanted(true, PARTIALS)), (3, wanted), "nothing was learned");
        forms.worked(wanted, wanted);
        assert_eq!(forms.simpler(wanted, &refusal("bad audio")), None);
        assert!(forms.simpler(wanted, &refusal("stream is not supported")).is_some());
        let busy = Refusal { status: 503, ..refusal("stream") };
        assert_eq!(forms.simpler(wanted, &busy), None);
    }

    #[test]
    fn a_language_is_begun_in_chat_only_and_detected_where_none_is_named() {
        let forms = Forms::default();
        assert!(forms.wanted(true, LANGUAGE).begun && !forms.wanted(true, Wishes::default()).begun);
        forms.needs_auto_language();
        assert!(forms.wanted(false, Wishes::default()).auto_language);
        assert!(
            !forms.wanted(false, LANGUAGE).auto_language
                && !forms.wanted(true, Wishes::default()).auto_language
        );
    }
}
