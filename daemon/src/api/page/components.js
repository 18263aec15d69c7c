// The daemon's parts and their states: sources, recognizers, plugins, webhooks.
import { Refused, post } from "./api.js";
import { h } from "./dom.js";
import { count } from "./format.js";
import { section, state, trouble, when } from "./parts.js";
import { t, word } from "./words.js";

/** Each part as the page shows it: a name, a state, a sentence. Shared with the wall. */
export function rows(status) {
  return {
    sources: status.sources?.map((source) => ({
      name: source.name,
      state: source.state,
      note: [source.kind, source.place, source.reason].filter(Boolean).join(" · "),
      since: source.paused_since,
    })),
    recognizers: status.recognizers.map(({ name, kind, held }) => ({
      name,
      state: held ? "held" : "ready",
      note: held ? word("held", kind) : kind,
    })),
    plugins: status.plugins.map(({ name, state: now, reason, version }) => ({ name, state: now, note: reason ?? version ?? "" })),
    webhooks: status.webhooks?.map(webhook),
  };
}

function webhook(hook) {
  const asideEvents = hook.set_aside.reduce((sum, line) => sum + (line.events ?? 1), 0);
  const notes = [
    hook.receiver,
    hook.paused?.why,
    hook.backlog > 0 ? t("webhook.backlog", { events: count(hook.backlog) }) : null,
    asideEvents > 0 ? t("webhook.set_aside", { events: count(asideEvents) }) : null,
    hook.removed > 0 ? t("webhook.removed", { events: count(hook.removed) }) : null,
  ];
  const isBehind = hook.waiting.length > 0 || asideEvents > 0;
  const now = hook.paused ? "paused" : isBehind ? "behind" : hook.delivering ? "running" : "elsewhere";
  return { name: hook.name, state: now, note: notes.filter(Boolean).join(" · "), since: hook.paused?.at };
}

/** The sections. `changed` is called when a person has steered something. */
export function components(status, changed) {
  const shown = Object.entries(rows(status)).filter(([, parts]) => parts !== undefined && parts.length > 0);
  return shown.map(([family, parts]) => {
    const steers = family === "sources" && status.rights === "steer";
    return section(family, t(`overview.${family}`), h("ul.parts", parts.map((part) => item(part, steers ? sourceButtons(part, changed) : null))));
  });
}

function item(part, buttons) {
  return h(
    "li",
    h("div.head", h("b", part.name), state(part.state)),
    part.note === "" && !part.since ? null : h("p.quiet", part.note, part.since ? [" ", when(part.since)] : null),
    buttons,
  );
}

function sourceButtons(source, changed) {
  const line = h("div.buttons");
  const button = (verb) => {
    const press = async () => {
      try {
        await post(`/api/sources/${encodeURIComponent(source.name)}/${verb}`);
        document.activeElement.blur();
        await changed();
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
        line.replaceChildren(trouble(t("job.refused", { reason: error.message })));
      }
    };
    return h("button", { type: "button", onclick: press, "aria-label": t(`source.${verb}.of`, { name: source.name }) }, t(`source.${verb}`));
  };
  line.append(button(source.state === "paused" ? "resume" : "pause"), button("rescan"));
  return line;
}
