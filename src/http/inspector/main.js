// The page: a pipeline, its stream, the list of its events, and the form that publishes.

const inPath = location.pathname.match(/^(.*)\/pipelines\/([^/]+)\/?$/);
const base = location.origin + (inPath ? inPath[1] : location.pathname.replace(/\/[^/]*$/, ""));

let pipeline = "";
let stream = null;
let isDue = false; // whether an update is scheduled for the next frame
let needsToken = false; // a request was rejected with 401
let unannounced = 0; // events not yet announced to screen readers
const events = new Events();
const only = new Set(); // selected channels; empty means all
const list = new List(events, showProgress, (event) => [
  copyButton("Copy payload", () => visible(event.data)),
  copyButton("Copy as curl", () => curlPublish(url(), `{"channel":${JSON.stringify(event.channel)},"payload":${event.data}}`, hasToken())),
]);
const chart = new Chart();

// Only in memory, never in the address or in storage.
const token = () => byId("token").value.trim();
// The code to paste sends a token wherever this page does, or would have to.
const hasToken = () => token() !== "" || needsToken;
const authorization = () => (token() ? { Authorization: `Bearer ${token()}` } : {});
const url = () => `${base}/pipelines/${pipeline}`;

function fromAddress() {
  const name = inPath?.[2] || location.hash.slice(1) || "p_aBcDeF";
  try {
    return decodeURIComponent(name);
  } catch {
    return name; // not a valid name: watch() reports it
  }
}

function showState(state, why = "") {
  byId("state").dataset.state = state;
  byId("state").textContent = why ? `${state}: ${visible(String(why))}` : state;
  byId("connect").textContent = state === "closed" ? "Connect" : "Disconnect";
  showProgress();
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
  event.color = events.channels.get(channel).color;
  if (!replayed) chart.count(event.color);
  unannounced += 1;
}

function changed(state, why) {
  if (state === "open" && stream.opened > 1) {
    const from = stream.resume ? `resumed after ${stream.resume}` : "from the beginning";
    events.add({ kind: "note", id: stream.resume, channel: "", data: `Reconnected, ${from}` });
  }
  showState(state, why);
}

// Checks the name itself, which may come from a link: the field would drop line breaks first.
function isPipeline(name) {
  // "." and ".." cannot be used in a URL path.
  return /^[A-Za-z0-9._~-]{1,128}$/.test(name) && name !== "." && name !== "..";
}

function requireToken() {
  needsToken = true;
  showSnippets();
}

function watch(name) {
  const isValid = isPipeline(name);
  byId("pipeline").value = name;
  if (isValid && name === pipeline) return;
  stream?.close();
  stream = null;
  pipeline = isValid ? name : "";
  clear();
  if (!isValid) return showState("closed", "not a valid pipeline name");
  document.title = `${name} - Pipecast`;
  setResult("", "");
  showSnippets();
  stream = new Stream(url(), authorization, { event: take, state: changed, progress: showProgress, unauthorized: requireToken });
  stream.open();
}

function clear() {
  events.clear();
  only.clear();
  chart.clear();
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
  for (const name of only) if (!shown.some(([other]) => other === name)) shown.push([name, { count: 0, color: 0, ...events.channels.get(name) }]);
  group.hidden = shown.length === 0;
  const buttons = new Map([...group.children].map((button) => [button.channel, button]));
  for (const [name, { count, color }] of shown) {
    const button = buttons.get(name) ?? channelButton(name, color);
    buttons.delete(name);
    if (!button.isConnected) group.append(button);
    button.lastElementChild.textContent = count;
    button.setAttribute("aria-pressed", only.has(name));
  }
  for (const button of buttons.values()) button.remove();
}

function channelButton(name, color) {
  const button = element("button", `c${color}`);
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
  showCode(pieces(url(), byId("channel").value, body(), hasToken()));
}

function setResult(kind, text) {
  byId("result").dataset.kind = kind;
  byId("result").textContent = visible(String(text));
}

async function publish() {
  if (!pipeline) return setResult("error", "Choose a pipeline first");
  try {
    JSON.parse(byId("payload").value);
  } catch (error) {
    return setResult("error", `The payload is not JSON: ${error.message}`);
  }
  setResult("busy", "Publishing");
  try {
    const headers = { "Content-Type": "application/json", ...authorization() };
    // A redirected POST would return the history.
    const answer = await fetch(`${url()}/events`, { method: "POST", headers, body: body(), redirect: "manual" });
    const reply = await answer.json().catch(() => ({}));
    if (answer.status === 401) requireToken();
    if (answer.status === 202 && reply.id) setResult("done", `Published as ${reply.id}`);
    else if (answer.type === "opaqueredirect") setResult("error", "Not published: a proxy redirected the request");
    else setResult("error", reply.detail ?? reply.title ?? `Not published: the server responded with ${answer.status}`);
  } catch {
    setResult("error", "Cannot reach the server");
  }
}

function download() {
  const link = element("a");
  link.href = URL.createObjectURL(new Blob(events.ndjson(), { type: "application/x-ndjson" }));
  link.download = `${pipeline || "pipecast"}.ndjson`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

// Announcing every event would drown a screen reader, so the number of new events is announced now and then.
function announce() {
  if (unannounced) byId("news").textContent = `${unannounced} new ${unannounced === 1 ? "event" : "events"}`;
  unannounced = 0;
}

byId("choose").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = byId("pipeline").value;
  if (!isPipeline(name)) return watch(name);
  if (inPath) location.href = `${base}/pipelines/${name}`;
  else location.hash = name;
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
  showSnippets();
  stream?.open();
});
byId("connect").addEventListener("click", () => {
  if (!stream) return;
  if (byId("state").dataset.state === "closed") return stream.open();
  stream.close();
  showState("closed");
});
byId("filter").addEventListener("input", filter);
byId("pause").addEventListener("click", ({ currentTarget }) => {
  const isPaused = currentTarget.getAttribute("aria-pressed") !== "true";
  currentTarget.setAttribute("aria-pressed", isPaused);
  list.pause(isPaused);
});
byId("clear").addEventListener("click", clear);
byId("copy-stream").addEventListener("click", ({ currentTarget }) => {
  copy(currentTarget, curlStream(url(), { channels: [...only], resume: stream?.resume, hasToken: hasToken() }));
});
byId("download").addEventListener("click", download);
document.addEventListener("visibilitychange", showProgress);
addEventListener("hashchange", () => watch(fromAddress()));
setInterval(announce, 5000);
byId("intro").hidden = Boolean(inPath);
watch(fromAddress());
