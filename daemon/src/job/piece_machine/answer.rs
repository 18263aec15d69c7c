//! What follows from an answer: the piece ends, or it is sent again in halves.

use hark_sdk::event::Fault;

use super::{PieceStep, Policy, Release, Report};
use crate::job::halves::is_better_in_halves;
use crate::job::{Halves, PieceState, Transcript};

impl PieceStep {
    /// The recognizer has answered: for the piece, or for one of its halves.
    pub(super) fn heard(&mut self, transcript: Transcript, release: Release, policy: &Policy) {
        let is_free = policy.prices.is_free(&self.piece.recognizer);
        let Some(mut halves) = self.piece.halves.take() else {
            if is_free && is_better_in_halves(&self.piece.span, &transcript) {
                self.piece.heard = Some(transcript);
                self.go_on_with(Halves::default());
            } else {
                self.end(transcript, release);
            }
            return;
        };
        halves.heard.push(transcript);
        let left = halves.left.get_or_insert_default();
        left.drain(..left.len().min(1));
        if left.is_empty() {
            self.end(halves.join(), release);
        } else {
            self.go_on_with(halves);
        }
    }

    /// The piece is asked for further, in halves.
    fn go_on_with(&mut self, halves: Halves) {
        // An attempt that was answered and cost nothing is not kept.
        self.piece.attempts.pop();
        self.piece.halves = Some(halves);
        self.piece.state = PieceState::Queued;
    }

    /// The piece ends with this transcript.
    pub(super) fn end(&mut self, transcript: Transcript, release: Release) {
        if release == Release::AtOnce {
            self.report_heard(&transcript);
        }
        self.piece.halves = None;
        self.piece.heard = Some(transcript);
        self.piece.state = match release {
            Release::AfterPlugins => PieceState::Piping { published: false },
            Release::AtOnce | Release::WithFinal => PieceState::Heard,
        };
    }

    /// The transcript leaves the daemon.
    pub(super) fn report_heard(&mut self, transcript: &Transcript) {
        let (span, transcript) = (self.piece.span.clone(), transcript.clone());
        self.reports.push(Report::Heard { span, transcript });
    }

    /// The piece fails. If one of its halves was asked for, the first answer stands instead.
    pub(super) fn give_up(&mut self, fault: Fault) {
        self.piece.state = match &mut self.piece.halves {
            Some(halves) => {
                halves.left = Some(Vec::new());
                PieceState::Queued
            }
            None => PieceState::Failed { fault },
        };
    }
}
