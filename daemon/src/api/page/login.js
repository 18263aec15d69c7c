// The form for the token. Its address keeps where the person wanted to go.
import { t } from "./words.js";

for (const element of document.querySelectorAll("[data-word]")) {
  element.textContent = t(element.dataset.word);
}
document.title = t("login.title");
document.querySelector("form").action = "/login" + location.search;
