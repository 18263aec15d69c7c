//! Where recognition is free, cuts a piece into halves if its text repeats itself or was cut off. Each half is sent once.

use tracing::info;

use super::recordings::unusable;
use super::{PieceTask, Tools};
use crate::audio::AnalysisPlan;
use crate::job::audio::Unopened;
use crate::job::halves::halves;
use crate::job::ledger::LedgerError;
use crate::job::piece_machine::PieceFact;
use crate::job::{PieceFormat, Span};

impl Tools {
    /// Finds the halves of a piece and stores them. A piece that cannot be cut keeps its first answer.
    pub(super) async fn halve(&self, task: &PieceTask) -> Result<(), LedgerError> {
        if !self.settings.policy.prices.is_free(&task.piece.recognizer) {
            // The config has a price for its recognizer now.
            return self.keep(task).await;
        }
        match self.halves_of(task).await {
            Ok(halves) => {
                info!(
                    halves = halves.len(),
                    "the text repeats itself or was cut off; the piece is sent again in halves"
                );
                self.advance_piece(task, PieceFact::Halved { halves }, 0).await
            }
            Err(unopened) => self.not_opened(&task.job, Some(task), unopened).await,
        }
    }

    async fn halves_of(&self, task: &PieceTask) -> Result<Vec<Span>, Unopened> {
        let (job, span) = (&task.job, &task.piece.span);
        let part = self.part(job, span, PieceFormat::Wav).await?;
        // The analysis cuts within the last eighth before `longest_ms`, so 9/16 of the length puts the cut near the middle.
        let longest_ms = Some(span.sent_ms().unwrap_or(0) * 9 / 16);
        let plan = AnalysisPlan { longest_ms, ..AnalysisPlan::default() };
        let analysis = self.workers.analyze(&part, Some("wav"), plan, |_| ()).await;
        let analysis = analysis.map_err(|error| unusable(job, &error))?;
        let parts: Vec<(u64, u64)> =
            analysis.sections.iter().map(|part| (part.begin_ms(), part.end_ms())).collect();
        Ok(halves(span, &parts))
    }
}
