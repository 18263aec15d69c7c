// The facts about a job, and what a person has to know of its errors and its quality.
import { h, icon } from "./dom.js";
import { bytes, length, money } from "./format.js";
import { facts, when } from "./parts.js";
import { t, word } from "./words.js";

export function factsOf(job, call) {
  const { recording, pieces } = job;
  const engine = job.engine === null ? "" : [job.engine, job.model].filter(Boolean).join(" · ");
  const metadata = Object.entries(job.metadata).map(([key, value]) => [key, typeof value === "string" ? value : JSON.stringify(value)]);
  return facts([
    [t("job.source"), h("a", { href: `/jobs?source=${encodeURIComponent(job.source)}` }, job.source)],
    [t("job.route"), job.route],
    [t("job.accepted"), when(job.accepted)],
    [t("job.ended"), job.ended === null ? null : when(job.ended)],
    [t("job.elapsed"), call.end === null ? null : length(call.end.elapsed_ms)],
    [t("job.length"), length(job.duration_ms)],
    [t("job.engine"), engine],
    [t("job.language"), job.language],
    [t("job.emotion"), job.emotion],
    [t("job.cost"), cost(job, call)],
    [t("job.audio"), audio(recording)],
    [t("job.pieces"), pieces.total > 1 ? piecesOf(pieces) : null],
    [t("job.quality"), quality(job, call)],
    [t("job.retry_of"), job.retry_of ? h("a", { href: `/jobs/${job.retry_of}` }, t("job.retry_of.link")) : null],
    ...metadata,
    [t("job.uri"), h("span.id", recording.uri)],
    [t("job.id"), h("span.id", job.job)],
  ]);
}

/** What is known of the audio. */
function audio({ format, channels, bytes: size, truncated }) {
  const parts = [format, channels && t("job.audio.channels", { count: channels }), size && bytes(size), truncated && t("job.audio.truncated")];
  return parts.filter(Boolean).join(", ");
}

function cost(job, call) {
  if (job.cost_usd === null) return t("job.cost.later");
  const parts = [t("job.cost.billed", { usd: money(job.cost_usd), time: length(1000 * (job.billed_seconds ?? 0)) })];
  if (call.end?.saved_usd) parts.push(t("job.cost.saved", { usd: money(call.end.saved_usd) }));
  if (call.end?.possible_duplicate_charge) parts.push(t("job.cost.duplicate"));
  return parts.join(", ");
}

function piecesOf({ total, heard, failed }) {
  const parts = [t("job.pieces.of", { heard, total })];
  if (failed > 0) parts.push(t("job.pieces.failed", { failed }));
  return parts.join(", ");
}

/** Marks, where something was noticed; a sentence that nothing was, once the transcript is there. */
function quality(job, call) {
  const measured = call.final?.quality ?? {};
  const marks = [
    job.incomplete ? t("job.quality.incomplete") : null,
    measured.repetition > 0 ? t("job.quality.repetition", { count: measured.repetition }) : null,
    measured.failed_ms > 0 ? t("job.quality.failed", { time: length(measured.failed_ms) }) : null,
    measured.gaps_ms > 0 ? t("job.quality.gaps", { time: length(measured.gaps_ms) }) : null,
    call.final?.truncated ? t("job.quality.truncated") : null,
    ...(call.accepted?.warnings ?? []).map((warning) => t("job.quality.warning", warning)),
  ].filter((mark) => mark !== null);
  if (marks.length > 0) return marks.map((mark) => h("span.mark", mark));
  return call.final === null ? null : t("job.quality.good");
}

/** The error of a job with what to do, or what an open job waits for. */
export function errorOf({ error, ended }) {
  if (error === null || error === undefined) return null;
  return h(
    `div.error.${ended === null ? "warn" : "bad"}`,
    h("h2", icon(ended === null ? "waiting" : "failed"), t(ended === null ? "job.waits" : "job.error"), ": ", h("code", error.code)),
    h("p", error.message),
    error.blame ? h("p", word("blame", error.blame)) : null,
  );
}
