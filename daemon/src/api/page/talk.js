// Talk and silence, as they were measured from the audio.
import { across, h } from "./dom.js";
import { count, length, percent, place } from "./format.js";
import { who } from "./parts.js";
import { t } from "./words.js";

export function talk(speech, whole) {
  const channels = speech.channels ?? [];
  const bars = [
    ...channels.map((channel) => [t("talk.speech", { who: who(channel) }), channel.speech_ms, `channel${channel.channel % 6}`]),
    channels.length > 1 ? [t("talk.overlap"), speech.overlap_ms, "overlap"] : null,
    [t("talk.silence"), speech.silence_ms, "quietness"],
  ].filter((bar) => bar !== null);
  const longest = speech.longest_silence;
  return [
    h("ul.shares", bars.map(([name, ms, kind]) => share(name, ms, whole, kind))),
    longest ? h("p.quiet", t("talk.longest_silence", { time: length(longest.end_ms - longest.begin_ms), begin: place(longest.begin_ms), end: place(longest.end_ms) })) : null,
    table(speech, channels),
    channels.filter((channel) => typeof channel.doubles === "number").map((channel) => h("p.quiet", t("talk.doubles", { who: who(channel), other: who({ channel: channel.doubles }) }))),
  ];
}

function share(name, ms, whole, kind) {
  const bar = h(`span.share.${kind}`);
  across(bar, 0, Math.min(100, percent(ms, whole)));
  return h("li", h("span.name", name), h("span.rail", { "aria-hidden": "true" }, bar), h("span.value", t("talk.share", { time: length(ms), percent: percent(ms, whole) })));
}

function table(speech, channels) {
  const interrupts = (channel) => (speech.interruptions ?? []).filter((one) => one.channel === channel).length;
  const columns = [
    ["talk.turns", ({ turns }) => count(turns)],
    ["talk.longest_turn", ({ longest_turn_ms: longest }) => length(longest)],
    ["talk.interrupts", ({ channel }) => count(interrupts(channel))],
    ["talk.level", ({ level_dbfs: level }) => (typeof level === "number" ? t("unit.dbfs", { value: level.toFixed(0) }) : "–")],
    ["talk.clipped", ({ clipped }) => (clipped ? t("unit.percent", { value: (100 * clipped).toFixed(2) }) : "–")],
  ];
  const head = h("tr", h("th", { scope: "col" }, t("talk.who")), columns.map(([key]) => h("th", { scope: "col" }, t(key))));
  const rows = channels.map((channel) => h("tr", h("th", { scope: "row" }, who(channel)), columns.map(([, value]) => h("td", value(channel)))));
  return h("table.talk", h("thead", head), h("tbody", rows));
}
