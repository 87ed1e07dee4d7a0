// The shop's pages. Every value from outside goes through html, which escapes it.

const ESCAPES = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };

class Safe extends String {}

/** A template tag: escapes what is put in, but for other html and lists of it. */
export function html(strings, ...values) {
  const text = (value) => {
    if (value instanceof Safe) return value;
    if (Array.isArray(value)) return value.map(text).join('');
    return String(value ?? '').replace(/[&<>"']/g, (c) => ESCAPES[c]);
  };
  return new Safe(String.raw({ raw: strings }, ...values.map(text)));
}

export const euro = (cents) => `€ ${(cents / 100).toFixed(2)}`;

const stars = (average) => (average === null ? 'no reviews yet' : `★ ${average.toFixed(1)}`);

const STYLE = new Safe(`body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem;color:#1b2a38}
table{width:100%;border-collapse:collapse}td,th{padding:.4rem;border-bottom:1px solid #d5dde5;text-align:left}
a{color:#0b5ea8}.notice{background:#fff4d6;padding:.5rem 1rem}button{padding:.2rem .8rem}`);

function page(title, content, notice) {
  return html`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>${title} · Chandlery</title><style>${STYLE}</style></head>
<body><h1><a href="/">Chandlery</a></h1>${notice ? html`<p class="notice">${notice}</p>` : ''}${content}
<p><a href="/cart">Cart</a></p></body></html>`.toString();
}

export function home(products, words) {
  return page('Everything for your boat', html`<form><input name="q" value="${words}" aria-label="Words"> <button>Search</button></form>
<table>
<tr><th>Product</th><th>Price</th><th>Rating</th></tr>
${products.map((p) => html`<tr><td><a href="/products/${p.id}">${p.name}</a></td><td>${euro(p.cents)}</td><td>${stars(p.average)}</td></tr>`)}
</table>`);
}

export function product(p, { average, reviews }, also, notice) {
  return page(p.name, html`<h2>${p.name}</h2><p>${euro(p.cents)} · ${stars(average)} · ${p.stock > 0 ? `${p.stock} left` : 'sold out'}</p>
<form method="post" action="/cart"><input type="hidden" name="product" value="${p.id}">
<input type="number" name="quantity" value="1" min="1" max="${p.stock}"><button>Put into cart</button></form>
${reviews.map((r) => html`<blockquote>${'★'.repeat(r.stars)} ${r.text} – ${r.author}</blockquote>`)}
${also.length > 0 ? html`<p>Often bought with it: ${also.map((id) => html`<a href="/products/${id}">${id}</a> `)}</p>` : ''}`, notice);
}

export function cart({ items, total }, quote, notice) {
  if (items.length === 0) return page('Cart', html`<p>Your cart is empty.</p>`, notice);
  return page('Cart', html`<table>
${items.map((i) => html`<tr><td>${i.quantity} × ${i.name}</td><td>${euro(i.cents * i.quantity)}</td></tr>`)}
<tr><th>Total</th><th>${euro(total)}</th></tr></table>
${quote ? html`<p>Sent by ${quote.carrier} for ${euro(quote.cents)}, in ${quote.days} days.</p>` : ''}
<form method="post" action="/checkout"><button>Buy</button></form>`, notice);
}

export function thanks(order) {
  return page('Thank you', html`<p>Thank you! Your order ${order.id} over ${euro(order.total)} is on its way.</p>`);
}

export function failure(message) {
  return page('Sorry', html`<p>Sorry, that did not work: ${message}</p>`);
}
