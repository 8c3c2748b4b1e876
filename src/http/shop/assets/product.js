// One product: its variants, what is left of the chosen one ticking live, and into the cart.

import { follow, get } from "./api.js";
import * as cart from "./cart.js";
import { element, humane, loading, money, picture, replace, say, stockWords } from "./dom.js";
import { sorry } from "./words.js";

// Shows the product; answers what to do on leaving.
export async function show(main, id) {
  replace(main, loading());
  let product;
  try {
    product = await get(`/v1/products/${encodeURIComponent(id)}`);
  } catch (problem) {
    replace(main, element("p", { class: "empty" }, sorry(problem)), element("a", { href: "#/" }, "All products"));
    return () => {};
  }
  document.title = `${product.title} · Stockroom`;
  const view = new ProductView(product);
  replace(main, view.whole);
  main.querySelector("h1").focus({ preventScroll: true });
  return () => view.leave();
}

class ProductView {
  constructor(product) {
    this.product = product;
    this.price = element("p", { class: "price big" });
    this.stock = element("p", { class: "stock", id: "stock", role: "status" });
    this.quantity = element("input", { id: "quantity", type: "number", min: "1", max: "99", value: "1", inputmode: "numeric" });
    this.add = element("button", { class: "button", id: "add" }, "Add to cart");
    this.leave = () => {};
    // A button that is disabled while it works would lose the focus of whoever pressed it.
    this.adding = false;
    this.whole = this.lay();
    const first = product.variants.find((variant) => variant.available > 0) ?? product.variants[0];
    if (first) this.chooseVariant(first);
    else this.add.disabled = true;
  }

  lay() {
    const { product } = this;
    const path = product.categories[0]?.split("/") ?? [];
    const crumbs = element(
      "nav",
      { class: "crumbs", "aria-label": "Where you are" },
      element("a", { href: "#/" }, "All products"),
      path.map((name, depth) => {
        const category = path.slice(0, depth + 1).join("/");
        return element("a", { href: `#/?${new URLSearchParams({ category })}` }, humane(name));
      }),
    );
    const buy = element(
      "form",
      { class: "buy", onsubmit: (event) => this.addToCart(event) },
      this.variants(),
      this.price,
      this.stock,
      element(
        "div",
        { class: "buy-row" },
        element("label", { class: "quantity" }, element("span", {}, "Quantity"), this.quantity),
        this.add,
      ),
    );
    return element(
      "article",
      { class: "product" },
      element("div", { class: "frame large" }, picture(product, `Picture of ${product.title}`)),
      element(
        "div",
        { class: "product-text" },
        crumbs,
        element("h1", { tabindex: "-1" }, product.title),
        element("p", { class: "description" }, product.description),
        buy,
        this.attributes(),
      ),
    );
  }

  variants() {
    if (this.product.variants.length < 2) return null;
    const choices = this.product.variants.map((variant) =>
      element(
        "label",
        { class: "variant" },
        element("input", {
          type: "radio",
          name: "sku",
          value: variant.sku,
          onchange: () => this.chooseVariant(variant),
        }),
        element("span", {}, variant.title),
      ),
    );
    return element("fieldset", { class: "variants" }, element("legend", {}, "Choose"), element("div", {}, choices));
  }

  attributes() {
    const rows = Object.entries(this.product.attributes ?? {}).map(([name, value]) => [
      element("dt", {}, humane(name)),
      element("dd", {}, (Array.isArray(value) ? value : [value]).map(String).map(humane).join(", ")),
    ]);
    return rows.length > 0 && element("dl", { class: "attributes" }, rows.flat());
  }

  chooseVariant(variant) {
    this.leave();
    this.variant = variant;
    this.stock.dataset.sku = variant.sku;
    const radio = this.whole.querySelector(`input[value="${CSS.escape(variant.sku)}"]`);
    if (radio) radio.checked = true;
    const price = variant.prices[cart.currency()];
    this.isSold = price !== undefined;
    this.price.textContent = this.isSold ? money(price, cart.currency()) : `Not sold in ${cart.currency()}`;
    this.showStock(variant.available);
    this.leave = follow(`/v1/stock/${encodeURIComponent(variant.sku)}/events`, (data) => {
      const { sku, available } = JSON.parse(data);
      if (sku === this.variant.sku) this.showStock(available);
    });
  }

  showStock(available) {
    const { text, level } = stockWords(available);
    this.stock.className = `stock big ${level}`;
    if (this.stock.textContent !== text) {
      this.stock.textContent = text;
      this.stock.animate?.([{ opacity: 0.2 }, { opacity: 1 }], 400);
    }
    this.add.disabled = available === 0 || !this.isSold;
    if (!this.adding) this.add.textContent = available === 0 ? "Sold out" : "Add to cart";
  }

  async addToCart(event) {
    event.preventDefault();
    if (this.add.disabled || this.adding) return;
    this.adding = true;
    this.add.textContent = "Adding…";
    const quantity = this.quantity.valueAsNumber || 1;
    try {
      await cart.edit(this.variant.sku, (before) => before + quantity);
      say(`${this.product.title} is in the cart.`);
    } catch (problem) {
      say(sorry({ ...problem, name: this.product.title }));
    }
    this.adding = false;
    this.add.textContent = "Add to cart";
  }
}
