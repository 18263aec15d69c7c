// The daemon's parts and their states: sources, recognizers, plugins, webhooks.
import { Refused, post } from "./api.js";
import { h } from "./dom.js";
import { count } from "./format.js";
import { levelOf, section, state, trouble, when } from "./parts.js";
import { t, word } from "./words.js";

/** Each part as the page shows it: a name, a state, a sentence. */
function rows(status) {
  return {
    config: config(status.reload),
    sources: status.sources?.map((source) => ({
      name: source.name,
      kind: source.kind,
      state: source.state,
      note: [source.kind, source.place, source.reason].filter(Boolean).join(" · "),
      since: source.paused_since,
    })),
    recognizers: status.recognizers.map(({ name, kind, held, reason }) => ({
      name,
      state: held ? "held" : "ready",
      note: held ? (reason ?? word("held", kind)) : kind,
    })),
    plugins: status.plugins.map(({ name, state: now, reason, version }) => ({ name, state: now, note: reason ?? version ?? "" })),
    webhooks: status.webhooks?.map(webhook),
  };
}

/** What the last reload left undone: a refused file, keys that wait for a restart. */
function config(reload) {
  const undone = reload?.applied === false ? reload.mistakes : (reload?.needs_restart ?? []);
  if (undone.length === 0) return [];
  return [{ name: t("config.file"), state: reload.applied ? "restart" : "refused", note: undone.join(" · "), since: reload.at }];
}

function webhook(hook) {
  const asideEvents = hook.set_aside.reduce((sum, line) => sum + (line.events ?? 1), 0);
  const notes = [
    hook.receiver,
    hook.paused ? t("webhook.paused", { why: hook.paused.why, name: hook.name }) : null,
    hook.backlog > 0 ? t("webhook.backlog", { count: count(hook.backlog) }) : null,
    asideEvents > 0 ? t("webhook.set_aside", { events: count(asideEvents), name: hook.name }) : null,
    hook.removed > 0 ? t("webhook.removed", { events: count(hook.removed) }) : null,
  ];
  const late = hook.waiting.length > 0 ? "behind" : asideEvents > 0 ? "aside" : null;
  if (late && !hook.paused && hook.last_failure) notes.push(t("webhook.answer", { answer: hook.last_failure.answer }));
  const now = hook.paused ? "paused" : (late ?? (hook.delivering ? "running" : "elsewhere"));
  return { name: hook.name, state: now, note: notes.filter(Boolean).join(" · "), since: hook.paused?.at };
}

/** The parts that do not work as they should, each with the name of its section. */
export function troubled(status) {
  const parts = Object.entries(rows(status)).flatMap(([family, list]) => (list ?? []).map((part) => ({ ...part, family })));
  return parts.filter((part) => ["bad", "warn"].includes(levelOf(part.state)));
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

/** Puts the focus back to a source whose buttons were drawn anew: a person at the keyboard goes on from there. */
function focusOn(source) {
  const lines = [...document.querySelectorAll("[data-source]")];
  lines.find((line) => line.dataset.source === source)?.querySelector("button").focus();
}

function sourceButtons(source, changed) {
  const line = h("div.buttons", { "data-source": source.name });
  const button = (verb) => {
    const press = async () => {
      try {
        await post(`/api/sources/${encodeURIComponent(source.name)}/${verb}`);
        const byKeyboard = document.activeElement.matches(":focus-visible");
        document.activeElement.blur();
        await changed();
        if (byKeyboard) focusOn(source.name);
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
        line.replaceChildren(trouble(t("job.refused", { reason: error.message })));
      }
    };
    return h("button", { type: "button", onclick: press, "aria-label": t(`source.${verb}.of`, { name: source.name }) }, t(`source.${verb}`));
  };
  line.append(button(source.state === "paused" ? "resume" : "pause"));
  if (source.kind === "directory") line.append(button("rescan"));
  return line;
}
