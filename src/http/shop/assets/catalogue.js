// All products: search, filters with counts, order, more on demand. What is chosen is in the address, so back, reload
// and a sent link show the same.

import { get } from "./api.js";
import * as cart from "./cart.js";
import {
  byId, element, humane, loading, minorUnits, money, picture, priceRange, redraw, replace, stockWords,
} from "./dom.js";
import { sorry } from "./words.js";

const PAGE = 24;
const CATEGORIES_SHOWN = 40;
const FACET_VALUES_SHOWN = 8;
const ATTRIBUTES_OPEN = 2;
const SORTS = [
  ["relevance", "Best match"],
  ["newest", "Newest"],
  ["price", "Price, low to high"],
  ["-price", "Price, high to low"],
  ["title", "A to Z"],
];

// Counts choices: what comes back for one that is no longer the last is not shown.
let choice = 0;

export async function show(main, parameters) {
  const mine = ++choice;
  const [filters, results] = frame(main);
  results.ariaBusy = "true";
  byId("query").value = parameters.get("q") ?? "";
  document.title = parameters.get("q") ? `${parameters.get("q")} · Stockroom` : "Stockroom";
  try {
    const page = await fetchPage(parameters, null);
    if (mine !== choice) return;
    showFilters(filters, parameters, page.facets);
    showResults(results, parameters, page);
    offerCurrencies(page.items);
  } catch (problem) {
    if (mine !== choice) return;
    replace(results, element("p", { class: "empty" }, sorry(problem)), again(main, parameters));
  }
  results.ariaBusy = "false";
}

// The two parts of the view. Those of the choice before stay and are seen until the new ones are known.
function frame(main) {
  const kept = main.querySelector(".catalogue");
  if (kept) return kept.children;
  const filters = element("aside", { class: "filters", "aria-label": "Filters" });
  const results = element("section", { class: "results", "aria-label": "Products" }, loading());
  replace(main, element("div", { class: "catalogue" }, filters, results));
  return [filters, results];
}

function again(main, parameters) {
  return element("button", { class: "button quiet", onclick: () => show(main, parameters) }, "Try again");
}

function fetchPage(parameters, cursor) {
  const query = new URLSearchParams(parameters);
  query.set("currency", cart.currency());
  query.set("limit", PAGE);
  if (cursor) query.set("cursor", cursor);
  return get(`/v1/products?${query}`);
}

// Changes what is chosen and goes there.
function choose(parameters, change) {
  const next = new URLSearchParams(parameters);
  change(next);
  location.hash = next.size > 0 ? `#/?${next}` : "#/";
}

function showResults(results, parameters, page) {
  const grid = element("ul", { class: "grid" }, page.items.map(card));
  const sorts = parameters.get("q") ? SORTS : SORTS.filter(([value]) => value !== "relevance");
  const sort = element(
    "select",
    { id: "sort", "data-key": "sort", onchange: (event) => choose(parameters, (next) => next.set("sort", event.target.value)) },
    sorts.map(([value, text]) => element("option", { value, selected: value === parameters.get("sort") }, text)),
  );
  const count = page.total === 1 ? "1 product" : `${page.total.toLocaleString()} products`;
  const head = element(
    "div",
    { class: "results-head" },
    element("h1", { tabindex: "-1" }, headline(parameters)),
    element("p", { class: "count", role: "status" }, count),
    element("label", { class: "sort" }, element("span", {}, "Sort"), sort),
  );
  const nothing = element(
    "p",
    { class: "empty" },
    "Nothing matches that. ",
    element("a", { href: "#/" }, "Show everything"),
  );
  redraw(results, head, page.total === 0 ? nothing : grid, more(parameters, page, grid));
}

function headline(parameters) {
  if (parameters.get("q")) return `“${parameters.get("q")}”`;
  const categories = parameters.getAll("category");
  return categories.length === 1 ? humane(categories[0]) : "Everything in stock, counted once";
}

function more(parameters, page, grid) {
  if (!page.next_cursor) return null;
  const button = element("button", { class: "button quiet more", type: "button" }, "Show more");
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      const next = await fetchPage(parameters, page.next_cursor);
      const cards = next.items.map(card);
      grid.append(...cards);
      cards[0]?.querySelector("a").focus({ preventScroll: true });
      const following = more(parameters, next, grid);
      if (following) button.replaceWith(following);
      else button.remove();
    } catch {
      button.disabled = false;
      button.textContent = "That did not work. Try again";
    }
  });
  return button;
}

function card(product) {
  const range = priceRange(product, cart.currency());
  const available = product.variants.reduce((sum, variant) => sum + variant.available, 0);
  const stock = stockWords(available);
  return element(
    "li",
    { class: "card" },
    element(
      "a",
      { href: `#/product/${encodeURIComponent(product.id)}` },
      element("div", { class: "frame" }, picture(product)),
      element("h2", {}, product.title),
      element(
        "p",
        { class: "card-line" },
        element("span", { class: "price" }, range ? priceText(range) : "Not sold here"),
        element("span", { class: `stock ${stock.level}` }, stock.text),
      ),
    ),
  );
}

function priceText(range) {
  const text = money(range.lowest, cart.currency());
  return range.differs ? `from ${text}` : text;
}

function showFilters(filters, parameters, facets) {
  const wide = matchMedia("(min-width: 60rem)").matches;
  const chosen = [...parameters.keys()].filter((key) => !["q", "sort"].includes(key)).length;
  const total = (values) => values.reduce((sum, { count }) => sum + count, 0);
  const attributes = Object.entries(facets.attributes).sort(([, a], [, b]) => total(b) - total(a));
  const groups = [
    facetGroup(parameters, "category", "Category", branches(parameters, facets.categories)),
    availability(parameters),
    prices(parameters),
    attributes.map(([name, values], index) => attributeGroup(parameters, name, values, index)),
  ].flat();
  const clear = element("a", { class: "clear", href: "#/" }, "Clear all");
  redraw(
    filters,
    element(
      "details",
      { class: "filters-fold", open: wide || byId("main").dataset.filters === "open" },
      element("summary", { "data-key": "filters" }, chosen > 0 ? `Filters (${chosen})` : "Filters"),
      chosen > 0 && clear,
      groups,
    ),
  );
  const fold = filters.querySelector("details");
  fold.addEventListener("toggle", () => (byId("main").dataset.filters = fold.open ? "open" : ""));
}

// Categories as a tree: the trunk always, what lies below only where a branch is chosen.
function branches(parameters, categories) {
  const chosen = parameters.getAll("category");
  const parent = (value) => value.slice(0, Math.max(0, value.lastIndexOf("/")));
  const isOpen = (above) => chosen.some((value) => value === above || value.startsWith(`${above}/`));
  const shown = categories.filter(({ value }) => !value.includes("/") || isOpen(parent(value)));
  return shown.sort((a, b) => a.value.localeCompare(b.value));
}

// The most common attributes lie open, the others fold.
function attributeGroup(parameters, name, values, index) {
  const key = `attr.${name}`;
  if (index < ATTRIBUTES_OPEN || parameters.has(key)) return facetGroup(parameters, key, humane(name), values);
  return element(
    "details",
    { class: "facet fold" },
    element("summary", {}, humane(name)),
    element("div", { role: "group", "aria-label": humane(name) }, facetOptions(parameters, key, values)),
  );
}

function facetGroup(parameters, key, title, values) {
  const options = facetOptions(parameters, key, values);
  return options.length > 0 && element("fieldset", { class: "facet" }, element("legend", {}, title), options);
}

// The most frequent values, the rest behind one more click; what is chosen is always there.
function facetOptions(parameters, key, values) {
  const chosen = parameters.getAll(key);
  const counted = new Map(values.map(({ value, count }) => [value, count]));
  for (const value of chosen) if (!counted.has(value)) counted.set(value, 0);
  const order = [...counted.keys()];
  const limit = key === "category" ? CATEGORIES_SHOWN : FACET_VALUES_SHOWN;
  const front = order.filter((value, index) => index < limit || chosen.includes(value));
  const option = (value) => facetOption(parameters, key, value, counted.get(value));
  const rest = order.filter((value) => !front.includes(value)).map(option);
  const more = element("details", {}, element("summary", {}, `${rest.length} more`), rest);
  return rest.length > 0 ? [...front.map(option), more] : front.map(option);
}

function facetOption(parameters, key, value, count) {
  const toggled = (event) =>
    choose(parameters, (next) => {
      if (event.target.checked) next.append(key, value);
      else next.delete(key, value);
    });
  const depth = key === "category" ? Math.min(value.split("/").length - 1, 3) : 0;
  return element(
    "label",
    { class: `option depth-${depth}` },
    element("input", {
      type: "checkbox",
      checked: parameters.getAll(key).includes(value),
      onchange: toggled,
      "data-key": `${key}=${value}`,
    }),
    element("span", { class: "option-name" }, humane(value)),
    element("span", { class: "option-count" }, String(count)),
  );
}

function availability(parameters) {
  const toggled = (event) =>
    choose(parameters, (next) => (event.target.checked ? next.set("in_stock", "true") : next.delete("in_stock")));
  return element(
    "fieldset",
    { class: "facet" },
    element("legend", {}, "Availability"),
    element(
      "label",
      { class: "option" },
      element("input", {
        type: "checkbox",
        checked: parameters.get("in_stock") === "true",
        onchange: toggled,
        "data-key": "in_stock",
      }),
      element("span", { class: "option-name" }, "In stock only"),
    ),
  );
}

function prices(parameters) {
  const field = (name, text) =>
    element(
      "label",
      {},
      element("span", { class: "hidden" }, text),
      element("input", {
        name,
        inputmode: "decimal",
        autocomplete: "off",
        placeholder: text,
        value: shown(name),
        "data-key": name,
      }),
    );
  const shown = (name) => {
    const amount = parameters.get(name);
    return amount ? money(Number(amount), cart.currency()).replaceAll(/[^\d.,]/g, "") : "";
  };
  const apply = (event) => {
    event.preventDefault();
    choose(parameters, (next) => {
      for (const name of ["price_min", "price_max"]) {
        const amount = minorUnits(event.target.elements[name].value, cart.currency());
        if (amount === null) next.delete(name);
        else next.set(name, amount);
      }
    });
  };
  return element(
    "form",
    { class: "facet price-range", onsubmit: apply },
    element("fieldset", {}, element("legend", {}, `Price in ${cart.currency()}`), element("div", { class: "range" },
      field("price_min", "From"), field("price_max", "To"),
      element("button", { class: "button quiet small" }, "Go"))),
  );
}

// A choice of currencies at the foot of the page, when products are sold in several.
function offerCurrencies(products) {
  const sold = new Set([cart.currency()]);
  for (const product of products) {
    for (const variant of product.variants) Object.keys(variant.prices).forEach((code) => sold.add(code));
  }
  if (sold.size < 2) return;
  const change = (event) => {
    cart.chooseCurrency(event.target.value);
    dispatchEvent(new HashChangeEvent("hashchange"));
  };
  const options = [...sold].sort().map((code) => element("option", { selected: code === cart.currency() }, code));
  replace(byId("currency-choice"), element("label", {}, "Currency ", element("select", { onchange: change }, options)));
}
