// The page: a world on one side, a chat with the agent that acts in it on the other.

import { get, post } from "./api.js";
import { car } from "./car.js";
import { Chat } from "./chat.js";
import { html } from "./dom.js";
import { energy } from "./energy.js";
import { home } from "./plan.js";

const WORLDS = { home, car, energy };
const OUTSIDE = "☁";
const NOTICE_MS = 8000;

const byId = (id) => document.getElementById(id);

let chat;
let shown = { name: "", view: null, events: null };
let fading = 0;

function showState(name, state) {
  if (name !== shown.name || !shown.view) return;
  shown.view.update(state);
  byId("clock").textContent = state.clock;
  const cloud = Math.round(100 * state.cloud);
  byId("outside").textContent = `${OUTSIDE} ${cloud}% · ${state.outside_c.toFixed(1)} °C`;
  byId("outside").title = `outside: clouds cover ${cloud}% of the sky`;
  const rows = WORLDS[name].rows(state).map(([what, where, now]) =>
    html("li", {}, html("span", {}, what), html("span", { class: "area" }, where), html("b", {}, now)),
  );
  byId("device-list").replaceChildren(...rows);
}

/** Say for a while why something that was done by hand did not work; "" takes it away. */
function notify(text) {
  clearTimeout(fading);
  byId("notice").textContent = text && text[0].toUpperCase() + text.slice(1);
  if (text) fading = setTimeout(() => notify(""), NOTICE_MS);
}

/** Change a world by hand; whatever goes wrong is said. */
async function change(name, path, body) {
  notify("");
  try {
    const { result, state } = await post(`/worlds/${name}/${path}`, body);
    showState(name, state);
    if (result?.error && name === shown.name) notify(`${result.message}.${WORLDS[name].hint?.(body, result) ?? ""}`);
  } catch (error) {
    notify(error.message);
  }
}

function act(name, call) {
  shown.view?.highlight(call);
  return change(name, "call", call);
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
  notify("");
  for (const link of byId("worlds").children) {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `openmimo · ${name}`;
  byId("plan").setAttribute("aria-busy", "true");
  const { drawing, state } = await get(`/worlds/${name}`);
  if (shown.name !== name) return; // somebody was quicker
  const world = WORLDS[name];
  byId("controls").replaceChildren();
  shown.view = world.view(byId("plan"), drawing, state, (call) => act(name, call), byId("controls"));
  byId("plan").removeAttribute("aria-busy");
  shown.events = watch(name);
  showState(name, state);
  chat.open(name, { heading: world.heading, placeholder: world.placeholder, examples: world.examples(state) });
}

/** Do something that the page is nothing without; where it fails, offer to try again. */
async function attempt(work) {
  try {
    await work();
  } catch (error) {
    const again = html("button", { type: "button", onclick: () => attempt(work) }, "Try again");
    byId("plan").replaceChildren(html("p", { class: "problem" }, error.message, " ", again));
  }
}

async function start() {
  const [{ worlds }, models] = await Promise.all([get("/worlds"), get("/v1/models")]);
  const known = worlds.filter((name) => name in WORLDS);
  const wanted = () => (known.includes(location.hash.slice(1)) ? location.hash.slice(1) : known[0]);
  byId("model").textContent = models.data[0].id;
  byId("worlds").replaceChildren(...known.map((name) => html("a", { href: `#${name}` }, name)));
  byId("devices").open = matchMedia("(min-width: 60rem) and (min-height: 62rem)").matches;
  for (const button of document.querySelectorAll("[data-minutes]")) {
    button.addEventListener("click", () => change(shown.name, "pass", { minutes: Number(button.dataset.minutes) }));
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
  addEventListener("hashchange", () => attempt(() => open(wanted())));
  await attempt(() => open(wanted()));
}

attempt(start);
