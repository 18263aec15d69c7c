// The jobs that are under way, each with its last words.
import { h, fill } from "./dom.js";
import { pill, state, when, who } from "./parts.js";
import { t } from "./words.js";

/** How long a job stays that has ended, unless a person has it selected. */
const STAYS = 10_000;

/** Most rows; the newest are kept. */
const MOST = 60;

export class Running {
  element = h("div.running");
  #list = h("ul.calls");
  #none = h("p.quiet", t("overview.running.none"));
  #rows = new Map();

  constructor() {
    this.element.append(this.#none, this.#list);
    setInterval(() => this.#sweep(), 1_000);
  }

  /** What the status says: jobs that it does not name are not under way any more. */
  take(running) {
    const known = new Set(running.map((job) => job.job));
    for (const [id, row] of this.#rows) {
      if (!known.has(id) && row.ended === null && row.heard + STAYS < performance.now()) row.ended = performance.now() - STAYS;
    }
    for (const job of [...running].reverse()) {
      const row = this.#row(job.job, job);
      row.alerts = job.alerts;
      row.drawPill();
      if (job.last_words) row.say(job.last_words);
    }
    this.#sweep();
  }

  /** An event of a job. */
  hear(kind, body) {
    if (kind === "job.completed" || kind === "job.failed") {
      this.#rows.get(body.job)?.end(kind === "job.completed" ? "completed" : body.error?.code === "Canceled" ? "canceled" : "failed");
      return;
    }
    const isKnown = this.#rows.has(body.job);
    if (kind.startsWith("alert") && !isKnown) return;
    const row = this.#row(body.job, { name: body.recording?.name, source: body.source, accepted: body.time, alerts: [] });
    row.heard = performance.now();
    if (kind === "transcript.partial") row.say(body);
    if (kind === "transcript.segment") {
      const last = body.segments?.findLast((segment) => segment.text !== "");
      if (last) row.say(last);
    }
    if (kind.startsWith("alert")) {
      row.alerts = row.alerts.filter((alert) => alert.alert !== body.alert);
      if (kind === "alert.raised") row.alerts.push(body);
      row.drawPill();
    }
    if (!isKnown) this.#sweep();
  }

  #row(id, job) {
    const known = this.#rows.get(id);
    if (known) return known;
    const row = new Row(id, job);
    this.#rows.set(id, row);
    this.#list.prepend(row.element);
    return row;
  }

  #sweep() {
    const now = performance.now();
    for (const [id, row] of this.#rows) {
      const isTooMany = this.#rows.size > MOST && row.ended !== null;
      const isSelected = row.element.matches(":hover, :focus-within");
      if (row.ended !== null && (row.ended + STAYS < now || isTooMany) && !isSelected) {
        row.element.remove();
        this.#rows.delete(id);
      }
    }
    this.#none.hidden = this.#rows.size > 0;
  }
}

class Row {
  ended = null;
  heard = performance.now();
  #state = h("span");
  #pill = h("span");
  #who = h("span.who");
  #text = h("span.silent", t("overview.running.silent"));
  #next = null;

  constructor(id, job) {
    this.alerts = job.alerts;
    this.href = `/jobs/${id}`;
    this.element = h(
      "li.call.open",
      h("div.head", h("a", { href: this.href }, job.name ?? t("job.unnamed")), h("span.quiet", job.source), when(job.accepted), this.#pill, this.#state),
      h("p.words", this.#who, this.#text),
    );
    fill(this.#state, state(job.state ?? "recognizing"));
    this.drawPill();
  }

  drawPill() {
    fill(this.#pill, this.alerts.length > 0 ? pill(this.alerts, this.href) : null);
  }

  /** The last words, drawn once a frame however many come. */
  say(words) {
    if (this.#next === null) requestAnimationFrame(() => this.#draw());
    this.#next = words;
  }

  #draw() {
    const words = this.#next;
    this.#next = null;
    this.#who.textContent = words.role === undefined && words.channel === 0 ? "" : `${who(words)}: `;
    this.#text.className = "";
    this.#text.textContent = words.text.length > 240 ? `… ${words.text.slice(-240)}` : words.text;
  }

  end(name) {
    this.ended = performance.now();
    this.element.classList.replace("open", "ended");
    fill(this.#state, state(name));
  }
}
