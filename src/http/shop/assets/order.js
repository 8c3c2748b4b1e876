// One order: its state followed live from received to confirmed, and what it holds.

import { follow, get } from "./api.js";
import * as cart from "./cart.js";
import { putBack } from "./checkout.js";
import { element, loading, money, redraw, replace, say, time } from "./dom.js";
import { STATES, failureWords, sorry } from "./words.js";

const WAY = ["placed", "reserving", "authorizing", "confirmed"];
const LATER = ["fulfilled", "delivered", "cancelled", "failed", "refunded"];
const SETTLED = ["confirmed", ...LATER];
const OVER = ["delivered", "cancelled", "failed", "refunded"];
const ASK_ANYWAY_MS = 4000;

// Shows the order; answers what to do on leaving.
export async function show(main, id) {
  document.title = "Order · Stockroom";
  replace(main, loading());
  let shown = null;
  let asking = false;
  let askAgain = false;
  const refresh = async () => {
    askAgain = asking;
    if (asking) return;
    asking = true;
    try {
      const order = await get(`/v1/orders/${id}`);
      if (!stopped && JSON.stringify(order) !== JSON.stringify(shown)) showOrder(main, order, shown);
      shown = order;
      if (SETTLED.includes(order.state)) clearInterval(timer);
      if (OVER.includes(order.state)) stop();
    } catch (problem) {
      if (!shown && !stopped) {
        replace(main, element("p", { class: "empty" }, sorry(problem)), element("a", { href: "#/" }, "Shop"));
      }
    }
    asking = false;
    if (askAgain && !stopped) refresh();
  };
  // The stream says that something happened; the order itself says what. Asking now and then covers a lost stream.
  let stopped = false;
  let stream = () => {};
  const timer = setInterval(refresh, ASK_ANYWAY_MS);
  const stop = () => {
    stopped = true;
    clearInterval(timer);
    stream();
  };
  await refresh();
  if (!stopped) stream = follow(`/v1/orders/${id}/events`, refresh);
  cart.load().catch(() => {});
  return () => {
    stop();
    if (!location.hash.endsWith(id)) cart.seen(id);
  };
}

function showOrder(main, order, before) {
  document.title = `Order ${order.number} · Stockroom`;
  const [title, meaning] = STATES[order.state] ?? [order.state, ""];
  const currency = order.totals.currency;
  const failed = order.state === "failed" || order.state === "cancelled";
  const text = order.state === "failed" ? failureWords({ ...order.failure, name: failedTitle(order) }) : meaning;
  const lines = order.lines.map((line) =>
    element(
      "li",
      {},
      element("span", { class: "times" }, `${line.quantity} ×`),
      element("span", {}, line.title),
      element("span", { class: "price" }, money(line.total, currency)),
    ),
  );
  const page = element(
    "article",
    { class: `order is-${order.state}`, "data-state": order.state },
    element(
      "header",
      {},
      element("p", { class: "number" }, `Order ${order.number}`),
      element("h1", { tabindex: "-1", id: "state", role: "status", "data-key": "state" }, title),
      element("p", { class: "meaning" }, text),
    ),
    steps(order, failed),
    element(
      "section",
      { class: "slip", "aria-label": "What was ordered" },
      element("ul", {}, lines),
      element("p", { class: "sum" }, element("span", {}, "Total"), element("span", {}, money(order.totals.total, currency))),
    ),
    element("p", { class: "after" }, failed && retry(order), element("a", { class: "button quiet", href: "#/", "data-key": "back" }, "Back to the shop")),
  );
  redraw(main, page);
  if (!before) page.querySelector("h1").focus({ preventScroll: true });
}

function failedTitle(order) {
  return order.lines.find((line) => line.sku === order.failure?.sku)?.title;
}

function steps(order, failed) {
  const reached = new Map(order.history.map((row) => [row.state, row.at]));
  const later = LATER.filter((state) => reached.has(state));
  const way = failed ? [...WAY.filter((state) => reached.has(state)), order.state] : [...WAY, ...later];
  return element(
    "ol",
    { class: "steps", "aria-label": "How far it is" },
    [...new Set(way)].map((state) =>
      element(
        "li",
        {
          class: reached.has(state) ? (state === order.state ? "now" : "done") : "ahead",
          "aria-current": state === order.state ? "step" : null,
        },
        element("span", { class: "step-name" }, STATES[state]?.[0] ?? state),
        element("span", { class: "step-time" }, reached.has(state) ? time(reached.get(state)) : ""),
      ),
    ),
  );
}

function retry(order) {
  const button = element("button", { class: "button", type: "button" }, "Put it all back in the cart");
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      await putBack(order.lines);
    } catch (problem) {
      say(sorry(problem));
      button.disabled = false;
    }
  });
  return button;
}
