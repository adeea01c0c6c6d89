// The page: a pipeline, its stream, the list of its events, and the form that publishes.

let pipeline = "";
let stream = null;
let isDue = false; // whether an update is scheduled for the next frame
// Whether a request without a token is rejected. The node writes its settings into the page.
const needs = { publish: document.documentElement.dataset.publish === "token", subscribe: document.documentElement.dataset.subscribe === "token" };
let usedToken = ""; // the one with which the stream was opened
let unannounced = 0; // events not yet announced to screen readers
const events = new Events();
const only = new Set(); // selected channels; empty means all
const list = new List(events, showProgress, (event) => [
  copyButton("Copy payload", () => visible(event.data)),
  copyButton("Copy curl to publish", () => curlPublish(url(), `{"channel":${JSON.stringify(event.channel)},"payload":${event.data}}`, needsToken().publish)),
]);
const chart = new Chart();
const code = new CodeTabs(byId("code"));

// Only in memory, never in the address or in storage.
const token = () => byId("token").value.trim();
// The code to paste sends a token wherever this page does, or would have to.
const needsToken = () => (token() ? { publish: true, subscribe: true } : needs);
const authorization = () => (token() ? { Authorization: `Bearer ${token()}` } : {});
const url = () => urlOf(pipeline);

const STATES = {
  connecting: "Connecting",
  open: "Connected",
  reconnecting: "Reconnecting",
  disconnected: "Disconnected", // by the user
  locked: "This pipeline requires a token. Paste one above.",
  closed: "Closed",
};

// A list without events says why it has none.
const EMPTY = {
  connecting: "Waiting for the node.",
  open: "No events yet. Publish one: it appears here and in every other browser that has this pipeline open.",
  reconnecting: "Waiting for the node.",
  disconnected: "Disconnected. Connect to receive the events that you missed.",
  locked: "",
  closed: "",
};

function fromAddress() {
  const name = location.pathname.split("/").at(-1);
  try {
    return decodeURIComponent(name);
  } catch {
    return name; // not a valid name: watch() reports it
  }
}

function showState(state, why = "") {
  const isOver = ["disconnected", "locked", "closed"].includes(state);
  byId("state").dataset.state = state;
  byId("state").textContent = why && state !== "locked" ? `${STATES[state]}: ${visible(String(why))}` : STATES[state];
  byId("connect").textContent = isOver ? "Connect" : "Disconnect";
  byId("connect").hidden = state === "locked" || !pipeline;
  list.explain(EMPTY[state]);
  showProgress();
}

// Shows the field for the token, which a phone folds away, and puts the cursor into it, unless the user is writing something else.
function askForToken() {
  unfold(true);
  if (!document.activeElement?.matches("input, textarea")) byId("token").focus();
}

function unfold(isUnfolded) {
  byId("fold").setAttribute("aria-expanded", isUnfolded);
}

// At most once per frame, however fast events arrive; a hidden tab waits until it is visible.
function showProgress() {
  if (isDue || document.hidden) return;
  isDue = true;
  requestAnimationFrame(() => {
    isDue = false;
    showNow();
  });
}

function showNow() {
  byId("resume").textContent = stream?.resume || "none yet";
  byId("reconnects").textContent = Math.max(0, (stream?.opened ?? 0) - 1);
  const { all, passing } = events.counts;
  const count = `${all.toLocaleString("en")} ${all === 1 ? "event" : "events"}`;
  byId("counts").textContent = passing === all ? count : `${passing.toLocaleString("en")} of ${count} shown`;
  list.showNewer();
  showChannels();
}

function take({ id, channel, data, replayed }) {
  const kind = channel === GAP ? "gap" : "event";
  const event = { kind, id, channel, data, replayed };
  events.add(event);
  if (kind === "gap") return;
  const { color, shape } = events.channels.get(channel);
  event.look = `c${color} s${shape}`;
  if (replayed) byId("replayed").hidden = false;
  else chart.count(color);
  unannounced += 1;
}

function changed(state, why) {
  if (state === "open" && stream.opened > 1) {
    const from = stream.resume ? `resumed after ${stream.resume}` : "from the beginning";
    events.add({ kind: "note", id: stream.resume, channel: "", data: `Reconnected, ${from}` });
  }
  if (state === "open" && stream.opened === 1) Recent.add(pipeline);
  showState(state, why);
  if (state !== "locked") return;
  needs.subscribe = true;
  showSnippets();
  askForToken();
}

function connect() {
  usedToken = token();
  stream?.open();
}

// Without a new page the token stays in memory, and with it the user's access to the next pipeline.
function go(name) {
  if (isPipeline(name) && name === pipeline) connect();
  else if (isPipeline(name)) history.pushState(null, "", urlOf(name));
  watch(name);
  unfold(false);
}

function showFold() {
  byId("fold-pipeline").textContent = byId("pipeline").value;
  byId("fold-token").textContent = token() ? "with a token" : "no token";
}

function watch(name) {
  const isValid = isPipeline(name);
  byId("pipeline").value = name;
  showFold();
  if (isValid && name === pipeline) return;
  stream?.close();
  stream = null;
  pipeline = isValid ? name : "";
  clear();
  if (!isValid) return showState("closed", "a pipeline name has 1 to 128 characters: letters, digits and . _ ~ -");
  document.title = `${name} - Pipecast`;
  setResult("", "");
  showSnippets();
  stream = new Stream(url(), authorization, { event: take, state: changed, progress: showProgress });
  connect();
}

function clear() {
  events.clear();
  only.clear();
  chart.clear();
  byId("replayed").hidden = true;
  filter();
}

function filter() {
  events.filter(only, byId("filter").value.trim());
  list.reset();
  showProgress();
}

// Only the most used ones: a publisher may invent thousands.
function showChannels() {
  const group = byId("channels");
  const shown = [...events.channels].sort(([, a], [, b]) => b.count - a.count).slice(0, 40);
  for (const name of only) if (!shown.some(([other]) => other === name)) shown.push([name, { count: 0, ...lookOf(name), ...events.channels.get(name) }]);
  group.hidden = shown.length === 0;
  const buttons = new Map([...group.children].map((button) => [button.channel, button]));
  for (const [name, { count, color, shape }] of shown) {
    const button = buttons.get(name) ?? channelButton(name, `c${color} s${shape}`);
    buttons.delete(name);
    if (!button.isConnected) group.append(button);
    button.lastElementChild.textContent = count.toLocaleString("en");
    button.setAttribute("aria-pressed", only.has(name));
  }
  for (const button of buttons.values()) button.remove();
}

function channelButton(name, look) {
  const button = element("button", look);
  button.type = "button";
  button.channel = name;
  button.append(element("span", "name", visible(name)), element("span", "count"));
  button.addEventListener("click", () => {
    if (!only.delete(name)) only.add(name);
    filter();
  });
  return button;
}

function body() {
  // Assembled as text: parsing the payload would change numbers that JavaScript cannot represent.
  return `{"channel":${JSON.stringify(byId("channel").value)},"payload":${byId("payload").value.trim()}}`;
}

function showSnippets() {
  code.show(pieces(url(), byId("channel").value, body(), needsToken()));
}

function setResult(kind, text) {
  byId("result").dataset.kind = kind;
  byId("result").textContent = visible(String(text));
}

async function publish() {
  if (!pipeline) return setResult("error", "Open a pipeline first");
  try {
    JSON.parse(byId("payload").value);
  } catch (error) {
    return setResult("error", `The payload is not valid JSON: ${error.message}`);
  }
  setResult("busy", "Publishing");
  try {
    const headers = { "Content-Type": "application/json", ...authorization() };
    // A redirected POST would return the history.
    const answer = await fetch(`${url()}/events`, { method: "POST", headers, body: body(), redirect: "manual" });
    const reply = await answer.json().catch(() => ({}));
    if (answer.status === 401 && !headers.Authorization) return lockPublish();
    if (answer.status === 202 && reply.id) setResult("done", `Published as ${reply.id}`);
    else if (answer.type === "opaqueredirect") setResult("error", "Not published: a proxy redirected the request.");
    else setResult("error", reply.detail ?? reply.title ?? `Not published: the server responded with ${answer.status}`);
  } catch {
    setResult("error", "Cannot reach the node. The event may have been published.");
  }
}

function lockPublish() {
  needs.publish = true;
  showSnippets();
  // The stream's state already asks for the token.
  const isAsked = byId("state").dataset.state === "locked";
  setResult(isAsked ? "" : "locked", isAsked ? "" : "Publishing to this pipeline requires a token. Paste one above.");
  unfold(true);
  byId("token").focus();
}

function download() {
  const link = element("a");
  link.href = URL.createObjectURL(new Blob(events.ndjson(), { type: "application/x-ndjson" }));
  link.download = `${pipeline || "pipecast"}.ndjson`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

// Where there is no room for everything side by side.
function view(name) {
  document.querySelector("main").dataset.view = name;
  for (const button of document.querySelectorAll("[data-view]:is(button)")) button.setAttribute("aria-pressed", button.dataset.view === name);
}

// Announcing every event would drown a screen reader, so the number of new events is announced now and then.
function announce() {
  if (unannounced) byId("news").textContent = `${unannounced} new ${unannounced === 1 ? "event" : "events"}`;
  unannounced = 0;
}

byId("choose").addEventListener("submit", (event) => {
  event.preventDefault();
  go(byId("pipeline").value.trim());
});
byId("identify").addEventListener("submit", (event) => {
  event.preventDefault();
  unfold(false);
  // "change" comes first, unless the token is the same: then the user wants another attempt.
  if (token() === usedToken) connect();
});
byId("publish").addEventListener("submit", (event) => {
  event.preventDefault();
  publish();
});
byId("publish").addEventListener("input", showSnippets);
byId("payload").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) byId("publish").requestSubmit();
});
byId("token").addEventListener("change", () => {
  showFold();
  showSnippets();
  if (token() !== usedToken) connect();
});
byId("fold").addEventListener("click", ({ currentTarget }) => unfold(currentTarget.getAttribute("aria-expanded") !== "true"));
for (const button of document.querySelectorAll("[data-view]:is(button)")) button.addEventListener("click", () => view(button.dataset.view));
// A browser scrolls only to what is hidden completely.
byId("channels").addEventListener("focusin", ({ target }) => target.scrollIntoView({ block: "nearest", inline: "nearest" }));
byId("connect").addEventListener("click", () => {
  if (!stream) return;
  if (["disconnected", "closed"].includes(byId("state").dataset.state)) return connect();
  stream.close();
  showState("disconnected");
});
byId("filter").addEventListener("input", filter);
byId("pause").addEventListener("click", ({ currentTarget }) => {
  const isPaused = currentTarget.getAttribute("aria-pressed") !== "true";
  currentTarget.setAttribute("aria-pressed", isPaused);
  list.pause(isPaused);
});
byId("clear").addEventListener("click", clear);
byId("copy-stream").addEventListener("click", ({ currentTarget }) => {
  copy(currentTarget, curlStream(url(), { channels: [...only], resume: stream?.resume, hasToken: needsToken().subscribe }));
});
byId("download").addEventListener("click", download);
document.addEventListener("visibilitychange", showProgress);
addEventListener("popstate", () => watch(fromAddress()));
setInterval(announce, 5000);
watch(fromAddress());
