"use strict";
// Without this script the page shows the same, with a placeholder for the API's address.

const all = (selector, within = document) => [...within.querySelectorAll(selector)];

// The API's address is that of the page without /docs. It is used only if examples need no quoting for it.
const address = (location.origin + location.pathname).replace(/\/docs\/?$/, "");
if (/^https?:\/\/[\w.:/-]+$/.test(address)) {
  for (const it of all(".base-url")) it.textContent = address;
}

// Copy buttons. Browsers allow the clipboard only with https and on the local machine.
if (navigator.clipboard) {
  for (const block of all(".code")) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      const copied = navigator.clipboard.writeText(block.querySelector("code").textContent);
      button.textContent = await copied.then(() => "Copied", () => "Not copied");
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
    block.append(button);
  }
}

// The chosen language applies to all examples, and is stored for the next visit.
const languages = all(".languages input");
const choose = (language) => {
  for (const it of languages) if (it.value === language) it.checked = true;
};
for (const it of languages) {
  it.addEventListener("change", () => {
    const top = it.getBoundingClientRect().top;
    choose(it.value);
    scrollBy(0, it.getBoundingClientRect().top - top); // the height of the examples above has changed
    try { localStorage.setItem("language", it.value); } catch { /* storage is not allowed: do not store it */ }
  });
}
try { choose(localStorage.getItem("language")); } catch { /* storage is not allowed */ }

// In a small window, the contents are closed at first, because they would fill it.
const contents = document.getElementById("contents");
const narrow = matchMedia("(max-width: 48rem)");
const fold = () => { contents.open = !narrow.matches; };
narrow.addEventListener("change", fold);
fold();

// The search finds sections, schemas, and every row with an anchor.
const words = (text) => text.toLowerCase().split(/\s+/).filter(Boolean);
const entries = all("main section, main h3[id], main tr[id]").map((it) => {
  const title = it.querySelector("h2, code")?.textContent ?? it.textContent;
  const near = it.closest("section").querySelector("h2").textContent;
  const text = it.matches("section")
    ? all(":scope > h2, :scope > p", it).map((each) => each.textContent).join(" ")
    : it.matches("h3") ? `${title} ${it.nextElementSibling.textContent}` : it.textContent;
  const schema = document.getElementById(it.id.split(".")[0])?.matches("h3");
  const place = it.matches("tr") && schema ? it.id.split(".")[0] : near;
  return { id: it.id, title, place: place === title ? "" : place, text: text.toLowerCase() };
});
const search = document.getElementById("search");
const found = document.getElementById("found");
const results = document.getElementById("results");
const MOST = 30;

const rank = (entry, query) => {
  const title = entry.title.toLowerCase();
  return title === query ? 0 : title.startsWith(query) ? 1 : title.includes(query) ? 2 : 3;
};
const show = () => {
  const query = search.value.trim().toLowerCase();
  const wanted = words(query);
  const hits = wanted.length === 0 ? [] : entries
    .filter((entry) => wanted.every((word) => entry.text.includes(word)))
    .sort((one, two) => rank(one, query) - rank(two, query));
  results.replaceChildren(...hits.slice(0, MOST).map((entry) => {
    const [row, link, place] = ["li", "a", "small"].map((name) => document.createElement(name));
    link.href = `#${entry.id}`;
    link.textContent = entry.title;
    place.textContent = entry.place;
    link.append(" ", place);
    row.append(link);
    return row;
  }));
  contents.hidden = wanted.length > 0;
  const number = hits.length > MOST ? `the first ${MOST} of ${hits.length}` : hits.length;
  found.textContent = wanted.length === 0 ? "" : hits.length === 0 ? "Nothing found" : `Found: ${number}`;
};
search.addEventListener("input", show);
search.addEventListener("keydown", (event) => {
  if (event.key === "Enter") results.querySelector("a")?.click();
  if (event.key === "Escape") { search.value = ""; show(); }
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.target.matches("input")) return;
  event.preventDefault();
  search.focus();
});
search.closest("search").hidden = false;
