// What went wrong, said to a shopper: what happened, whether anything was bought, what to do next.

const BY_CODE = {
  insufficient_stock: (facts) =>
    facts.available > 0
      ? `Only ${facts.available} left of ${facts.name ?? facts.sku ?? "this"}. Nothing was charged; take fewer and try again.`
      : `${facts.name ?? facts.sku ?? "This"} has just sold out. Nothing was charged.`,
  price_changed: () => "A price changed since you looked. The cart shows the new total; buy again if you agree.",
  hold_expired: () => "The reservation ran out before you paid. Try again; what is still there is yours.",
  cart_version: () => "The cart was changed in another window. This is the newest version.",
  cart_merging: () => "The cart is being put together. Try again in a moment.",
  cart_empty: () => "The cart is empty.",
  cart_gone: () => "That cart has expired. A new one was started.",
  unavailable: (facts) => `${facts.name ?? facts.sku ?? "This"} is not for sale at the moment.`,
  order_state: () => "The order has moved on and does not allow that any more.",
  not_found: () => "There is nothing here. It may have been removed.",
  invalid_request: (facts) => facts.detail ?? "Something in the form is not right.",
  too_large: () => "That is more than one order can hold.",
  rate_limited: () => "That was a lot at once. Wait a moment and try again.",
  quota_exceeded: () => "That was a lot at once. Wait a moment and try again.",
  overloaded: () => "The shop is very busy. Try again in a moment.",
  storage_full: () => "The shop cannot take orders right now. Nothing was charged.",
  no_leader: () => "The shop is catching its breath. Try again in a moment.",
  outcome_unknown: () => "No answer yet. Trying again is safe: you will not buy twice.",
  offline: () => "No connection to the shop. Trying again is safe: you will not buy twice.",
};

export function sorry(problem) {
  const say = BY_CODE[problem.code];
  return say ? say(problem) : "Something went wrong on our side. Nothing is lost; try again in a moment.";
}

// Why an order failed; an order that failed has given everything back.
export function failureWords(failure) {
  if (failure.code?.startsWith("payment")) {
    const what = failure.code === "payment_declined" ? "The payment was declined." : "The payment did not come through.";
    return `${what} Nothing was charged and everything went back on the shelf.`;
  }
  const say = BY_CODE[failure.code];
  return say ? say(failure) : "It could not be completed. Nothing was charged and everything went back on the shelf.";
}

// Order states as a shopper understands them: [title, what it means].
export const STATES = {
  placed: ["Order received", "We have it, and it will not get lost."],
  reserving: ["Setting your things aside", "Every item is being reserved for you."],
  authorizing: ["Waiting for the payment", "The bank is being asked."],
  confirmed: ["Confirmed", "It is paid for and yours."],
  fulfilled: ["On its way", "It has left the stockroom."],
  delivered: ["Delivered", "Enjoy it."],
  cancelled: ["Cancelled", "Nothing was charged."],
  failed: ["Not completed", "Nothing was charged."],
  refunded: ["Refunded", "The money is on its way back."],
};

// The simulated means of payment.
export const PAYMENTS = [
  ["tok_ok", "Card that works", "Approved at once"],
  ["tok_slow", "Slow bank", "Approved after three seconds"],
  ["tok_webhook", "Bank that calls back", "The answer comes later by webhook"],
  ["tok_flaky", "Shaky connection", "Fails twice, then works"],
  ["tok_timeout", "Silent bank", "Never answers; we find out that it was approved"],
  ["tok_declined", "Declined card", "Refused"],
  ["tok_lost", "Lost request", "Never arrives; the order gives up cleanly"],
];
