// Code to copy, with the pipeline's address filled in. It never contains the token, only the place for one.

const GAP = "pipecast.gap";

// The shell reads any such text as one word. Characters that a terminal would obey when pasted cannot occur: addresses encode them, and in
// JSON an escape means the same.
const shellQuoted = (text) => `'${visible(text).replaceAll("'", "'\\''")}'`;

// JSON is valid JavaScript, and for such texts valid Python.
const quoted = (text) => visible(JSON.stringify(text));

// In Ruby "#{...}" in double quotes is code.
const rubyQuoted = (text) => quoted(text).replaceAll("#", "\\#");

// Python and Ruby read JSON in single quotes as it is, if it contains nothing that they would read otherwise.
const quotedJson = (json, otherwise) => (/['\\\n]/.test(json) || json !== visible(json) ? otherwise(json) : `'${json}'`);

// Tabs and carriage returns are whitespace between tokens: JSON strings cannot contain them.
const safeJson = (json) => visible(json.replace(/[\t\r]/g, " "));

const SHELL_TOKEN = '-H "Authorization: Bearer $PIPECAST_TOKEN"';

const lines = (...parts) => parts.filter(Boolean).join(" \\\n  ");

/** `curl` for this stream: its channels, from this resume point. */
function curlStream(url, { channels = [], resume = "", hasToken = false } = {}) {
  const query = channels.map((name) => `channel=${encodeURIComponent(name)}`).join("&");
  return lines(`curl -N ${shellQuoted(`${url}/sse${query && `?${query}`}`)}`, hasToken && SHELL_TOKEN, resume && `-H ${shellQuoted(`Last-Event-ID: ${resume}`)}`);
}

/** `curl` that publishes this event. */
function curlPublish(url, body, hasToken = false) {
  const data = `-d ${shellQuoted(safeJson(body))}`;
  return lines(`curl ${shellQuoted(`${url}/events`)}`, hasToken && SHELL_TOKEN, "-H 'Content-Type: application/json'", data);
}

/**
 * For each language its title, and the code that subscribes and that publishes. `body` is the JSON of the event to publish; `needs`
 * has `subscribe` and `publish`: whether each requires a token.
 */
function pieces(url, channel, body, needs) {
  const stream = `${url}/sse`;
  return [
    { title: "curl", subscribe: curlStream(url, { hasToken: needs.subscribe }), publish: curlPublish(url, body, needs.publish) },
    {
      title: "Browser",
      subscribe: `${needs.subscribe ? "// Your server issues the token for the signed-in user.\n" : ""}\
const source = new EventSource(${needs.subscribe ? `${quoted(`${stream}?token=`)} + encodeURIComponent(token)` : quoted(stream)});
${listeners(channel)}`,
      publish: javascriptPublish(url, body, needs.publish && "token"),
    },
    {
      title: "Node.js",
      subscribe: `// npm install eventsource
import { EventSource } from "eventsource";

const source = new EventSource(${quoted(stream)}${needs.subscribe ? NODE_TOKEN : ""});
${listeners(channel)}`,
      publish: javascriptPublish(url, body, needs.publish && "process.env.PIPECAST_TOKEN"),
    },
    { title: "Python", subscribe: pythonSubscribe(stream, channel, needs.subscribe), publish: pythonPublish(url, body, needs.publish) },
    { title: "Ruby", subscribe: rubySubscribe(stream, needs.subscribe), publish: rubyPublish(url, body, needs.publish) },
  ];
}

const NODE_TOKEN = `, {
  fetch: (url, init) => fetch(url, {
    ...init,
    headers: { ...init.headers, Authorization: \`Bearer \${process.env.PIPECAST_TOKEN}\` },
  }),
}`;

const listeners = (channel) => `source.addEventListener(${quoted(channel)}, (event) => {
  console.log(event.lastEventId, JSON.parse(event.data));
});
source.addEventListener("${GAP}", (event) => {
  console.warn("events were missed", event.data);
});`;

const javascriptPublish = (url, body, token) => `const answer = await fetch(${quoted(`${url}/events`)}, {
  method: "POST",
  headers: { "Content-Type": "application/json"${token ? `, Authorization: \`Bearer \${${token}}\`` : ""} },
  body: JSON.stringify(${safeJson(body)}),
});
console.log(await answer.json());`;

const pythonSubscribe = (stream, channel, hasToken) => `# pip install httpx httpx-sse
import json
${hasToken ? "import os\n" : ""}import httpx
from httpx_sse import connect_sse

${hasToken ? `headers = {${PYTHON_TOKEN}}\n` : ""}with httpx.Client(${hasToken ? "headers=headers, " : ""}timeout=30) as client:
    with connect_sse(client, "GET", ${quoted(stream)}) as source:
        for event in source.iter_sse():
            if event.event == ${quoted(channel)}:
                print(event.id, json.loads(event.data), flush=True)`;

const pythonPublish = (url, body, hasToken) => `# pip install httpx
${hasToken ? "import os\n" : ""}import httpx

answer = httpx.post(
    ${quoted(`${url}/events`)},
    headers={"Content-Type": "application/json"${hasToken ? `, ${PYTHON_TOKEN}` : ""}},
    content=${quotedJson(body, quoted)},
)
print(answer.json())`;

const PYTHON_TOKEN = "\"Authorization\": f\"Bearer {os.environ['PIPECAST_TOKEN']}\"";

const rubySubscribe = (stream, hasToken) => `require "net/http"

uri = URI(${rubyQuoted(stream)})
request = Net::HTTP::Get.new(uri)
${hasToken ? `request["Authorization"] = "Bearer #{ENV.fetch("PIPECAST_TOKEN")}"\n` : ""}\
Net::HTTP.start(uri.host, uri.port, use_ssl: uri.scheme == "https") do |http|
  http.request(request) do |response|
    response.read_body { |text| puts text }
  end
end`;

const rubyPublish = (url, body, hasToken) => `require "net/http"

answer = Net::HTTP.post(
  URI(${rubyQuoted(`${url}/events`)}),
  ${quotedJson(body, rubyQuoted)},
  "Content-Type" => "application/json"${hasToken ? `,\n  "Authorization" => "Bearer #{ENV.fetch("PIPECAST_TOKEN")}"` : ""}
)
puts answer.body`;

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

const TASKS = { subscribe: "Subscribe", publish: "Publish" };

/** Tabs, one for each language, each with code to copy. After the WAI-ARIA pattern: arrow keys move between the tabs. */
class CodeTabs {
  #list = element("div", "tabs");
  #panels = [];
  #body;

  /** Fills the element `body`. */
  constructor(body) {
    this.#body = body;
    this.#list.setAttribute("role", "tablist");
    this.#list.setAttribute("aria-label", "Language");
    this.#list.addEventListener("keydown", (event) => this.#move(event));
  }

  /** Shows these pieces; the selected tab stays selected when their text changes. */
  show(pieces) {
    if (!this.#panels.length) this.#make(pieces);
    for (const [index, piece] of pieces.entries()) {
      for (const code of this.#panels[index].querySelectorAll("code")) code.textContent = piece[code.dataset.task];
    }
  }

  #make(pieces) {
    for (const [index, { title }] of pieces.entries()) {
      const tab = element("button", "", title);
      tab.type = "button";
      tab.id = `tab-${index}`;
      tab.setAttribute("role", "tab");
      tab.setAttribute("aria-controls", `panel-${index}`);
      tab.addEventListener("click", () => this.#select(index));
      this.#list.append(tab);
      const panel = element("div", "panel");
      panel.id = `panel-${index}`;
      panel.setAttribute("role", "tabpanel");
      panel.setAttribute("aria-labelledby", tab.id);
      panel.append(...Object.entries(TASKS).map(([task, label]) => this.#task(task, label, title)));
      this.#panels.push(panel);
    }
    this.#body.append(this.#list, ...this.#panels);
    this.#select(0);
  }

  #task(task, label, title) {
    const code = element("code");
    code.dataset.task = task;
    const text = element("pre");
    text.tabIndex = 0; // so that the keyboard can scroll it
    text.setAttribute("role", "region");
    text.setAttribute("aria-label", `${label}: ${title}`);
    text.append(code);
    const copies = copyButton("Copy", () => code.textContent);
    copies.setAttribute("aria-description", `${label}: ${title}`);
    const head = element("div", "head");
    head.append(element("h3", "", label), copies);
    const whole = element("div", "piece");
    whole.append(head, text);
    return whole;
  }

  #select(chosen) {
    for (const [index, tab] of [...this.#list.children].entries()) {
      tab.setAttribute("aria-selected", index === chosen);
      tab.tabIndex = index === chosen ? 0 : -1;
      this.#panels[index].hidden = index !== chosen;
    }
  }

  #move(event) {
    const tabs = [...this.#list.children];
    const at = tabs.indexOf(event.target);
    const to = { ArrowRight: (at + 1) % tabs.length, ArrowLeft: (at - 1 + tabs.length) % tabs.length, Home: 0, End: tabs.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.#select(to);
    tabs[to].focus();
  }
}
