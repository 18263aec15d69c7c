// Every event of a job, for those who want it.
import { h, update } from "./dom.js";
import { when } from "./parts.js";
import { t } from "./words.js";

export class Events {
  #summary = h("summary");
  #list = h("ol");
  element = h("details.events", this.#summary, this.#list);
  #items = new Map();

  /** What is shown of an event stays as it is: a person may have opened it. */
  draw(stored) {
    this.#summary.textContent = t("events.summary", { count: stored.length });
    for (const event of stored) if (!this.#items.has(event.body.sequence)) this.#items.set(event.body.sequence, h("li", one(event)));
    update(this.#list, stored.map((event) => this.#items.get(event.body.sequence)));
  }
}

function one({ kind, body }) {
  const details = h("details", h("summary", h("code", kind), " ", when(body.time)));
  // A job may have thousands of them: each is written out when it is opened.
  details.addEventListener("toggle", () => details.append(h("pre", JSON.stringify(body, null, 2))), { once: true });
  return details;
}
