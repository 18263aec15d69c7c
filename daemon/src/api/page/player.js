// Plays the recording, and says where it is.
import { h } from "./dom.js";
import { t } from "./words.js";

export class Player {
  #audio;

  constructor(job) {
    this.#audio = h("audio", { controls: true, preload: "metadata", src: `/api/jobs/${job}/audio`, "aria-label": t("player.audio") });
    this.element = h("section.player", { "aria-label": t("player.title") }, this.#audio);
  }

  /** Plays from this place, in milliseconds. */
  async play(ms) {
    this.#audio.currentTime = ms / 1000;
    // Another click may stop it before it has begun.
    await this.#audio.play().catch(() => {});
  }

  /** `hear(ms)` is told the place while it plays, and null when it rests. */
  onPlace(hear) {
    let frame = null;
    const tick = () => {
      hear(1000 * this.#audio.currentTime);
      frame = requestAnimationFrame(tick);
    };
    this.#audio.addEventListener("play", () => (frame ??= requestAnimationFrame(tick)));
    this.#audio.addEventListener("pause", () => {
      cancelAnimationFrame(frame);
      frame = null;
      hear(null);
    });
  }
}
