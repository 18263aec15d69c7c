// The newest alerts, the most urgent first.
import { fill, h } from "./dom.js";
import { place } from "./format.js";
import { bySeverity, severity, when, who } from "./parts.js";
import { t, word } from "./words.js";

const MOST = 20;

export class Alerts {
  element = h("div");
  #alerts = new Map();

  /** The alerts that the status names, as events. */
  take(events) {
    this.#alerts = new Map(events.map(({ body }) => [key(body), body]));
    this.#draw();
  }

  hear(kind, body) {
    if (!kind.startsWith("alert")) return;
    this.#alerts.delete(key(body));
    if (kind === "alert.raised") this.#alerts.set(key(body), body);
    this.#draw();
  }

  #draw() {
    if (this.element.contains(document.activeElement)) return;
    const newest = [...this.#alerts.values()].sort((one, other) => other.time.localeCompare(one.time)).slice(0, MOST);
    const sorted = newest.sort(bySeverity);
    fill(this.element, sorted.length > 0 ? h("ul.alerts", sorted.map(item)) : h("p.quiet", t("overview.alerts.none")));
  }
}

const key = (alert) => `${alert.job} ${alert.alert}`;

function item(alert) {
  const spot = alert.begin_ms === undefined ? null : place(alert.begin_ms);
  const speaker = alert.role === undefined && alert.channel === undefined ? null : who(alert);
  return h(
    "li",
    severity(alert.severity),
    h("a", { href: `/jobs/${alert.job}#alert-${alert.alert}` }, h("b", alert.rule)),
    h("span.quiet", t("alert.in", { name: alert.recording?.name ?? alert.job })),
    alert.quote === "" ? null : h("q", alert.quote),
    h("span.quiet", [speaker, spot, alert.state === "tentative" ? word("alert", "tentative") : null].filter(Boolean).join(" · ")),
    when(alert.time),
  );
}
