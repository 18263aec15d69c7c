// The overview: what the daemon does now, what it costs, and which part needs a person.
import { follow, get } from "./api.js";
import { Alerts } from "./alerts.js";
import { fill, h } from "./dom.js";
import { count } from "./format.js";
import { components, troubled } from "./components.js";
import { facts, section, state, trouble } from "./parts.js";
import { Running } from "./running.js";
import { spend } from "./spend.js";
import { t, word } from "./words.js";

/** The kinds that the overview follows: no finals, which are long. */
export const KINDS = ["job.submitted", "job.completed", "job.failed", "transcript.partial", "transcript.segment", "alert.raised", "alert.retracted"];

/** How often the status is read again, and how soon after a job has ended. */
const USUAL = 15_000;
const SOON = 2_000;

export async function overview(frame) {
  frame.title(t("overview.title"));
  const [running, alerts] = [new Running(), new Alerts()];
  const notReady = h("div");
  const counts = h("p.counts");
  const look = h("div");
  const sides = h("div.side");
  frame.main.append(
    h("h1.unseen", t("overview.title")),
    notReady,
    counts,
    look,
    h(
      "div.columns",
      h("div.middle", section("running", t("overview.running"), running.element, h("p.more", h("a", { href: "/jobs?state=waiting" }, t("overview.running.waiting")))), section("alerts", t("overview.alerts"), alerts.element, h("p.more", h("a", { href: "/jobs?alert=*" }, t("overview.alerts.all"))))),
      sides,
    ),
  );

  const refresh = async () => {
    const [status, spent] = await Promise.all([get("/api/status"), get("/api/spend?days=30")]);
    fill(notReady, notReadyOf(status));
    fill(counts, countsOf(status.jobs));
    if (!look.querySelector(":focus-visible")) fill(look, lookOf(troubled(status)));
    running.take(status.running);
    alerts.take(status.alerts);
    // What a person is about to press stays in place.
    if (!sides.querySelector(":active, :focus-visible")) {
      fill(sides, spend(status.spend, spent), components(status, refresh), daemon(status));
    }
  };
  await refresh();
  keepFresh(frame, refresh, (kind, body) => {
    running.hear(kind, body);
    alerts.hear(kind, body);
  });
}

/** Follows the events, and reads the status again from time to time and behind the end of a job. */
export function keepFresh(frame, refresh, hear) {
  let timer = null;
  const tally = { alerts: 0, ended: 0 };
  const again = async () => {
    timer = null;
    try {
      if (!document.hidden) await refresh();
    } catch {
      frame.live(false);
    }
    timer ??= setTimeout(again, USUAL);
  };
  timer = setTimeout(again, USUAL);
  let soon = null;
  const shortly = () => {
    soon ??= setTimeout(() => {
      soon = null;
      clearTimeout(timer);
      again();
    }, SOON);
  };
  follow("kind=job,alert,transcript.partial,transcript.segment", KINDS, {
    opened: (isAgain) => {
      frame.live(true);
      if (isAgain) shortly();
    },
    lost: () => frame.live(false),
    hear: (kind, body) => {
      hear(kind, body);
      if (kind === "alert.raised") tally.alerts += 1;
      if (kind === "job.completed" || kind === "job.failed") {
        tally.ended += 1;
        shortly();
      }
      if (kind.startsWith("transcript")) return;
      frame.say(t("overview.said", { ...tally, running: document.querySelectorAll(".call.open").length }));
    },
  });
}

function notReadyOf(status) {
  return status.not_ready.map(({ part, reason }) => trouble(`${t("overview.not_ready")} – ${t("overview.not_ready.part", { part, reason })}`));
}

/** On a narrow screen the parts are far below, so the top names the parts that have trouble. */
function lookOf(parts) {
  if (parts.length === 0) return [];
  return h("ul.look", { "aria-label": t("overview.look") }, parts.map(({ family, name, state: now }) => h("li", h("a", { href: `#${family}` }, name), " ", state(now))));
}

function countsOf(jobs) {
  const one = (name, href) => h("a.count", { href }, h("b", count(jobs[name])), ` ${word("count", name)}`);
  return [
    h("span.count", h("b", count(jobs.open)), ` ${word("count", "open")}`),
    one("completed", "/jobs?state=completed"),
    one("failed", "/jobs?state=failed"),
    one("canceled", "/jobs?state=canceled"),
  ];
}

function daemon(status) {
  const duties = Object.entries(status.duties).map(([duty, number]) => `${duty} ${count(number)}`);
  const others = status.others.map(({ daemon: id, host }) => h("div", `${host} `, h("span.id", id.slice(0, 8))));
  return section(
    "daemon",
    t("overview.daemon"),
    facts([
      [t("overview.daemon.outbox"), count(status.outbox)],
      [t("overview.duties"), duties.length > 0 ? duties.join(", ") : t("overview.duties.none")],
      [t("overview.daemon.others"), others.length > 0 ? others : t("overview.daemon.others.none")],
      [t("overview.daemon.version"), status.version],
      [t("overview.daemon.id"), h("span.id", status.daemon.slice(0, 8))],
    ]),
    status.rights === "steer" ? null : h("p.quiet", t("app.reader")),
  );
}
