// What customers say about products, kept in memory. A rating is a whole number of stars from 1 to 5.

const MAX_TEXT = 2000;

export class Invalid extends Error {}

export class Reviews {
  #byProduct = new Map();
  #now;

  constructor(seed = {}, now = () => new Date()) {
    this.#now = now;
    for (const [product, reviews] of Object.entries(seed)) {
      for (const review of reviews) this.add(product, review);
    }
  }

  /** Adds a review and returns it as it is kept. Throws Invalid, with a sentence for the customer. */
  add(product, { author, stars, text = '' } = {}) {
    if (typeof author !== 'string' || author.trim() === '') throw new Invalid('a review needs an author');
    if (!Number.isInteger(stars) || stars < 1 || stars > 5) throw new Invalid('stars must be a whole number from 1 to 5');
    if (typeof text !== 'string' || text.length > MAX_TEXT) throw new Invalid(`the text may have ${MAX_TEXT} characters`);
    const review = { author: author.trim(), stars, text, written: this.#now().toISOString() };
    if (!this.#byProduct.has(product)) this.#byProduct.set(product, []);
    this.#byProduct.get(product).push(review);
    return review;
  }

  /** The reviews of a product, newest first, and their average to one decimal; null without reviews. */
  of(product) {
    const reviews = [...(this.#byProduct.get(product) ?? [])].reverse();
    const sum = reviews.reduce((total, review) => total + review.stars, 0);
    return { product, average: reviews.length ? Math.round((sum / reviews.length) * 10) / 10 : null, reviews };
  }
}
