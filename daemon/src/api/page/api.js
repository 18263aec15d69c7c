// Asks the daemon. A session that has ended leads to the form for the token, and from there back.

/** A refusal, with the daemon's own sentence. */
export class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

export function toLogin() {
  const here = location.pathname + location.search;
  location.assign(here === "/" ? "/login" : `/login?next=${encodeURIComponent(here)}`);
}

async function ask(path, options) {
  const response = await fetch(path, options);
  if (response.status === 401) {
    toLogin();
    // The page is being left.
    await new Promise(() => {});
  }
  if (!response.ok) {
    const problem = await response.json().catch(() => ({}));
    throw new Refused(response.status, problem.detail ?? response.statusText);
  }
  return response;
}

export const get = async (path, signal) => (await ask(path, { signal })).json();

/** Steers something; the body is what the daemon answers. */
export async function post(path) {
  const response = await ask(path, { method: "POST", headers: { "content-type": "application/json" }, body: "{}" });
  return response.json().catch(() => ({}));
}

/** A page of the list as a table, and what `before` the next one has. */
export async function table(path) {
  const response = await ask(path, { headers: { accept: "text/csv" } });
  const next = /before=([^>&]+)/.exec(response.headers.get("link") ?? "");
  return { text: await response.text(), next: next?.[1] ?? null };
}

/** Pause before the page opens a refused stream again; after a lost connection the browser reconnects by itself. */
const AGAIN = 3_000;

/**
 * Follows published events while the page is seen; a browser permits few connections, so a hidden tab has none. `hear(kind, body)` gets each
 * event. `opened(again)` is called when the stream stands; `lost()` when it broke. Returns what ends it.
 */
export function follow(query, kinds, { hear, opened, lost }) {
  let stream = null;
  let timer = null;
  let wasOpen = false;
  const close = () => {
    clearTimeout(timer);
    stream?.close();
    stream = null;
  };
  const open = () => {
    if (stream !== null || document.hidden) return;
    stream = new EventSource(`/api/events?${query}`);
    stream.onopen = () => {
      opened(wasOpen);
      wasOpen = true;
    };
    stream.onerror = async () => {
      lost();
      if (stream?.readyState !== EventSource.CLOSED) return;
      close();
      // Whether the session has ended stands in the answer to another request only.
      const answer = await fetch("/api/spend?days=1").catch(() => null);
      if (answer?.status === 401) toLogin();
      else timer = setTimeout(open, AGAIN);
    };
    for (const kind of kinds) {
      stream.addEventListener(kind, (event) => hear(kind, JSON.parse(event.data)));
    }
  };
  const seen = () => (document.hidden ? close() : open());
  document.addEventListener("visibilitychange", seen);
  open();
  return () => {
    document.removeEventListener("visibilitychange", seen);
    close();
  };
}
