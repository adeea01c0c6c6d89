// The connection: like `EventSource`, but it receives every channel, known or not, and sends the token in a header. The protocol is the
// same: the resume point in `Last-Event-ID`, `retry:`, and the rules of WHATWG HTML 9.2.6.

const POSITION = "pipecast.position"; // the channel that carries the resume point; not an event

/** Splits a stream into blocks; its text may arrive in any pieces. */
class Blocks {
  #rest = "";
  #data = [];
  #channel = "";
  #id;

  /** Calls `take({id, channel, data})` at each blank line; `data` is null in a block without one, `id` undefined. */
  feed(text, take, retry) {
    this.#rest += text;
    // A CR at the end may be the first half of a line break.
    const lines = this.#rest.split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop();
    for (const line of lines) this.#line(line, take, retry);
  }

  #line(line, take, retry) {
    if (line === "") {
      take({ id: this.#id, channel: this.#channel || "message", data: this.#data.length ? this.#data.join("\n") : null });
      this.#data = [];
      this.#channel = "";
      this.#id = undefined;
      return;
    }
    const colon = line.indexOf(":");
    const field = colon === -1 ? line : line.slice(0, colon);
    const value = colon === -1 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "data") this.#data.push(value);
    else if (field === "event") this.#channel = value;
    else if (field === "id" && !value.includes("\0")) this.#id = value;
    else if (field === "retry" && /^\d+$/.test(value)) retry(Number(value));
  }
}

/** Whether the id `a` comes after `b`; ids are `<ms>-<seq>`, ordered by ms, then seq. */
function isAfter(a, b) {
  const [aMs, aSeq] = a.split("-").map(Number);
  const [bMs, bSeq] = b.split("-").map(Number);
  return aMs > bMs || (aMs === bMs && aSeq > bSeq);
}

/** One pipeline's stream. It reconnects and resumes by itself until it is closed or rejected. */
class Stream {
  #url;
  #headers;
  #tell;
  #stop = null;
  #retryMs = 2000;
  #replayedTo = "0-0"; // the newest event when the stream was opened
  resume = "";
  opened = 0;

  /**
   * Calls `tell.event`, `tell.state(state, why)`, `tell.progress` and, for a 401, `tell.unauthorized` as things happen.
   * `headers()` returns those with the token.
   */
  constructor(url, headers, tell) {
    this.#url = url;
    this.#headers = headers;
    this.#tell = tell;
  }

  /** Opens it, or reopens it from the resume point. */
  open() {
    this.#stop?.abort();
    const stop = (this.#stop = new AbortController());
    this.#run(stop.signal);
  }

  close() {
    this.#stop?.abort();
    this.#stop = null;
  }

  async #run(signal) {
    for (let state = "connecting"; !signal.aborted; state = "reconnecting") {
      this.#tell.state(state);
      const refusal = await this.#connect(signal).catch(() => null); // a network failure: reconnect
      if (signal.aborted) return;
      if (refusal) return this.#tell.state("closed", refusal);
      if (state === "connecting") this.#tell.state("reconnecting");
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, this.#retryMs);
        signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
      });
    }
  }

  /** Returns why the stream was rejected, or null once it has ended. */
  async #connect(signal) {
    await this.#askForNewest();
    const headers = { Accept: "text/event-stream", ...this.#headers() };
    if (this.resume) headers["Last-Event-ID"] = this.resume;
    const answer = await fetch(`${this.#url}/sse`, { headers, signal, cache: "no-store" });
    // An overloaded proxy's response is not a rejection by the broker.
    if (answer.status >= 500 || answer.status === 429) return null;
    if (answer.status === 401) this.#tell.unauthorized?.();
    if (answer.status === 401 && !headers.Authorization) return "this pipeline requires a token. Paste one into the Token field above";
    if (!answer.ok) return (await answer.json().catch(() => ({}))).detail ?? `the server responded with ${answer.status}`;
    // Like `EventSource`, which does not reconnect after any other content type.
    if (!/^text\/event-stream *(;|$)/i.test(answer.headers.get("Content-Type") ?? "")) return "the response is not an event stream";
    this.opened += 1;
    this.#tell.state("open");
    const blocks = new Blocks();
    const decoder = new TextDecoder();
    const reader = answer.body.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done || signal.aborted) return null;
      blocks.feed(decoder.decode(value, { stream: true }), (block) => this.#take(block), (ms) => (this.#retryMs = ms));
      this.#tell.progress();
    }
  }

  // Events that are not newer than this one are replayed, whenever they arrive.
  async #askForNewest() {
    try {
      const headers = { Accept: "application/json", ...this.#headers() };
      const answer = await fetch(this.#url, { headers, signal: AbortSignal.timeout(1500), cache: "no-store" });
      if (answer.ok) this.#replayedTo = (await answer.json()).last_id ?? "0-0";
    } catch {
      // Then all events count as live; the stream itself shows what is wrong.
    }
  }

  #take({ id, channel, data }) {
    if (id !== undefined) this.resume = id;
    if (data !== null && channel !== POSITION) this.#tell.event({ id: this.resume, channel, data, replayed: !isAfter(this.resume, this.#replayedTo) });
  }
}
