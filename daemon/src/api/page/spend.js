// What was spent: today against the budget, and a bar for each day.
import { h } from "./dom.js";
import { day, money, percent } from "./format.js";
import { section } from "./parts.js";
import { t } from "./words.js";

/** How much of the budget is spent: good, warn from 80 %, bad at its end. */
export function levelOfSpend({ usd, daily_usd: daily }) {
  if (daily === null || usd < 0.8 * daily) return "good";
  return usd < daily ? "warn" : "bad";
}

/** Today's sum against the budget, in words. */
export function today({ usd, daily_usd: daily }) {
  if (daily === null) return `${t("overview.spend.today", { usd: money(usd) })}, ${t("overview.spend.no_budget")}`;
  return t("overview.spend.budget", { usd: money(usd), budget: money(daily), percent: percent(usd, daily) });
}

export function spend(spent, { days, daily_usd: daily }) {
  const most = Math.max(...days.map(({ usd }) => usd));
  const whole = Math.max(most, daily ?? 0) || 1;
  const bars = [...days].reverse().map(({ day: date, usd }) => {
    const bar = h("span.bar");
    bar.style.height = `${(100 * usd) / whole}%`;
    const words = t("overview.spend.day", { day: day(date), usd: money(usd) });
    return h("li", { title: words }, bar, h("span.unseen", words));
  });
  const meter = daily === null ? null : h("meter", { min: 0, max: daily, high: 0.8 * daily, optimum: 0, value: spent.usd, "aria-label": t("overview.spend") });
  return section(
    "spend",
    t("overview.spend"),
    h(`p.spent.${levelOfSpend(spent)}`, today(spent)),
    meter,
    h("ol.bars", { "aria-label": t("overview.spend.days", { days: days.length }) }, bars),
    h("p.axis.quiet", { "aria-hidden": "true" }, h("span", day(days.at(-1).day)), h("span", t("overview.spend.most", { usd: money(most) })), h("span", day(days[0].day))),
  );
}
