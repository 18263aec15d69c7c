// Small things that several pages show: states, alerts, names of people, times.
import { h, icon } from "./dom.js";
import { exactTime, time } from "./format.js";
import { t, word } from "./words.js";

const SEVERITIES = ["critical", "warning", "info"];

/** Whether a severity is the more urgent one, for sorting. */
export const bySeverity = (one, other) => SEVERITIES.indexOf(one.severity) - SEVERITIES.indexOf(other.severity);

const GOOD = ["completed", "running", "ready"];
const BAD = ["failed", "quarantined", "held", "refused"];
const IDLE = ["waiting", "paused", "loading", "behind", "aside", "restart"];

/** Good, bad, warn or plain, for the colour beside the word. */
export function levelOf(state) {
  if (GOOD.includes(state)) return "good";
  if (BAD.includes(state)) return "bad";
  return IDLE.includes(state) ? "warn" : "plain";
}

const ICON_OF = { running: "completed", ready: "completed", quarantined: "failed", held: "paused", refused: "failed", behind: "waiting", aside: "waiting", restart: "waiting", loading: "waiting" };

/** A state with its icon and its word. */
export function state(name) {
  return h(`span.state.${levelOf(name)}`, icon(ICON_OF[name] ?? name), h("span", word("state", name)));
}

/** A severity with its icon and its word. */
export const severity = (name) => h(`span.severity.${name}`, icon("alert"), h("span", word("severity", name)));

/** The alerts of a job as one pill, whose rules are named on hover and focus. */
export function pill(alerts, href) {
  if (alerts.length === 0) return h("span.none", { "aria-label": t("alerts.none") }, "–");
  const worst = [...alerts].sort(bySeverity)[0].severity;
  const rules = [...new Set(alerts.map((alert) => alert.rule))];
  return h(
    `a.pill.${worst}`,
    { href, "aria-label": t("alerts.count", { count: alerts.length, rules: rules.join(", ") }) },
    icon("alert"),
    h("span", String(alerts.length)),
    h("span.tip", { "aria-hidden": "true" }, rules.join(", ")),
  );
}

/** Who speaks: the role, the speaker on it, or the channel. */
export function who({ role, speaker, channel }) {
  const name = role ?? t("dialogue.channel", { channel: (channel ?? 0) + 1 });
  return speaker === null || speaker === undefined ? name : `${name}, ${t("dialogue.speaker", { speaker })}`;
}

/** A time, exact on hover. */
export const when = (text) => h("time", { datetime: text, title: exactTime(text) }, time(text));

/** A list of names with values. */
export function facts(entries) {
  const shown = entries.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return h("dl.facts", shown.map(([name, value]) => h("div", h("dt", name), h("dd", value))));
}

/** A part of a page with its heading. */
export function section(id, title, ...children) {
  const heading = `${id}-title`;
  return h("section", { id, "aria-labelledby": heading }, h("h2", { id: heading }, title), children);
}

/** A sentence about something that went wrong. */
export const trouble = (text) => h("p.trouble", { role: "alert" }, icon("failed"), h("span", text));
