// A screen on the wall: large, nothing to press, strips in green, yellow and red, each with its word.
import { get } from "./api.js";
import { troubled } from "./components.js";
import { fill, h, icon } from "./dom.js";
import { count } from "./format.js";
import { keepFresh } from "./overview.js";
import { bySeverity, levelOf } from "./parts.js";
import { Running } from "./running.js";
import { levelOfSpend, today } from "./spend.js";
import { t, word } from "./words.js";

/** Alerts older than this are no news for a wall. */
const NEWS = 3_600_000;

export async function wall(frame) {
  frame.title(t("wall.title"));
  const running = new Running();
  const strips = h("div.strips");
  frame.main.append(h("h1.unseen", t("wall.title")), strips, h("section.heard", { "aria-label": t("wall.words") }, running.element));
  const refresh = async () => {
    const [status, failed] = await Promise.all([get("/api/status"), get("/api/jobs?state=failed&since=24h&limit=500")]);
    running.take(status.running);
    fill(strips, ready(status), jobs(status.jobs.open, failed.jobs.length), alerts(status.alerts), spent(status.spend), parts(status));
  };
  await refresh();
  keepFresh(frame, refresh, (kind, body) => running.hear(kind, body));
}

const ICONS = { good: "completed", warn: "waiting", bad: "failed" };

/** One strip: how it stands, what it is, and the details. */
function strip(level, title, detail) {
  return h(`div.strip.${level}`, icon(ICONS[level]), h("span.unseen", word("level", level)), h("b", title), h("span.detail", detail));
}

function ready({ not_ready: missing, outbox }) {
  const backlog = outbox > 0 ? t("wall.outbox", { count: count(outbox) }) : "";
  if (missing.length === 0) return strip("good", t("wall.ready"), backlog);
  const reasons = missing.map((part) => t("overview.not_ready.part", part));
  return strip("bad", t("wall.not_ready"), [...reasons, backlog].filter(Boolean).join(" · "));
}

function jobs(open, failed) {
  return strip(failed > 0 ? "warn" : "good", `${count(open)} ${t("wall.open")}`, `${count(failed)} ${t("wall.failed")}`);
}

function alerts(events) {
  const news = events.map(({ body }) => body).filter((alert) => Date.now() - new Date(alert.time) < NEWS);
  if (news.length === 0) return strip("good", t("wall.alerts.none"), "");
  const worst = news.sort(bySeverity)[0].severity;
  const rules = new Map();
  for (const { rule } of news) rules.set(rule, (rules.get(rule) ?? 0) + 1);
  const detail = [...rules].map(([rule, number]) => `${rule} × ${number}`).join(" · ");
  return strip(worst === "critical" ? "bad" : "warn", `${t("wall.alerts")}: ${news.length}`, detail);
}

const spent = (spend) => strip(levelOfSpend(spend), t("wall.spend"), today(spend));

function parts(status) {
  const found = troubled(status);
  if (found.length === 0) return strip("good", t("wall.parts"), t("wall.parts.good"));
  const level = found.some((part) => levelOf(part.state) === "bad") ? "bad" : "warn";
  return strip(level, t("wall.parts"), found.map((part) => `${part.name}: ${word("state", part.state)}`).join(" · "));
}
