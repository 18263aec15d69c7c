// What happened when: for each role its speech and its emotion as runs with their names, the alerts above them.
import { across, h } from "./dom.js";
import { place } from "./format.js";
import { who } from "./parts.js";
import { t, word } from "./words.js";

/** `go(ms)` is called when a person points at a run. Null where nothing has a time. */
export function timeline(call, go) {
  const whole = call.duration;
  if (!whole) return null;
  const tracks = [alerts(call, whole, go), ...call.channels.flatMap((channel) => ofChannel(call, channel, whole, go)), silence(call, whole)];
  const shown = tracks.filter((track) => track !== null);
  if (shown.length === 0) return null;
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((part) => h("span", place(part * whole)));
  return h("div.timeline", shown, h("div.track", h("span.name"), h("div.ticks", { "aria-hidden": "true" }, ticks)));
}

function ofChannel(call, channel, whole, go) {
  const ofIt = (list) => list.filter((each) => (each.channel ?? 0) === channel.channel);
  const name = who(channel);
  const said = ofIt(call.segments).filter((segment) => segment.begin_ms !== null);
  const talk = said.map((segment) => run(segment, whole, go, `talk.channel${channel.channel % 6}`, null, segment.text));
  const interruptions = ofIt(call.speech?.interruptions ?? []).map((one) =>
    run({ begin_ms: one.begin_ms, end_ms: one.begin_ms }, whole, go, "interruption", null, t("timeline.interruption", { who: name })),
  );
  const feelings = ofIt(call.emotions).map((one) => run(one, whole, go, `emotion.${one.value}`, one.value));
  // One language for all of it stands among the facts.
  const languages = ofIt(call.languages);
  const spoken = languages.length > 1 ? languages.map((one) => run(one, whole, go, "language", one.value)) : [];
  return [
    track(t("timeline.talk", { who: name }), [...talk, ...interruptions]),
    track(t("timeline.emotion", { who: name }), feelings),
    track(t("timeline.language", { who: name }), spoken),
  ];
}

function alerts(call, whole, go) {
  const placed = [...call.alerts.values()].filter((alert) => !alert.isRetracted && typeof alert.begin_ms === "number");
  const flags = placed.map((alert) => run({ begin_ms: alert.begin_ms, end_ms: alert.begin_ms }, whole, go, `flag.${alert.severity}`, null, `${word("severity", alert.severity)}: ${alert.rule}`));
  return track(t("timeline.alerts"), flags);
}

function silence(call, whole) {
  const longest = call.speech?.longest_silence;
  return longest ? track(t("timeline.silence"), [run(longest, whole, () => {}, "silence", null, t("timeline.silence"))]) : null;
}

function track(name, runs) {
  return runs.length === 0 ? null : h("div.track", h("span.name", { "aria-hidden": "true" }, name), h("ol.runs", { "aria-label": name }, runs));
}

/** One run of a value on the time line. As much of its name as fits is visible; a screen reader reads name and time. */
function run({ begin_ms: begin, end_ms: end }, whole, go, kind, label, tip) {
  const [from, to] = [begin ?? 0, end ?? whole];
  const value = label ?? tip;
  const words = t("timeline.run", { value, begin: place(from), end: place(to) });
  const element = h(`li.run.${kind}`, { title: words, onclick: () => go(from) }, label ? h("span", { "aria-hidden": "true" }, label) : null, h("span.unseen", words));
  return across(element, (100 * from) / whole, (100 * to) / whole);
}
