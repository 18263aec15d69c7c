// Numbers, times and lengths as a person reads them.
import { language, t } from "./words.js";

const clock = new Intl.DateTimeFormat(language, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const dated = new Intl.DateTimeFormat(language, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const full = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "long", hourCycle: "h23" });
const weekday = new Intl.DateTimeFormat(language, { day: "numeric", month: "short", timeZone: "UTC" });
const plain = new Intl.NumberFormat(language);

/** A time of today as its clock, another one with its day. */
export function time(text) {
  const at = new Date(text);
  return at.toDateString() === new Date().toDateString() ? clock.format(at) : dated.format(at);
}

/** A time with its zone. */
export const exactTime = (text) => full.format(new Date(text));

/** A UTC day such as 2026-11-30. */
export const day = (text) => weekday.format(new Date(`${text}T00:00:00Z`));

/** Milliseconds as a place in a recording: 1:02, or 1:00:02. */
export function place(ms) {
  const seconds = Math.floor(ms / 1000);
  const two = (number) => String(number).padStart(2, "0");
  const hours = Math.floor(seconds / 3600);
  const minutes = Math.floor(seconds / 60) % 60;
  return hours > 0 ? `${hours}:${two(minutes)}:${two(seconds % 60)}` : `${minutes}:${two(seconds % 60)}`;
}

/** Milliseconds as a length: parts of a second matter below ten of them. */
export function length(ms) {
  if (ms === null || ms === undefined) return "";
  return ms < 10_000 ? `${(ms / 1000).toFixed(1)} s` : place(ms);
}

/** Dollars; small amounts with as many digits as tell something. */
export function money(usd) {
  if (usd === null || usd === undefined) return "";
  const digits = usd === 0 || usd >= 1 ? 2 : usd >= 0.01 ? 3 : 6;
  return `$${usd.toFixed(digits)}`;
}

export const count = (number) => plain.format(number);

export function bytes(number) {
  for (const [unit, size] of [["gib", 2 ** 30], ["mib", 2 ** 20], ["kib", 2 ** 10]]) {
    if (number >= size) return t(`unit.${unit}`, { value: (number / size).toFixed(1) });
  }
  return t("unit.byte", { count: number });
}

export const percent = (part, whole) => (whole > 0 ? Math.round((100 * part) / whole) : 0);
