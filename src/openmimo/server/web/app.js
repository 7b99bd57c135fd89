// The page: a home on one side, a chat with the agent that runs it on the other.

import { get, post } from "./api.js";
import { Chat } from "./chat.js";
import { html } from "./dom.js";
import { examplesFor, FloorPlan, OUTSIDE, toggleCall } from "./plan.js";

const byId = (id) => document.getElementById(id);

let plan;

function showState(state) {
  plan.update(state);
  byId("weather").replaceChildren(
    html("span", { class: "clock" }, state.clock),
    html("span", { class: "outside", title: "outside" }, `${OUTSIDE} ${state.outside_c.toFixed(1)} °C`),
  );
  showList(state.devices);
}

function showList(devices) {
  const rows = devices.map((device) =>
    html("li", {}, html("span", {}, device.name), html("span", { class: "area" }, device.area), html("b", {}, device.state)),
  );
  byId("device-list").replaceChildren(...rows);
}

async function toggle(device) {
  const call = toggleCall(device);
  if (call) showState((await post("/home/call", call)).state);
}

function watch() {
  // EventSource reconnects by itself when the server comes back.
  const events = new EventSource("/home/events");
  events.onopen = () => document.body.classList.remove("offline");
  events.onerror = () => document.body.classList.add("offline");
  events.onmessage = (event) => showState(JSON.parse(event.data));
}

async function start() {
  const [home, models] = await Promise.all([get("/home"), get("/v1/models")]);
  plan = new FloorPlan(byId("plan"), home.plan, home.state, toggle);
  showState(home.state);
  byId("model").textContent = models.data[0].id;
  byId("devices").open = matchMedia("(min-width: 60rem) and (min-height: 62rem)").matches;
  new Chat({
    log: byId("log"),
    welcome: byId("welcome"),
    examples: byId("examples"),
    form: byId("composer"),
    prompt: byId("prompt"),
    send: byId("send"),
    stop: byId("stop"),
    onHome: showState,
    onCall: (call) => plan.highlight(call),
  }).suggest(examplesFor(home.state));
  watch();
}

start().catch((error) => byId("welcome").append(html("p", { class: "problem" }, error.message)));
