// The connection. `EventSource` with two things that it has not: every channel is heard, known or not, and the token goes in a header. The
// protocol is the same: the resume point by `Last-Event-ID`, `retry:`, and the rules of WHATWG HTML 9.2.6.

const POSITION = "pipecast.position"; // the channel that tells the resume point, and no event

/** The blocks of a stream, from text that comes in any pieces. */
class Blocks {
  #rest = "";
  #data = [];
  #channel = "";
  #id;

  /** Calls `take({id, channel, data})` at each blank line; `data` is null in a block without one, `id` undefined. */
  feed(text, take, retry) {
    this.#rest += text;
    // A CR at the end may be the first half of a line's end.
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

/** One pipeline's stream, which comes back by itself where it stopped until it is closed or refused. */
class Stream {
  #url;
  #headers;
  #tell;
  #stop = null;
  #retryMs = 2000;
  #replayedTo = "0-0"; // the newest event at the moment of opening
  resume = "";
  opened = 0;

  /** `tell.event`, `tell.state(state, why)` and `tell.progress` are called as things happen; `headers()` gives the token's. */
  constructor(url, headers, tell) {
    this.#url = url;
    this.#headers = headers;
    this.#tell = tell;
  }

  /** Opens it, or opens it again from the resume point. */
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
      const refusal = await this.#connect(signal).catch(() => null); // the network's: come back
      if (signal.aborted) return;
      if (refusal) return this.#tell.state("closed", refusal);
      if (state === "connecting") this.#tell.state("reconnecting");
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, this.#retryMs);
        signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
      });
    }
  }

  /** Gives why the stream was refused, or null once it has ended. */
  async #connect(signal) {
    await this.#askForNewest();
    const headers = { Accept: "text/event-stream", ...this.#headers() };
    if (this.resume) headers["Last-Event-ID"] = this.resume;
    const answer = await fetch(`${this.#url}/sse`, { headers, signal, cache: "no-store" });
    // An overloaded proxy's answer is not the broker's refusal.
    if (answer.status >= 500 || answer.status === 429) return null;
    if (!answer.ok) return (await answer.json().catch(() => ({}))).detail ?? `the server answered ${answer.status}`;
    // As `EventSource` does, for which a page in the stream's place is final.
    if (!/^text\/event-stream *(;|$)/i.test(answer.headers.get("Content-Type") ?? "")) return "what answers is no stream";
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

  // What is not newer than this is past, whenever it arrives.
  async #askForNewest() {
    try {
      const headers = { Accept: "application/json", ...this.#headers() };
      const answer = await fetch(this.#url, { headers, signal: AbortSignal.timeout(1500), cache: "no-store" });
      if (answer.ok) this.#replayedTo = (await answer.json()).last_id ?? "0-0";
    } catch {
      // Then the events count as live; the stream's own state says what is wrong.
    }
  }

  #take({ id, channel, data }) {
    if (id !== undefined) this.resume = id;
    if (data !== null && channel !== POSITION) this.#tell.event({ id: this.resume, channel, data, replayed: !isAfter(this.resume, this.#replayedTo) });
  }
}
