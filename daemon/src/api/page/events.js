// Every event of a job, for those who want it.
import { h } from "./dom.js";
import { when } from "./parts.js";
import { t } from "./words.js";

export function events(stored) {
  return h("details.events", h("summary", t("events.summary", { count: stored.length })), h("ol", stored.map((event) => h("li", one(event)))));
}

function one({ kind, body }) {
  const details = h("details", h("summary", h("code", kind), " ", when(body.time)));
  // A job may have thousands of them: each is written out when it is opened.
  details.addEventListener("toggle", () => details.append(h("pre", JSON.stringify(body, null, 2))), { once: true });
  return details;
}
