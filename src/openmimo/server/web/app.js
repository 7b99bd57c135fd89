// The page: a world on one side, a chat with the agent that acts in it on the other.

import { get, post } from "./api.js";
import { car } from "./car.js";
import { Chat } from "./chat.js";
import { html } from "./dom.js";
import { energy } from "./energy.js";
import { home } from "./plan.js";

const WORLDS = { home, car, energy };
const OUTSIDE = "☁";

const byId = (id) => document.getElementById(id);

let chat;
let shown = { name: "", view: null, events: null };

function showState(name, state) {
  if (name !== shown.name || !shown.view) return;
  shown.view.update(state);
  byId("clock").textContent = state.clock;
  byId("outside").textContent = `${OUTSIDE} ${state.outside_c.toFixed(1)} °C`;
  const rows = WORLDS[name].rows(state).map(([what, where, now]) =>
    html("li", {}, html("span", {}, what), html("span", { class: "area" }, where), html("b", {}, now)),
  );
  byId("device-list").replaceChildren(...rows);
}

async function act(name, call) {
  shown.view.highlight(call);
  showState(name, (await post(`/worlds/${name}/call`, call)).state);
}

function watch(name) {
  // EventSource reconnects by itself when the server comes back.
  const events = new EventSource(`/worlds/${name}/events`);
  events.onopen = () => document.body.classList.remove("offline");
  events.onerror = () => document.body.classList.add("offline");
  events.onmessage = (event) => showState(name, JSON.parse(event.data));
  return events;
}

/** Show a world and its chat. */
async function open(name) {
  shown.events?.close();
  shown = { name, view: null, events: null };
  for (const link of byId("worlds").children) {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `openmimo · ${name}`;
  const { drawing, state } = await get(`/worlds/${name}`);
  if (shown.name !== name) return; // somebody was quicker
  const world = WORLDS[name];
  shown.view = world.view(byId("plan"), drawing, state, (call) => act(name, call));
  shown.events = watch(name);
  showState(name, state);
  chat.open(name, { heading: world.heading, placeholder: world.placeholder, examples: world.examples(state) });
}

async function start() {
  const [{ worlds }, models] = await Promise.all([get("/worlds"), get("/v1/models")]);
  const known = worlds.filter((name) => name in WORLDS);
  const wanted = () => (known.includes(location.hash.slice(1)) ? location.hash.slice(1) : known[0]);
  byId("model").textContent = models.data[0].id;
  byId("worlds").replaceChildren(...known.map((name) => html("a", { href: `#${name}` }, name)));
  byId("devices").open = matchMedia("(min-width: 60rem) and (min-height: 62rem)").matches;
  for (const button of document.querySelectorAll("[data-minutes]")) {
    button.addEventListener("click", async () => {
      const { name } = shown;
      showState(name, (await post(`/worlds/${name}/pass`, { minutes: Number(button.dataset.minutes) })).state);
    });
  }
  chat = new Chat({
    log: byId("log"),
    form: byId("composer"),
    prompt: byId("prompt"),
    send: byId("send"),
    stop: byId("stop"),
    onState: showState,
    onCall: (name, call) => name === shown.name && shown.view?.highlight(call),
  });
  addEventListener("hashchange", () => open(wanted()).catch(fail));
  await open(wanted());
}

function fail(error) {
  byId("log").append(html("p", { class: "problem" }, error.message));
}

start().catch(fail);
