// The cart and the way out: lines, who buys, how it is paid, one button that cannot buy twice.

import * as cart from "./cart.js";
import { element, hush, loading, money, redraw, replace, say } from "./dom.js";
import { PAYMENTS, sorry } from "./words.js";

const BUYER = "stockroom.buyer";

export async function show(main) {
  document.title = "Cart · Stockroom";
  hush();
  if (!cart.current()) replace(main, loading());
  try {
    await cart.load();
  } catch (problem) {
    const again = element("button", { class: "button quiet", onclick: () => show(main) }, "Try again");
    replace(main, element("p", { class: "empty" }, sorry(problem)), again);
    return () => {};
  }
  const lines = element("section", { class: "lines", "aria-label": "In the cart" });
  const pay = element("section", { class: "pay", "aria-label": "Checkout" });
  replace(main, element("h1", { tabindex: "-1" }, "Your cart"), element("div", { class: "cart" }, lines, pay));
  main.querySelector("h1").focus({ preventScroll: true });
  const form = payForm(pay);
  return cart.watch(() => {
    showLines(lines);
    const isEmpty = cart.units() === 0;
    pay.hidden = isEmpty;
    if (!isEmpty) form.showTotals();
  });
}

function showLines(section) {
  const now = cart.current();
  if (!now || now.lines.length === 0) {
    const link = element("a", { class: "button", href: "#/" }, "Find something");
    replace(section, element("p", { class: "empty" }, "Nothing in it so far."), link);
    return;
  }
  redraw(section, element("ul", {}, now.lines.map((line) => showLine(line, now.currency))));
}

function showLine(line, currency) {
  const set = async (quantity) => {
    try {
      await cart.edit(line.sku, () => quantity);
    } catch (problem) {
      say(sorry({ ...problem, name: line.title }));
      cart.load().catch(() => {});
    }
  };
  const remove = async () => {
    await set(0);
    document.querySelector("main h1")?.focus({ preventScroll: true });
  };
  const quantity = element("input", {
    type: "number",
    min: "0",
    max: "9999",
    value: String(line.quantity),
    inputmode: "numeric",
    "data-key": line.sku,
    "aria-label": `Quantity of ${line.title}`,
    onchange: (event) => set(Math.max(0, event.target.valueAsNumber || 0)),
  });
  return element(
    "li",
    { class: "line" },
    element("div", { class: "line-text" }, element("h2", {}, line.title), element("p", { class: "sku" }, line.sku)),
    element("p", { class: "unit" }, `${money(line.unit_price, currency)} each`),
    quantity,
    element("p", { class: "price" }, money(line.total, currency)),
    element(
      "button",
      { class: "remove", type: "button", "aria-label": `Remove ${line.title}`, onclick: remove },
      "×",
    ),
  );
}

function field(name, label, options) {
  return element("label", { class: "field" }, element("span", {}, label), element("input", { name, ...options }));
}

function payForm(section) {
  const kept = JSON.parse(localStorage.getItem(BUYER) ?? "{}");
  const totals = element("dl", { class: "totals" });
  const trouble = element("p", { class: "trouble", role: "alert", hidden: true });
  const button = element("button", { class: "button wide", id: "buy" }, "Buy");
  const methods = PAYMENTS.map(([token, name, meaning], index) =>
    element(
      "label",
      { class: "method" },
      element("input", { type: "radio", name: "token", value: token, checked: index === 0 }),
      element("span", {}, element("strong", {}, name), element("small", {}, meaning)),
    ),
  );
  const form = element(
    "form",
    { class: "pay-form" },
    element("h2", {}, "Checkout"),
    field("email", "E-mail", { type: "email", required: true, autocomplete: "email", value: kept.email ?? "" }),
    field("name", "Name", { required: true, autocomplete: "name", maxlength: "200", value: kept.name ?? "" }),
    element(
      "fieldset",
      { class: "methods" },
      element("legend", {}, "Payment (simulated, no money moves)"),
      methods,
    ),
    totals,
    trouble,
    button,
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    buy(form, button, trouble);
  });
  replace(section, form);
  return { showTotals: () => showTotals(totals, button) };
}

function showTotals(list, button) {
  const { totals } = cart.current();
  const rows = [
    ["Subtotal", totals.subtotal],
    ["Discount", -totals.discount],
    ["Shipping", totals.shipping],
    ["Tax", totals.tax],
  ].filter(([name, amount]) => name === "Subtotal" || amount !== 0);
  const row = ([name, amount], kind) => [
    element("dt", { class: kind }, name),
    element("dd", { class: kind }, money(amount, totals.currency)),
  ];
  replace(list, rows.flatMap((each) => row(each, "")), row(["Total", totals.total], "sum"));
  if (!button.disabled) button.textContent = `Buy for ${money(totals.total, totals.currency)}`;
}

async function buy(form, button, trouble) {
  if (button.disabled) return;
  const buyer = { email: form.elements.email.value.trim(), name: form.elements.name.value.trim() };
  const payment = { provider: "simulated", token: form.elements.token.value };
  button.disabled = true;
  button.textContent = "Buying…";
  trouble.hidden = true;
  localStorage.setItem(BUYER, JSON.stringify(buyer));
  try {
    if (!cart.unansweredCheckout()) await cart.setBuyer(buyer);
    const order = await cart.checkOut(payment);
    location.hash = `#/order/${order.id}`;
  } catch (problem) {
    const name = cart.current()?.lines.find((line) => line.sku === problem.sku)?.title;
    trouble.textContent = sorry({ ...problem, name });
    trouble.hidden = false;
    button.disabled = false;
    if (problem.outcome === "rejected") await cart.load().catch(() => {});
    if (cart.units() > 0) button.textContent = "Try again";
  }
}

// What a past order held, back into the cart: after a declined payment nobody searches for it all again.
export async function putBack(lines) {
  for (const line of lines) await cart.edit(line.sku, (before) => Math.max(before, line.quantity));
  location.hash = "#/cart";
}
