//! What a request asks for besides the text. Servers differ in what they support and have no way to say so but a refusal: what a server has
//! refused once is not asked of it again until the daemon starts anew.

use parking_lot::Mutex;

use super::refusal::Refusal;

/// The form of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Form {
    /// Transcriptions: `verbose_json`, with language and times; then there is no stream.
    pub(super) verbose: bool,
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
enum Part {
    Verbose,
    Begun,
    Stream,
    AudioUrl,
}

impl Part {
    /// In the order in which they are left out where a refusal does not say which one is meant.
    const ALL: [Part; 4] = [Part::Verbose, Part::Begun, Part::Stream, Part::AudioUrl];

    /// What a refusal of this part says.
    fn words(self) -> &'static [&'static str] {
        match self {
            Part::Verbose => &["verbose_json", "response_format", "timestamp_granularities"],
            Part::Begun => &["continue_final_message", "add_generation_prompt", "final message", "assistant"],
            Part::Stream => &["stream"],
            Part::AudioUrl => &["audio_url", "input_audio", "content part", "content[].type"],
        }
    }

    fn of(self, form: &mut Form) -> &mut bool {
        match self {
            Part::Verbose => &mut form.verbose,
            Part::Begun => &mut form.begun,
            Part::Stream => &mut form.stream,
            Part::AudioUrl => &mut form.audio_url,
        }
    }
}

impl Form {
    fn has(mut self, part: Part) -> bool {
        // A verbose answer is not streamed.
        let hidden = matches!(part, Part::Stream) && self.verbose;
        *part.of(&mut self) && !hidden
    }

    fn without(mut self, part: Part) -> Form {
        *part.of(&mut self) = false;
        self
    }

    /// Whether the answer is asked for as a stream.
    pub(super) fn streams(self) -> bool {
        self.has(Part::Stream)
    }
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
    /// The form that tells the most and that the server has not refused.
    pub(super) fn wanted(&self, is_chat: bool, partials: bool, has_language: bool) -> Form {
        let known = self.0.lock();
        let Form { verbose, stream, audio_url, begun, .. } = known.refused;
        Form {
            verbose: !is_chat && !verbose,
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
        let mut parts = Part::ALL.into_iter().filter(|part| form.has(*part));
        let named = parts.clone().find(|part| part.words().iter().any(|word| said.contains(word)));
        // A server that has answered this form before means the audio.
        let is_news = !self.0.lock().answered.contains(&form);
        named.or_else(|| parts.next().filter(|_| is_news)).map(|part| form.without(part))
    }

    /// The server answered `form`, after it had refused what `wanted` has besides.
    pub(super) fn worked(&self, wanted: Form, form: Form) {
        let mut known = self.0.lock();
        for part in Part::ALL {
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

    fn refusal(message: &str) -> Refusal {
        Refusal { status: 400, message: message.into(), ..Refusal::default() }
    }

    #[test]
    fn what_a_server_refuses_by_name_is_not_asked_for_again() {
        let forms = Forms::default();
        let wanted = forms.wanted(false, true, false);
        assert!(wanted.verbose && !wanted.streams());
        let next = forms.simpler(wanted, &refusal("Currently do not support verbose_json")).unwrap();
        assert!(!next.verbose && next.streams());
        forms.worked(wanted, next);
        assert_eq!(forms.wanted(false, true, false), next);
    }

    #[test]
    fn a_refusal_of_the_audio_changes_nothing_once_the_form_has_worked() {
        let forms = Forms::default();
        let wanted = forms.wanted(true, true, false);
        let mut form = wanted;
        let mut requests = 1;
        while let Some(simpler) = forms.simpler(form, &refusal("bad audio")) {
            form = simpler;
            requests += 1;
        }
        assert_eq!((requests, forms.wanted(true, true, false)), (3, wanted), "nothing was learned");
        forms.worked(wanted, wanted);
        assert_eq!(forms.simpler(wanted, &refusal("bad audio")), None);
        assert!(forms.simpler(wanted, &refusal("stream is not supported")).is_some());
        let busy = Refusal { status: 503, ..refusal("stream") };
        assert_eq!(forms.simpler(wanted, &busy), None);
    }

    #[test]
    fn a_language_is_begun_in_chat_only_and_detected_where_none_is_named() {
        let forms = Forms::default();
        assert!(forms.wanted(true, false, true).begun && !forms.wanted(true, false, false).begun);
        forms.needs_auto_language();
        assert!(forms.wanted(false, false, false).auto_language);
        assert!(
            !forms.wanted(false, false, true).auto_language
                && !forms.wanted(true, false, false).auto_language
        );
    }
}
