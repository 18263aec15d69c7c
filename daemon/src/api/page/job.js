// One job: facts, dialogue, time line, talk, cost, events; live while it runs.
import { Refused, follow, get, post } from "./api.js";
import { Call } from "./call.js";
import { Dialogue } from "./dialogue.js";
import { fill, h, refill } from "./dom.js";
import { Events } from "./events.js";
import { errorOf, factsOf } from "./facts.js";
import { section, state, trouble } from "./parts.js";
import { Player } from "./player.js";
import { talk } from "./talk.js";
import { timeline } from "./timeline.js";
import { t } from "./words.js";

const KINDS = [
  "job.accepted",
  "job.submitted",
  "job.retrying",
  "job.completed",
  "job.failed",
  "transcript.partial",
  "transcript.segment",
  "transcript.final",
  "annotation.language",
  "annotation.emotion",
  "annotation.speech",
  "alert.raised",
  "alert.retracted",
];

export async function job(frame, id) {
  frame.title(t("job.title"));
  const path = `/api/jobs/${encodeURIComponent(id)}`;
  const read = () => Promise.all([get(path), get(`${path}/events`), get("/api/status")]);
  let [shown, told, { rights }] = await read();
  const call = new Call();
  // What is no audio has no length.
  const player = shown.playable && shown.duration_ms !== null ? new Player(id) : null;
  const dialogue = new Dialogue(player);
  const events = new Events();
  const places = { head: h("div"), facts: h("div"), said: h("div"), line: h("div"), talk: h("div") };
  const go = (ms) => player?.play(ms);

  const draw = () => {
    refill(places.head, head(shown, rights, places.said), errorOf(shown));
    refill(places.facts, factsOf(shown, call));
    dialogue.draw(call);
    const drawn = timeline(call, go);
    fill(places.line, drawn ? section("timeline", t("timeline.title"), drawn) : null);
    fill(places.talk, call.speech ? section("talk", t("talk.title"), talk(call.speech, call.duration)) : null);
    events.draw(told.events);
  };
  const take = () => {
    for (const { kind, body } of told.events) call.take(kind, body);
  };
  take();
  frame.title(shown.name ?? t("job.unnamed"));
  frame.main.append(
    places.head,
    places.said,
    section("facts", t("job.facts"), places.facts),
    places.line,
    section("dialogue", t("dialogue.title"), dialogue.element),
    ...(player ? [player.element] : []),
    places.talk,
    section("events", t("events.title"), events.element),
  );
  draw();
  document.getElementById(location.hash.slice(1))?.scrollIntoView({ block: "center" });
  if (shown.ended === null) {
    listen(frame, id, call, {
      live: () => dialogue.drawLive(call),
      changed: async () => {
        [shown, told] = await read();
        take();
        draw();
      },
    });
  }
}

/** Follows a job to its end. Stored events are read from the daemon again, at most once a second; partials are drawn as they come. */
function listen(frame, id, call, { live, changed }) {
  let timer = null;
  let frameAsked = false;
  const soon = () => {
    timer ??= setTimeout(async () => {
      timer = null;
      await changed().catch(() => frame.live(false));
    }, 1_000);
  };
  const stop = follow(`job=${encodeURIComponent(id)}`, KINDS, {
    opened: () => {
      frame.live(true);
      // What was published before the stream stood.
      soon();
    },
    lost: () => frame.live(false),
    hear: (kind, body) => {
      const isNew = call.take(kind, body);
      if (kind !== "transcript.partial") {
        soon();
        if (call.end !== null) stop();
      } else if (isNew && !frameAsked) {
        frameAsked = true;
        requestAnimationFrame(() => {
          frameAsked = false;
          live();
        });
      }
    },
  });
}

function head(shown, rights, said) {
  return h("div.titled", h("h1", shown.name ?? t("job.unnamed")), state(shown.state), rights === "steer" ? buttons(shown, said) : null);
}

/** What a person may do to the job as it stands. */
function buttons(shown, said) {
  const press = (verb, done) => async (event) => {
    const { target } = event;
    target.disabled = true;
    try {
      fill(said, done(await post(`/api/jobs/${shown.job}/${verb}`)));
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      target.disabled = false;
      fill(said, trouble(t("job.refused", { reason: error.message })));
    }
  };
  const retried = (answer) => h("p.done", { role: "status" }, h("a", { href: `/jobs/${answer.job}` }, t("job.retried")));
  const canceled = () => h("p.done", { role: "status" }, t("job.canceled"));
  const cancel = press("cancel", canceled);
  return h(
    "div.buttons",
    shown.ended === null
      ? h("button", { type: "button", onclick: (event) => confirm(t("job.cancel.sure")) && cancel(event) }, t("job.cancel"))
      : h("button", { type: "button", onclick: press("retry", retried) }, t("job.retry")),
  );
}
