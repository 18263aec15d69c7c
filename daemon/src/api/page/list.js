// The list of jobs: filters that the address keeps, pages, and a table for spreadsheets.
import { follow, get, table as csv } from "./api.js";
import { fill, h } from "./dom.js";
import { count, length, money } from "./format.js";
import { Filters, address, ofAddress } from "./filters.js";
import { pill, state, trouble, when } from "./parts.js";
import { t } from "./words.js";

/** How long after a change of some job the first page is read again. */
const SOON = 3_000;

/** Rows of a page of the downloaded table, and the most of all of them. */
const ROWS = 500;
const MOST_ROWS = 20_000;

const COLUMNS = ["alerts", "name", "source", "accepted", "duration", "state", "language", "emotion", "cost", "text"];

export async function list(frame) {
  frame.title(t("list.title"));
  const seen = { sources: new Set(), rules: new Set() };
  const rows = h("tbody", { role: "rowgroup" });
  const found = h("p.quiet", { role: "status" });
  const paging = h("nav.paging", { "aria-label": t("list.paging") });
  const problem = h("div");
  const filters = new Filters((chosen) => go(address(chosen)));
  const download = h("button", { type: "button", onclick: () => save(download, problem) }, t("list.csv"));
  frame.main.append(
    h("div.titled", h("h1", t("list.title")), download),
    filters.element,
    problem,
    found,
    h("table.jobs", { role: "table" }, h("caption.unseen", t("list.caption")), head(), rows),
    paging,
  );

  let asked = null;
  const load = async () => {
    asked?.abort();
    asked = new AbortController();
    const chosen = ofAddress();
    try {
      const { jobs, next } = await get(`/api/jobs?${chosen}`, asked.signal);
      fill(problem);
      draw(rows, jobs);
      fill(found, jobs.length === 0 ? t("list.none") : t(next === null ? "list.found" : "list.found.more", { count: count(jobs.length) }));
      fill(paging, pages(chosen, next));
      for (const job of jobs) {
        seen.sources.add(job.source);
        for (const { rule } of job.alerts) seen.rules.add(rule);
      }
      filters.offer(seen);
    } catch (error) {
      if (error.name === "AbortError") return;
      draw(rows, []);
      fill(found);
      fill(problem, trouble(error.message));
    }
  };
  const arrive = async () => {
    filters.show(ofAddress());
    await load();
  };
  const go = (href) => {
    if (new URL(href, location).href !== location.href) history.pushState(null, "", href);
    return arrive();
  };
  // Links within the list change the address and load only the rows.
  frame.main.addEventListener("click", (event) => {
    const link = event.target.closest("a");
    const isPlain = !(event.ctrlKey || event.metaKey || event.shiftKey);
    if (link?.pathname !== "/jobs" || !isPlain) return;
    event.preventDefault();
    go(link.href).then(() => document.querySelector("h1").scrollIntoView());
  });
  addEventListener("popstate", arrive);
  await arrive();
  stayFresh(frame, load);
}

/** Reads the first page again after changes of jobs, and after a time without events: a hidden tab receives none. */
function stayFresh(frame, load) {
  let soon = null;
  const again = () => {
    soon = null;
    if (!ofAddress().has("before")) load();
  };
  follow("kind=job", ["job.accepted", "job.submitted", "job.completed", "job.failed"], {
    opened: (isAgain) => {
      frame.live(true);
      if (isAgain) again();
    },
    lost: () => frame.live(false),
    hear: () => {
      soon ??= setTimeout(again, SOON);
    },
  });
}

function head() {
  const cells = COLUMNS.map((name) => h(`th.column-${name}`, { role: "columnheader", scope: "col" }, t(`list.column.${name}`)));
  return h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, cells));
}

/** Draws the rows; one that has not changed stays the element that it was, with its focus. */
function draw(body, jobs) {
  const before = new Map([...body.children].map((row) => [row.dataset.job, row]));
  const rows = jobs.map((job) => {
    const form = JSON.stringify(job);
    const known = before.get(job.job);
    return known?.form === form ? known : row(job, form);
  });
  const isSame = rows.length === body.children.length && rows.every((each, at) => each === body.children[at]);
  if (!isSame) body.replaceChildren(...rows);
}

function row(job, form) {
  const href = `/jobs/${job.job}`;
  const values = {
    alerts: pill(job.alerts, `${href}#alerts`),
    name: h("a", { href }, job.name ?? t("job.unnamed")),
    source: job.source,
    accepted: when(job.accepted),
    duration: length(job.duration_ms),
    state: [state(job.state), job.incomplete ? h("span.mark", t("job.quality.incomplete")) : null],
    language: job.language,
    emotion: job.emotion,
    cost: money(job.cost_usd),
    text: h("div.preview", job.text ?? (job.error ? `${job.error.code}: ${job.error.message}` : "")),
  };
  const cells = COLUMNS.map((name) => h(`td.column-${name}`, { role: "cell", "data-label": t(`list.column.${name}`) }, values[name]));
  const element = h("tr", { role: "row", "data-job": job.job }, cells);
  element.form = form;
  return element;
}

function pages(filters, next) {
  const to = (before) => {
    const other = new URLSearchParams(filters);
    other.delete("before");
    if (before !== null) other.set("before", before);
    return address(other);
  };
  return [
    filters.has("before") ? h("a.button", { href: to(null) }, t("list.newest")) : null,
    next === null ? null : h("a.button", { href: to(next), rel: "next" }, t("list.older")),
  ];
}

/** Downloads all pages behind the present filters as one table. */
async function save(button, problem) {
  button.disabled = true;
  try {
    const filters = ofAddress();
    filters.set("limit", ROWS);
    const texts = [];
    for (let next = filters.get("before"); texts.length * ROWS < MOST_ROWS; ) {
      if (next) filters.set("before", next);
      const page = await csv(`/api/jobs?${filters}`);
      // Only the first page keeps its line of names.
      texts.push(texts.length === 0 ? page.text : page.text.slice(page.text.indexOf("\n") + 1));
      next = page.next;
      if (next === null) break;
      if ((texts.length + 1) * ROWS > MOST_ROWS) fill(problem, trouble(t("list.csv.cut", { rows: count(MOST_ROWS) })));
    }
    const link = h("a", { href: URL.createObjectURL(new Blob(texts, { type: "text/csv" })), download: "hark-jobs.csv" });
    link.click();
    URL.revokeObjectURL(link.href);
  } catch (error) {
    fill(problem, trouble(error.message));
  } finally {
    button.disabled = false;
  }
}
