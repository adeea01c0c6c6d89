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

/** The node cannot serve the stream at the moment. */
class Unavailable extends Error {}

/** The broker, or whatever answers in its place, rejected the stream: a retry would not help. `state` is "locked" if a token is missing. */
class Rejected extends Error {
  constructor(state, message) {
    super(message);
    this.state = state;
  }
}

/** One pipeline's stream. It reconnects and resumes by itself until it is closed or rejected. */
class Stream {
  #url;
  #headers;
  #notify;
  #stop = null;
  #retryMs = 2000;
  #replayedTo = "0-0"; // the newest event when the stream was opened
  resume = "";
  opened = 0;

  /**
   * Calls `notify.event`, `notify.state(state, why)` and `notify.progress` as things happen. The states are "connecting", "open",
   * "reconnecting", "closed" and "locked". `headers()` returns those with the token.
   */
  constructor(url, headers, notify) {
    this.#url = url;
    this.#headers = headers;
    this.#notify = notify;
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
    this.#notify.state("connecting");
    while (!signal.aborted) {
      let why = "";
      try {
        await this.#connect(signal);
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof Rejected) return this.#notify.state(error.state, error.message);
        why = error instanceof Unavailable ? error.message : "cannot reach the node";
      }
      if (signal.aborted) return;
      this.#notify.state("reconnecting", why);
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, this.#retryMs);
        signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
      });
    }
  }

  /** Returns once the stream has ended. */
  async #connect(signal) {
    // What the pipeline holds at this moment will be replayed; every later event is live, however late it arrives. Without an answer there
    // is no stream: a guess would show replayed events as live ones. The pipeline's own description has no id for a token that is limited
    // to channels; the newest event that the token may read has one.
    const newest = await this.#ask("/events?limit=1", "application/json", signal);
    this.#replayedTo = (await newest.json()).events.at(-1)?.id ?? "0-0";
    const answer = await this.#ask("/sse", "text/event-stream", signal, this.resume ? { "Last-Event-ID": this.resume } : {});
    this.opened += 1;
    this.#notify.state("open");
    const blocks = new Blocks();
    const decoder = new TextDecoder();
    const reader = answer.body.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done || signal.aborted) return;
      blocks.feed(decoder.decode(value, { stream: true }), (block) => this.#take(block), (ms) => (this.#retryMs = ms));
      this.#notify.progress();
    }
  }

  async #ask(path, type, signal, more = {}) {
    const headers = { Accept: type, ...this.#headers(), ...more };
    const answer = await fetch(this.#url + path, { headers, signal, cache: "no-store" });
    if (answer.ok) {
      // Like `EventSource`, which does not reconnect after any other content type.
      const given = answer.headers.get("Content-Type")?.split(";")[0].trim().toLowerCase();
      if (given !== type) throw new Rejected("closed", `the server responded with ${given ?? "no content type"} in place of ${type}`);
      return answer;
    }
    const why = (await answer.json().catch(() => ({}))).detail ?? `the server responded with ${answer.status}`;
    // An overloaded proxy's response is not a rejection by the broker.
    if (answer.status >= 500 || answer.status === 429) throw new Unavailable(why);
    throw new Rejected(answer.status === 401 && !headers.Authorization ? "locked" : "closed", why);
  }

  #take({ id, channel, data }) {
    if (id !== undefined) this.resume = id;
    if (data !== null && channel !== POSITION) this.#notify.event({ id: this.resume, channel, data, replayed: !isAfter(this.resume, this.#replayedTo) });
  }
}
