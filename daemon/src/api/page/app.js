// The start of every page: the frame around it, and the page that the address names.
import { frame } from "./frame.js";
import { job } from "./job.js";
import { list } from "./list.js";
import { overview } from "./overview.js";
import { trouble } from "./parts.js";
import { wall } from "./wall.js";
import { t } from "./words.js";

/** The page of an address, and what it is given. */
function chosen() {
  const [, first, second] = location.pathname.split("/");
  if (first === "") return new URLSearchParams(location.search).get("wall") === "1" ? [wall] : [overview];
  return second === undefined ? [list] : [job, decodeURIComponent(second)];
}

const [page, argument] = chosen();
const around = frame(page === wall);
try {
  await page(around, argument);
} catch (error) {
  around.main.append(trouble(t("app.failed", { reason: error.message })));
}
