// The start page: the way to a pipeline, and code with this node's address.

const PIPELINE = "p_aBcDeF";
const CHANNEL = "names";
const EVENT = '{"channel":"names","payload":{"name":"Luke"}}';

const { publish, subscribe } = document.documentElement.dataset;
const needs = { publish: publish === "token", subscribe: subscribe === "token" };

function showRecent() {
  const pipelines = Recent.list();
  byId("recent").replaceChildren(...pipelines.map(({ name, at }) => {
    const link = element("a", "", name);
    link.href = link.title = urlOf(name);
    const time = element("time", "", agoText(at));
    time.dateTime = new Date(at).toISOString();
    const item = element("li");
    item.append(link, time);
    return item;
  }));
  byId("clear").hidden = byId("recent-hint").hidden = pipelines.length === 0;
  byId("none").hidden = pipelines.length > 0;
}

function agoText(at) {
  const minutes = Math.max(0, Math.round((Date.now() - at) / 60_000));
  const count = (number, unit) => `${number} ${unit}${number === 1 ? "" : "s"} ago`;
  if (minutes < 1) return "just now";
  if (minutes < 60) return count(minutes, "minute");
  if (minutes < 48 * 60) return count(Math.round(minutes / 60), "hour");
  return count(Math.round(minutes / 60 / 24), "day");
}

function showTokenNote() {
  const which = needs.publish && needs.subscribe ? "publish or subscribe" : needs.publish ? "publish" : "subscribe";
  byId("token-note").hidden = !needs.publish && !needs.subscribe;
  byId("token-note").textContent = `This node requires a token to ${which}. Set PIPECAST_TOKEN to a key or token first.`;
}

byId("open").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = byId("pipeline").value.trim();
  if (isPipeline(name)) location.href = urlOf(name);
  else byId("wrong").textContent = "A pipeline name has 1 to 128 characters: letters, digits and . _ ~ -";
});
byId("pipeline").addEventListener("input", () => (byId("wrong").textContent = ""));
byId("clear").addEventListener("click", () => {
  Recent.clear();
  showRecent();
  byId("recent-title").focus(); // the button is hidden
});
addEventListener("pageshow", showRecent); // also after "back"

byId("node").textContent = base;
byId("watch").href = urlOf(PIPELINE);
showTokenNote();
new CodeTabs(byId("code")).show(pieces(urlOf(PIPELINE), CHANNEL, EVENT, needs));
