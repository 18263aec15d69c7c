// A job as its events tell it: pure data, for the parts of its page.

export class Call {
  segments = [];
  /** The partials, by channel and piece. */
  partials = new Map();
  alerts = new Map();
  emotions = [];
  languages = [];
  speech = null;
  accepted = null;
  final = null;
  end = null;
  #taken = new Set();
  #length = null;

  /** Takes one event, in order. Returns whether it was new. */
  take(kind, body) {
    if (kind === "transcript.partial") return this.#partial(body);
    if (this.#taken.has(body.sequence)) return false;
    this.#taken.add(body.sequence);
    this.#length = body.recording?.duration_ms ?? this.#length;
    switch (kind) {
      case "job.accepted":
        this.accepted = body;
        break;
      case "transcript.segment":
        this.partials.forEach((_, key) => key.endsWith(` ${body.piece}`) && this.partials.delete(key));
        this.segments = ordered([...this.segments, ...(body.segments ?? [])]);
        break;
      case "transcript.final":
        this.final = body;
        this.partials.clear();
        if (body.segments) this.segments = ordered(body.segments);
        break;
      case "annotation.emotion":
        this.emotions.push(body);
        break;
      case "annotation.language":
        this.languages.push(body);
        break;
      case "annotation.speech":
        this.speech = body;
        break;
      case "alert.raised":
      case "alert.retracted":
        this.alerts.set(body.alert, { ...this.alerts.get(body.alert), ...body, isRetracted: kind === "alert.retracted" });
        break;
      case "job.completed":
      case "job.failed":
        this.end = body;
        this.partials.clear();
    }
    return true;
  }

  #partial(body) {
    if (this.final !== null || this.end !== null) return false;
    const key = `${body.channel} ${body.piece ?? 1}`;
    const known = this.partials.get(key);
    if (known && known.revision >= body.revision) return false;
    this.partials.set(key, body);
    return true;
  }

  /** The length of the recording, or what is known of it. */
  get duration() {
    const ends = this.segments.map((segment) => segment.end_ms ?? 0);
    return this.#length ?? Math.max(0, ...ends);
  }

  /** The channels that say something, in order, each with its role. */
  get channels() {
    const found = new Map();
    const measured = this.speech?.channels ?? [];
    for (const { channel = 0, role } of [...measured, ...this.emotions, ...this.segments, ...this.partials.values()]) {
      if (!found.get(channel)?.role) found.set(channel, { channel, role });
    }
    return [...found.values()].sort((one, other) => one.channel - other.channel);
  }

  /** Lines and alerts in the order of the call: `{segment, alerts}` and `{alert}`; and the alerts about the whole of it. */
  get dialogue() {
    const lines = this.segments.map((segment) => ({ segment, alerts: [] }));
    const whole = [];
    const between = [];
    for (const alert of this.alerts.values()) {
      if (alert.begin_ms === undefined || alert.begin_ms === null) {
        whole.push(alert);
        continue;
      }
      const line = lines.findLast(({ segment }) => isIn(alert, segment));
      if (line) line.alerts.push(alert);
      else between.push(alert);
    }
    for (const alert of between) {
      const at = lines.findIndex(({ segment, alert: other }) => (segment ?? other).begin_ms > alert.begin_ms);
      lines.splice(at < 0 ? lines.length : at, 0, { alert });
    }
    return { lines, whole };
  }
}

function isIn({ channel, begin_ms: begin }, segment) {
  const isChannel = channel === undefined || channel === segment.channel;
  return isChannel && segment.begin_ms !== null && segment.begin_ms <= begin && begin <= segment.end_ms;
}

/** By time; what has none stays where it is. */
function ordered(segments) {
  if (segments.some((segment) => segment.begin_ms === null)) return segments;
  return [...segments].sort((one, other) => one.begin_ms - other.begin_ms || one.channel - other.channel);
}
