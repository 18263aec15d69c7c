// The frame of every page: the navigation, the state of the connection, and the messages to a screen reader.
import { h, icon } from "./dom.js";
import { t } from "./words.js";

/** The least time between two sentences for a screen reader: a live page must not chatter. */
const QUIET = 8_000;

/** Builds the frame. `isWall`: nothing to click. Returns `main`, `title(text)`, `live(isLive)` and `say(text)`. */
export function frame(isWall) {
  const main = h("main", { id: "content", tabindex: "-1" });
  const connection = h("p.connection", { role: "status" });
  const said = h("p.unseen", { "aria-live": "polite" });
  document.body.classList.toggle("wall", isWall);
  document.body.replaceChildren(
    ...(isWall ? [] : [h("a.skip", { href: "#content" }, t("app.skip")), header(connection)]),
    main,
    said,
  );
  if (isWall) document.body.append(connection);
  return { main, title, live: (isLive) => live(connection, isLive), say: speaker(said) };
}

function header(connection) {
  const page = (href, key) => {
    const isHere = location.pathname === href;
    return h("a", { href, "aria-current": isHere ? "page" : null }, t(key));
  };
  return h(
    "header",
    h("a.brand", { href: "/" }, icon("recognizing"), h("span", t("app.name"))),
    h("nav", { "aria-label": t("app.pages") }, page("/", "app.overview"), page("/jobs", "app.jobs"), h("a.wide", { href: "/?wall=1" }, t("app.wall"))),
    connection,
    h("form", { method: "post", action: "/logout" }, h("button.plain", { type: "submit" }, t("app.leave"))),
  );
}

function title(text) {
  document.title = `${text} – ${t("app.name")}`;
}

function live(connection, isLive) {
  connection.classList.toggle("lost", !isLive);
  connection.title = isLive ? "" : t("app.lost.long");
  const words = t(isLive ? "app.live" : "app.lost");
  if (connection.textContent !== words) connection.replaceChildren(icon(isLive ? "recognizing" : "failed"), words);
}

function speaker(said) {
  let last = -QUIET;
  let timer = null;
  let next = "";
  return (text) => {
    next = text;
    if (timer !== null) return;
    timer = setTimeout(
      () => {
        timer = null;
        last = performance.now();
        said.textContent = next;
      },
      Math.max(0, last + QUIET - performance.now()),
    );
  };
}
