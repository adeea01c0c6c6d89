// Live events a second, by channel, in the last minute.

const SECONDS = 60;

class Chart {
  #canvas = byId("chart");
  #counts = new Map(); // second -> colour -> how many

  constructor() {
    setInterval(() => this.draw(), 1000);
    new ResizeObserver(() => this.draw()).observe(this.#canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  count(color) {
    const second = Math.floor(Date.now() / 1000);
    if (!this.#counts.has(second)) this.#counts.set(second, Array(8).fill(0));
    this.#counts.get(second)[color] += 1;
  }

  clear() {
    this.#counts.clear();
    this.draw();
  }

  draw() {
    const now = Math.floor(Date.now() / 1000);
    for (const second of this.#counts.keys()) if (second <= now - SECONDS) this.#counts.delete(second);
    const sum = (second) => (this.#counts.get(second) ?? []).reduce((total, count) => total + count, 0);
    const peak = Math.max(0, ...[...this.#counts.keys()].map(sum));
    // The second that is not over yet would always look low.
    byId("rate").textContent = `${sum(now - 1)}/s`;
    byId("peak").textContent = `peak ${peak}/s`;
    if (!document.hidden) this.#bars(now, Math.max(peak, 4));
  }

  #bars(now, top) {
    const scale = devicePixelRatio;
    const [width, height] = [this.#canvas.clientWidth, this.#canvas.clientHeight];
    this.#canvas.width = width * scale;
    this.#canvas.height = height * scale;
    const pen = this.#canvas.getContext("2d");
    const style = getComputedStyle(document.documentElement);
    const step = (width * scale) / SECONDS;
    for (const [second, counts] of this.#counts) {
      let bottom = this.#canvas.height;
      for (const [color, count] of counts.entries()) {
        const bar = (count / top) * this.#canvas.height;
        pen.fillStyle = style.getPropertyValue(`--c${color}`);
        pen.fillRect((SECONDS - 1 - (now - second)) * step, bottom - bar, Math.max(step - scale, 1), bar);
        bottom -= bar;
      }
    }
  }
}
