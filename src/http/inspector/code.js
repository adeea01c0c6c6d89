// Code to copy, with this pipeline's address filled in. It never contains the token, only a place for it.

const GAP = "pipecast.gap";

// The shell reads any such text as one word. Characters that a terminal would obey when pasted cannot occur: addresses encode them, and in
// JSON an escape means the same.
const shellQuoted = (text) => `'${visible(text).replaceAll("'", "'\\''")}'`;

// JSON is valid JavaScript, and for such texts valid Python.
const quoted = (text) => visible(JSON.stringify(text));

// Tabs and carriage returns are whitespace between tokens: JSON strings cannot contain them.
const safeJson = (json) => visible(json.replace(/[\t\r]/g, " "));

/** `curl` for this stream: its channels, from this resume point. */
function curlStream(url, { channels = [], resume = "", hasToken = false } = {}) {
  const query = channels.map((name) => `channel=${encodeURIComponent(name)}`).join("&");
  const headers = [...(hasToken ? ['"Authorization: Bearer $PIPECAST_TOKEN"'] : []), ...(resume ? [shellQuoted(`Last-Event-ID: ${resume}`)] : [])];
  return ["curl -N", ...headers.map((header) => `-H ${header}`), shellQuoted(`${url}/sse${query && `?${query}`}`)].join(" ");
}

/** `curl` that publishes this event. */
function curlPublish(url, body, hasToken = false) {
  const token = hasToken ? '-H "Authorization: Bearer $PIPECAST_TOKEN" ' : "";
  return `curl -X POST ${shellQuoted(`${url}/events`)} ${token}\\\n  -H 'Content-Type: application/json' -d ${shellQuoted(safeJson(body))}`;
}

/** Title and text of each piece; `body` is the JSON of the event in the form. */
function pieces(url, channel, body, hasToken) {
  const [name, stream, events] = [quoted(channel), `${url}/sse`, quoted(`${url}/events`)];
  const source = hasToken ? `${quoted(`${stream}?token=`)} + encodeURIComponent(token)` : quoted(stream);
  const bearer = (open, close) => (hasToken ? open + close : "");
  return [
    ["Browser", `const source = new EventSource(${source});
source.addEventListener(${name}, (event) => {
  console.log(event.lastEventId, JSON.parse(event.data));
});
source.addEventListener("${GAP}", (event) => {
  console.warn("events were missed", event.data);
});`],
    ["Node.js", `// npm install eventsource
import { EventSource } from "eventsource";

const source = new EventSource(${source});
source.addEventListener(${name}, (event) => {
  console.log(event.lastEventId, JSON.parse(event.data));
});

// Publish
await fetch(${events}, {
  method: "POST",
  headers: { "Content-Type": "application/json"${bearer(", Authorization: `Bearer ${token}`", "")} },
  body: JSON.stringify(${safeJson(body)}),
});`],
    ["Python", `# pip install httpx httpx-sse
import json, httpx
from httpx_sse import connect_sse

headers = {${bearer('"Authorization": f"Bearer {token}"', "")}}
with httpx.Client(timeout=30, headers=headers) as client:
    # Publish
    client.post(${events}, content=${quoted(body)},
                headers={"Content-Type": "application/json"})
    with connect_sse(client, "GET", ${quoted(stream)}) as source:
        for event in source.iter_sse():
            if event.data and event.event != "pipecast.position":
                print(event.id, event.event, json.loads(event.data))`],
    ["curl", `${curlStream(url, { hasToken })}\n\n${curlPublish(url, body, hasToken)}`],
  ];
}

async function copy(button, text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without TLS there is no clipboard, except on localhost.
    const field = element("textarea", "unseen", text);
    document.body.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
    button.focus();
  }
  const label = (button.label ??= button.textContent);
  button.textContent = "Copied";
  clearTimeout(button.timer);
  button.timer = setTimeout(() => (button.textContent = label), 1500);
}

function copyButton(label, text) {
  const button = element("button", "small", label);
  button.type = "button";
  button.addEventListener("click", () => copy(button, text()));
  return button;
}

/** Fills the section; pieces stay expanded when their text changes. */
function showCode(texts) {
  const section = byId("code");
  for (const [index, [title, text]] of texts.entries()) {
    if (!section.children[index]) {
      const details = element("details");
      details.name = "code"; // one at a time
      const pre = element("pre");
      pre.tabIndex = 0;
      pre.setAttribute("role", "region");
      pre.setAttribute("aria-label", `Code: ${title}`);
      const copied = element("div", "copied");
      copied.append(pre, copyButton("Copy", () => pre.textContent));
      details.append(element("summary", "", title), copied);
      section.append(details);
    }
    section.children[index].querySelector("pre").textContent = text;
  }
}
