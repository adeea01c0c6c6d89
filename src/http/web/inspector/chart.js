// Live events per second, by channel colour, over the last minute.

const SECONDS = 60;

/** The smallest round number that is at least `count`: the end of an axis whose middle is a whole number too. */
function roundedUp(count) {
  for (let power = 1; ; power *= 10) {
    const round = [4, 10, 20].map((factor) => factor * power).find((number) => number >= count);
    if (round) return round;
  }
}

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
    if (!this.#counts.has(second)) this.#counts.set(second, Array(COLORS).fill(0));
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
    const rate = sum(now - 1); // the second that is not over yet would always look low
    byId("rate").textContent = rate.toLocaleString("en");
    byId("peak").textContent = peak.toLocaleString("en");
    byId("numbers").hidden = peak === 0;
    byId("quiet").hidden = peak > 0;
    const top = roundedUp(peak);
    byId("top").textContent = peak ? top.toLocaleString("en") : "";
    byId("half").textContent = peak ? (top / 2).toLocaleString("en") : "";
    const label = peak ? `${rate} now, peak ${peak}` : "none";
    this.#canvas.setAttribute("aria-label", `Live events per second over the last minute: ${label}`);
    if (!document.hidden) this.#paint(now, top);
  }

  #paint(now, top) {
    const scale = devicePixelRatio;
    const [width, height] = [this.#canvas.clientWidth * scale, this.#canvas.clientHeight * scale];
    this.#canvas.width = width;
    this.#canvas.height = height;
    const pen = this.#canvas.getContext("2d");
    const style = getComputedStyle(document.documentElement);
    const line = Math.max(1, Math.round(scale));
    pen.fillStyle = style.getPropertyValue("--line");
    for (const y of this.#counts.size ? [0, Math.round(height / 2), height - line] : [height - line]) pen.fillRect(0, y, width, line);
    const step = width / SECONDS;
    for (const [second, counts] of this.#counts) {
      let bottom = height;
      for (const [color, count] of counts.entries()) {
        const bar = (count / top) * height;
        pen.fillStyle = style.getPropertyValue(`--c${color}`);
        pen.fillRect((SECONDS - 1 - (now - second)) * step, bottom - bar, Math.max(step - scale, 1), bar);
        bottom -= bar;
      }
    }
  }
}
