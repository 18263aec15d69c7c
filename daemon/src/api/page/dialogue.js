// The call as a dialogue: who said what and when, and the alerts where they happened.
import { fill, h, icon, update } from "./dom.js";
import { place } from "./format.js";
import { severity, who } from "./parts.js";
import { t, word } from "./words.js";

export class Dialogue {
  element = h("div.dialogue");
  #whole = h("div", { id: "alerts" });
  #lines = h("ol.lines");
  #live = h("ul.lines.live");
  #spoken = [];
  /** The lines as they stand, by what they say. */
  #drawn = new Map();

  /** `player`: where lines are heard; null: they cannot be. */
  constructor(player) {
    this.player = player;
    this.element.append(this.#whole, this.#lines, this.#live);
    player?.onPlace((ms) => this.#light(ms));
  }

  draw(call) {
    const { lines, whole } = call.dialogue;
    fill(this.#whole, whole.length > 0 ? h("ul.whole", { "aria-label": t("alert.whole") }, whole.map((alert) => h("li", mark(alert)))) : null);
    this.#spoken = [];
    const drawn = new Map();
    let last = null;
    const items = lines.map((line) => {
      const name = line.alert ? last : who(line.segment);
      const key = JSON.stringify([line, name !== last]);
      const make = () => (line.alert ? h("li.line", h("span"), h("span"), h("div.said", mark(line.alert))) : this.#line(line, name, name !== last));
      // A line that is as it was stays: a person may be on it.
      const item = (drawn.has(key) ? null : this.#drawn.get(key)) ?? make();
      drawn.set(key, item);
      if (!line.alert && line.segment.begin_ms !== null) this.#spoken.push([line.segment.begin_ms, line.segment.end_ms, item]);
      last = name;
      return item;
    });
    this.#drawn = drawn;
    if (items.length > 0) update(this.#lines, items);
    else fill(this.#lines, plain(call));
    this.drawLive(call);
  }

  /** Only what is heard now, which changes many times a second. */
  drawLive(call) {
    const partials = [...call.partials.values()].sort((one, other) => one.begin_ms - other.begin_ms);
    fill(
      this.#live,
      partials.map((partial) =>
        h(`li.line.channel${partial.channel % 6}`, h("span.time", place(partial.begin_ms ?? 0)), h("span.who", who(partial)), h("div.said", h("p", partial.text, " ", h("span.quiet", `(${t("dialogue.live")})`)))),
      ),
    );
  }

  #line({ segment, alerts }, name, isNew) {
    const isTimed = segment.begin_ms !== null;
    const time = isTimed ? `${place(segment.begin_ms)}–${place(segment.end_ms)}` : "";
    const canPlay = this.player !== null && isTimed;
    const play = () => this.player.play(segment.begin_ms);
    const feeling = segment.emotion && segment.emotion !== "neutral" ? h(`span.emotion.${segment.emotion}`, segment.emotion) : null;
    const item = h(
      `li.line.channel${segment.channel % 6}`,
      h("span.time", canPlay ? h("button.play", { type: "button", "aria-label": t("dialogue.play", { time }), onclick: play }, icon("play"), time) : time),
      h(isNew ? "span.who" : "span.who.again", name),
      h(
        "div.said",
        segment.error ? h("p.trouble", t("dialogue.failed", { reason: segment.error.message ?? segment.error.code })) : h("p", { onclick: canPlay ? play : null }, marked(segment.text, alerts), " ", feeling),
        alerts.map(mark),
      ),
    );
    item.classList.toggle("playable", canPlay);
    return item;
  }

  /** Lights the lines that are spoken at a place of the recording; null: none. */
  #light(ms) {
    for (const [begin, end, item] of this.#spoken) {
      const isSpoken = ms !== null && begin <= ms && ms < end;
      if (isSpoken === item.classList.contains("spoken")) continue;
      item.classList.toggle("spoken", isSpoken);
      item.toggleAttribute("aria-current", isSpoken);
      if (isSpoken) item.scrollIntoView({ block: "nearest" });
    }
  }
}

/** A transcript whose segments are not in the event. */
function plain(call) {
  if (call.final?.text) return h("li", h("p.quiet", t("dialogue.text_only")), call.final.text.split("\n").map((line) => h("p", line)));
  if (call.partials.size > 0) return null;
  const words = call.final !== null ? "job.speech.none" : call.end !== null ? "dialogue.failed_whole" : "dialogue.none";
  return h("li", h("p.quiet", t(words)));
}

/** An alert where it happened; one that was retracted is struck out. */
function mark(alert) {
  const state = alert.isRetracted ? t("alert.retracted.why", { reason: alert.reason ?? "" }) : alert.state === "tentative" ? word("alert", "tentative") : "";
  const rule = h("b", alert.rule);
  return h(
    `p.alert.${alert.severity}`,
    { id: `alert-${alert.alert}`, tabindex: "-1" },
    severity(alert.severity),
    alert.isRetracted ? h("s", rule) : rule,
    alert.quote ? h("q", alert.quote) : null,
    h("span.quiet", [alert.plugin, state].filter(Boolean).join(" · ")),
  );
}

/** A text with the words marked that the alerts quote. */
function marked(text, alerts) {
  const quotes = alerts.filter((alert) => !alert.isRetracted && alert.quote).map((alert) => alert.quote);
  const spans = quotes.map((quote) => [text.indexOf(quote), quote.length]).filter(([at]) => at >= 0);
  const parts = [];
  let done = 0;
  for (const [at, size] of spans.sort(([one], [other]) => one - other)) {
    if (at < done) continue;
    parts.push(text.slice(done, at), h("mark", text.slice(at, at + size)));
    done = at + size;
  }
  return [...parts, text.slice(done)];
}
