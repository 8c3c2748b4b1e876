// Building elements and writing numbers for people. Text only ever becomes text, never markup.

// element("p", {class: "note", onclick: f}, "text", child, …); null and false children are left out.
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key in made && typeof value !== "string") made[key] = value;
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

export const byId = (id) => document.getElementById(id);

export function replace(parent, ...children) {
  parent.replaceChildren(...children.flat().filter(Boolean));
}

// The same, for content drawn anew: the focus goes back to the element with the same data-key.
export function redraw(parent, ...children) {
  const key = parent.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  replace(parent, ...children);
  if (key) parent.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus({ preventScroll: true });
}

const formats = new Map();

function moneyFormat(currency) {
  if (!formats.has(currency)) {
    formats.set(currency, new Intl.NumberFormat(undefined, { style: "currency", currency }));
  }
  return formats.get(currency);
}

// Minor units to text; how many minor units make a major one is the currency's business.
export function money(amount, currency) {
  const format = moneyFormat(currency);
  return format.format(amount / 10 ** format.resolvedOptions().maximumFractionDigits);
}

// What a shopper typed to minor units; null when it is not a price.
export function minorUnits(text, currency) {
  const major = Number.parseFloat(text.replace(",", "."));
  if (!Number.isFinite(major) || major < 0) return null;
  return Math.round(major * 10 ** moneyFormat(currency).resolvedOptions().maximumFractionDigits);
}

export function time(text) {
  return new Date(text).toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
}

// "dark_roast" and "brew-time" are names for machines.
export function humane(name) {
  const words = name.split("/").pop().replaceAll(/[_-]+/g, " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

// One sentence at the edge of the screen, spoken by screen readers.
let toastTimer = 0;
export function say(text) {
  const toast = byId("toast");
  toast.textContent = text;
  toast.classList.add("shown");
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => toast.classList.remove("shown"), 5000);
}

// The picture of a product: the merchant's, else the one the server draws.
export function picture(product, alt = "") {
  const own = `/media/${encodeURIComponent(product.id)}.svg`;
  const named = product.media?.[0] ?? own;
  const category = product.categories?.[0];
  const source = named === own && category ? `${own}?category=${encodeURIComponent(category)}` : named;
  return element("img", { src: source, alt, width: "400", height: "400", loading: "lazy", decoding: "async" });
}

// Cheapest price of a product in a currency, and whether variants differ; null when it is not sold in it.
export function priceRange(product, currency) {
  const prices = product.variants.map((variant) => variant.prices[currency]).filter((price) => price !== undefined);
  if (prices.length === 0) return null;
  const lowest = Math.min(...prices);
  return { lowest, differs: prices.some((price) => price !== lowest) };
}

// What is left, in words and as a class for its colour.
export function stockWords(available) {
  if (available === 0) return { text: "Sold out", level: "none" };
  if (available <= 5) return { text: available === 1 ? "Last one" : `Only ${available} left`, level: "low" };
  return { text: `${available.toLocaleString()} in stock`, level: "good" };
}

export function hush() {
  byId("toast").classList.remove("shown");
}

export const loading = () => element("p", { class: "empty", role: "status" }, "One moment…");
