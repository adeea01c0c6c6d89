// The list of events, newest first. The document holds a few hundred of them, however many there are.

const SHOWN_AT_ONCE = 200;
const MOST_SHOWN = 1000;

const GAP_REASONS = {
  trimmed: "no longer in the history",
  reset: "the history was reset",
  unknown: "unknown resume point",
  slow: "this browser was too slow",
};

function gapText({ data }) {
  const { reason, missed } = JSON.parse(data);
  const what = missed === null ? "Gap: events were missed" : `Gap: ${missed} ${missed === 1 ? "event was" : "events were"} missed`;
  return `${what} (${GAP_REASONS[reason] ?? visible(String(reason))})`;
}

function timeOf(id) {
  const date = new Date(Number(id.split("-")[0]));
  const time = element("time");
  if (Number.isNaN(date.getTime())) return time;
  const text = date.toLocaleTimeString([], { hour12: false, hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3 });
  time.textContent = text;
  time.dateTime = time.title = date.toISOString();
  return time;
}

class List {
  #events;
  #update;
  #openActions;
  #log = document.querySelector('[role="log"]');
  #list = byId("events");
  #first = 0; // the number of the newest event in the list, or of the last one before it
  #isPaused = false;
  #hint = "";

  /** `update()` makes the next frame call `showNewer`; `openActions(event)` returns the buttons of an expanded event. */
  constructor(events, update, openActions) {
    this.#events = events;
    this.#update = update;
    this.#openActions = openActions;
    byId("older").addEventListener("click", () => this.#showOlder());
    byId("newer").addEventListener("click", () => this.#goToNewest());
    this.#log.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.#log.addEventListener("keydown", (event) => this.#move(event));
  }

  /** Rebuilds the list after the filter or all events have changed. */
  reset() {
    const passing = this.#events.passing;
    this.#first = passing.at(-1)?.number ?? this.#first;
    this.#list.replaceChildren(...passing.slice(-SHOWN_AT_ONCE).reverse().map((event) => this.#item(event)));
    this.#log.scrollTop = 0;
    this.#showEnds();
  }

  /** Shows this text while there are no events. */
  explain(text) {
    this.#hint = text;
    this.#showEnds();
  }

  pause(isPaused) {
    this.#isPaused = isPaused;
    if (isPaused) this.showNewer();
    else this.#goToNewest();
  }

  // Nothing moves while the user has scrolled down to read.
  get #isHeld() {
    return this.#isPaused || this.#log.scrollTop > 8;
  }

  /** Shows what is new, unless the list is held. */
  showNewer() {
    if (!this.#isHeld) {
      const passing = this.#events.passing;
      const fresh = passing.slice(Math.max(this.#events.indexAfter(this.#first), passing.length - SHOWN_AT_ONCE));
      if (fresh.length) {
        this.#first = fresh.at(-1).number;
        const items = fresh.reverse().map((event) => this.#item(event));
        if (fresh.length < 20) for (const item of items) if (!item.classList.contains("replayed")) item.classList.add("new");
        this.#list.prepend(...items);
      }
      while (this.#list.childElementCount > SHOWN_AT_ONCE) this.#takeOut(this.#list.lastElementChild);
    }
    this.#showEnds();
  }

  #takeOut(item) {
    // The focus would be lost.
    if (item.contains(document.activeElement)) this.#log.focus();
    item.remove();
  }

  #goToNewest() {
    this.#log.scrollTop = 0;
    if (this.#isPaused) return this.reset();
    if (byId("newer") === document.activeElement) this.#log.focus();
    this.showNewer();
  }

  #showOlder() {
    const last = this.#list.lastElementChild?.event.number ?? this.#first + 1;
    const end = this.#events.indexAfter(last - 1);
    const older = this.#events.passing.slice(Math.max(0, end - SHOWN_AT_ONCE), end);
    this.#list.append(...older.reverse().map((event) => this.#item(event)));
    this.#letGoOfNewest(this.#list.childElementCount - MOST_SHOWN);
    this.#showEnds();
  }

  // These are above the visible part, which must not move.
  #letGoOfNewest(count) {
    if (count <= 0) return;
    const height = this.#log.scrollHeight;
    for (let n = 0; n < count; n += 1) this.#takeOut(this.#list.firstElementChild);
    this.#first = this.#list.firstElementChild.event.number;
    this.#log.scrollTop -= height - this.#log.scrollHeight;
  }

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.#log;
    if (scrollTop > 8 && scrollTop + clientHeight > scrollHeight - 300 && !byId("older").hidden) this.#showOlder();
    this.#update();
  }

  // Shows whether there are more events above and below.
  #showEnds() {
    const passing = this.#events.passing;
    const newer = passing.length - this.#events.indexAfter(this.#first);
    byId("newer").hidden = newer === 0;
    byId("newer").textContent = `\u2191 ${newer.toLocaleString("en")} newer`;
    const last = this.#list.lastElementChild?.event.number;
    byId("older").hidden = last === undefined || this.#events.indexAfter(last - 1) === 0;
    byId("empty").hidden = this.#list.childElementCount > 0;
    byId("empty").textContent = this.#events.all.length ? "No events match the filter." : this.#hint;
  }

  #item(event) {
    const item = element("li");
    item.event = event;
    if (event.kind === "event") this.#fill(item, event);
    else {
      item.className = event.kind;
      item.textContent = event.kind === "gap" ? gapText(event) : event.data;
    }
    return item;
  }

  #fill(item, event) {
    const details = element("details");
    const summary = element("summary");
    summary.tabIndex = -1; // reached with the arrow keys; hundreds of tab stops would be useless
    const channel = element("span", `channel ${event.look}`, visible(event.channel));
    const time = timeOf(event.id);
    if (event.replayed) {
      item.className = "replayed";
      time.append(element("span", "unseen", " replayed"));
    }
    summary.append(time, channel, element("span", "preview", visible(event.data.slice(0, 400))), element("span", "id", event.id));
    details.append(summary);
    details.addEventListener("toggle", () => {
      if (details.open && details.childElementCount === 1) details.append(this.#unfolded(event));
    });
    item.append(details);
  }

  #unfolded(event) {
    const open = element("div", "open");
    const payload = element("pre", "", visible(pretty(event.data)));
    payload.tabIndex = 0; // so that the keyboard can scroll it
    payload.setAttribute("role", "region");
    payload.setAttribute("aria-label", "Payload");
    const row = element("div", "row");
    row.append(...this.#openActions(event), element("span", "mark", `${event.id} \u00b7 ${event.replayed ? "replayed" : "live"} \u00b7 ${size(event.data)}`));
    open.append(payload, row);
    return open;
  }

  #move(event) {
    if (event.target !== this.#log && event.target.localName !== "summary") return;
    const rows = [...this.#list.querySelectorAll("summary")];
    const at = rows.indexOf(event.target);
    const to = { ArrowDown: at + 1, ArrowUp: Math.max(at - 1, 0), Home: 0, End: rows.length - 1 }[event.key];
    if (to === undefined || !rows[to]) return;
    event.preventDefault();
    rows[to].focus();
  }
}

function size(text) {
  const bytes = new TextEncoder().encode(text).length;
  return bytes < 1024 ? `${bytes} B` : `${(bytes / 1024).toFixed(1)} KiB`;
}
