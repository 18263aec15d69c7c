// The filters of the list: a form whose fields are named as the API names them, and the address that keeps them.
import { h } from "./dom.js";
import { t, word } from "./words.js";

export const KEYS = ["text", "alert", "source", "state", "since"];
const STATES = ["accepted", "recognizing", "waiting", "completed", "failed", "canceled"];
const SINCE = ["2h", "8h", "24h", "48h", "168h", "336h", "720h"];

/** The filters of an address that have a value, with `before`. */
export function ofAddress() {
  const given = new URLSearchParams(location.search);
  const kept = new URLSearchParams();
  for (const key of [...KEYS, "before"]) {
    const value = given.get(key);
    if (value) kept.set(key, value);
  }
  return kept;
}

/** The address of the list with these filters. */
export const address = (filters) => (filters.size > 0 ? `/jobs?${filters}` : "/jobs");

/** The form. `changed(filters)` is called when a person has chosen something. */
export class Filters {
  #sources = h("datalist", { id: "sources" });
  #rules = h("datalist", { id: "rules" });
  #fields;

  constructor(changed) {
    this.#fields = {
      text: input("text", "search", { placeholder: t("list.text.hint") }),
      alert: input("alert", "search", { placeholder: t("list.alert.hint"), list: "rules" }),
      source: input("source", "search", { list: "sources" }),
      state: select("state", STATES.map((name) => [name, word("state", name)])),
      since: select("since", SINCE.map((name) => [name, word("since", name)])),
    };
    const submit = (event) => {
      event.preventDefault();
      changed(this.chosen());
    };
    const labelled = Object.entries(this.#fields).map(([key, field]) => h("div", h("label", { for: field.id }, t(`list.${key}`)), field));
    const clear = h("a.button", { href: "/jobs" }, t("list.clear"));
    this.element = h(
      "form.filters",
      { role: "search", "aria-label": t("list.filter"), method: "get", action: "/jobs", onsubmit: submit },
      labelled,
      h("div.buttons", h("button.main", { type: "submit" }, t("list.filter")), clear),
      this.#sources,
      this.#rules,
    );
    for (const key of ["state", "since"]) this.#fields[key].addEventListener("change", submit);
  }

  /** What the fields have. */
  chosen() {
    const filters = new URLSearchParams();
    for (const [key, field] of Object.entries(this.#fields)) {
      const value = field.value.trim();
      if (value !== "") filters.set(key, value);
    }
    return filters;
  }

  /** Puts filters into the fields. A value that a menu does not have is added to it. */
  show(filters) {
    for (const [key, field] of Object.entries(this.#fields)) {
      const value = filters.get(key) ?? "";
      if (field.tagName === "SELECT" && ![...field.options].some((option) => option.value === value)) {
        field.append(h("option", { value }, value));
      }
      field.value = value;
    }
  }

  /** Offers names that were seen. */
  offer({ sources, rules }) {
    this.#sources.replaceChildren(...[...sources].sort().map((value) => h("option", { value })));
    this.#rules.replaceChildren(...["*", ...[...rules].sort()].map((value) => h("option", { value })));
  }
}

const input = (name, type, more) => h("input", { id: `filter-${name}`, name, type, autocomplete: "off", ...more });

function select(name, options) {
  const all = [["", t("list.any")], ...options];
  return h("select", { id: `filter-${name}`, name }, all.map(([value, text]) => h("option", { value }, text)));
}
