// The page: which view an address means, the header, what to do when something unexpected happens.

import * as cart from "./cart.js";
import * as catalogue from "./catalogue.js";
import * as checkout from "./checkout.js";
import * as order from "./order.js";
import * as product from "./product.js";
import { byId, element, say } from "./dom.js";
import { sorry } from "./words.js";

const THEME = "stockroom.theme";
const main = byId("main");
let leave = () => {};
let visit = 0;

// Addresses: #/?filters · #/product/ID · #/cart · #/order/ID
async function route() {
  const [path, query = ""] = location.hash.replace(/^#/, "").split("?");
  const [, view = "", id = ""] = path.split("/");
  const mine = ++visit;
  leave();
  leave = () => {};
  const shown = await open(frame(view), view, decodeURIComponent(id), new URLSearchParams(query));
  keepFocus(mine);
  if (mine === visit) leave = shown ?? leave;
  else shown?.();
}

// A view draws into a frame of its own: one that is still waiting for an answer when the shopper has gone on draws where
// nobody looks. The catalogue keeps its frame from choice to choice.
let framed = { view: null, frame: null };

function frame(view) {
  if (view !== "" || framed.view !== "") {
    framed = { view, frame: element("div", { class: "view" }) };
    main.replaceChildren(framed.frame);
  }
  return framed.frame;
}

function open(main, view, id, parameters) {
  if (view !== "") scrollTo({ top: 0 });
  if (view === "product") return product.show(main, id);
  if (view === "cart") return checkout.show(main);
  if (view === "order") return order.show(main, id);
  return catalogue.show(main, parameters);
}

// What had the focus went with the view before: the next Tab begins at the new view's headline.
function keepFocus(mine) {
  const isLost = document.activeElement === document.body;
  if (mine === visit && mine > 1 && isLost) main.querySelector("h1")?.focus({ preventScroll: true });
}

// The address of a view is its hash, so the skip link must not become one.
function skip(event) {
  event.preventDefault();
  main.focus();
}

function search(event) {
  event.preventDefault();
  const text = byId("query").value.trim();
  location.hash = text ? `#/?${new URLSearchParams({ q: text })}` : "#/";
}

function showTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
}

function switchTheme() {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const now = document.documentElement.dataset.theme ?? (dark ? "dark" : "light");
  const next = now === "dark" ? "light" : "dark";
  localStorage.setItem(THEME, next);
  showTheme(next);
}

function showCount() {
  const units = cart.units();
  byId("cart-count").textContent = units > 99 ? "99+" : String(units);
  byId("cart-count").hidden = units === 0;
  byId("cart-link").setAttribute("aria-label", units === 1 ? "Cart, 1 item" : `Cart, ${units} items`);
}

// A checkout whose answer this browser never saw, because of a reload or a lost connection: ask for it again.
async function finishCheckout() {
  const unseen = cart.unseenOrder();
  if (unseen && location.hash === "#/cart") history.replaceState(null, "", `#/order/${unseen}`);
  if (!cart.unansweredCheckout()) return;
  say("Finishing your checkout…");
  try {
    const placed = await cart.finishCheckout();
    location.hash = `#/order/${placed.id}`;
  } catch (problem) {
    say(sorry(problem));
  }
}

showTheme(localStorage.getItem(THEME));
byId("search").addEventListener("submit", search);
document.querySelector(".skip").addEventListener("click", skip);
byId("theme").addEventListener("click", switchTheme);
addEventListener("hashchange", route);
cart.watch(showCount);
cart.load().catch(() => {});
finishCheckout();
route();
