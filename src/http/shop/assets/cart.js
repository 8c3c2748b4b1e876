// The shopper's cart: its id lives in this browser, its content on the server. Several windows may edit it; each edit
// names the version it saw, and starts over from the newest when another window was faster.

import { Problem, get, newKey, post, put } from "./api.js";

const CART = "stockroom.cart";
const CURRENCY = "stockroom.currency";
const EDIT_ATTEMPTS_MAX = 4;

let cart = null;
const watchers = new Set();

export const current = () => cart;
export const currency = () => cart?.currency ?? localStorage.getItem(CURRENCY) ?? "USD";
export const units = () => (cart?.lines ?? []).reduce((sum, line) => sum + line.quantity, 0);

// Calls back now and after every change.
export function watch(changed) {
  watchers.add(changed);
  changed();
  return () => watchers.delete(changed);
}

function become(next) {
  cart = next;
  for (const changed of watchers) changed();
  return cart;
}

export function forget() {
  localStorage.removeItem(CART);
  become(null);
}

// A cart has one currency: another one means another cart.
export function chooseCurrency(code) {
  localStorage.setItem(CURRENCY, code);
  forget();
}

// The cart as the server has it; null when there is none.
export async function load() {
  const id = localStorage.getItem(CART);
  if (!id) return become(null);
  try {
    return become(await get(`/v1/carts/${id}`));
  } catch (problem) {
    if (problem.code === "not_found" || problem.code === "cart_gone") forget();
    else throw problem;
    return null;
  }
}

async function loadOrMake() {
  const known = cart ?? (await load());
  if (known) return known;
  const made = await post("/v1/carts", { currency: currency() });
  localStorage.setItem(CART, made.id);
  return become(made);
}

// Sets a line to what `wanted` makes of its present quantity; 0 removes it.
export async function edit(sku, wanted) {
  for (let attempt = 1; ; attempt += 1) {
    const seen = await loadOrMake();
    const before = seen.lines.find((line) => line.sku === sku)?.quantity ?? 0;
    const headers = { "if-match": `"${seen.version}"` };
    try {
      const path = `/v1/carts/${seen.id}/lines/${encodeURIComponent(sku)}`;
      return become(await put(path, { quantity: wanted(before) }, { headers }));
    } catch (problem) {
      const stale = ["cart_version", "cart_gone", "not_found", "cart_merging"].includes(problem.code);
      if (!stale || attempt >= EDIT_ATTEMPTS_MAX) throw problem;
      await load();
    }
  }
}

export async function setBuyer(buyer) {
  return become(await put(`/v1/carts/${cart.id}/buyer`, buyer));
}

// One checkout attempt is kept until its answer came, so that a reload in between asks the same question again.
const ATTEMPT = "stockroom.checkout";

// The order this window came to, until the shopper has seen it and gone on. A reload that was under way when the answer
// came shows the cart once more, and must lead there too.
const ORDERED = "stockroom.ordered";

export const unseenOrder = () => sessionStorage.getItem(ORDERED);

export function seen(order) {
  if (unseenOrder() === order) sessionStorage.removeItem(ORDERED);
}

export function unansweredCheckout() {
  const text = localStorage.getItem(ATTEMPT);
  return text ? JSON.parse(text) : null;
}

export async function checkOut(payment) {
  const body = { cart_id: cart.id, cart_version: cart.version, payment };
  const text = JSON.stringify(body);
  const kept = unansweredCheckout();
  const attempt = kept && JSON.stringify(kept.body) === text ? kept : { key: newKey(), body };
  localStorage.setItem(ATTEMPT, JSON.stringify(attempt));
  return send(attempt);
}

export async function finishCheckout() {
  return send(unansweredCheckout());
}

async function send(attempt) {
  try {
    const order = await post("/v1/orders", attempt.body, { key: attempt.key });
    sessionStorage.setItem(ORDERED, order.id);
    localStorage.removeItem(ATTEMPT);
    return order;
  } catch (problem) {
    const answered = problem instanceof Problem && problem.outcome === "rejected";
    if (answered) localStorage.removeItem(ATTEMPT);
    throw problem;
  }
}

// Another window changed which cart is ours.
addEventListener("storage", (event) => {
  if (event.key === CART) load().catch(() => {});
});
